//! Runs scripts and tells, with file and line, where an answer is not the expected one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::SinkExt;
use tempfile::TempDir;
use tokio_postgres::SimpleQueryMessage;

use crate::record::{Action, ExpectedError, Protocol, Record, Script, normal, parse};
use crate::server::{Connection, Program, Server};
use crate::value::{Shown, TextParameter};

/// A statement that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(120);

pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt")
}

/// PostgreSQL blesses the scripts that it runs, and Granary all others.
fn blessing(folder: &str, program: Program) -> bool {
    std::env::var_os("SLT_BLESS").is_some() && (folder == "postgres") == (program == Program::Postgres)
}

/// For what comes to be by itself.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Runs every script of a folder under both protocols.
pub async fn run_folder(folder: &str, program: Program) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(scripts().join(folder))
        .expect("a folder of scripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "tests/slt/{folder} has no scripts");
    let blessing = blessing(folder, program);
    // the others type REFRESH themselves
    let schedules = folder == "scheduler";
    let mut shared = Server::start(program, None, schedules);
    let mut failures = Vec::new();
    for file in files {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            failures.extend(run_file(&file, protocol, blessing, &mut shared).await);
        }
    }
    assert!(failures.is_empty(), "{} failures\n\n{}", failures.len(), failures.join("\n\n"));
}

async fn run_file(file: &Path, protocol: Protocol, blessing: bool, shared: &mut Server) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("a script");
    let script = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let restarts = script.records.iter().any(|record| matches!(record.action, Action::Restart));
    let needs_own = restarts || script.now.is_some();
    let mut own = needs_own.then(|| Server::start(shared.program(), script.now.as_deref(), shared.schedules()));
    let server = own.as_mut().unwrap_or(shared);
    let stem = file.file_stem().and_then(|stem| stem.to_str()).expect("a plain name");
    let run = Run::start(server, stem, How { protocol, blessing }, &script).await;
    let (failures, answers) = run.all(&script, file).await;
    if blessing && protocol == Protocol::Simple {
        bless(file, &text, answers);
    }
    failures
}

/// Puts what came back in the place of what was expected.
fn bless(file: &Path, text: &str, answers: Vec<(Record, Vec<String>)>) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (record, answer) in answers.into_iter().rev() {
        lines.splice(record.answer.0..record.answer.1, answer);
    }
    std::fs::write(file, lines.join("\n") + "\n").expect("the script can be written");
}

/// What a statement answered.
#[derive(Default)]
struct Answer {
    names: Vec<String>,
    /// the simple protocol's client does not say them
    types: Option<Vec<String>>,
    rows: Vec<String>,
    count: u64,
}

#[derive(Debug, Clone, Copy)]
struct How {
    protocol: Protocol,
    blessing: bool,
}

struct Run<'a> {
    server: &'a mut Server,
    connection: Connection,
    workspace: String,
    how: How,
    temp: TempDir,
}

