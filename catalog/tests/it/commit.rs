//! Commits on a real file: concurrency, durability, history, exclusiveness.

use std::process::{Command, Stdio};
use std::sync::Arc;

use granary_catalog::*;

use crate::fixture::*;

/// Tells the test binary, run again as another process, which catalog to try to open.
const OPEN_VARIABLE: &str = "GRANARY_TEST_OPEN_CATALOG";

fn comment(id: ObjectId, text: &str) -> Change {
    Change::SetComment { id, comment: Some(text.to_owned()) }
}

#[test]
fn a_new_catalog_is_empty_and_keeps_what_is_committed() {
    let (place, catalog) = shop_catalog();
    let before = catalog.snapshot();
    assert_eq!(before.version(), Version(1));
    assert_eq!(before.len(), 7);
    drop(catalog);
    let catalog = Catalog::open(&place.path).unwrap();
    assert_eq!(catalog.snapshot(), before);
}

#[test]
fn readers_keep_the_snapshot_they_have() {
    let (_place, catalog) = shop_catalog();
    let old = catalog.snapshot();
    let new = catalog.commit(old.version(), &author("…"), vec![comment(SPEND, "new")]).unwrap();
    assert_eq!(old.get(SPEND).unwrap().header().comment, None);
    assert!(Arc::ptr_eq(&new, &catalog.snapshot()));
}

#[test]
fn a_change_of_what_others_changed_meanwhile_is_a_conflict() {
    let (_place, catalog) = shop_catalog();
    let base = catalog.snapshot().version();
    catalog.commit(base, &author("first"), vec![comment(SPEND, "first")]).unwrap();
    let second = catalog.commit(base, &author("second"), vec![comment(SPEND, "second")]);
    assert!(matches!(second, Err(Error::Conflict { id: SPEND, base: Version(1) })));
    catalog.commit(base, &author("other"), vec![comment(SOURCE, "no conflict")]).unwrap();
    assert_eq!(catalog.snapshot().version(), Version(3));
}

#[test]
fn resting_on_what_others_changed_meanwhile_is_a_conflict() {
    let (_place, catalog) = shop_catalog();
    let base = catalog.snapshot().version();
    catalog.commit(base, &author("…"), vec![comment(SOURCE, "changed")]).unwrap();
    let resting = view(NEXT, PUBLIC, "v", &[SOURCE]);
    let refused = catalog.commit(base, &author("…"), vec![Change::put(resting)]);
    assert!(matches!(refused, Err(Error::Conflict { id: SOURCE, .. })));
}

#[test]
fn a_change_of_what_others_dropped_meanwhile_is_a_conflict() {
    let (_place, catalog) = shop_catalog();
    let base = catalog.snapshot().version();
    let dropped = Change::Drop { id: SERVICE, cascade: false };
    catalog.commit(base, &author("…"), vec![dropped.clone()]).unwrap();
    let refused = catalog.commit(base, &author("…"), vec![dropped.clone()]);
    assert!(matches!(refused, Err(Error::Conflict { id: SERVICE, .. })));
    let refused = catalog.commit(catalog.snapshot().version(), &author("…"), vec![dropped]);
    assert!(matches!(refused, Err(Error::UndefinedObject { id: SERVICE })));
}

#[test]
fn a_cascade_does_not_take_along_what_its_author_could_not_know() {
    let (_place, catalog) = shop_catalog();
    let base = catalog.snapshot().version();
    catalog.commit(base, &author("…"), vec![Change::put(view(NEXT, PUBLIC, "v", &[SOURCE]))]).unwrap();
    let cascade = Change::Drop { id: SOURCE, cascade: true };
    let refused = catalog.commit(base, &author("…"), vec![cascade.clone()]);
    assert!(matches!(refused, Err(Error::Conflict { id: NEXT, .. })));
    catalog.commit(catalog.snapshot().version(), &author("…"), vec![cascade]).unwrap();
}

#[test]
fn new_objects_of_two_authors_get_different_ids() {
    let (_place, catalog) = shop_catalog();
    let base = catalog.snapshot().version();
    catalog.commit(base, &author("…"), vec![Change::put(view(NEXT, PUBLIC, "first", &[SOURCE]))]).unwrap();
    let second = vec![
        Change::put(view(NEXT, PUBLIC, "second", &[SOURCE])),
        Change::put(view(NEXT.after(1), PUBLIC, "third", &[NEXT, SOURCE])),
        comment(NEXT.after(1), "by the second author"),
    ];
    let snapshot = catalog.commit(base, &author("…"), second).unwrap();
    let id = |name| snapshot.relation(SCHEMA, name).unwrap().id();
    assert_eq!([id("first"), id("second"), id("third")], [NEXT, NEXT.after(1), NEXT.after(2)]);
    let third = snapshot.get_as::<View>(id("third")).unwrap();
    assert_eq!(third.depends_on, [id("second"), SOURCE]);
    assert_eq!(third.header.comment.as_deref(), Some("by the second author"));
}

