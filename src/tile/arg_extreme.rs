//! arg_max(x, by) and arg_min(x, by): the x of the row with the greatest or smallest `by`.

use super::ordered::Order;
use crate::row::Value;

/// Of rows with equal `by` the latest wins; the value only decides between rows that claim one place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ArgEntry {
    pub by: Value,
    pub order: Order,
    pub value: Value,
}

/// Puts `other` in the place of `best` if it is the better one.
pub(super) fn merge(best: &mut Option<Box<ArgEntry>>, other: &ArgEntry, greatest: bool) {
    let wins = best.as_deref().is_none_or(|best| {
        let by = if greatest { other.by.cmp(&best.by) } else { best.by.cmp(&other.by) };
        by.then(other.order.cmp(&best.order)).then_with(|| other.value.cmp(&best.value)).is_gt()
    });
    if wins {
        *best = Some(Box::new(other.clone()));
    }
}
