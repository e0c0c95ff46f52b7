//! The protocol scenarios, against the real server.

#[path = "wire/large.rs"]
mod large;
#[path = "wire/scenarios.rs"]
mod scenarios;
#[path = "clients/server.rs"]
mod server;

use scenarios::{SCENARIOS, Target};
use server::{PASSWORD, Server, USER};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_speaks_the_protocol() {
    let server = Server::start(&[]);
    let target = Target {
        address: server.address,
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
        database: USER.to_owned(),
        slow_statement: "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 10000000) b \
                         WHERE (a.value * b.value) % 7 = 3"
            .to_owned(),
        short_statement: "SELECT count(*) FROM generate_series(1, 20000000)".to_owned(),
    };
    let mut failed = Vec::new();
    for (name, scenario) in SCENARIOS {
        let run = tokio::spawn(scenario(target.clone()));
        if run.await.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "{} of {} scenarios failed: {failed:#?}", failed.len(), SCENARIOS.len());
}