#[test]
fn the_same_new_name_twice_is_a_duplicate() {
    let (_place, catalog) = shop_catalog();
    let base = catalog.snapshot().version();
    let same = || vec![Change::put(view(NEXT, PUBLIC, "v", &[]))];
    catalog.commit(base, &author("…"), same()).unwrap();
    assert!(matches!(catalog.commit(base, &author("…"), same()), Err(Error::DuplicateObject { .. })));
}

#[test]
fn a_refused_commit_leaves_no_trace() {
    let (place, catalog) = shop_catalog();
    let before = catalog.snapshot();
    let refused = vec![comment(SPEND, "lost"), Change::Drop { id: SOURCE, cascade: false }];
    assert!(catalog.commit(before.version(), &author("…"), refused).is_err());
    let unknown = catalog.commit(Version(9), &author("…"), vec![comment(SPEND, "lost")]);
    assert!(matches!(unknown, Err(Error::UndefinedVersion { .. })));
    let unchanged = catalog.commit(before.version(), &author("…"), Vec::new()).unwrap();
    assert!(Arc::ptr_eq(&unchanged, &before));
    drop(catalog);
    let catalog = Catalog::open(&place.path).unwrap();
    assert_eq!(catalog.snapshot(), before);
    assert_eq!(catalog.history(&HistoryFilter::default()).unwrap().len(), 1);
}

#[test]
fn history_tells_who_did_what() {
    let (place, catalog) = shop_catalog();
    catalog.commit(Version(1), &author("COMMENT ON …"), vec![comment(SPEND, "c")]).unwrap();
    let drop_source = vec![Change::Drop { id: SOURCE, cascade: true }];
    catalog.commit(Version(2), &author("DROP SOURCE transactions CASCADE"), drop_source).unwrap();
    drop(catalog);
    let catalog = Catalog::open(&place.path).unwrap();
    let statements = |filter: &HistoryFilter| -> Vec<String> {
        let entries = catalog.history(filter).unwrap();
        entries.into_iter().map(|entry| entry.author.statement).collect()
    };
    let all = HistoryFilter::default();
    assert_eq!(statements(&all), ["DROP SOURCE transactions CASCADE", "COMMENT ON …", "shop"]);
    assert_eq!(statements(&HistoryFilter { object: Some(ENTITY), ..all }), ["shop"]);
    assert_eq!(statements(&HistoryFilter { after: Version(1), until: Version(2), ..all }), ["COMMENT ON …"]);
    assert_eq!(statements(&HistoryFilter { limit: 1, ..all }), ["DROP SOURCE transactions CASCADE"]);
    assert!(statements(&HistoryFilter { after: Version(3), ..all }).is_empty());
    assert!(statements(&HistoryFilter { limit: 0, ..all }).is_empty());

    let entries = catalog.history(&HistoryFilter { limit: 1, ..all }).unwrap();
    let effects: Vec<_> = entries[0].effects.iter().map(|effect| (effect.name.as_str(), effect.action)).collect();
    let dropped = ["fraud", "user_spend", "transactions"].map(|name| (name, Action::Dropped));
    assert_eq!(effects, dropped);
}

