//! dbt: a project of all kinds of models as with PostgreSQL, and the example that declares features.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::matrix::{Pair, same, script};
use super::server::{PASSWORD, Server};
use super::{shown, tools};

/// A copy of a project, since dbt writes into its folder.
fn copied(project: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = Command::new("cp").arg("-r").arg(project.join(".")).arg(folder.path()).status();
    assert!(copy.expect("cp").success());
    folder
}

#[test]
fn dbt_answers_as_of_postgresql() {
    let pair = Pair::get();
    let places = pair.databases("dbt");
    let folders = places.each_ref().map(|_| copied(Path::new(&script("dbt"))));
    let mut folders = folders.iter();
    same("dbt", &places, || {
        let mut dbt = Command::new(tools().join("dbt/bin/python"));
        dbt.arg(script("with_dbt.py")).arg(folders.next().expect("one for each server").path());
        dbt
    });
}

#[test]
fn a_dbt_project_declares_features_once() {
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/dbt");
    let folder = copied(&example);
    let server = Server::start(&["--now", "2024-02-01"]);
    let dbt = |arguments: &[&str]| {
        let output = Command::new(tools().join("dbt/bin/dbt"))
            .args(arguments)
            .current_dir(folder.path())
            .env("GRANARY_PORT", server.address.port().to_string())
            .env("GRANARY_PASSWORD", PASSWORD)
            .env("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
            .output()
            .expect("dbt starts");
        assert!(output.status.success(), "dbt {arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    };
    // seeds are loaded again, into the same tables
    let history = || {
        let sql = "SELECT version, action, kind, name FROM granary.audit_log \
                   WHERE action <> 'changed rows' ORDER BY 1, 2, 3, 4";
        shown(&server, sql)
    };
    dbt(&["deps"]);
    dbt(&["build"]);
    let once = history();
    for made in [
        "created | feature view    | spend",
        "created | feature service | churn",
        "created | dataset         | churn_tr",
    ] {
        assert!(once.contains(made), "{made}: {once}");
    }
    let training = "SELECT label_id, spend__spend_7d, profile__plan FROM shop.churn_training ORDER BY 1";
    let rows = shown(&server, training);
    assert!(rows.contains("1 |           32.25 | basic") && rows.contains("(6 rows)"), "{rows}");
    let served = shown(&server, "SELECT purchases_7d, last_amounts FROM shop.spend WHERE customer_id = 1");
    assert!(served.contains("0 | {12.25,40,18}"), "{served}");

    // nothing is another object for it, and nothing is computed again
    let jobs = || shown(&server, "SELECT count(*), max(id) FROM granary.jobs");
    let done = jobs();
    dbt(&["build"]);
    assert_eq!((history(), jobs(), shown(&server, training)), (once, done, rows));

    // of a changed query there is a new version
    let model = folder.path().join("models/churn_training.sql");
    let query = std::fs::read_to_string(&model).expect("the model");
    std::fs::write(&model, format!("{query} where l.label_id < 3\n")).expect("writes");
    dbt(&["run"]);
    let versions = shown(&server, "SELECT version, rows FROM granary.datasets ORDER BY version");
    assert!(versions.contains("1 |    6") && versions.contains("2 |    2"), "{versions}");
    dbt(&["docs", "generate"]);
    let manifest = std::fs::read_to_string(folder.path().join("target/manifest.json")).expect("the manifest");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    let read = &manifest["nodes"]["model.shop.churn"]["depends_on"]["nodes"];
    assert_eq!(*read, serde_json::json!(["model.shop.spend", "model.shop.profile"]), "the lineage");
}
