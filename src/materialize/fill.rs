//! Which rows a refresh has to make: of each group of a view's columns, what of the range it lacks.

use std::sync::Arc;

use granary_catalog::{Interval, Ledger};

use super::run::Materialization;
use crate::engine::BoundView;

/// The view with the columns of one group alone, and the parts of the range that are to be written.
pub struct Fill {
    pub view: Arc<BoundView>,
    pub parts: Vec<Interval>,
}

/// A view with one group has all of the range written. Of several, each gets what it lacks, so that a new feature makes
/// nothing anew but itself.
pub fn fills(ledger: &Ledger, work: &Materialization) -> Vec<Fill> {
    let range = Interval::new(work.range.start_us, work.range.end_us);
    let groups = work.view.by_group();
    let is_alone = groups.len() == 1;
    let fill = |view: BoundView| {
        let parts = match is_alone || work.overwrite {
            true => vec![range],
            false => ledger.missing(view.group_id(), range).iter().collect(),
        };
        Fill { view: Arc::new(view), parts }
    };
    groups.into_iter().map(fill).filter(|fill| !fill.parts.is_empty()).collect()
}

/// Whether rows of the range were there before, of some group: then they may be in the online store, too, without what
/// the others get now.
pub fn completes(fills: &[Fill], work: &Materialization) -> bool {
    let range = Interval::new(work.range.start_us, work.range.end_us);
    fills.len() < work.view.groups.len() || fills.iter().any(|fill| fill.parts != [range])
}
