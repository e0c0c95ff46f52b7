//! The repository in `examples/fraud`: tested, planned, applied, changed in every way, and written back. What a plan says
//! is held against `steps/*/plan.txt`; `GRANARY_TEST_WRITE=1` writes these files anew: read the diff.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::{PASSWORD, Server, granary, ready, root, succeeded};

const NOW: &str = "2024-04-01 00:00:00";

fn example() -> PathBuf {
    root().join("examples/fraud")
}

/// The .sql files below a folder, by their paths in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    fn collect(folder: &Path, below: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder.join(below)).expect("a folder") {
            let path = below.join(entry.expect("an entry").file_name());
            if folder.join(&path).is_dir() {
                collect(folder, &path, found);
            } else if path.extension().is_some_and(|extension| extension == "sql") {
                let text = std::fs::read_to_string(folder.join(&path)).expect("a text");
                found.insert(path, text);
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(folder, Path::new(""), &mut found);
    found
}

fn write(folder: &Path, files: &BTreeMap<PathBuf, String>) {
    for (path, text) in files {
        let target = folder.join(path);
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("made");
        std::fs::write(target, text).expect("written");
    }
}

/// `granary plan|apply|…` on a folder, of the workspace prod.
fn repository(server: &Server, arguments: &[&str]) -> Output {
    let dsn = format!("postgres://granary@127.0.0.1:{}/prod", server.port);
    granary().args(arguments).args(["--dsn", &dsn]).stdin(Stdio::null()).output().expect("the program starts")
}

fn done(server: &Server, arguments: &[&str]) -> String {
    succeeded(&format!("granary {arguments:?}"), repository(server, arguments))
}

fn in_prod(server: &Server, sql: &str) -> String {
    succeeded(sql, server.sql_in("prod", &[PathBuf::from("-")], sql))
}

/// The plan as it stands in a file: without its number.
fn of_any_number(plan: &str) -> String {
    let (first, rest) = plan.split_once('\n').expect("lines");
    let words: Vec<&str> = first.split(' ').map(|word| if word.parse::<u64>().is_ok() { "n" } else { word }).collect();
    format!("{}\n{rest}", words.join(" "))
}

fn hold(path: &Path, found: &str) {
    if std::env::var_os("GRANARY_TEST_WRITE").is_some() {
        std::fs::write(path, found).expect("written");
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, expected, "{}", path.display());
}

#[test]
fn the_fraud_repository_is_applied_and_changed_in_every_way() {
    let server = Server::start(NOW);
    server.answer("CREATE WORKSPACE prod LIVE;");
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("repository");
    let first = files(&example().join("repository"));
    write(&folder, &first);
    let path = folder.to_str().expect("a text");

    let tested = done(&server, &["test", path]);
    assert!(tested.ends_with("3 passed, 0 failed\n"), "{tested}");
    let plan = done(&server, &["plan", path]);
    hold(&example().join("plan.txt"), &of_any_number(&plan));
    // nobody is asked without a terminal
    let unasked = repository(&server, &["apply", path]);
    assert!(String::from_utf8_lossy(&unasked.stderr).contains("say --yes"), "{unasked:?}");
    let code = |arguments: &[&str]| repository(&server, arguments).status.code();
    assert_eq!(code(&["plan", path, "--exit-code"]), Some(2));
    done(&server, &["apply", path, "--yes", "--message", "the first version"]);
    assert_eq!(code(&["plan", path, "--exit-code"]), Some(0));
    for view in ["user_spend", "user_profile", "merchant_volume"] {
        in_prod(&server, &format!("REFRESH FEATURE VIEW {view};"));
    }
    let lookup = "SELECT user_spend__payments_1d, country IS NOT NULL FROM \
                  (SELECT user_spend__payments_1d, user_profile__country AS country FROM fraud \
                   WHERE user_id = 'c001' AND merchant_id = 'm01' AND amount = 10) AS f;";
    let served = in_prod(&server, lookup);

    let reached =
        "SELECT DISTINCT object FROM granary.downstream('transactions.amount') WHERE kind = 'feature service';";
    let reached = in_prod(&server, reached);
    assert_eq!(reached.lines().nth(2).map(str::trim), Some("fraud"), "{reached}");

    let steps = ["1_in_place", "2_new_feature", "3_recreate", "4_rename", "5_drop"];
    for step in steps {
        let step_folder = example().join("steps").join(step);
        write(&folder, &files(&step_folder));
        let plan = done(&server, &["plan", path]);
        hold(&step_folder.join("plan.txt"), &of_any_number(&plan));
        let destroys = step == "3_recreate" || step == "5_drop";
        assert_eq!(code(&["plan", path, "--exit-code"]), Some(if destroys { 3 } else { 2 }), "{step}");
        done(&server, &["apply", path, "--yes", "--message", step]);
        assert_eq!(code(&["plan", path, "--exit-code"]), Some(0), "{step}");
        if step == "1_in_place" {
            assert_eq!(in_prod(&server, lookup), served, "what is stored stays");
        }
    }

    let log = done(&server, &["log"]);
    assert!(log.contains("the first version") && steps.iter().all(|step| log.contains(step)), "{log}");
    let plans = in_prod(&server, "SELECT min(plan) FROM granary.applies;");
    let plan = plans.lines().nth(2).expect("a row").trim().to_owned();
    let restored = place.path().join("restored");
    done(&server, &["restore", restored.to_str().expect("a text"), "--plan", &plan]);
    assert_eq!(files(&restored), first);
    done(&server, &["apply", restored.to_str().expect("a text"), "--yes"]);
    let objects = in_prod(&server, "SELECT name FROM granary.feature_views ORDER BY 1;");
    assert!(objects.contains("merchant_volume") && !objects.contains("merchant_payments"), "{objects}");
}

