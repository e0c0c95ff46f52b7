//! Long logs: a table of hundreds of commits opens from its last checkpoint, and what is older may go.

use std::time::{Duration, SystemTime};

use super::*;

const COMMITS: i64 = 230;

/// The numbers of the commits that the log has as files.
fn commits(table: &OfflineTable) -> Vec<i64> {
    let names = fs::read_dir(table.path.join("_delta_log")).expect("lists");
    let names = names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut numbers: Vec<i64> = names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

fn make_old(table: &OfflineTable) {
    let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 86_400);
    for entry in fs::read_dir(table.path.join("_delta_log")).expect("lists") {
        let file = File::options().append(true).open(entry.expect("an entry").path()).expect("opens");
        file.set_modified(two_days_ago).expect("makes it old");
    }
}

#[tokio::test]
async fn hundreds_of_commits_open_from_a_checkpoint() {
    let dir = tempfile::tempdir().expect("folder");
    let store = new_store(dir.path()).await;
    let number = |number: i64| row("a", number, number);
    for version in 0..COMMITS {
        append(&store, &[number(version)]).await;
    }
    let before = table(&store, "t").await;
    assert_eq!(commits(&before).len() as i64, COMMITS + 1, "within a day all of them are kept");

    // a checkpoint is all that is needed of what is before it
    let checkpoint = before.version / 20 * 20 - 1;
    for version in commits(&before).into_iter().filter(|version| *version < checkpoint) {
        fs::remove_file(before.path.join(format!("_delta_log/{version:020}.json"))).expect("removes");
    }
    let fresh = OfflineStore::open(dir.path()).expect("opens again");
    assert_eq!(all_rows(&*table(&fresh, "t").await), all_rows(&before));
    drop(fresh);

    // a day later the log is cut, under readers of an old version and of the newest
    make_old(&before);
    for version in COMMITS..COMMITS + 25 {
        append(&store, &[number(version)]).await;
    }
    let after = table(&store, "t").await;
    assert!(commits(&after).len() < 60, "{:?}", commits(&after));
    let all: Vec<Row> = (0..COMMITS + 25).map(number).collect();
    assert_eq!(all_rows(&before), all[..COMMITS as usize]);
    assert_eq!(all_rows(&after), all);
    let store = OfflineStore::open(dir.path()).expect("opens again");
    assert_eq!(all_rows(&*table(&store, "t").await), all);

    // what the cut log has forgotten of is still swept and vacuumed
    let whole = WriteKind::ReplaceRange { start_us: 0, end_us: i64::MAX };
    store.write("t", Write::new(whole, keyed_stream(&all))).await.expect("replaces");
    drop((before, after));
    assert_eq!(store.vacuum("t", i64::MAX).await.expect("vacuums"), all.len());
    let table = table(&store, "t").await;
    assert_eq!((table.files.len(), data_files(&table.path)), (1, 1));
}
