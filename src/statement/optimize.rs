//! `OPTIMIZE`: many small files become few, in the order of the table. Readers see the same rows before and after;
//! whoever writes to the table meanwhile waits for one group of files at most.

use std::path::PathBuf;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use granary_catalog::{Author, FeatureView, ObjectKind};
use granary_sql::statement::{Optimize, StoredKind};
use tokio_util::sync::CancellationToken;

use super::after_commit::after_commit;
use super::context::StatementContext;
use super::stored;
use crate::engine::merged_rows;
use crate::error::{Error, Kind, Result};
use crate::materialize::{self, Joining};
use crate::offline::{DataFile, Layout, OfflineTable, ROW_GROUP_ROWS, Rewrite};
use crate::warehouse::Warehouse;

/// Files that are merged at a time, at most. Of each a row group is in memory, and of all of them no more than this,
/// unless two alone take it.
const MERGED_AT_ONCE: usize = 128;
const MERGED_BYTES: u64 = 256 << 20;

/// A plain table's files below this are worth merging.
const SMALL_BYTES: u64 = 128 << 20;

/// What was merged, in files.
#[derive(Debug, Default)]
pub struct Merged {
    pub from: usize,
    pub to: usize,
}

pub async fn optimize(context: &mut StatementContext, statement: &Optimize, cancel: &CancellationToken) -> Result<()> {
    let joined = join_groups(context, statement, cancel).await?;
    let stored = stored::find(context, statement.kind, &statement.name)?;
    let stored::Stored { label, tables } = stored;
    let (warehouse, token) = (Arc::clone(&context.warehouse), cancel.child_token());
    // a task of its own, so that a cancelled one takes back the files that it has begun
    let task = context.warehouse.engine.threads().spawn(async move { merge_all(&warehouse, &tables, &token).await });
    let merged = task.await.map_err(|error| Error::internal("a task that merges files died").with_source(error))??;
    let told = match merged.from {
        0 if joined > 1 => format!("{joined} groups of columns of {label} became one"),
        0 => format!("the files of {label} need no merging"),
        from => format!("{from} files of {label} became {}", merged.to),
    };
    context.notices.push(Error::new(Kind::SuccessfulCompletion, told));
    Ok(())
}

/// Puts the groups of columns of a feature view into one, if it has several: says how many.
async fn join_groups(
    context: &mut StatementContext,
    statement: &Optimize,
    cancel: &CancellationToken,
) -> Result<usize> {
    let name = &statement.name;
    let is_of_view = statement.kind.is_none_or(|kind| kind == StoredKind::FeatureView);
    let found = if is_of_view { context.find(ObjectKind::FeatureView, name).ok() } else { None };
    let Some(view) = found.as_ref().and_then(|object| object.downcast::<FeatureView>()) else { return Ok(0) };
    let Some(storage) = view.storage.clone().filter(|storage| storage.groups.len() > 1) else { return Ok(0) };
    let n_groups = storage.groups.len();
    let joining = Joining {
        view: view.clone(),
        storage,
        base: context.snapshot().version(),
        planner: context.planner(),
        workspace: context.scope.workspace,
        author: Author { role: context.role.clone(), at_us: context.now_us, statement: context.text.clone() },
    };
    let (warehouse, token) = (Arc::clone(&context.warehouse), cancel.child_token());
    // a task of its own, so that the job ends in the ledger whatever becomes of the session
    let task = context.warehouse.engine.threads().spawn(async move {
        let step = materialize::join_groups(&warehouse, joining, &token).await?;
        after_commit(&warehouse, &step.before, &step.after).await?;
        Ok::<_, Error>(step.after)
    });
    let after = task.await.map_err(|error| Error::internal("a job's task died").with_source(error))??;
    context.scope.snapshot = after;
    Ok(n_groups)
}

/// Merges what is worth it of these tables.
pub async fn merge_all(warehouse: &Warehouse, tables: &[String], cancel: &CancellationToken) -> Result<Merged> {
    let mut merged = Merged::default();
    for table in tables {
        merge_files(warehouse, table, cancel, &mut merged).await?;
    }
    Ok(merged)
}

/// One commit for each group of files, until there is none left to merge.
async fn merge_files(
    warehouse: &Warehouse,
    table: &str,
    cancel: &CancellationToken,
    merged: &mut Merged,
) -> Result<()> {
    while let Some(version) = warehouse.offline.table(table).await? {
        let group = next_group(&version);
        if group.is_empty() {
            break;
        }
        let rows = merged_rows(&warehouse.engine, &version, &group)?;
        let files: Vec<PathBuf> = group.iter().map(|file| file.path.clone()).collect();
        let rewrite = Rewrite { files, batches: rows.map_err(Error::from).boxed(), cancel: cancel.clone() };
        // else somebody else has replaced some of them: look again
        if let Some(outcome) = warehouse.offline.rewrite(table, rewrite).await? {
            merged.from += outcome.files_removed;
            merged.to += outcome.files_added;
        }
    }
    Ok(())
}