#[test]
fn a_new_repository_works_as_it_is() {
    let server = Server::start("2024-01-10 00:00:00");
    server.answer("CREATE WORKSPACE prod LIVE;");
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("new");
    let path = folder.to_str().expect("a text");
    succeeded("granary init", granary().args(["init", path]).output().expect("the program starts"));
    assert!(done(&server, &["test", path]).ends_with("2 passed, 0 failed\n"));
    done(&server, &["apply", path, "--yes"]);
    in_prod(&server, "REFRESH FEATURE VIEW customer_spend;");
    let found = in_prod(
        &server,
        "SELECT * FROM customer_spend FOR SYSTEM_TIME AS OF '2024-01-04' AS c WHERE customer_id = 'ada';",
    );
    assert!(found.contains("52.5"), "{found}");
    // it is not written over
    let again = granary().args(["init", path]).output().expect("the program starts");
    assert!(!again.status.success());
}

/// A server is killed while two repositories are applied in turn: after each start the workspace is one of them.
#[test]
fn an_apply_that_is_killed_is_whole_or_not_at_all() {
    let place = tempfile::tempdir().expect("a folder");
    let data = place.path().join("data");
    let mut texts: Vec<PathBuf> = Vec::new();
    for (name, word) in [("a", "one"), ("b", "two")] {
        let folder = place.path().join(name);
        let mut sql = format!("CREATE ENTITY customer (user_id text) COMMENT '{word}';\n");
        for number in 0..20 {
            sql.push_str(&format!(
                "CREATE SOURCE {word}_{number} AS SELECT * FROM (VALUES ('u', timestamptz '2024-01-01', {number})) \
                 AS v (user_id, ts, n) TIMESTAMP ts;\n\
                 CREATE FEATURE VIEW view_{number} ENTITY customer TIMESTAMP ts WITH (trigger = manual) \
                 AS SELECT user_id, ts, n FROM {word}_{number};\n"
            ));
        }
        write(&folder, &BTreeMap::from([(PathBuf::from("all.sql"), sql)]));
        texts.push(folder);
    }
    let mut seen = BTreeMap::new();
    for round in 0..6_u64 {
        let mut server = granary()
            .args(["serve", "--listen", "127.0.0.1:0", "--scheduler", "off", "--data"])
            .arg(&data)
            .env("GRANARY_LOG", "error")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let port = ready::port_when_ready(&mut server);
        let dsn = format!("postgres://granary@127.0.0.1:{port}/granary");
        let run = |arguments: &[&str]| {
            let mut command: Command = granary();
            command.args(arguments).args(["--dsn", &dsn]).env("GRANARY_PASSWORD", PASSWORD).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        if round == 0 {
            let first = run(&["apply", texts[0].to_str().expect("a text"), "--yes"]).status().expect("it ends");
            assert!(first.success());
        } else {
            let same: Vec<bool> = texts
                .iter()
                .map(|folder| {
                    let path = folder.to_str().expect("a text");
                    run(&["plan", path, "--exit-code"]).status().expect("it ends").code() == Some(0)
                })
                .collect();
            assert!(same.contains(&true), "round {round}: the workspace is neither of both");
            *seen.entry(same).or_insert(0) += 1;
        }
        let from = usize::try_from((round + 1) % 2).expect("small");
        let mut applies = run(&["apply", texts[from].to_str().expect("a text"), "--yes"]).spawn().expect("it starts");
        // at some moment of the apply, another one each round
        let wait = Duration::from_millis(40 + 130 * round);
        std::thread::sleep(wait);
        server.kill().expect("killed");
        server.wait().expect("it ends");
        applies.wait().expect("it ends");
    }
    assert!(!seen.is_empty());
}
