//! Rows that users write to a feature table, into both of its stores.
//!
//! Offline first, in one commit; then online, durably; only then is the write acknowledged. Every row has a number, its
//! arrival, which the offline store keeps with it. Beside its rows the online store keeps up to which number it has them,
//! as a mark: what a crash left between the two stores is found by it and brought online at the next start.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use granary_catalog::{FeatureTable, Workspace};

use super::online::{Mode, Useful, write_rows};
use super::run::keyed;
use crate::access::Asker;
use crate::engine::{
    BoundView, QueryPlanner, RowGroups, TableWrite, WrittenRows, declared_columns, newest_arrival, rows_in_order,
    stored_rows_after,
};
use crate::error::{Error, Kind, Result};
use crate::offline::{Write, WriteKind};
use crate::priority::blocking;
use crate::warehouse::Warehouse;

/// A feature table as its writes see it.
struct Target {
    view: Arc<BoundView>,
    online: bool,
    offline: bool,
}

impl Target {
    fn of(warehouse: &Warehouse, table: &FeatureTable) -> Result<Target> {
        let snapshot = warehouse.catalog.snapshot();
        let workspace = table.header.home.workspace().and_then(|id| snapshot.get_as::<Workspace>(id));
        let view = Arc::new(BoundView::of_feature_table(table)?);
        // a development workspace serves nothing, so there all is kept offline, and read from there
        Ok(match workspace.is_some_and(|workspace| workspace.live) {
            true => Target { view, online: table.online, offline: table.offline },
            false => Target { view, online: false, offline: true },
        })
    }

    fn planner(&self, warehouse: &Warehouse, table: &FeatureTable) -> Result<QueryPlanner> {
        let workspace = table.header.home.workspace();
        let workspace = workspace.ok_or_else(|| Error::internal("a feature table is in no workspace"))?;
        Ok(warehouse.planner(warehouse.scope(workspace, Vec::new(), Asker::Server), warehouse.clock.now_us()))
    }
}

/// The name under which the online store keeps how far it has the rows of a table.
fn arrival_mark(view: &BoundView) -> String {
    format!("{}/arrival", view.offline_table())
}

/// The same of the version of the offline table that it has all rows of.
fn version_mark(view: &BoundView) -> String {
    format!("{}/version", view.offline_table())
}

/// Makes the rows of a write durable and visible in the table's stores. A task of its own does it: it ends what it has
/// begun even if nobody waits any more.
pub async fn append(warehouse: &Arc<Warehouse>, table: &FeatureTable, write: TableWrite) -> Result<()> {
    let (warehouse, table) = (Arc::clone(warehouse), table.clone());
    let task = tokio::spawn(async move {
        let writing = warehouse.writing(table.header.id.0);
        let mut arrivals = writing.lock().await;
        // what the catalog says now: from here on nobody takes the table's rows away
        let table = unchanged(&warehouse, &table)?;
        let last = match *arrivals {
            Some(last) => last,
            None => bring_online(&warehouse, &table).await?,
        };
        // until all is well nobody knows what the stores have
        *arrivals = None;
        *arrivals = Some(write_both(&warehouse, &table, write, last).await?);
        Ok(())
    });
    task.await.map_err(|error| Error::internal("a task that writes rows died").with_source(error))?
}

/// The table as it is now. Errors: `SerializationFailure` if it is gone, or has other columns.
fn unchanged(warehouse: &Warehouse, table: &FeatureTable) -> Result<FeatureTable> {
    let snapshot = warehouse.catalog.snapshot();
    let storage = BoundView::of_feature_table(table)?.storage;
    if let Some(now) = snapshot.get_as::<FeatureTable>(table.header.id)
        && BoundView::of_feature_table(now)?.storage == storage
    {
        return Ok(now.clone());
    }
    let message = "could not commit: another session changed a feature table that this one has written to";
    Err(Error::new(Kind::SerializationFailure, message))
}

/// Gives the arrival of the last row.
async fn write_both(
    warehouse: &Arc<Warehouse>,
    table: &FeatureTable,
    mut write: TableWrite,
    last_arrival: i64,
) -> Result<i64> {
    let target = Target::of(warehouse, table)?;
    let view = &target.view;
    if let Some((first, later)) = write.staged.split_first() {
        // those that came after the first ones go behind them: what is read from one place keeps its order
        let mut rows = Vec::new();
        for staged in later {
            let stored = (staged.table(), &Arc::default());
            let staged = rows_in_order(&warehouse.engine, &warehouse.offline, stored, declared_columns(table)).await?;
            rows.push(staged.map_err(Error::from).boxed());
        }
        rows.push(futures::stream::iter(write.batches.drain(..).map(Ok).collect::<Vec<_>>()).boxed());
        let rows = futures::stream::iter(rows).flatten().boxed();
        warehouse.offline.write(first.table(), Write::new(WriteKind::Append, rows)).await?;
        write.staged.truncate(1);
    }
    let written = (write, declared_columns(table));
    let rows = WrittenRows::of(&warehouse.engine, &warehouse.offline, view, written, last_arrival + 1).await?;
    let count = i64::try_from(rows.count()).map_err(|_| Error::internal("more rows than can be numbered"))?;
    let last_arrival = last_arrival + count;
    let mut version = None;
    if target.offline {
        let stored = view.offline_table();
        let layout = view.stored_layout();
        warehouse.offline.create_table(&stored, view.row_schema(layout), keyed(view, layout)).await?;
        let batches = rows.read().await?.map_err(Error::from).boxed();
        let outcome = warehouse.offline.write(&stored, Write::new(WriteKind::Append, batches)).await?;
        version = Some(outcome.version);
    }
    if target.online {
        let groups = RowGroups::new(&view.key_types(), rows.read().await?)?;
        put_online(warehouse, view, groups).await?;
    }
    mark(warehouse, &target, last_arrival, version).await?;
    Ok(last_arrival)
}

