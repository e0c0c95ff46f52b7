//! A client's connection to a server, as any driver makes one: statements as text, answers as text, notices to stderr.

use std::time::Duration;

use granary_sql::{Parsed, Statement};
use sqlparser::ast;
use tokio_postgres::config::Config;
use tokio_postgres::error::{DbError, ErrorPosition};
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

use crate::error::{Error, Kind, Result};
use crate::time::Stopwatch;

/// What a statement answered.
#[derive(Debug, Default)]
pub struct Answer {
    /// None: it returns no rows
    pub table: Option<Table>,
    /// rows that it wrote or returned
    pub rows: u64,
    pub took: Duration,
}

/// Rows as text. NULL is None.
#[derive(Debug, Default)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
}

/// Whether the server's notices go to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notices {
    Shown,
    Hidden,
}

/// Logs in. Errors name the address, and what to try.
pub async fn connect(config: &Config, notices: Notices) -> Result<Client> {
    let (client, mut connection) = config.connect(NoTls).await.map_err(|error| could_not_connect(config, &error))?;
    tokio::spawn(async move {
        // Ends with the client; what breaks it is told by the statement that was running.
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notice(notice) = message
                && notices == Notices::Shown
            {
                eprintln!("{}: {}", notice.severity(), notice.message());
            }
        }
    });
    Ok(client)
}

fn could_not_connect(config: &Config, error: &tokio_postgres::Error) -> Error {
    if let Some(refused) = error.as_db_error() {
        let error = database_error(refused, refused.message().to_owned());
        return match refused.code().code() {
            "28P01" => {
                error.with_hint("the password is that of GRANARY_PASSWORD, else of PGPASSWORD, or write it into --dsn")
            }
            _ => error,
        };
    }
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let hint = if config.get_password().is_none() && cause.contains("password") {
        "set GRANARY_PASSWORD or PGPASSWORD, or write it into --dsn"
    } else {
        "start a server with granary serve or granary quickstart, or name another with --dsn"
    };
    Error::new(Kind::IoError, format!("could not connect to {} port {port}: {cause}", hosts.join(", "))).with_hint(hint)
}

/// Runs one statement. The error's position counts in the statement's text.
pub async fn run(client: &Client, text: &str) -> Result<Answer, tokio_postgres::Error> {
    let watch = Stopwatch::start();
    let mut answer = Answer::default();
    for message in client.simple_query(text).await? {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                let columns = columns.iter().map(|column| column.name().to_owned()).collect();
                answer.table = Some(Table { columns, rows: Vec::new() });
            }
            SimpleQueryMessage::Row(row) => {
                let values = (0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect();
                answer.table.get_or_insert_default().rows.push(values);
            }
            SimpleQueryMessage::CommandComplete(rows) => answer.rows = rows,
            _ => {}
        }
    }
    answer.took = watch.elapsed();
    Ok(answer)
}

/// What a server's error says, under a message that says where.
pub fn database_error(error: &DbError, message: String) -> Error {
    let mut told = Error::new(Kind::IoError, message);
    if let Some(detail) = error.detail() {
        told = told.with_detail(detail);
    }
    if let Some(hint) = error.hint() {
        told = told.with_hint(hint);
    }
    told
}

/// The position of an error in its statement's text, in characters from 1.
pub fn position(error: &DbError) -> Option<usize> {
    match error.position()? {
        ErrorPosition::Original(position) => usize::try_from(*position).ok(),
        ErrorPosition::Internal { .. } => None,
    }
}

/// The command tag of a statement that returned no rows.
pub fn tag(parsed: &Parsed, rows: u64) -> String {
    if let Statement::Postgres(statement) = &parsed.statement {
        match statement.ast.as_ref() {
            ast::Statement::Insert(_) => return format!("INSERT 0 {rows}"),
            ast::Statement::CreateTable(create) if create.query.is_some() && rows > 0 => {
                return format!("SELECT {rows}");
            }
            _ => {}
        }
    }
    tag_of_text(&parsed.text)
}

