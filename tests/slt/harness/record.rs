//! Scripts: what is sent and what must come back.
//!
//! Records stand apart by blank lines; `#` begins a comment between them. `$DATA` is the folder tests/data, `$TEMP` an
//! empty folder of this run, `$WORKSPACE` the workspace's name.
//! ```text
//! now 2024-01-05                   the server's time; for the whole script, at its head
//! workspace development            instead of a live one; the same
//! restart                          SIGTERM, and a start on the same folder
//! reconnect
//! user name [password]             what follows is asked by this user; the superuser is granary
//! login error 28P01 name password [message "part of it"]
//! file name                        the lines below become $TEMP/name
//! only simple|extended             the next record is for one protocol
//! eventually                       the next record is asked again until it is answered as expected, for a minute
//! differs why                      the next record is what PostgreSQL answers, and Granary does not
//! parameters a | b | NULL          values of $1, $2, … of the next record, as text; extended only
//! statement ok [notice "part of it"]
//! statement count 3                so many rows were written or given
//! statement error 42703 [position 8] [message "part of it"] [hint "part of it"] [detail …] [context "part of it"]
//! copy count 3 | error 22P04 […]   COPY … FROM STDIN, then ----, then the lines that are sent
//! query [rowsort] [names] [types]  SQL, then ----, then rows; names: the first line has the columns' names;
//!                                  types: the first line, or that after names, has their types by pg_type's names,
//!                                  which are of the extended protocol
//! ```
//! Values in a row stand apart by spaces; NULL is `NULL`, an empty text `''`.

use std::fmt::Write as _;

use crate::server::PASSWORD;

#[derive(Debug, Clone, Default)]
pub struct Script {
    pub now: Option<String>,
    pub development: bool,
    pub records: Vec<Record>,
}

#[derive(Debug, Clone)]
pub struct Record {
    /// 1-based, of the record's first line
    pub line: usize,
    /// the lines of the answer, `[start, end)`, 0-based; for blessing
    pub answer: (usize, usize),
    pub only: Option<Protocol>,
    /// what it is about comes to be by itself
    pub eventually: bool,
    /// why Granary answers something else
    pub differs: Option<String>,
    pub parameters: Option<Vec<Option<String>>>,
    pub action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    Extended,
}

#[derive(Debug, Clone)]
pub enum Action {
    Restart,
    Reconnect,
    User { name: String, password: String },
    RefusedLogin { name: String, password: String, expected: ExpectedError },
    File { name: String, text: String },
    Ok { sql: String, notice: Option<String> },
    Count { sql: String, count: u64 },
    Error { sql: String, expected: ExpectedError },
    Copy { sql: String, data: String, count: Result<u64, ExpectedError> },
    Query { sql: String, rowsort: bool, names: bool, types: bool, rows: Vec<String> },
}

#[derive(Debug, Clone, Default)]
pub struct ExpectedError {
    pub code: String,
    pub position: Option<u32>,
    pub message: Option<String>,
    pub hint: Option<String>,
    pub detail: Option<String>,
    pub context: Option<String>,
}

impl ExpectedError {
    /// As a script writes it.
    pub fn shown(&self) -> String {
        let mut text = format!("statement error {}", self.code);
        if let Some(position) = self.position {
            let _ = write!(text, " position {position}");
        }
        let parts =
            [("message", &self.message), ("hint", &self.hint), ("detail", &self.detail), ("context", &self.context)];
        for (word, part) in parts {
            if let Some(part) = part {
                let _ = write!(text, " {word} \"{}\"", part.replace('"', "'"));
            }
        }
        text
    }
}

