//! Every client against PostgreSQL 15 and against Granary: one script, run twice, and its two answers compared. Where
//! they differ, `matrix/differences.txt` has to say why; what it says of answers that are the same is an error, too.
//! `GRANARY_TEST_WRITE=1` writes the table anew, keeping its reasons.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::differences::{Differences, compare};
use super::postgres::Cluster;
use super::server::{PASSWORD, Server, USER};
use super::tools;

#[path = "matrix/lists.rs"]
mod lists;
#[path = "matrix/tokio.rs"]
mod tokio;

/// The two servers, of which all tests that run at the same time share one pair.
pub struct Pair {
    postgres: Cluster,
    granary: Server,
}

/// How to reach a database of one of them.
#[derive(Debug, Clone)]
pub struct Place {
    pub port: u16,
    pub database: String,
    flight: Option<String>,
}

impl Pair {
    pub fn get() -> Arc<Pair> {
        static PAIR: Mutex<Weak<Pair>> = Mutex::new(Weak::new());
        let mut pair = PAIR.lock().unwrap_or_else(PoisonError::into_inner);
        pair.upgrade().unwrap_or_else(|| {
            let postgres = Cluster::start(USER, PASSWORD, &["timezone=UTC", "log_timezone=UTC"]);
            let new = Arc::new(Pair { postgres, granary: Server::start(&["--flight-listen", "127.0.0.1:0"]) });
            *pair = Arc::downgrade(&new);
            new
        })
    }

    /// A new database of this name in both.
    pub fn databases(&self, name: &str) -> [Place; 2] {
        let flight = Some(self.granary.flight_address().to_owned());
        let servers = [(self.postgres.port(), "postgres", None), (self.granary.address.port(), USER, flight)];
        servers.map(|(port, first, flight)| {
            let first = Place { port, database: first.to_owned(), flight: None };
            first.psql(&["-c", &format!("CREATE DATABASE {name}")]);
            Place { port, database: name.to_owned(), flight }
        })
    }
}

impl Place {
    /// Has the client find the server by its environment.
    pub fn tell(&self, command: &mut Command) {
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", USER)
            .env("PGPASSWORD", PASSWORD)
            .env("PGDATABASE", &self.database)
            .env("FLIGHT", self.flight.as_deref().unwrap_or_default());
    }

    pub fn psql(&self, arguments: &[&str]) {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]).args(arguments);
        self.tell(&mut psql);
        let output = psql.output().expect("psql starts: it is in Debian's postgresql-client");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

pub fn script(name: &str) -> String {
    format!("{}/tests/clients/matrix/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Two databases with what setup.sql makes.
fn filled(name: &str) -> (Arc<Pair>, [Place; 2]) {
    let pair = Pair::get();
    let places = pair.databases(name);
    places.iter().for_each(|place| place.psql(&["-f", &script("setup.sql")]));
    (pair, places)
}

/// Runs a client in both places, and holds its answers against each other.
pub fn same(client: &str, places: &[Place; 2], mut run: impl FnMut() -> Command) {
    let answers = places.each_ref().map(|place| {
        let mut command = run();
        place.tell(&mut command);
        let output = command.output().expect("the client starts");
        let (answer, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{client} at {place:?}\n{answer}\n{errors}");
        answer.into_owned()
    });
    same_answers(client, &answers);
}

fn same_answers(client: &str, answers: &[String; 2]) {
    let table = Differences::of("tests/clients/matrix/differences.txt");
    table.hold(client, &compare(&answers[0], &answers[1]));
}

fn python(client: &str, program: &str, arguments: &[&str]) {
    let (_pair, places) = filled(client);
    same(client, &places, || {
        let mut python = Command::new(tools().join("venv/bin/python"));
        python.arg(script(program)).args(arguments);
        python
    });
}

#[test]
fn psql_answers_as_of_postgresql() {
    let (_pair, places) = filled("psql");
    same("psql", &places, || Command::new(script("with_psql.sh")));
}

#[test]
fn pg_dump_answers_as_of_postgresql() {
    let (_pair, places) = filled("pg_dump");
    same("pg_dump", &places, || Command::new(script("with_pg_dump.sh")));
}

#[test]
fn psycopg_answers_as_of_postgresql() {
    python("psycopg", "with_psycopg.py", &[]);
}

#[test]
fn psycopg2_answers_as_of_postgresql() {
    python("psycopg2", "with_psycopg2.py", &[]);
}

#[test]
fn asyncpg_answers_as_of_postgresql() {
    python("asyncpg", "with_asyncpg.py", &[]);
}

#[test]
fn sqlalchemy_on_psycopg_answers_as_of_postgresql() {
    python("sqlalchemy_psycopg", "with_sqlalchemy.py", &["psycopg"]);
}

#[test]
fn sqlalchemy_on_psycopg2_answers_as_of_postgresql() {
    python("sqlalchemy_psycopg2", "with_sqlalchemy.py", &["psycopg2"]);
}

#[test]
fn adbc_answers_as_of_postgresql() {
    python("adbc", "with_adbc.py", &[]);
}

#[test]
fn adbc_over_flight_answers_as_of_postgresql() {
    python("adbc_flight", "with_adbc.py", &["flight"]);
}

#[test]
fn node_pg_answers_as_of_postgresql() {
    let (_pair, places) = filled("node_pg");
    same("node_pg", &places, || {
        let mut node = Command::new("node");
        node.arg(script("with_node.js")).env("NODE_PATH", tools().join("node/node_modules"));
        node
    });
}

/// A crate of its own, which cargo builds beside the other clients.
#[test]
fn sqlx_answers_as_of_postgresql() {
    let (_pair, places) = filled("sqlx");
    let target = tools().join("sqlx");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--manifest-path", &script("sqlx/Cargo.toml"), "--target-dir"]);
    super::run(cargo.arg(&target));
    same("sqlx", &places, || {
        let mut client = Command::new(target.join("debug/granary-matrix-sqlx"));
        client.arg(script(""));
        client
    });
}

#[test]
fn pgjdbc_answers_as_of_postgresql() {
    let (_pair, places) = filled("pgjdbc");
    let classes = tools().join("matrix-classes");
    let jar = "/usr/share/java/postgresql.jar";
    super::run(Command::new("javac").args(["-cp", jar, "-d"]).arg(&classes).arg(script("Matrix.java")));
    same("pgjdbc", &places, || {
        let mut java = Command::new("java");
        java.args(["-cp", &format!("{}:{jar}", classes.display()), "Matrix"]);
        java.arg(script(""));
        java
    });
}
