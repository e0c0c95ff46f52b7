//! Expressions and queries over literals, against what PostgreSQL 15 answered: the files of `tests/expressions`.
//!
//! A line that begins without a blank is an expression or a query, the lines below it are its answer: `type: value` for
//! each row, or SQLSTATE and message. `ORACLE=postgres://… cargo test -p granary-postgres --test expressions` writes the
//! answers of that server (through `psql`) into the files.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use granary_postgres::datetime::{Clock, Zone};
use granary_postgres::functions::casts;
use granary_postgres::plan::Function;
use granary_postgres::resolve::Proc;
use granary_postgres::{Error, NameKind, Relation, Result, Row, Value, World, analyze, execute};
use granary_sql::Statement;

/// No relations, and one time zone.
struct Nothing;

const ZONE: &str = "Europe/Berlin";

impl World for Nothing {
    fn relation(&self, _: Option<&str>, _: &str) -> Option<Arc<Relation>> {
        None
    }

    fn rows(&self, _: &Relation) -> Result<Arc<Vec<Row>>> {
        Err(Error::not_supported("a relation"))
    }

    fn function(&self, _: &Proc) -> Option<Function> {
        None
    }

    fn number_of(&self, _: NameKind, _: &str) -> Result<Option<u32>> {
        Ok(None)
    }

    fn name_of(&self, _: NameKind, _: u32) -> Option<String> {
        None
    }

    fn user(&self) -> String {
        "granary".to_owned()
    }

    fn session_user(&self) -> String {
        "granary".to_owned()
    }

    fn database(&self) -> String {
        "postgres".to_owned()
    }

    fn current_schema(&self) -> Option<String> {
        Some("public".to_owned())
    }

    fn clock(&self) -> Clock {
        Clock { now_us: 1_700_000_000_000_000, zone: Zone::named(ZONE).expect("a zone") }
    }

    fn check_stopped(&self) -> Result<()> {
        Ok(())
    }
}

