//! A view that is given longer windows, or lets rows live longer, while it has rows: what its online store has let go of
//! by then comes back out of the offline store, so that no answer is of a part of its window.

use std::sync::Arc;

use granary_catalog::{FeatureView, GroupId, Interval, ObjectId, StoreKind};

use super::online::{Mode, Useful, write_rows};
use super::run::useful_from_us;
use crate::access::Asker;
use crate::engine::{BoundView, RowGroups, RowLayout, stored_rows};
use crate::error::Result;
use crate::priority::blocking;
use crate::warehouse::Warehouse;

/// Writes the rows that only the new definition can serve, with the values that the old one had: what a new feature needs
/// besides is not known yet.
pub async fn reach_back(warehouse: &Arc<Warehouse>, before: &FeatureView, now: &FeatureView) -> Result<()> {
    let snapshot = warehouse.catalog.snapshot();
    let Some(workspace) = now.header.home.workspace().filter(|_| snapshot.is_live(now.header.home.workspace())) else {
        return Ok(());
    };
    let ledger = warehouse.catalog.ledger();
    let (id, groups) = (before.header.id, before.group_numbers());
    let is_online = groups.iter().any(|group| !ledger.ranges(GroupId::new(id, *group), StoreKind::Online).is_empty());
    if !now.online || !is_online {
        return Ok(());
    }
    let (before, now) = (BoundView::of_feature_view(before)?, BoundView::of_feature_view(now)?);
    let now_us = warehouse.clock.now_us();
    let from_us = |view: &BoundView| useful_from_us(view, warehouse.served_from_us(view, now_us));
    let range = (from_us(&now), from_us(&before));
    let view = Arc::new(filled(warehouse, before, Interval::new(range.0, range.1)));
    if range.0 >= range.1 || view.groups.is_empty() {
        return Ok(());
    }
    let planner = warehouse.planner(warehouse.scope(workspace, Vec::new(), Asker::Server), now_us);
    let rows = RowGroups::new(&view.key_types(), stored_rows(&planner, &view, range).await?)?;
    let useful = Useful { from_us: range.0, now_us };
    write_rows(Arc::clone(&warehouse.online), &view, rows, useful, Mode::Add).await?;
    let online = Arc::clone(&warehouse.online);
    blocking(move || online.sync()).await
}

/// The view with its first columns, up to the first that lacks rows of the range which others have: a row may be short,
/// but has no gaps.
fn filled(warehouse: &Warehouse, mut view: BoundView, range: Interval) -> BoundView {
    let ledger = warehouse.catalog.ledger();
    let missing = |group: u64| ledger.missing(GroupId::new(ObjectId(view.id), group), range);
    let least = view.groups.iter().map(|group| missing(group.number)).reduce(|least, set| least.common(&set));
    let is_short = |group: &Option<u64>| group.is_some_and(|group| Some(missing(group)) != least);
    let of_columns: Vec<Option<u64>> = match view.stored_layout() {
        RowLayout::Tiles => view.partial_groups.clone(),
        RowLayout::Events => view.inputs.iter().map(|input| input.group).collect(),
    };
    let n_columns = of_columns.iter().position(is_short).unwrap_or(of_columns.len());
    let groups = view.groups.iter().copied().filter(|group| Some(missing(group.number)) == least).collect();
    match view.stored_layout() {
        RowLayout::Tiles => {
            view.plan.partials.truncate(n_columns);
            view.partial_names.truncate(n_columns);
            view.partial_groups.truncate(n_columns);
        }
        RowLayout::Events => view.inputs.truncate(n_columns),
    }
    view.groups = groups;
    view
}