impl<'a> Run<'a> {
    async fn start(server: &'a mut Server, stem: &str, how: How, script: &Script) -> Run<'a> {
        let workspace = format!("{stem}_{}", format!("{:?}", how.protocol).to_lowercase());
        server.create_workspace(&workspace, script.development).await;
        let connection = server.connect(&workspace).await;
        let temp = tempfile::tempdir().expect("a temporary folder");
        Run { server, connection, workspace, how, temp }
    }

    /// The failures, and the answers for blessing.
    async fn all(mut self, script: &Script, file: &Path) -> (Vec<String>, Vec<(Record, Vec<String>)>) {
        let mut failures = Vec::new();
        let mut answers = Vec::new();
        for record in &script.records {
            if record.only.is_some_and(|only| only != self.how.protocol) {
                continue;
            }
            match self.with_difference(record).await {
                Ok(Some(answer)) => answers.push((record.clone(), answer)),
                Ok(None) => {}
                Err(failure) => {
                    failures.push(format!("{}:{} ({:?})\n{failure}", file.display(), record.line, self.how.protocol));
                }
            }
        }
        (failures, answers)
    }

    fn filled(&self, text: &str) -> String {
        let temp = self.temp.path().to_str().expect("a plain path");
        text.replace("$DATA", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data"))
            .replace("$TEMP", temp)
            .replace("$WORKSPACE", &self.workspace)
    }

    /// The record, or its opposite if it is known to differ.
    async fn with_difference(&mut self, record: &Record) -> Result<Option<Vec<String>>, String> {
        let begun = Instant::now();
        let mut answer = self.record(record).await;
        while record.eventually && !self.how.blessing && answer.is_err() && begun.elapsed() < LONGEST_WAIT {
            tokio::task::yield_now().await;
            answer = self.record(record).await;
        }
        match &record.differs {
            Some(_) if self.server.program() == Program::Granary => match answer {
                // by the other protocol types are not compared
                Ok(_) if self.how.protocol == Protocol::Extended => {
                    Err("answered as by PostgreSQL: take the line `differs` away".to_owned())
                }
                _ => Ok(None),
            },
            _ => answer,
        }
    }

    /// What blessing would write, if that can be told.
    async fn record(&mut self, record: &Record) -> Result<Option<Vec<String>>, String> {
        match &record.action {
            Action::Restart => {
                self.server.restart();
                self.connection = self.server.connect(&self.workspace).await;
                Ok(None)
            }
            Action::Reconnect => {
                self.connection = self.server.connect(&self.workspace).await;
                Ok(None)
            }
            Action::User { name, password } => {
                let connected = self.server.connect_as(name, password, &self.workspace).await;
                self.connection = connected.map_err(|error| failed(&format!("log in as {name}"), &error))?;
                Ok(None)
            }
            Action::RefusedLogin { name, password, expected } => {
                let what = format!("log in as {name}");
                match self.server.connect_as(name, password, &self.workspace).await {
                    Ok(_) => Err(format!("{what}\nexpected the error {}, but it was done", expected.code)),
                    Err(error) => self.check_error(&what, expected, &error).map(|_| None),
                }
            }
            Action::File { name, text } => {
                let path = self.temp.path().join(name);
                std::fs::create_dir_all(path.parent().expect("a folder")).map_err(|error| error.to_string())?;
                std::fs::write(path, text).map_err(|error| error.to_string())?;
                Ok(None)
            }
            Action::Ok { sql, notice } => {
                self.answer(sql, record).await.map_err(|error| failed(sql, &error))?;
                let notices = self.connection.take_notices();
                match notice {
                    Some(part) if !notices.iter().any(|notice| notice.contains(part.as_str())) => {
                        Err(format!("{sql}\nexpected the notice: {part}\nfound: {notices:?}"))
                    }
                    _ => Ok(None),
                }
            }
            Action::Count { sql, count } => {
                let answer = self.answer(sql, record).await.map_err(|error| failed(sql, &error))?;
                if answer.count == *count {
                    return Ok(None);
                }
                Err(format!("{sql}\nexpected the count {count}, found {}", answer.count))
            }
            Action::Error { sql, expected } => match self.answer(sql, record).await {
                Ok(_) => Err(format!("{sql}\nexpected the error {}, but it was done", expected.code)),
                Err(error) => self.check_error(sql, expected, &error),
            },
            Action::Copy { sql, data, count } => match (self.copy(sql, data).await, count) {
                (Ok(found), Ok(count)) if found == *count => Ok(None),
                (Ok(found), Ok(count)) => Err(format!("{sql}\nexpected the count {count}, found {found}")),
                (Ok(_), Err(expected)) => Err(format!("{sql}\nexpected the error {}, but it was done", expected.code)),
                (Err(error), Ok(_)) => Err(failed(sql, &error)),
                (Err(error), Err(expected)) => match self.check_error(sql, expected, &error)? {
                    // it begins with another word than that of a statement
                    Some(shown) => Ok(Some(shown.iter().map(|line| line.replacen("statement", "copy", 1)).collect())),
                    None => Ok(None),
                },
            },
            Action::Query { sql, rowsort, names, types, rows } => {
                let mut answer = self.answer(sql, record).await.map_err(|error| failed(sql, &error))?;
                let mut expected = rows.clone();
                if *types && answer.types.is_none() {
                    if self.how.blessing {
                        answer.types = Some(self.types(sql).await.map_err(|error| failed(sql, &error))?);
                    } else {
                        expected.drain(usize::from(*names)..expected.len().min(usize::from(*names) + 1));
                    }
                }
                let mut header = Vec::new();
                header.extend(names.then(|| answer.names.join("  ")));
                header.extend(answer.types.filter(|_| *types).map(|types| types.join("  ")));
                if *rowsort {
                    answer.rows.sort_unstable();
                    if let Some(rows) = expected.get_mut(header.len()..) {
                        rows.sort_unstable();
                    }
                }
                let temp = self.temp.path().to_str().expect("a plain path");
                let rows = answer.rows.iter().map(|row| row.replace(temp, "$TEMP"));
                let found: Vec<String> = header.into_iter().chain(rows).collect();
                // A value may have several lines, as SHOW CREATE has.
                let same = found.iter().flat_map(|row| row.lines()).map(normal).eq(expected.iter().cloned());
                if same || self.how.blessing {
                    return Ok((!same).then_some(found));
                }
                Err(format!("{sql}\nexpected:\n{}\nfound:\n{}", expected.join("\n"), found.join("\n")))
            }
        }
    }

    fn check_error(
        &self,
        sql: &str,
        expected: &ExpectedError,
        error: &tokio_postgres::Error,
    ) -> Result<Option<Vec<String>>, String> {
        let Some(found) = error.as_db_error() else { return Err(failed(sql, error)) };
        let position = match found.position() {
            Some(tokio_postgres::error::ErrorPosition::Original(position)) => Some(*position),
            _ => None,
        };
        let shown = ExpectedError {
            code: found.code().code().to_owned(),
            position,
            message: Some(found.message().to_owned()),
            hint: found.hint().map(str::to_owned),
            detail: found.detail().map(str::to_owned),
            context: found.where_().map(str::to_owned),
        };
        let has = |part: &Option<String>, whole: Option<&str>| match part {
            None => true,
            Some(part) => {
                whole.is_some_and(|whole| whole.replace('"', "'").contains(&self.filled(part).replace('"', "'")))
            }
        };
        let same = expected.code == found.code().code()
            && (expected.position.is_none() || expected.position == position)
            && has(&expected.message, Some(found.message()))
            && has(&expected.hint, found.hint())
            && has(&expected.detail, found.detail())
            && has(&expected.context, found.where_());
        if same || self.how.blessing {
            return Ok((!same).then(|| vec![shown.shown()]));
        }
        Err(format!("{sql}\nexpected: {}\nfound:    {}", expected.shown(), shown.shown()))
    }

    async fn answer(&self, sql: &str, record: &Record) -> Result<Answer, tokio_postgres::Error> {
        let sql = self.filled(sql);
        let parameters = record.parameters.clone().unwrap_or_default();
        let work = async {
            match self.how.protocol {
                Protocol::Simple => self.simple(&sql).await,
                Protocol::Extended => self.extended(&sql, parameters).await,
            }
        };
        tokio::time::timeout(LIMIT, work).await.unwrap_or_else(|_| panic!("line {}: no answer\n{sql}", record.line))
    }

    /// The client's own way, whatever the protocol of the script.
    async fn copy(&self, sql: &str, data: &str) -> Result<u64, tokio_postgres::Error> {
        let sink = self.connection.client.copy_in(&self.filled(sql)).await?;
        let mut sink = std::pin::pin!(sink);
        // in pieces that end anywhere
        for piece in data.as_bytes().chunks(7) {
            sink.send(bytes::Bytes::copy_from_slice(piece)).await?;
        }
        sink.finish().await
    }

    async fn simple(&self, sql: &str) -> Result<Answer, tokio_postgres::Error> {
        let mut answer = Answer::default();
        for message in self.connection.client.simple_query(sql).await? {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    answer.names = columns.iter().map(|column| column.name().to_owned()).collect();
                }
                SimpleQueryMessage::Row(row) => {
                    answer.rows.push(shown_row((0..row.len()).map(|index| row.get(index).map(str::to_owned))));
                }
                SimpleQueryMessage::CommandComplete(count) => answer.count = count,
                _ => {}
            }
        }
        Ok(answer)
    }

