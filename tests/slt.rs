//! What a user sees, in SQL over the wire: the program is started as a process and asked by a client.
//!
//! `tests/slt/<aspect>/*.slt` are scripts, one test an aspect; each is run in a workspace of its own under the simple
//! and under the extended protocol. `harness/record.rs` says what a script may hold. `SLT_BLESS=1` writes what the
//! server answers into the scripts: read the diff. Those in `postgres` are PostgreSQL's: it runs them, too, and it alone
//! blesses them.

#[path = "support/postgres.rs"]
mod cluster;
#[path = "slt/harness/flights.rs"]
mod flights;
#[path = "support/ready.rs"]
mod ready;
#[path = "slt/harness/record.rs"]
mod record;
#[path = "slt/harness/runner.rs"]
mod runner;
#[path = "slt/harness/server.rs"]
mod server;
#[path = "slt/harness/value.rs"]
mod value;
#[path = "slt/harness/vectors.rs"]
mod vectors;

use server::Program;

macro_rules! aspects {
    ($($name:ident),* $(,)?) => {
        /// The folders that are run; a folder that is not among them is a mistake.
        const ASPECTS: &[&str] = &[$(stringify!($name)),*];

        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            runner::run_folder(stringify!($name), Program::Granary).await;
        })*
    };
}

aspects![
    aggregates,
    alerts,
    as_of,
    attributes,
    datasets,
    definitions,
    errors,
    feature_tables,
    forget,
    functions,
    lineage,
    online,
    postgres,
    quality,
    refresh,
    repository,
    rights,
    scheduler,
    services,
    sessions,
    sources,
    streams,
    tables,
    verify
];

/// What the scripts in `postgres` expect is what PostgreSQL answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_itself() {
    runner::run_folder("postgres", Program::Postgres).await;
}

#[test]
fn every_folder_of_scripts_is_run() {
    for entry in std::fs::read_dir(runner::scripts()).expect("the folder of scripts") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        assert!(name == "harness" || ASPECTS.contains(&name.as_str()), "tests/slt/{name} is run by no test");
    }
}
