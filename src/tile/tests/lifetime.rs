//! LIFETIME windows whose rows are merged while asked times ascend: the same bits as from all rows.

use proptest::prelude::*;

use super::functions::rows;
use super::pyramid::{any_asked, any_timing, rounded_functions, spread};
use super::views::{declared, raw_rows};
use super::*;

#[test]
fn merging_what_later_times_see_changes_no_bit() {
    let asked = prop::collection::vec(any_asked(), 1..12);
    let start = prop::option::of((any_asked(), any::<bool>()));
    let strategy = (any_timing(), start, asked, rows(&[DataType::Float64], 60), any::<(bool, bool)>());
    check(3000, strategy, |(timing, start, mut asked, rows, (secondary, stored))| {
        let (start_us, lifetime_start_us) = match start {
            None => (None, None),
            Some((time_us, false)) => (Some(time_us), None),
            Some((time_us, true)) => (None, Some(time_us)),
        };
        let timing = Timing { start_us, lifetime_start_us, ..timing };
        let features = declared(&rounded_functions(), &[Window::Lifetime], &DataType::Float64);
        let (plan, _) = ViewPlan::for_features(timing, secondary.then_some(DataType::Utf8), &features).unwrap();
        let raw = raw_rows(&plan, &spread(rows));
        let items = match plan.timing.kind {
            ViewKind::StreamContinuous => raw_items(&plan, &raw).unwrap(),
            _ => tile_rows(&plan, &raw).unwrap(),
        };
        asked.sort_unstable();
        let mut lifetime = LifetimeItems::new(&plan);
        let mut left = items.clone();
        left.take_before(lifetime.until_us());
        for asked_us in asked {
            let complete_us = if stored { i64::MAX } else { asked_us - 3_600_000_000 };
            let until_us = LifetimeItems::settled_until(&plan.timing, asked_us, complete_us);
            let settled = left.take_before(until_us);
            lifetime.merge(&plan, settled, until_us).unwrap();
            let merged = lifetime.with(&plan, left.clone());
            prop_assert!(merged.times.is_sorted());
            let answer =
                |items: &AggregateItems| format!("{:?}", evaluate_aggregates(&plan, items, &[asked_us]).unwrap());
            prop_assert_eq!(answer(&merged), answer(&items));
        }
        Ok(())
    });
}
