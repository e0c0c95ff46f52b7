//! Rows out of the online store that no answer can see any more. Reading hides them already; this gives their room back.

use std::sync::Arc;

use granary_catalog::{FeatureTable, FeatureView, ObjectId, ViewKind};

use super::run::useful_from_us;
use crate::engine::{BoundView, Expired};
use crate::error::Result;
use crate::priority::blocking;
use crate::warehouse::{LONGEST_READ_US, Warehouse};

/// Looks at every feature view and feature table once. One that fails is told in the log, and waits for the next time.
///
/// What a transaction sees as of its own beginning stays for as long as files do that a query reads.
pub async fn expire(warehouse: &Arc<Warehouse>) {
    let snapshot = warehouse.catalog.snapshot();
    let views = snapshot.all::<FeatureView>().into_iter().map(BoundView::of_feature_view);
    let tables = snapshot.all::<FeatureTable>().into_iter().map(BoundView::of_feature_table);
    for view in views.chain(tables) {
        let (id, expired) = match view {
            Ok(view) => (view.id, expire_view(warehouse, &view).await),
            Err(error) => {
                tracing::warn!(%error, "a view whose rows cannot be read cannot expire");
                continue;
            }
        };
        match expired {
            Ok(expired) => warehouse.expiry.note(ObjectId(id), expired),
            Err(error) => tracing::warn!(view = id, %error, "rows that have expired could not be removed"),
        }
    }
}

async fn expire_view(warehouse: &Arc<Warehouse>, view: &BoundView) -> Result<Expired> {
    let now_us = warehouse.clock.now_us();
    let asked_us = now_us.saturating_sub(LONGEST_READ_US);
    let before_us = useful_from_us(view, warehouse.served_from_us(view, asked_us));
    // where all rows are attributes that are known at once, only the newest answers, whenever that is asked
    let is_newest_enough = view.kind() == ViewKind::StreamAttributes && view.known_at.is_none();
    let superseded_us = is_newest_enough.then(|| asked_us.saturating_add(1));
    let (online, id) = (Arc::clone(&warehouse.online), view.id);
    let rows = blocking(move || {
        let mut rows = 0;
        if before_us != i64::MIN {
            rows += online.expire(id, before_us)?;
        }
        if let Some(superseded_us) = superseded_us {
            rows += online.remove_superseded(id, superseded_us)?;
        }
        if rows > 0 {
            online.sync()?;
        }
        Ok(rows)
    })
    .await?;
    Ok(Expired { at_us: now_us, before_us: (before_us != i64::MIN).then_some(before_us), rows })
}
