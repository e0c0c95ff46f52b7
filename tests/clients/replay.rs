//! The statements that real clients sent to a PostgreSQL 15 (`tests/data/pg_client_statements.json`), sent to PostgreSQL
//! 15 and to Granary: the same names, types and rows, or the same SQLSTATE. Where not, `replay/differences.txt` says why.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::differences::{Checked, Differences, Topic};
use super::matrix::{Pair, Place};
use super::raw::{Bind, Client, Reply, Target, describe, execute, flush, parse, sync, text_of};
use super::server::{PASSWORD, USER};

/// The OIDs that tables had when the statements were captured.
const CAPTURED: [(&str, &str); 4] =
    [("16417", "customers"), ("16425", "orders"), ("16436", "v_orders"), ("16440", "m_orders")];

/// What a statement was answered with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Answer {
    error: Option<String>,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    tags: Vec<String>,
    /// its transaction can only be rolled back
    has_failed: bool,
}

/// One of the two servers, and how it calls what is the same in both.
struct Side {
    target: Target,
    client: Client,
    names: HashMap<String, String>,
}

impl Side {
    async fn new(place: &Place) -> Side {
        let (user, password, database) = (USER.to_owned(), PASSWORD.to_owned(), place.database.clone());
        let address = ([127, 0, 0, 1], place.port).into();
        let target = Target { address, user, password, database };
        let client = Client::login(&target).await;
        Side { target, client, names: HashMap::new() }
    }

    /// Another client comes: a session of its own, which sees what there is by now.
    async fn begin(&mut self) {
        self.client = Client::login(&self.target).await;
        let sql = "SELECT c.oid, 'relation ' || n.nspname || '.' || c.relname FROM pg_class c \
                   JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid >= 13000 \
                   UNION ALL SELECT oid, 'schema ' || nspname FROM pg_namespace WHERE oid >= 13000 \
                   UNION ALL SELECT oid, 'type ' || typname FROM pg_type WHERE oid >= 16384";
        self.names.clear();
        let found = self.ask(sql, None).await;
        self.names = found.rows.into_iter().map(|mut row| (row.remove(0), row.remove(0))).collect();
    }

    /// With the OIDs that this server's tables have. `parameters`: of the extended protocol.
    async fn ask(&mut self, sql: &str, parameters: Option<&[Option<String>]>) -> Answer {
        let own = |text: &str| {
            CAPTURED.iter().fold(text.to_owned(), |text, (oid, table)| {
                let name = format!("relation ws.{table}");
                let found = self.names.iter().find(|(_, known)| **known == name);
                found.map_or(text.clone(), |(own, _)| text.replace(oid, own))
            })
        };
        let sql = own(sql);
        let parameters: Option<Vec<Option<String>>> =
            parameters.map(|parameters| parameters.iter().map(|value| value.as_deref().map(own)).collect());
        self.ask_of(&sql, parameters.as_deref()).await
    }

    async fn ask_of(&mut self, sql: &str, parameters: Option<&[Option<String>]>) -> Answer {
        let mut answer = Answer::default();
        match parameters {
            None => self.client.send_query(sql).await,
            Some(parameters) => {
                let values: Vec<Option<&[u8]>> =
                    parameters.iter().map(|value| value.as_ref().map(String::as_bytes)).collect();
                let bind = Bind { values: &values, ..Bind::default() }.bytes();
                let messages = [parse("", sql, &[]), bind, describe('P', ""), execute("", 0), flush()];
                self.client.raw(&messages.concat()).await;
            }
        }
        loop {
            let reply = self.client.next().await;
            self.take(&reply, &mut answer);
            let is_over = match reply.tag {
                b'Z' => true,
                b'G' => {
                    self.client.send(b'c', b"").await;
                    false
                }
                b'C' | b'E' | b'I' | b's' => parameters.is_some(),
                _ => false,
            };
            if is_over {
                break;
            }
        }
        if parameters.is_some() {
            self.client.raw(&sync()).await;
            let last = self.client.replies().await.pop();
            last.iter().for_each(|reply| self.take(reply, &mut answer));
        }
        answer.rows.sort();
        answer
    }