/// `CREATE OR REPLACE FEATURE VIEW v …` is `CREATE FEATURE VIEW`; `BEGIN` is `BEGIN`.
fn tag_of_text(text: &str) -> String {
    const OBJECTS: [&str; 6] = ["CREATE", "DROP", "ALTER", "REFRESH", "REPLAY", "CANCEL"];
    const ADJECTIVES: [&str; 4] = ["REALTIME", "FEATURE", "API", "MATERIALIZED"];
    let word = |word: &str| word.trim_end_matches(';').to_uppercase();
    let mut words = text.split_whitespace().map(word).filter(|word| word != "OR" && word != "REPLACE");
    let mut tag = words.next().unwrap_or_default();
    if OBJECTS.contains(&tag.as_str()) {
        for word in words {
            tag = format!("{tag} {word}");
            if !ADJECTIVES.contains(&word.as_str()) {
                break;
            }
        }
    }
    tag
}

impl Table {
    /// Columns side by side, as psql shows them: numbers to the right, NULL as nothing, line breaks kept.
    pub fn aligned(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len()).map(|index| self.width(index)).collect();
        let numeric: Vec<bool> = (0..self.columns.len()).map(|index| self.is_numeric(index)).collect();
        let mut text = String::new();
        let heads: Vec<String> =
            self.columns.iter().zip(&widths).map(|(name, width)| format!(" {name:^width$} ", width = *width)).collect();
        push_line(&mut text, &heads.join("|"));
        push_line(&mut text, &widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("+"));
        for row in &self.rows {
            let cells: Vec<Vec<&str>> = row.iter().map(|value| lines(value.as_deref())).collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(1);
            for line in 0..height {
                let shown = cells.iter().zip(&widths).zip(&numeric).map(|((cell, width), numeric)| {
                    let value = cell.get(line).copied().unwrap_or_default();
                    let more = if line + 1 < cell.len() { '+' } else { ' ' };
                    let width = *width;
                    if *numeric { format!(" {value:>width$}{more}") } else { format!(" {value:<width$}{more}") }
                });
                push_line(&mut text, &shown.collect::<Vec<_>>().join("|"));
            }
        }
        let count = self.rows.len();
        push_line(&mut text, &format!("({count} row{})", if count == 1 { "" } else { "s" }));
        text
    }

    fn values(&self, index: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(move |row| row.get(index)?.as_deref())
    }

    fn width(&self, index: usize) -> usize {
        let widest = self.values(index).flat_map(str::lines).map(|line| line.chars().count()).max().unwrap_or(0);
        widest.max(self.columns[index].chars().count())
    }

    fn is_numeric(&self, index: usize) -> bool {
        self.values(index).all(|value| value.parse::<f64>().is_ok()) && self.values(index).next().is_some()
    }
}

fn lines(value: Option<&str>) -> Vec<&str> {
    let lines: Vec<&str> = value.unwrap_or_default().lines().collect();
    if lines.is_empty() { vec![""] } else { lines }
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_the_first_words() {
        for (text, tag) in [
            ("create or replace feature view v …", "CREATE FEATURE VIEW"),
            ("CREATE ENTITY IF NOT EXISTS e (k text)", "CREATE ENTITY"),
            ("drop table t", "DROP TABLE"),
            ("REFRESH FEATURE VIEW v", "REFRESH FEATURE VIEW"),
            ("REPLAY STREAM s FROM OFFSET 1", "REPLAY STREAM"),
            ("begin", "BEGIN"),
        ] {
            assert_eq!(tag_of_text(text), tag);
        }
    }

    #[test]
    fn tables_are_aligned() {
        let some = |text: &str| Some(text.to_owned());
        let table = Table {
            columns: vec!["key".to_owned(), "n".to_owned()],
            rows: vec![vec![some("a"), some("1")], vec![some("two\nlines"), some("22")], vec![some("ü"), None]],
        };
        let expected = "  key  | n\n-------+----\n a     |  1\n two  +| 22\n lines |\n ü     |\n(3 rows)\n";
        assert_eq!(table.aligned(), expected);
    }
}