#[test]
fn secret_texts_stay_out_of_history_and_debug_output() {
    let (_place, catalog) = shop_catalog();
    let secret =
        Secret { header: header(NEXT, Home::Workspace(WORKSPACE), "crm"), value: SealedText::new("open sesame") };
    let mut with_password = role(NEXT.after(1), "bob");
    with_password.scram_verifier = Some(SealedText::new("open sesame"));
    let key = ApiKey {
        header: header(NEXT.after(2), Home::Server, "key"),
        role: NEXT.after(1),
        digest: SealedText::new("open sesame"),
        prefix: "granary_open".to_owned(),
        created_at_us: 0,
    };
    let changes = vec![Change::put(secret), Change::put(with_password), Change::put(key)];
    assert!(!format!("{changes:?}").contains("sesame"));
    let snapshot = catalog.commit(Version(1), &author("…"), changes).unwrap();
    assert_eq!(snapshot.secret(WORKSPACE, "crm").unwrap().value.expose(), "open sesame");
    assert_eq!(snapshot.role("bob").unwrap().scram_verifier.as_ref().unwrap().expose(), "open sesame");
    let history = catalog.history(&HistoryFilter::default()).unwrap();
    for change in &history[0].changes {
        let Change::Put(object) = change else { panic!("{change:?}") };
        match object {
            Object::Secret(secret) => assert_eq!(secret.value.expose(), ""),
            Object::ApiKey(key) => assert_eq!(key.digest.expose(), ""),
            Object::Role(role) => assert_eq!(role.scram_verifier.as_ref().unwrap().expose(), ""),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_catalog_is_open_once() {
    let (place, catalog) = shop_catalog();
    assert!(matches!(Catalog::open(&place.path), Err(Error::InUse { .. })), "in the same process");
    let other_process = || {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "commit::another_process_tries_to_open", "--nocapture"]);
        let output = child.env(OPEN_VARIABLE, &place.path).stderr(Stdio::inherit()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(other_process().contains("outcome: in use"));
    drop(catalog);
    assert!(other_process().contains("outcome: open"));
}

/// Does nothing in an ordinary run of the tests.
#[test]
fn another_process_tries_to_open() {
    let Some(path) = std::env::var_os(OPEN_VARIABLE) else {
        return;
    };
    match Catalog::open(path.as_ref()) {
        Ok(_) => println!("outcome: open"),
        Err(Error::InUse { .. }) => println!("outcome: in use"),
        Err(error) => println!("outcome: {error:?}"),
    }
}

#[test]
fn other_files_are_left_alone() {
    let place = place();
    std::fs::write(&place.path, "a letter to grandmother").unwrap();
    assert!(matches!(Catalog::open(&place.path), Err(Error::NotACatalog { .. })));
    assert_eq!(std::fs::read_to_string(&place.path).unwrap(), "a letter to grandmother");

    let mut zeros = vec![0_u8; 1 << 20];
    zeros[500_000] = 1;
    std::fs::write(&place.path, &zeros).unwrap();
    assert!(matches!(Catalog::open(&place.path), Err(Error::NotACatalog { .. })));
    assert_eq!(std::fs::read(&place.path).unwrap(), zeros);

    std::fs::remove_file(&place.path).unwrap();
    let foreign = redb::Database::create(&place.path).unwrap();
    let transaction = foreign.begin_write().unwrap();
    let definition: redb::TableDefinition<u64, u64> = redb::TableDefinition::new("meta");
    transaction.open_table(definition).unwrap().insert(1, 1).unwrap();
    transaction.commit().unwrap();
    drop(foreign);
    assert!(matches!(Catalog::open(&place.path), Err(Error::NotACatalog { .. })));

    let missing = place.path.join("no such folder").join("catalog.redb");
    assert!(matches!(Catalog::open(&missing), Err(Error::File { .. } | Error::Storage { .. })));
}

#[test]
fn a_file_whose_creation_was_cut_off_is_made_anew() {
    let place = place();
    let mut unfinished = vec![0_u8; 1 << 20];
    // What redb writes before its magic number.
    unfinished[9..64].fill(7);
    std::fs::write(&place.path, &unfinished).unwrap();
    let catalog = Catalog::open(&place.path).unwrap();
    assert!(catalog.snapshot().is_empty());
}

#[test]
fn a_newer_format_is_named_and_refused() {
    let (place, catalog) = shop_catalog();
    drop(catalog);
    let database = redb::Database::open(&place.path).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("meta");
    transaction.open_table(meta).unwrap().insert("granary catalog format", 77).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(matches!(Catalog::open(&place.path), Err(Error::NewerFormat { found: 77, .. })));
}

#[test]
fn many_threads_commit_and_read_at_once() {
    let (_place, catalog) = shop_catalog();
    let threads = 4;
    let each = 5;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let catalog = &catalog;
            scope.spawn(move || {
                for n in 0..each {
                    let snapshot = catalog.snapshot();
                    let new = view(snapshot.next_id(), PUBLIC, &format!("v{thread}_{n}"), &[SOURCE]);
                    catalog.commit(snapshot.version(), &author("…"), vec![Change::put(new)]).unwrap();
                }
            });
        }
    });
    let snapshot = catalog.snapshot();
    assert_eq!(snapshot.all::<View>().len(), threads * each);
    assert_eq!(snapshot.version(), Version(1 + (threads * each) as u64));
}