    async fn extended(&self, sql: &str, parameters: Vec<Option<String>>) -> Result<Answer, tokio_postgres::Error> {
        let client = &self.connection.client;
        let statement = client.prepare(sql).await?;
        let names = statement.columns().iter().map(|column| column.name().to_owned()).collect();
        let types = Some(types_of(&statement));
        let parameters: Vec<TextParameter> = parameters.into_iter().map(TextParameter).collect();
        let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            parameters.iter().map(|parameter| parameter as _).collect();
        if statement.columns().is_empty() {
            let count = client.execute(&statement, &parameters).await?;
            return Ok(Answer { names, types, rows: Vec::new(), count });
        }
        let rows = client.query(&statement, &parameters).await?;
        let shown = |row: &tokio_postgres::Row| -> Result<String, tokio_postgres::Error> {
            let values = (0..row.len()).map(|index| Ok(row.try_get::<_, Option<Shown>>(index)?.map(|shown| shown.0)));
            Ok(shown_row(values.collect::<Result<Vec<_>, tokio_postgres::Error>>()?.into_iter()))
        };
        let count = rows.len() as u64;
        Ok(Answer { names, types, rows: rows.iter().map(shown).collect::<Result<_, _>>()?, count })
    }

    async fn types(&self, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
        self.connection.client.prepare(&self.filled(sql)).await.map(|statement| types_of(&statement))
    }
}

fn types_of(statement: &tokio_postgres::Statement) -> Vec<String> {
    statement.columns().iter().map(|column| column.type_().name().to_owned()).collect()
}

fn shown_row(values: impl Iterator<Item = Option<String>>) -> String {
    let shown = |value: Option<String>| match value {
        None => "NULL".to_owned(),
        Some(text) if text.is_empty() => "''".to_owned(),
        Some(text) => text,
    };
    values.map(shown).collect::<Vec<_>>().join("  ")
}

pub fn failed(sql: &str, error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!(
            "{sql}\nfailed: {} {}\ndetail: {:?}\nhint: {:?}\nposition: {:?}",
            error.code().code(),
            error.message(),
            error.detail(),
            error.hint(),
            error.position()
        ),
        None => format!("{sql}\nfailed: {error}"),
    }
}
