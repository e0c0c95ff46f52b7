//! What a commit has dropped or defined anew goes out of the stores.

use std::sync::Arc;

use granary_catalog::{ColumnGroup, FeatureTable, FeatureView, Object, ObjectId, Snapshot};

use crate::engine::{BoundView, StorageChange, tables_of};
use crate::error::Result;
use crate::materialize;
use crate::warehouse::Warehouse;

/// Frees what the stores hold of objects that a commit has dropped or redefined.
pub async fn after_commit(warehouse: &Arc<Warehouse>, before: &Snapshot, after: &Snapshot) -> Result<()> {
    for object in before.objects() {
        if after.get(object.id()).is_some_and(|now| Arc::ptr_eq(now, object)) {
            continue;
        }
        match object.as_ref() {
            Object::FeatureView(view) => {
                let bound = BoundView::of_feature_view(view)?;
                match after.get_as::<FeatureView>(view.header.id) {
                    Some(now) if keeps_rows(view, now)? => {
                        if view.group_numbers() != now.group_numbers() {
                            begin_anew(warehouse, view.header.id).await?;
                        }
                        materialize::reach_back(warehouse, view, now).await?;
                        forget_groups(warehouse, &bound, now).await?;
                    }
                    _ => forget_view(warehouse, &bound).await?,
                }
            }
            Object::FeatureTable(table) => {
                let now = after.get_as::<FeatureTable>(table.header.id);
                if now != Some(table) {
                    materialize::after_change(warehouse, table, now).await?;
                }
            }
            Object::Table(_) | Object::Dataset(_) => {
                let kept = after.get(object.id()).map_or_else(Vec::new, |object| tables_of(object));
                for table in tables_of(object).iter().filter(|table| !kept.contains(table)) {
                    warehouse.offline.retire_table(table).await?;
                }
            }
            _ => {}
        }
    }
    warehouse.jobs.has_changed();
    warehouse.alerts.changed.notify_one();
    warehouse.ingest.after_change(before, after).await
}

/// Ends what the scheduler does for a view with other groups of columns than it has now. It looks anew at what is missing,
/// also at what it had given up: that may have been for want of what was changed.
async fn begin_anew(warehouse: &Arc<Warehouse>, view: ObjectId) -> Result<()> {
    let ledger = warehouse.catalog.ledger();
    warehouse.jobs.end_scheduled(ledger, view).await;
    Ok(ledger.ask_again(view, warehouse.clock.now_us())?)
}

async fn forget_view(warehouse: &Arc<Warehouse>, view: &BoundView) -> Result<()> {
    warehouse.jobs.end_scheduled(warehouse.catalog.ledger(), ObjectId(view.id)).await;
    warehouse.catalog.ledger().forget(ObjectId(view.id), warehouse.clock.now_us())?;
    warehouse.online.remove_view(view.id)?;
    warehouse.online.sync()?;
    warehouse.offline.drop_table(&view.events_table()).await?;
    for table in warehouse.tables_of_rows(view)?.iter().rev() {
        warehouse.offline.drop_table(table).await?;
    }
    Ok(())
}

/// Whether a view has tables that it had before, or that were made of them. In between it may have been others, inside of
/// one transaction.
fn keeps_rows(before: &FeatureView, now: &FeatureView) -> Result<bool> {
    if matches!(StorageChange::between(before, now)?, StorageChange::Recreate { .. }) {
        return Ok(false);
    }
    let next = before.storage.as_ref().map_or(1, |storage| storage.next_group);
    let (before, now) = (BoundView::of_feature_view(before)?.groups, BoundView::of_feature_view(now)?.groups);
    let is_other = |group: &ColumnGroup| now.iter().any(|known| known.number == group.number && known != group);
    let are_new = now.iter().all(|group| group.number >= next);
    Ok(!before.iter().any(is_other) && (are_new || before.iter().any(|group| now.contains(group))))
}

/// Those groups of columns that the view has no more. The online store keeps the places of their values.
async fn forget_groups(warehouse: &Arc<Warehouse>, before: &BoundView, now: &FeatureView) -> Result<()> {
    let kept = now.group_numbers();
    for group in before.by_group().iter().filter(|group| !kept.contains(&group.group_id().group)) {
        warehouse.catalog.ledger().forget_group(group.group_id())?;
        for table in warehouse.tables_of_rows(group)?.iter().rev() {
            warehouse.offline.drop_table(table).await?;
        }
    }
    Ok(())
}