async fn put_online(warehouse: &Arc<Warehouse>, view: &Arc<BoundView>, groups: RowGroups) -> Result<()> {
    // whatever is written is served as the law says, and what nobody can see any more expires
    let useful = Useful { from_us: i64::MIN, now_us: warehouse.clock.now_us() };
    write_rows(Arc::clone(&warehouse.online), view, groups, useful, Mode::Add).await.map(drop)
}

/// Notes up to which row the online store has all, when it has them durably. A mark that a crash takes back is no harm
/// where there is an offline store: its rows are put online once more.
async fn mark(warehouse: &Arc<Warehouse>, target: &Target, last_arrival: i64, version: Option<i64>) -> Result<()> {
    let online = Arc::clone(&warehouse.online);
    let last_arrival = u64::try_from(last_arrival).map_err(|_| Error::internal("an arrival below zero"))?;
    let mut marks = vec![(arrival_mark(&target.view), Some(last_arrival))];
    if let Some(version) = version.and_then(|version| u64::try_from(version).ok()) {
        marks.push((version_mark(&target.view), Some(version)));
    }
    let offline = target.offline;
    blocking(move || {
        if offline {
            online.sync()?;
            return online.set_marks(&marks);
        }
        online.set_marks(&marks)?;
        online.sync()
    })
    .await
}

/// Brings rows online that only the offline store has, for every feature table. One that fails is told in the log, and
/// refuses writes until it succeeds.
pub async fn catch_up(warehouse: &Arc<Warehouse>) {
    let snapshot = warehouse.catalog.snapshot();
    for table in snapshot.all::<FeatureTable>() {
        let writing = warehouse.writing(table.header.id.0);
        let mut arrivals = writing.lock().await;
        if arrivals.is_some() {
            continue;
        }
        match bring_online(warehouse, table).await {
            Ok(last) => *arrivals = Some(last),
            Err(error) => {
                let name = &table.header.name;
                tracing::error!(feature_table = name, %error, "rows could not be brought online");
            }
        }
    }
}

/// Gives the arrival of the last row. For who holds the table's lock.
async fn bring_online(warehouse: &Arc<Warehouse>, table: &FeatureTable) -> Result<i64> {
    let target = Target::of(warehouse, table)?;
    let view = &target.view;
    let known = warehouse.online.mark(&arrival_mark(view))?.and_then(|mark| i64::try_from(mark).ok()).unwrap_or(0);
    let stored = match target.offline {
        true => warehouse.offline.table(&view.offline_table()).await?,
        false => None,
    };
    let Some(stored) = stored else { return Ok(known) };
    let seen = warehouse.online.mark(&version_mark(view))?;
    if seen.is_some() && seen == u64::try_from(stored.version).ok() {
        return Ok(known);
    }
    let planner = target.planner(warehouse, table)?;
    let last = newest_arrival(&planner, view).await?.unwrap_or(0).max(known);
    if target.online && last > known {
        let rows = stored_rows_after(&planner, view, known).await?;
        put_online(warehouse, view, RowGroups::new(&view.key_types(), rows)?).await?;
    }
    mark(warehouse, &target, last, Some(stored.version)).await?;
    Ok(last)
}

/// What a change of the catalog does to the stored rows of a feature table: those of one that is gone, or of other
/// columns, go; so do those of a store that it is not kept in any more.
pub async fn after_change(
    warehouse: &Arc<Warehouse>,
    before: &FeatureTable,
    after: Option<&FeatureTable>,
) -> Result<()> {
    let was = Target::of(warehouse, before)?;
    let old = &was.view;
    let writing = warehouse.writing(old.id);
    let mut arrivals = writing.lock().await;
    let is = after.map(|after| Target::of(warehouse, after)).transpose()?;
    // `None`: no row stays
    let is = is.filter(|is| is.view.storage == old.storage);
    let is_kept = |kept: fn(&Target) -> bool| is.as_ref().is_some_and(kept);
    if !is_kept(|is| is.offline) {
        warehouse.offline.drop_table(&old.offline_table()).await?;
    }
    if is.as_ref().is_none_or(|is| is.online != was.online) {
        // what is online begins anew, from the offline store where there is one
        *arrivals = None;
        let keeps_number = is_kept(|is| !is.offline);
        let mut marks = vec![(version_mark(old), None)];
        if !keeps_number {
            marks.push((arrival_mark(old), None));
        }
        let (online, id) = (Arc::clone(&warehouse.online), old.id);
        blocking(move || {
            online.remove_view(id)?;
            online.set_marks(&marks)?;
            online.sync()
        })
        .await?;
    }
    let reach =
        |table: &FeatureTable| (table.ttl_us.unwrap_or(i64::MAX), table.start_us.map_or(i64::MAX, i64::saturating_neg));
    let reaches_further = |after: &FeatureTable| {
        let (before, after) = (reach(before), reach(after));
        after.0 > before.0 || after.1 > before.1
    };
    if is_kept(|is| is.online && is.offline) && was.offline && after.is_some_and(reaches_further) {
        // rows that had expired are seen again
        *arrivals = None;
        let (online, marks) = (Arc::clone(&warehouse.online), [(version_mark(old), None), (arrival_mark(old), None)]);
        blocking(move || online.set_marks(&marks)).await?;
    }
    if let Some(after) = after.filter(|_| arrivals.is_none()) {
        *arrivals = Some(bring_online(warehouse, after).await?);
    }
    Ok(())
}