/// How many files fewer there would be of these tables, about.
pub async fn superfluous_files(warehouse: &Warehouse, tables: &[String]) -> Result<usize> {
    let mut superfluous = 0;
    for table in tables {
        if let Some(version) = warehouse.offline.table(table).await? {
            superfluous += match version.layout {
                Layout::Plain => next_group(&version).len().saturating_sub(1),
                Layout::Keyed { .. } => {
                    let partitions = version.files.chunk_by(|a, b| (a.bucket, a.month) == (b.bucket, b.month));
                    partitions.map(|files| files.len() - 1).sum()
                }
            };
        }
    }
    Ok(superfluous)
}

/// The files to be merged next; none if all is well.
fn next_group(table: &OfflineTable) -> Vec<&DataFile> {
    match table.layout {
        Layout::Plain => {
            // what follows a small file goes along: the order of the files is that of the rows
            let first = table.files.iter().position(|file| file.size_bytes < SMALL_BYTES);
            let group: Vec<&DataFile> = first.map_or_else(Vec::new, |first| table.files[first..].iter().collect());
            if group.len() > 1 { group } else { Vec::new() }
        }
        Layout::Keyed { .. } => {
            let mut partitions = table.files.chunk_by(|a, b| (a.bucket, a.month) == (b.bucket, b.month));
            let group = partitions.find(|files| files.len() > 1 || !files[0].sorted).unwrap_or_default();
            let mut held = 0;
            let mut fits = |(number, file): &(usize, &DataFile)| {
                held += row_group_bytes(file);
                *number < 2 || held <= MERGED_BYTES
            };
            let group = group.iter().take(MERGED_AT_ONCE).enumerate().take_while(|file| fits(file));
            group.map(|(_, file)| file).collect()
        }
    }
}

/// About how large a row group of the file is.
fn row_group_bytes(file: &DataFile) -> u64 {
    file.size_bytes / file.rows.div_ceil(ROW_GROUP_ROWS as u64).max(1)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::*;

    fn table(layout: Layout, files: Vec<DataFile>) -> OfflineTable {
        let schema = Arc::new(Schema::empty());
        let file_schema = Arc::clone(&schema);
        OfflineTable::of_files(schema, file_schema, layout, files)
    }

    fn file(name: &str, size_bytes: u64, bucket: u32, sorted: bool) -> DataFile {
        DataFile {
            path: name.into(),
            size_bytes,
            rows: 1,
            bucket: Some(bucket),
            month: Some(0),
            min_time_us: None,
            max_time_us: None,
            sorted,
        }
    }

    fn group(layout: Layout, files: &[DataFile]) -> Vec<String> {
        let table = table(layout, files.to_vec());
        next_group(&table).iter().map(|file| file.path.display().to_string()).collect()
    }

    #[test]
    fn partitions_of_one_sorted_file_are_left_alone() {
        let keyed = || Layout::Keyed { time_column: "ts".into(), bucket_count: 3, key_columns: vec!["k".into()] };
        let files = [file("a", 1, 0, true), file("b", 1, 1, true), file("c", 1, 1, true), file("d", 1, 2, false)];
        assert_eq!(group(keyed(), &files), ["b", "c"]);
        assert_eq!(group(keyed(), &[files[0].clone(), files[3].clone()]), ["d"]);
        assert!(group(keyed(), &files[..2]).is_empty());
        let many = |size_bytes| (0..500).map(|_| file("f", size_bytes, 0, true)).collect::<Vec<_>>();
        let length = |size_bytes| group(keyed(), &many(size_bytes)).len();
        assert_eq!((length(1), length(MERGED_BYTES / 8), length(MERGED_BYTES)), (MERGED_AT_ONCE, 8, 2));
    }

    #[test]
    fn plain_files_are_merged_up_to_the_end() {
        let (small, large) = (1, SMALL_BYTES);
        let files = |sizes: &[u64]| sizes.iter().map(|size| file("f", *size, 0, false)).collect::<Vec<_>>();
        let length = |sizes: &[u64]| group(Layout::Plain, &files(sizes)).len();
        assert_eq!(length(&[]), 0);
        assert_eq!(length(&[small]), 0);
        assert_eq!(length(&[large, large, small]), 0);
        assert_eq!(length(&[large, small, large]), 2);
        assert_eq!(length(&[small, small, small]), 3);
    }
}
