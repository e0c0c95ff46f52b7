//! Bitemporal views, against asking about each time alone, with only the rows that were known.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::DataType;

use super::*;
use crate::row::values_of;

/// Rows of each of two entities, one a microsecond, and as many asked times.
const ROWS: i64 = 700;

fn timing(kind: ViewKind, ttl_us: Option<i64>) -> Timing {
    Timing {
        kind,
        interval_us: 0,
        schedule_us: 0,
        delay_us: 0,
        start_us: None,
        lifetime_start_us: None,
        ttl_us,
        compaction: false,
    }
}

/// From at once to much later, in no order.
fn known_at(ts_us: i64) -> i64 {
    ts_us + ts_us * 7919 % 400
}

fn integers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn value(row: i64) -> i64 {
    row * 31 % 53
}

fn answers(plan: &ViewPlan) -> BlockAnswers {
    let both = || (0..ROWS).chain(0..ROWS);
    let times: Vec<i64> = both().collect();
    let items = ItemBlock {
        form: ItemForm::Rows,
        times: &times,
        arrivals: &times,
        known_at: Some(integers(both().map(known_at))),
        secondary: None,
        columns: vec![vec![integers((0..2 * ROWS).map(value))]; plan.partials.len().max(1)],
    };
    let rows = usize::try_from(ROWS).unwrap();
    let runs = [0..rows, rows..2 * rows].map(|range| Run { asked: range.clone(), items: range });
    evaluate_block(plan, &items, &AskedBlock { times: &times, known: None, runs: &runs }).unwrap()
}

#[test]
fn aggregates_are_those_of_the_rows_that_were_known() {
    use AggregateFunction::*;
    let window = Window::Last { size_us: 300, offset_us: -5 };
    let feature = |function| FeatureInput { function, inputs: vec![(0, DataType::Int64)], window };
    let declared = [feature(Sum), feature(LastN { n: 3 }), feature(CountDistinct), feature(Max)];
    let (plan, _) = ViewPlan::for_features(timing(ViewKind::StreamContinuous, None), None, &declared).unwrap();
    let found = answers(&plan);
    for asked in 0..2 * ROWS {
        let (first, time_us) = (asked / ROWS * ROWS, asked % ROWS);
        let seen: Vec<i64> = (0..ROWS).filter(|ts_us| known_at(*ts_us) <= time_us).collect();
        let arrays = || vec![integers(seen.iter().map(|row| value(first + row)))];
        let alone = ItemBlock {
            form: ItemForm::Rows,
            times: &seen,
            arrivals: &seen,
            known_at: None,
            secondary: None,
            columns: (0..plan.partials.len()).map(|_| arrays()).collect(),
        };
        let run = [Run { asked: 0..1, items: 0..seen.len() }];
        let expected =
            evaluate_block(&plan, &alone, &AskedBlock { times: &[time_us], known: None, runs: &run }).unwrap();
        let row = usize::try_from(asked).unwrap();
        assert_eq!(found.present[row], expected.present[0], "{asked}");
        for (found, expected) in found.columns.iter().zip(&expected.columns) {
            let found = values_of(found.slice(row, 1).as_ref()).unwrap();
            assert_eq!(found, values_of(expected.as_ref()).unwrap(), "{asked}");
        }
    }
}

#[test]
fn an_attribute_is_the_newest_that_was_known_unless_it_is_too_old() {
    let ttl_us = 40;
    let plan = ViewPlan::for_attributes(timing(ViewKind::StreamAttributes, Some(ttl_us)), vec![DataType::Int64]);
    let found = answers(&plan);
    let (found, chosen) = (values_of(found.columns[0].as_ref()).unwrap(), found.chosen.unwrap());
    let mut expired = 0;
    for asked in 0..2 * ROWS {
        let (first, time_us) = (asked / ROWS * ROWS, asked % ROWS);
        let newest = (0..=time_us).rfind(|ts_us| known_at(*ts_us) <= time_us);
        let expected = newest.filter(|ts_us| time_us < ts_us + ttl_us);
        expired += usize::from(newest != expected);
        let row = usize::try_from(asked).unwrap();
        assert_eq!(found[row], expected.map(|row| Value::Int(value(first + row))), "{asked}");
        let place = chosen.iter().nth(row).unwrap().map(i64::from);
        assert_eq!(place, expected.map(|row| first + row), "{asked}");
    }
    assert!(expired > 10, "some are too old");
}