/// Values apart by one space, quotes all single: what is compared.
pub fn normal(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Words of a head line; `"…"` is one word.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

pub fn parse(text: &str) -> Result<Script, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut script = Script::default();
    let mut only = None;
    let mut eventually = false;
    let mut differs = None;
    let mut parameters = None;
    let mut at = 0;
    while at < lines.len() {
        let line = at + 1;
        let head = words(lines[at]);
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        let start = at;
        at += 1;
        if head.is_empty() || head[0].starts_with('#') {
            continue;
        }
        let mut body = || {
            let from = at;
            while at < lines.len() && !lines[at].trim().is_empty() {
                at += 1;
            }
            (from, at)
        };
        let mut answer = (start, start + 1);
        let action = match head.as_slice() {
            ["now", rest @ ..] => {
                script.now = Some(rest.join(" "));
                continue;
            }
            ["workspace", "development"] => {
                script.development = true;
                continue;
            }
            ["only", "simple"] => {
                only = Some(Protocol::Simple);
                continue;
            }
            ["only", "extended"] => {
                only = Some(Protocol::Extended);
                continue;
            }
            ["eventually"] => {
                eventually = true;
                continue;
            }
            ["differs", why @ ..] if !why.is_empty() => {
                differs = Some(why.join(" "));
                continue;
            }
            ["parameters", ..] => {
                let values = lines[start].trim().trim_start_matches("parameters").split('|');
                let value = |text: &str| (text.trim() != "NULL").then(|| text.trim().to_owned());
                parameters = Some(values.map(value).collect());
                only = Some(Protocol::Extended);
                continue;
            }
            ["restart"] => Action::Restart,
            ["reconnect"] => Action::Reconnect,
            ["user", name] => Action::User { name: (*name).to_owned(), password: PASSWORD.to_owned() },
            ["user", name, password] => Action::User { name: (*name).to_owned(), password: (*password).to_owned() },
            ["login", "error", code, name, password, facts @ ..] => {
                let facts: Vec<&str> = std::iter::once(*code).chain(facts.iter().copied()).collect();
                let expected = expected_error(&facts, line)?;
                Action::RefusedLogin { name: (*name).to_owned(), password: (*password).to_owned(), expected }
            }
            ["file", name] => {
                let (from, to) = body();
                Action::File { name: (*name).to_owned(), text: lines[from..to].join("\n") + "\n" }
            }
            ["statement", rest @ ..] => {
                let (from, to) = body();
                let sql = lines[from..to].join("\n");
                match rest {
                    ["ok"] => Action::Ok { sql, notice: None },
                    ["ok", "notice", part] => Action::Ok { sql, notice: Some((*part).to_owned()) },
                    ["count", count] => {
                        let count = count.parse().map_err(|error| format!("line {line}: {error}"))?;
                        Action::Count { sql, count }
                    }
                    ["error", facts @ ..] => Action::Error { sql, expected: expected_error(facts, line)? },
                    _ => return Err(format!("line {line}: what is \"{}\"", lines[start])),
                }
            }
            ["copy", what, facts @ ..] => {
                let (from, to) = body();
                let bar = (from..to).find(|&index| lines[index].trim() == "----");
                let bar = bar.ok_or_else(|| format!("line {line}: a copy needs a line ----"))?;
                let data = lines[bar + 1..to].iter().map(|line| format!("{line}\n")).collect();
                let count = match (*what, facts) {
                    ("count", [count]) => Ok(count.parse().map_err(|error| format!("line {line}: {error}"))?),
                    ("error", facts) => Err(expected_error(facts, line)?),
                    _ => return Err(format!("line {line}: what is \"{}\"", lines[start])),
                };
                Action::Copy { sql: lines[from..bar].join("\n"), data, count }
            }
            ["query", flags @ ..] => {
                let (from, to) = body();
                if let Some(flag) = flags.iter().find(|flag| !["rowsort", "names", "types"].contains(flag)) {
                    return Err(format!("line {line}: what is {flag}"));
                }
                let bar = (from..to).find(|&index| lines[index].trim() == "----");
                let bar = bar.ok_or_else(|| format!("line {line}: a query needs a line ----"))?;
                answer = (bar + 1, to);
                Action::Query {
                    sql: lines[from..bar].join("\n"),
                    rowsort: flags.contains(&"rowsort"),
                    names: flags.contains(&"names"),
                    types: flags.contains(&"types"),
                    rows: lines[bar + 1..to].iter().map(|row| normal(row)).collect(),
                }
            }
            _ => return Err(format!("line {line}: what is \"{}\"", lines[start])),
        };
        let (only, differs, parameters) = (only.take(), differs.take(), parameters.take());
        let eventually = std::mem::take(&mut eventually);
        script.records.push(Record { line, answer, only, eventually, differs, parameters, action });
    }
    Ok(script)
}

fn expected_error(facts: &[&str], line: usize) -> Result<ExpectedError, String> {
    let mut expected = ExpectedError::default();
    let Some((code, mut facts)) = facts.split_first() else {
        return Err(format!("line {line}: an error needs its SQLSTATE"));
    };
    expected.code = (*code).to_owned();
    while let [word, value, rest @ ..] = facts {
        match *word {
            "position" => {
                expected.position = Some(value.parse().map_err(|error| format!("line {line}: {error}"))?);
            }
            "message" => expected.message = Some((*value).to_owned()),
            "hint" => expected.hint = Some((*value).to_owned()),
            "detail" => expected.detail = Some((*value).to_owned()),
            "context" => expected.context = Some((*value).to_owned()),
            _ => return Err(format!("line {line}: what is {word}")),
        }
        facts = rest;
    }
    if facts.is_empty() { Ok(expected) } else { Err(format!("line {line}: what is {facts:?}")) }
}