    fn take(&self, reply: &Reply, answer: &mut Answer) {
        let named = |value: Option<Vec<u8>>| {
            let text = value.map_or_else(|| "NULL".to_owned(), |value| text_of(&value));
            self.names.get(&text).cloned().unwrap_or(text)
        };
        match reply.tag {
            b'E' => answer.error = reply.field('C'),
            b'T' => answer.columns = columns(&reply.body),
            b'D' => answer.rows.push(reply.columns().into_iter().map(named).collect()),
            b'C' => answer.tags.push(reply.shown()),
            b'Z' => answer.has_failed = reply.body == b"E",
            _ => {}
        }
    }
}

/// Name, type and its modifier of each column of a RowDescription.
fn columns(body: &[u8]) -> Vec<String> {
    let (mut columns, mut rest) = (Vec::new(), &body[2..]);
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let i32_at = |at: usize| i32::from_be_bytes(rest[end + 1 + at..][..4].try_into().expect("four bytes"));
        columns.push(format!("{} {} {}", text_of(&rest[..end]), i32_at(6), i32_at(12)));
        rest = &rest[end + 19..];
    }
    columns
}

/// In what two answers differ.
fn kind(postgres: &Answer, granary: &Answer) -> Option<&'static str> {
    match (&postgres.error, &granary.error) {
        (Some(one), Some(other)) => (one != other).then_some("state"),
        (None, Some(_)) => Some("fails"),
        (Some(_), None) => Some("succeeds"),
        (None, None) if postgres.columns != granary.columns => Some("columns"),
        (None, None) if postgres.rows != granary.rows => Some("rows"),
        (None, None) => (postgres.tags != granary.tags).then_some("tag"),
    }
}

fn shortened(sql: &str) -> String {
    // dbt says who asks first
    let sql = sql.split_once("*/").filter(|(first, _)| first.starts_with("/*")).map_or(sql, |(_, rest)| rest);
    let words = sql.split_whitespace().collect::<Vec<_>>().join(" ").replace(" | ", " ");
    words.chars().take(70).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn captured_statements_are_answered_as_by_postgresql() {
    let text = include_str!("../data/pg_client_statements.json");
    let captured: Value = serde_json::from_str(text).expect("JSON");
    let pair = Pair::get();
    let places = pair.databases("bench");
    let setup = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/replay/setup.sql");
    places.iter().for_each(|place| place.psql(&["-f", setup]));
    let [mut postgres, mut granary] = [Side::new(&places[0]).await, Side::new(&places[1]).await];

    let mut topics: BTreeMap<String, Vec<Topic>> = BTreeMap::new();
    let mut last = String::new();
    for (number, statement) in captured["statements"].as_array().expect("statements").iter().enumerate() {
        let text = |name: &str| statement[name].as_str().expect("a text");
        if text("client") != last {
            text("client").clone_into(&mut last);
            postgres.begin().await;
            granary.begin().await;
        }
        let parameters: Vec<Option<String>> =
            statement["params"].as_array().expect("a list").iter().map(|one| one.as_str().map(str::to_owned)).collect();
        let parameters = (text("protocol") == "extended").then_some(parameters.as_slice());
        let (one, other) = (postgres.ask(text("sql"), parameters).await, granary.ask(text("sql"), parameters).await);
        if other.has_failed && !one.has_failed {
            // what comes after it is another matter
            granary.ask("ROLLBACK", None).await;
            granary.ask("BEGIN", None).await;
        }
        let kind = kind(&one, &other);
        let name = format!("{number} {}: {}", kind.unwrap_or("equal"), shortened(text("sql")));
        let answers = match kind {
            None => [String::new(), String::new()],
            Some(_) => [format!("{one:?}"), format!("{other:?}")],
        };
        topics.entry(last.clone()).or_default().push(Topic { name, answers });
    }

    let table = Differences::of("tests/clients/replay/differences.txt");
    let checked: Vec<Checked> = topics.iter().map(|(client, topics)| table.check(client, topics)).collect();
    let sum = |count: fn(&Checked) -> usize| checked.iter().map(count).sum::<usize>();
    let n_wrong = sum(|checked| checked.wrong.len());
    println!(
        "{} equal, {} different with reason, {n_wrong} failing",
        sum(|checked| checked.n_equal),
        sum(|checked| checked.n_different)
    );
    let wrong: Vec<String> = checked.into_iter().flat_map(|checked| checked.wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