fn query_of(statement: &str) -> String {
    let upper = statement.to_uppercase();
    let is_query = ["SELECT", "WITH ", "VALUES"].iter().any(|word| upper.starts_with(word));
    if is_query { statement.to_owned() } else { format!("SELECT {statement}") }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn failure(sqlstate: &str, message: &str) -> Vec<String> {
    vec![format!("{sqlstate} {}", escaped(message))]
}

fn answer(statement: &str) -> Vec<String> {
    answered(statement).unwrap_or_else(|error| failure(error.sqlstate, &error.message))
}

fn answered(statement: &str) -> Result<Vec<String>> {
    let parsed = granary_sql::parse(&query_of(statement)).map_err(|error| Error::new("42601", error.to_string()))?;
    let Some(Statement::Query(query)) = parsed.into_iter().next().map(|parsed| parsed.statement) else {
        return Err(Error::new("42601", "no query"));
    };
    let analyzed = analyze(&query.ast, &[], &Nothing)?;
    let rows = execute(&analyzed.query, Vec::new(), &Nothing)?;
    let columns = &analyzed.query.columns;
    let types: Vec<String> = columns
        .iter()
        .map(|column| {
            let modifier = column.data_type.modifier;
            granary_postgres::types::format_type(column.data_type.oid, Some(modifier))
        })
        .collect();
    let types = types.join("|");
    if rows.is_empty() {
        return Ok(vec![format!("{types}, no rows")]);
    }
    let clock = Nothing.clock();
    Ok(rows
        .iter()
        .map(|row| {
            let items: Vec<String> = row
                .iter()
                .zip(columns)
                .map(|(value, column)| match value {
                    Value::Null => "NULL".to_owned(),
                    value => casts::shown(&Nothing, value, &column.data_type, clock).unwrap_or_default(),
                })
                .collect();
            format!("{types}: {}", escaped(&items.join("|")))
        })
        .collect())
}

struct Case {
    statement: String,
    answer: Vec<String>,
    /// blank lines and comments above it
    above: String,
}

fn read(path: &Path) -> (Vec<Case>, String) {
    let text = std::fs::read_to_string(path).expect("a file of cases");
    let (mut cases, mut above): (Vec<Case>, String) = (Vec::new(), String::new());
    for line in text.lines() {
        if line.trim().is_empty() || line.starts_with('#') {
            let _ = writeln!(above, "{line}");
        } else if let (Some(answer), Some(case)) = (line.strip_prefix("    "), cases.last_mut()) {
            case.answer.push(answer.to_owned());
        } else {
            cases.push(Case { statement: line.to_owned(), answer: Vec::new(), above: std::mem::take(&mut above) });
        }
    }
    (cases, above)
}

fn files() -> Vec<PathBuf> {
    let given = std::env::var_os("EXPRESSIONS").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expressions"));
    let entries = std::fs::read_dir(folder).expect("the folder of cases");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

#[test]
fn expressions_are_answered_as_postgresql_answers_them() {
    if let Ok(oracle) = std::env::var("ORACLE") {
        files().iter().for_each(|file| bless(file, &oracle));
    }
    let mut differences = String::new();
    let mut n_cases = 0;
    for file in files() {
        for case in read(&file).0 {
            n_cases += 1;
            let statement = case.statement.clone();
            let found = std::panic::catch_unwind(|| answer(&statement)).unwrap_or_else(|_| vec!["a panic".to_owned()]);
            if found != case.answer {
                let _ = writeln!(
                    differences,
                    "{}: {}\n    expected {}\n    found    {}",
                    file.file_name().unwrap_or_default().display(),
                    case.statement,
                    case.answer.join("\n             "),
                    found.join("\n             ")
                );
            }
        }
    }
    let n = differences.lines().filter(|line| !line.starts_with(' ')).count();
    assert!(differences.is_empty(), "{n} of {n_cases} differ:\n{differences}");
}

/// Asks a PostgreSQL server, and writes its answers into the file.
fn bless(path: &Path, oracle: &str) {
    let (cases, below) = read(path);
    let mut script =
        format!("SET timezone = '{ZONE}';\n\\pset null NULL\n\\pset fieldsep '|'\n\\pset recordsep '\\x1e'\n");
    for case in &cases {
        let query = query_of(&case.statement);
        let _ = write!(script, "\\echo @type\n{query} \\gdesc\n\\echo @value\n{query};\n");
        script.push_str("\\if :ERROR\n\\echo @error :LAST_ERROR_SQLSTATE :LAST_ERROR_MESSAGE\n\\endif\n\\echo @end\n");
    }
    let mut psql = Command::new("psql")
        .args(["-X", "-A", "-t", "-q", oracle])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("psql is installed");
    let mut input = psql.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || input.write_all(script.as_bytes()).expect("psql reads its script"));
    let output = psql.wait_with_output().expect("psql ends");
    writer.join().expect("the script was written");
    let output = String::from_utf8(output.stdout).expect("UTF-8");
    let mut text = String::new();
    let answers = output.split("@type\n").skip(1);
    for (case, output) in cases.iter().zip(answers) {
        let (described, rest) = output.split_once("@value\n").expect("the script's marks");
        let answer = if let Some((_, error)) = rest.split_once("@error ") {
            let error = error.trim_end().trim_end_matches("@end").trim_end();
            let (sqlstate, message) = error.split_once(' ').expect("SQLSTATE and message");
            failure(sqlstate, message)
        } else {
            let types: Vec<&str> = described
                .split(['\u{1e}', '\n'])
                .filter_map(|line| line.rsplit_once('|'))
                .map(|(_, data_type)| data_type)
                .collect();
            let types = types.join("|");
            let rows = rest.rsplit_once("@end\n").expect("the script's marks").0;
            match rows.strip_suffix('\n') {
                None => vec![format!("{types}, no rows")],
                Some(rows) => rows.split('\u{1e}').map(|row| format!("{types}: {}", escaped(row))).collect(),
            }
        };
        let _ = writeln!(text, "{}{}", case.above, case.statement);
        answer.iter().for_each(|line| {
            let _ = writeln!(text, "    {line}");
        });
    }
    text.push_str(&below);
    std::fs::write(path, text).expect("the file is written");
}
