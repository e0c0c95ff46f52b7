//! Rights that end while a client is connected, and what the log says of refusals.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::client::{Bind, Client, Target, execute, parse, run, sync};
use crate::server::{PASSWORD, USER};

fn bind_text(statement: &str, value: &str) -> Vec<u8> {
    Bind { statement, values: &[Some(value.as_bytes())], ..Bind::default() }.bytes()
}

/// Every prepared statement, planned or looked up, is refused from the REVOKE on, and answered from the GRANT on.
pub async fn a_right_that_ends_ends_prepared_statements(target: Target) {
    let mut owner = Client::login(&target).await;
    for sql in [
        "CREATE ENTITY customer (user_id text)",
        "CREATE TABLE tx (user_id text, ts timestamptz, amount float8)",
        "INSERT INTO tx VALUES ('u1', '2024-01-02', 2)",
        "CREATE SOURCE transactions AS SELECT * FROM tx TIMESTAMP ts",
        "CREATE FEATURE VIEW latest ENTITY customer TIMESTAMP ts WITH (trigger = manual, online = true) \
         AS SELECT user_id, ts, amount FROM transactions",
        "REFRESH FEATURE VIEW latest",
        "CREATE USER reader PASSWORD 'x'",
        "GRANT SELECT (user_id, amount) ON latest TO reader",
        "GRANT SELECT ON tx TO reader",
    ] {
        assert_eq!(owner.query(sql).await.last().map(String::as_str), Some("Z I"), "{sql}");
    }
    let of_reader = Target { user: "reader".to_owned(), password: "x".to_owned(), ..target.clone() };
    let mut reader = Client::login(&of_reader).await;
    let statements = [
        parse("looked_up", "SELECT amount FROM latest WHERE user_id = $1", &[]),
        parse("planned", "SELECT amount * 2 FROM latest WHERE user_id = $1", &[]),
        parse("table", "SELECT amount FROM tx WHERE user_id = $1", &[]),
        sync(),
    ];
    assert_eq!(run(&mut reader, &statements).await, ["1", "1", "1", "Z I"]);
    for (name, row) in [("looked_up", "D 2"), ("planned", "D 4"), ("table", "D 2")] {
        let ask = [bind_text(name, "u1"), execute("", 0), sync()];
        assert_eq!(run(&mut reader, &ask).await, ["2", row, "C SELECT 1", "Z I"], "{name}");
    }
    owner.query("REVOKE SELECT ON latest, tx FROM reader").await;
    for name in ["looked_up", "planned", "table"] {
        let ask = [bind_text(name, "u1"), execute("", 0), sync()];
        let refused = run(&mut reader, &ask).await;
        assert!(refused.contains(&"E 42501".to_owned()), "{name}: {refused:?}");
        assert!(!refused.iter().any(|reply| reply.starts_with('D')), "{name}: {refused:?}");
    }
    owner.query("GRANT SELECT ON latest TO reader").await;
    let ask = [bind_text("looked_up", "u1"), execute("", 0), sync()];
    assert_eq!(run(&mut reader, &ask).await, ["2", "D 2", "C SELECT 1", "Z I"]);
    // a role that is gone may do nothing, not even in a connection that is open
    owner.query("REVOKE SELECT ON latest FROM reader").await;
    assert_eq!(owner.query("DROP ROLE reader").await, ["C DROP ROLE", "Z I"]);
    assert_eq!(reader.query("SELECT amount FROM tx").await, ["E 42501", "Z I"]);
    assert_eq!(reader.query("CREATE TABLE mine (a int)").await, ["E 42501", "Z I"]);
}

/// The log of a server that logs all it can: who was refused what, and no secret.
pub async fn refusals_are_logged_and_secrets_never() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_granary"))
        .args(["serve", "--listen", "127.0.0.1:0", "--scheduler", "off", "--data"])
        .arg(folder.path())
        .envs([("GRANARY_LOG", "granary=trace"), ("GRANARY_PASSWORD", PASSWORD)])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    let ready = lines.find_map(|line| Some(line.split_once(" -p ")?.1.split(' ').next()?.to_owned()));
    let port = ready.expect("it gets ready").parse().expect("a port");
    let log = std::thread::spawn(move || lines.collect::<Vec<_>>().join("\n"));
    let target = Target {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
        database: USER.to_owned(),
    };
    let mut owner = Client::login(&target).await;
    owner.query("CREATE USER app PASSWORD 'hush-hush'").await;
    owner.query("CREATE USER app PASSWORD 'hush-hush'").await;
    owner.query("ALTER USER app PASSWORD 'hush-hush' NONSENSE").await;
    owner.query("CREATE TABLE salaries (a int)").await;
    let key = owner.query("CREATE API KEY FOR app").await;
    let key = key.iter().find_map(|reply| reply.split_once('|')).expect("a row").1.to_owned();
    assert!(key.starts_with("granary_"), "{key}");
    let mut app =
        Client::login(&Target { user: "app".to_owned(), password: "hush-hush".to_owned(), ..target.clone() }).await;
    assert_eq!(app.query("SELECT * FROM salaries").await, ["E 42501", "Z I"]);
    assert_eq!(app.query("DROP TABLE salaries").await, ["E 42501", "Z I"]);
    assert_eq!(app.query("ALTER ROLE granary PASSWORD 'hush-hush'").await, ["E 42501", "Z I"]);
    // what others ask is not shown, and passwords not even to superusers
    owner.query("ALTER USER app PASSWORD 'hush-hush'").await;
    let shown = owner.query("SELECT query FROM pg_stat_activity").await.join("\n");
    assert!(!shown.contains("hush-hush"), "{shown}");
    let shown = app.query("SELECT query FROM pg_stat_activity WHERE usename = 'granary'").await;
    assert_eq!(shown[1], "D <insufficient privilege>");
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    child.wait().expect("it ends");
    let log = log.join().expect("the log was read");
    for line in [["app", "salaries", "SELECT"], ["app", "salaries", "DROP TABLE"], ["app", "server", "ALTER ROLE"]] {
        let is_logged = |logged: &str| logged.contains("INFO") && line.iter().all(|part| logged.contains(part));
        assert!(log.lines().any(is_logged), "{line:?} is not in\n{log}");
    }
    for secret in ["hush-hush", "SCRAM-SHA-256$", &key, PASSWORD] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
}
