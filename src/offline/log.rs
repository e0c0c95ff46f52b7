//! One table's Delta log: load a version, commit the next one.
//!
//! What Delta does not keep exactly (times to the microsecond, whether a file is sorted) goes into tags of the file.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate};
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, LogicalFileView, Transaction};
use deltalake::logstore::LogStoreRef;
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::table::state::DeltaTableState;
use deltalake::{DeltaTable, DeltaTableBuilder};
use futures::TryStreamExt as _;
use object_store::ObjectStore;
use url::Url;

use super::durable::DurableLocal;
use super::errors::{damaged, table_error};
use super::folder::Folder;
use super::schema::{self, BUCKET_COLUMN, MONTH_COLUMN};
use super::{DataFile, Layout, OfflineTable};
use crate::error::{Error, Kind, Result};

const MIN_TIME_TAG: &str = "granary.min_time_us";
const MAX_TIME_TAG: &str = "granary.max_time_us";
const SORTED_TAG: &str = "granary.sorted";

/// A checkpoint spares the next opening the commits before it.
const CHECKPOINT_EVERY: u64 = 20;

/// How far back others can travel in time. Every commit lists the log, so it is kept short (Delta's default is 30
/// days; a stream flushed every ten seconds would have a quarter of a million files by then).
const LOG_RETENTION: &str = "interval 1 days";

/// One version of a table, with what a commit on top of it needs.
#[derive(Clone)]
pub(super) struct Snapshot {
    pub(super) table: Arc<OfflineTable>,
    state: DeltaTableState,
    log: LogStoreRef,
}

