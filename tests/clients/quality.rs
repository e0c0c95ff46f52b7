//! Data quality, drift and skew on the flights, beside a brute force in Python.

use std::process::Command;

use super::server::{PASSWORD, Server};
use super::{run, tools};

#[test]
fn figures_are_those_of_a_brute_force() {
    let server = Server::start(&["--now", "2014-01-02"]);
    let root = env!("CARGO_MANIFEST_DIR");
    let script = format!("{root}/tests/clients/with_quality.py");
    let flights = format!("{root}/examples/flights/data/events.parquet");
    let port = server.address.port().to_string();
    run(Command::new(tools().join("venv/bin/python")).args([&script, &port, PASSWORD, &flights]));
}
