//! Copies of a table, file by file, as backups make them.

use super::*;

fn copy(table: &OfflineTable, folder: &Path) {
    for file in table.all_files().expect("lists") {
        let to = folder.join("t").join(file.strip_prefix(&table.path).expect("below the table's folder"));
        fs::create_dir_all(to.parent().expect("a folder")).expect("creates");
        fs::copy(file, to).expect("copies");
    }
}

/// Between, before and after checkpoints.
#[tokio::test]
async fn a_copy_of_any_version_is_a_table_that_goes_on() {
    let dir = tempfile::tempdir().expect("folder");
    let store = new_store(dir.path()).await;
    let mut versions = Vec::new();
    for number in 0..45 {
        append(&store, &[row("a", number, number)]).await;
        versions.push(table(&store, "t").await);
    }
    for version in versions {
        let dir = tempfile::tempdir().expect("folder");
        copy(&version, dir.path());
        let copied = OfflineStore::open(dir.path()).expect("opens");
        let copied_table = table(&copied, "t").await;
        assert_eq!((copied_table.version, all_rows(&copied_table)), (version.version, all_rows(&version)));
        assert_eq!(append(&copied, &[row("b", 0, 0)]).await.version, version.version + 1);
    }
}