/// The one change of one commit.
pub(super) struct Change {
    pub(super) kind: ChangeKind,
    pub(super) add: Vec<Add>,
    pub(super) remove: HashSet<PathBuf>,
    pub(super) transaction: Option<(String, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ChangeKind {
    Write(SaveMode),
    /// Other files with the same rows.
    Rewrite,
}

/// A file that a commit removed.
pub(super) struct Removed {
    /// Relative to the table.
    pub(super) path: String,
    pub(super) at_us: i64,
}

impl Snapshot {
    /// The newest version of the table in folder `path`, or `None` if nothing was ever committed there.
    pub(super) async fn load(id: &str, path: &Path) -> Result<Option<Snapshot>> {
        let mut table = handle(path)?;
        let fail = |error| table_error("read", path, error);
        if !table.verify_deltatable_existence().await.map_err(fail)? {
            return Ok(None);
        }
        table.load().await.map_err(fail)?;
        let state = table.snapshot().map_err(fail)?.clone();
        Snapshot::of(id, Folder::new(path), state, table.log_store()).map(Some)
    }

    fn of(id: &str, folder: Arc<Folder>, state: DeltaTableState, log: LogStoreRef) -> Result<Snapshot> {
        let path = folder.path();
        let (asked, layout) = schema::read_properties(path, state.metadata().configuration())?;
        let file_schema = schema::file_schema(&asked, &layout)?;
        let mut files =
            state.log_data().iter().map(|view| data_file(path, &layout, &view)).collect::<Result<Vec<DataFile>>>()?;
        // plain files are named by version
        files.sort_by(|a, b| (a.bucket, a.month, &a.path).cmp(&(b.bucket, b.month, &b.path)));
        let version = i64::try_from(state.version()).map_err(|_| damaged(path, "its version is not a number"))?;
        let table = OfflineTable {
            id: id.to_owned(),
            schema: asked,
            file_schema,
            layout,
            files,
            version,
            path: path.to_path_buf(),
            folder: Arc::clone(&folder),
        };
        Ok(Snapshot { table: Arc::new(table), state, log })
    }

    /// Where data files go, by paths relative to the table.
    pub(super) fn files(&self) -> Arc<dyn ObjectStore> {
        self.log.object_store(None)
    }

    /// The newest version of the application transaction `app_id` that the table has seen.
    pub(super) async fn transaction_version(&self, app_id: &str) -> Result<Option<i64>> {
        let version = self.state.transaction_version(self.log.as_ref(), app_id).await;
        version.map_err(|error| table_error("read", &self.table.path, error))
    }

    /// Files that commits removed and that Delta still remembers (a week by default).
    pub(super) async fn removed(&self) -> Result<Vec<Removed>> {
        let fail = |error| table_error("read", &self.table.path, error);
        let removed = self.state.all_tombstones(self.log.as_ref()).map_ok(|removed| Removed {
            path: removed.path().into_owned(),
            at_us: removed.deletion_timestamp().unwrap_or(0).saturating_mul(1000),
        });
        removed.try_collect().await.map_err(fail)
    }

    /// Commits on top of this version. `None` as second value: the commit is made, but the state after it could not
    /// be read and has to be loaded anew.
    pub(super) async fn commit(&self, change: Change) -> Result<(i64, Option<Snapshot>)> {
        let path = &self.table.path;
        let fail = |error| table_error("write", path, error);
        let files = self.state.log_data();
        let gone = files.iter().filter(|view| change.remove.contains(&file_path(path, view)));
        let mut actions: Vec<Action> =
            gone.map(|view| Action::Remove(view.remove_action(change.kind != ChangeKind::Rewrite))).collect();
        assert_eq!(actions.len(), change.remove.len(), "only files of this version can be removed");
        actions.extend(change.add.into_iter().map(Action::Add));

        let checkpoint = (self.state.version() + 2).is_multiple_of(CHECKPOINT_EVERY);
        let mut properties =
            CommitProperties::default().with_create_checkpoint(checkpoint).with_cleanup_expired_logs(Some(checkpoint));
        if let Some((app_id, version)) = change.transaction {
            properties = properties.with_application_transaction(Transaction::new(app_id, version));
        }
        let operation = match change.kind {
            ChangeKind::Write(mode) => {
                let partition_by = Some(schema::partition_columns(&self.table.layout));
                DeltaOperation::Write { mode, partition_by, predicate: None }
            }
            ChangeKind::Rewrite => DeltaOperation::Optimize { predicate: None, target_size: i64::MAX },
        };
        let commit = CommitBuilder::from(properties).with_actions(actions);
        let commit = commit.build(Some(&self.state), Arc::clone(&self.log), operation);
        let prepared = commit.into_prepared_commit_future().await.map_err(fail)?;
        let committed = prepared.await.map_err(fail)?;
        let version = i64::try_from(committed.version).expect("counted up from 0");
        // from here on the rows are in the table, whatever happens
        let after = match committed.await {
            Ok(finalized) => {
                let folder = Arc::clone(&self.table.folder);
                Snapshot::of(&self.table.id, folder, finalized.snapshot, Arc::clone(&self.log))
            }
            Err(error) => Err(table_error("read", path, error)),
        };
        let after = after.inspect_err(|error| {
            tracing::warn!(table = self.table.id, version, %error, "committed, but the checkpoint or the new state failed");
        });
        Ok((version, after.ok()))
    }
}

/// Commits an empty table. Fails with [`Kind::DuplicateTable`] if there is one.
pub(super) async fn create(id: &str, path: &Path, asked: &arrow::datatypes::Schema, layout: &Layout) -> Result<()> {
    let file_schema = schema::file_schema(asked, layout)?;
    let checkpoint = ("delta.checkpointInterval".to_owned(), Some(CHECKPOINT_EVERY.to_string()));
    let retention = ("delta.logRetentionDuration".to_owned(), Some(LOG_RETENTION.to_owned()));
    let created = CreateBuilder::new()
        .with_log_store(handle(path)?.log_store())
        .with_table_name(id)
        .with_save_mode(SaveMode::ErrorIfExists)
        .with_columns(schema::delta_columns(&file_schema, layout)?)
        .with_partition_columns(schema::partition_columns(layout))
        .with_configuration(schema::properties(asked, layout)?.into_iter().chain([checkpoint, retention]))
        .with_raise_if_key_not_exists(false)
        .await;
    created.map(|_| ()).map_err(|error| table_error("create", path, error))
}

fn handle(path: &Path) -> Result<DeltaTable> {
    let url = Url::from_directory_path(path).map_err(|()| {
        Error::new(Kind::InvalidParameterValue, format!("\"{}\" is not an absolute path", path.display()))
    })?;
    let build =
        || DeltaTableBuilder::from_url(url.clone())?.with_storage_backend(Arc::new(DurableLocal::new()), url).build();
    build().map_err(|error| table_error("open", path, error))
}

/// The tags of a file written by us.
pub(super) fn tags(times: Option<(i64, i64)>) -> Option<HashMap<String, Option<String>>> {
    let (min, max) = times?;
    let tags = [(MIN_TIME_TAG, min.to_string()), (MAX_TIME_TAG, max.to_string()), (SORTED_TAG, "1".to_owned())];
    Some(tags.into_iter().map(|(tag, value)| (tag.to_owned(), Some(value))).collect())
}

/// The partition values of a file, as Delta writes them; the same in its folder's name.
pub(super) fn partition_values(bucket: u32, month: i32) -> [(&'static str, String); 2] {
    [(BUCKET_COLUMN, bucket.to_string()), (MONTH_COLUMN, date_of(month).format("%Y-%m-%d").to_string())]
}

fn date_of(days: i32) -> NaiveDate {
    NaiveDate::from_epoch_days(days).expect("the writer keeps years in 1 to 9999")
}

fn file_path(table: &Path, view: &LogicalFileView) -> PathBuf {
    table.join(view.path().as_ref())
}

fn data_file(table: &Path, layout: &Layout, view: &LogicalFileView) -> Result<DataFile> {
    let path = file_path(table, view);
    let wrong = |what: &str| damaged(table, format!("file \"{}\" {what}", view.path()));
    if view.deletion_vector_descriptor().is_some() {
        return Err(Error::not_supported(format!("an offline table with deletion vectors (\"{}\")", table.display())));
    }
    let mut file = DataFile {
        path,
        size_bytes: u64::try_from(view.size()).map_err(|_| wrong("has a negative size"))?,
        rows: view.num_records().unwrap_or(0) as u64,
        bucket: None,
        month: None,
        min_time_us: None,
        max_time_us: None,
        sorted: false,
    };
    let Layout::Keyed { time_column, .. } = layout else { return Ok(file) };
    let partition = view.partition_values_map();
    let value = |name: &str| partition.get(name).and_then(Option::as_deref);
    file.bucket = value(BUCKET_COLUMN).and_then(|text| text.parse().ok());
    file.month = value(MONTH_COLUMN).and_then(|text| Some(text.parse::<NaiveDate>().ok()?.to_epoch_days()));
    if file.bucket.is_none() || file.month.is_none() {
        return Err(wrong("is in no bucket or month"));
    }
    #[expect(deprecated, reason = "nothing else gives a file's tags")]
    let add = view.add_action();
    let tag = |name: &str| add.tags.as_ref()?.get(name)?.as_deref();
    let number = |name: &str| tag(name).and_then(|text| text.parse().ok());
    file.sorted = tag(SORTED_TAG) == Some("1");
    (file.min_time_us, file.max_time_us) = match (number(MIN_TIME_TAG), number(MAX_TIME_TAG)) {
        (Some(min), Some(max)) => (Some(min), Some(max)),
        // rewritten by another program, which may have cut times to milliseconds
        _ => (
            stated_time(&add, "minValues", time_column),
            stated_time(&add, "maxValues", time_column).map(|max_us| max_us.saturating_add(1000)),
        ),
    };
    Ok(file)
}

fn stated_time(add: &Add, which: &str, column: &str) -> Option<i64> {
    let statistics: serde_json::Value = serde_json::from_str(add.stats.as_deref()?).ok()?;
    let text = statistics.get(which)?.get(column)?.as_str()?;
    let time = DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc3339(&format!("{text}Z")));
    Some(time.ok()?.timestamp_micros())
}
