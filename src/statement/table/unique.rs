//! PRIMARY KEY and UNIQUE: no two rows have the same values, as the statement and its transaction leave the table.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use granary_catalog::{Column, Table};

use super::Target;
use super::checks::hides_rows;
use crate::engine::{KeyIndex, PlacedRows, TableWrite, keys_of, rows_in_order, run_table};
use crate::error::{Error, Kind, Result};
use crate::offline::{Places, RowNumbers};
use crate::row::{Value, text_of, value_at};
use crate::statement::context::StatementContext;

/// One set of columns in which no two rows are the same.
pub struct UniqueKey {
    pub name: String,
    pub columns: Vec<String>,
    /// whether it is an index that nobody has declared as a constraint
    pub is_index: bool,
    places: Vec<usize>,
}

impl UniqueKey {
    pub fn all(target: &Target) -> Vec<UniqueKey> {
        let keys = target.table.iter().flat_map(|table| table.unique_keys());
        let place = |name: &String| target.columns.iter().position(|column| column.name == *name);
        keys.map(|(name, columns)| UniqueKey {
            name: name.to_owned(),
            columns: columns.to_vec(),
            is_index: target.table.iter().all(|table| table.constraints.iter().all(|known| known.name != *name)),
            places: columns.iter().filter_map(place).collect(),
        })
        .collect()
    }

    /// The key of each row, which has the columns of the table.
    pub fn keys(&self, rows: &RecordBatch) -> Result<Vec<Option<u128>>> {
        keys_of(&rows.project(&self.places)?)
    }

    fn violation(&self, table: &str, columns: &[Column], (rows, row): (&RecordBatch, usize)) -> Error {
        let message = format!("duplicate key value violates unique constraint \"{}\"", self.name);
        let detail = format!("Key {} already exists.", self.key_text(columns, (rows, row)));
        Error::new(Kind::UniqueViolation, message).with_detail(detail).of_constraint(table, &self.name)
    }

    fn key_text(&self, columns: &[Column], (rows, row): (&RecordBatch, usize)) -> String {
        let value = |place: &usize| value_text(&columns[*place], rows, (*place, row));
        let values: Vec<String> = self.places.iter().map(value).collect();
        format!("({})=({})", self.columns.join(", "), values.join(", "))
    }
}

fn value_text(column: &Column, rows: &RecordBatch, (place, row): (usize, usize)) -> String {
    match value_at(rows.column(place).as_ref(), row) {
        Ok(Some(Value::Bool(value))) => if value { "t" } else { "f" }.to_owned(),
        Ok(Some(value)) => text_of(&value, &column.data_type),
        _ => "null".to_owned(),
    }
}

/// A row as PostgreSQL shows it in the detail of an error.
pub fn row_text(columns: &[Column], rows: &RecordBatch, row: usize) -> String {
    let value = |(place, column)| {
        let text: String = value_text(column, rows, (place, row));
        match text.char_indices().nth(64) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    };
    columns.iter().enumerate().map(value).collect::<Vec<_>>().join(", ")
}

/// The rows that are there, by key.
pub struct ExistingKeys {
    rows: PlacedRows,
    indexes: Vec<Arc<KeyIndex>>,
}

impl ExistingKeys {
    /// As the transaction has left the newest rows, whatever it reads.
    pub async fn of(context: &StatementContext, target: &Target, key: &UniqueKey) -> Result<ExistingKeys> {
        let planner = context.planner().with_read_versions(None);
        let rows = PlacedRows::of(&planner, &target.stored, &target.nullable_schema()).await?;
        let indexes = rows.keys(&context.warehouse.key_indexes, &key.columns).await?;
        Ok(ExistingKeys { rows, indexes })
    }

    /// The places of the rows that have the key.
    pub fn places(&self, key: u128) -> impl Iterator<Item = (usize, u64)> {
        let of_origin = move |(origin, index): (usize, &'_ Arc<KeyIndex>)| {
            let index = Arc::clone(index);
            let rows: Vec<u64> = index.rows(key).collect();
            rows.into_iter().map(move |row| (origin, row))
        };
        let places = self.indexes.iter().enumerate().flat_map(of_origin);
        places.filter(|(origin, row)| !self.rows.is_removed(*origin, *row))
    }

    /// The same but for those that the statement takes away.
    fn has_other(&self, key: u128, (removed, removed_held): (&Places, &RowNumbers)) -> bool {
        self.places(key).any(|(origin, row)| {
            let path = i32::try_from(origin).ok().and_then(|origin| self.rows.path(origin));
            let gone = match path {
                Some(path) => removed.get(path),
                None => Some(removed_held),
            };
            !gone.is_some_and(|gone| gone.contains(row))
        })
    }

    pub fn rows(&self) -> &PlacedRows {
        &self.rows
    }
}

/// Refuses what a statement does to a table if two rows would have the same key.
pub async fn check(context: &StatementContext, target: &Target, write: &TableWrite) -> Result<()> {
    for key in UniqueKey::all(target) {
        let existing = ExistingKeys::of(context, target, &key).await?;
        let mut seen = HashSet::new();
        let mut add = |rows: &RecordBatch| -> Result<()> {
            for (row, found) in key.keys(rows)?.into_iter().enumerate() {
                let Some(found) = found else { continue };
                if !seen.insert(found) || existing.has_other(found, (&write.removed, &write.removed_held)) {
                    let error = key.violation(&target.name, &target.columns, (rows, row));
                    let error = if hides_rows(context, target) { error.without_detail() } else { error };
                    return Err(error.in_schema(target.schema_name(context.snapshot())));
                }
            }
            Ok(())
        };
        for staged in &write.staged {
            let (engine, offline) = (&context.warehouse.engine, &context.warehouse.offline);
            let stored = (staged.table(), &Arc::default());
            let mut rows = rows_in_order(engine, offline, stored, target.nullable_schema()).await?;
            while let Some(batch) = rows.try_next().await.map_err(Error::from)? {
                add(&batch)?;
            }
        }
        write.batches.iter().try_for_each(&mut add)?;
    }
    Ok(())
}

/// Refuses a new key of a table if two rows that are there are the same in it.
pub async fn check_existing(context: &StatementContext, table: &Table, name: &str) -> Result<()> {
    let target = Target::of_table(table);
    let Some(key) = UniqueKey::all(&target).into_iter().find(|key| key.name == name) else { return Ok(()) };
    let planner = context.planner().with_read_versions(None);
    let rows = PlacedRows::of(&planner, &target.stored, &target.nullable_schema()).await?;
    let mut batches = run_table(&planner, Arc::new(rows)).await?;
    let mut seen = HashSet::new();
    while let Some(batch) = batches.try_next().await.map_err(Error::from)? {
        for (row, found) in key.keys(&batch)?.into_iter().enumerate() {
            if found.is_some_and(|found| !seen.insert(found)) {
                let detail = format!("Key {} is duplicated.", key.key_text(&target.columns, (&batch, row)));
                let message = format!("could not create unique index \"{name}\"");
                return Err(Error::new(Kind::UniqueViolation, message).with_detail(detail));
            }
        }
    }
    Ok(())
}
