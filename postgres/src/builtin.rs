//! The rows that every PostgreSQL 15 has in its catalogs, as `data/export.sh` wrote them: tab-separated, with the columns
//! and their types in the first line.

use std::collections::HashMap;
use std::sync::LazyLock;

macro_rules! files {
    ($($name:literal),* $(,)?) => { [$(($name, include_str!(concat!("../data/", $name, ".tsv")))),*] };
}

static FILES: LazyLock<HashMap<&'static str, Table>> = LazyLock::new(|| {
    files![
        "pg_aggregate",
        "pg_am",
        "pg_amop",
        "pg_amproc",
        "pg_cast",
        "pg_conversion",
        "pg_get_keywords",
        "pg_language",
        "pg_opclass",
        "pg_operator",
        "pg_opfamily",
        "pg_proc",
        "pg_range",
        "pg_ts_config",
        "pg_ts_dict",
        "pg_ts_parser",
        "pg_ts_template",
        "pg_type",
    ]
    .into_iter()
    .map(|(name, text)| {
        let (columns, rows) = text.split_once('\n').expect("a file begins with its columns");
        let columns = columns
            .split(',')
            .map(|column| {
                let (name, type_name) = column.split_once(' ').expect("a column has a name and a type");
                (name, type_name.trim_end_matches('!'))
            })
            .collect();
        (name, Table { columns, rows })
    })
    .collect()
});

/// One relation's rows as text.
#[derive(Debug)]
pub struct Table {
    /// names and `pg_type.typname`s
    pub columns: Vec<(&'static str, &'static str)>,
    rows: &'static str,
}

impl Table {
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.0 == name)
    }

    /// Each a row, its fields apart by tabs, `\N` for NULL; backslashes are doubled.
    pub fn lines(&self) -> impl Iterator<Item = &'static str> {
        self.rows.lines()
    }
}

/// The rows of a relation of `pg_catalog` that do not depend on what is defined.
pub fn table(name: &str) -> Option<&'static Table> {
    FILES.get(name)
}
