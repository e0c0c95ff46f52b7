//! Whole views against the law, row by row: which rows a window has is asked of each row, by sections 3, 4 and 10.

use std::sync::Arc;

use proptest::prelude::*;

use super::brute::{Expected, Row, agrees, expected};
use super::functions::{column_types, rows};
use super::windows::timing;
use super::*;
use crate::error::Kind;
use crate::row::array_of;

const INTERVAL: i64 = 5;

pub fn any_timing() -> impl Strategy<Value = Timing> {
    let kind = prop::sample::select(vec![ViewKind::BatchAggregates, ViewKind::StreamTiled, ViewKind::StreamContinuous]);
    let start = prop::option::of(-40..40_i64);
    let lifetime = prop::option::of(-8..8_i64);
    (kind, 1..4_i64, 0..12_i64, start, lifetime).prop_map(|(kind, schedule, delay_us, start_us, lifetime)| Timing {
        interval_us: INTERVAL,
        schedule_us: schedule * INTERVAL,
        delay_us,
        // a tile that the start cuts is no part of a lifetime
        start_us: start_us.map(|start_us| start_us.div_euclid(INTERVAL) * INTERVAL),
        lifetime_start_us: lifetime.map(|lifetime| lifetime * INTERVAL),
        ..timing(kind)
    })
}

pub fn any_window() -> impl Strategy<Value = Window> {
    prop_oneof![
        4 => (1..6_i64, -3..=0_i64)
            .prop_map(|(size, offset)| Window::Last { size_us: size * INTERVAL, offset_us: offset * INTERVAL }),
        1 => Just(Window::Lifetime),
        2 => (1..6_i64, 0..3_i64, 1..4_i64, 1..3_i64).prop_map(|(reach, to, size, step)| Window::Series {
            from_us: -(reach + to) * INTERVAL,
            to_us: -to * INTERVAL,
            size_us: size * INTERVAL,
            step_us: step * INTERVAL,
        }),
    ]
}

/// floor(t, width), by the law's definition.
fn floor(t: i64, width: i64) -> i64 {
    t.div_euclid(width) * width
}

/// Whether a row of time `ts` is in the window from `start` to `end` microseconds off the leading edge.
fn sees(timing: &Timing, asked: i64, start: Option<i64>, end: i64, ts: i64) -> bool {
    let after_lifetime_start = timing.lifetime_start_us.or(timing.start_us).is_none_or(|from| ts >= from);
    match timing.kind {
        ViewKind::StreamContinuous => {
            start.map_or(after_lifetime_start, |start| ts > asked + start) && ts <= asked + end
        }
        _ => {
            let edge = match timing.kind {
                ViewKind::BatchAggregates => floor(asked - timing.delay_us, timing.schedule_us),
                _ => floor(asked, INTERVAL),
            };
            start.map_or(after_lifetime_start, |start| ts >= edge + start) && ts < edge + end
        }
    }
}

fn before_start(timing: &Timing, asked: i64) -> bool {
    let end = match timing.kind {
        ViewKind::BatchAggregates => floor(asked - timing.delay_us, timing.schedule_us),
        ViewKind::StreamTiled => floor(asked, INTERVAL),
        _ => asked,
    };
    timing.start_us.is_some_and(|start| end < start)
}

/// Where the window (or each window of the series) starts and ends, off the leading edge.
fn spans(window: &Window) -> Vec<(Option<i64>, i64)> {
    match *window {
        Window::Last { size_us, offset_us } => vec![(Some(offset_us - size_us), offset_us)],
        Window::Lifetime => vec![(None, 0)],
        Window::Series { from_us, to_us, size_us, step_us } => (0..)
            .map(|k| from_us + k * step_us)
            .take_while(|start| start + size_us <= to_us)
            .map(|start| (Some(start), start + size_us))
            .collect(),
    }
}

pub fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|row| (row.ts_us, row.arrival));
    rows
}

pub fn raw_rows(plan: &ViewPlan, rows: &[Row]) -> RawRows {
    let column = |input: usize, data_type: &DataType| {
        array_of(data_type, rows.iter().map(|row| row.inputs[input].as_ref())).unwrap()
    };
    let columns_of = |spec: &PartialSpec| {
        spec.input_types().iter().enumerate().map(|(input, data_type)| column(input, data_type)).collect()
    };
    RawRows {
        times: rows.iter().map(|row| row.ts_us).collect(),
        arrivals: rows.iter().map(|row| row.arrival).collect(),
        secondary: plan.secondary_key.is_some().then(|| rows.iter().map(|row| row.secondary.clone()).collect()),
        inputs: plan.partials.iter().map(columns_of).collect(),
    }
}

/// The ways to the same answer: from rows for continuous views; else from tiles made at once, made of single rows, or
/// made of two halves of the rows and kept as columns in between.
fn all_items(plan: &ViewPlan, rows: &[Row]) -> Vec<AggregateItems> {
    let raw = raw_rows(plan, rows);
    let singles = raw_items(plan, &raw).unwrap();
    if plan.timing.kind == ViewKind::StreamContinuous {
        return vec![singles];
    }
    let half = |parity: i64| {
        let of_half: Vec<Row> = rows.iter().filter(|row| row.arrival % 2 == parity).cloned().collect();
        tile_rows(plan, &raw_rows(plan, &of_half)).unwrap()
    };
    let halves = together(plan, half(0), half(1));
    vec![tile_rows(plan, &raw).unwrap(), fold_tiles(plan, &singles).unwrap(), fold_tiles(plan, &halves).unwrap()]
}

/// The items of both, ascending by time; states pass through their columns.
fn together(plan: &ViewPlan, a: AggregateItems, b: AggregateItems) -> AggregateItems {
    let mut order: Vec<(i64, bool, usize)> =
        a.times.iter().enumerate().map(|(item, time)| (*time, false, item)).collect();
    order.extend(b.times.iter().enumerate().map(|(item, time)| (*time, true, item)));
    order.sort();
    let pick = |second: bool| if second { &b } else { &a };
    let states = |partial: usize| {
        let spec = &plan.partials[partial];
        let states = order.iter().map(|(_, second, item)| pick(*second).partials[partial][*item].clone());
        states_from_arrays(spec, &states_to_arrays(spec, &states.collect::<Vec<_>>()).unwrap()).unwrap()
    };
    let secondary_of =
        |(_, second, item): &(i64, bool, usize)| pick(*second).secondary.as_ref().unwrap()[*item].clone();
    AggregateItems {
        times: order.iter().map(|(time, _, _)| *time).collect(),
        secondary: a.secondary.as_ref().map(|_| order.iter().map(secondary_of).collect()),
        partials: (0..plan.partials.len()).map(states).collect(),
    }
}

pub fn declared(functions: &[AggregateFunction], windows: &[Window], data_type: &DataType) -> Vec<FeatureInput> {
    let feature = |(function, window): (&AggregateFunction, &Window)| FeatureInput {
        function: function.clone(),
        inputs: vec![(0, data_type.clone())],
        window: *window,
    };
    functions.iter().zip(windows.iter().cycle()).map(feature).collect()
}

fn list_of(value: Option<&Value>) -> Vec<Option<Value>> {
    match value {
        Some(Value::List(values)) => values.to_vec(),
        other => panic!("{other:?} is not a list"),
    }
}

/// Whether a column's values are `expected`, one by one; an overflow fails the whole evaluation.
fn check_value(function: &AggregateFunction, expected: Expected, found: Option<Value>) -> Result<(), TestCaseError> {
    prop_assert!(agrees(&expected, &Ok(found.clone())), "{:?}: {:?}, not {:?}", function, found, expected);
    Ok(())
}

fn check_view(data_type: &DataType, cases: u32) {
    let functions = all_functions(data_type);
    let windows = prop::collection::vec(any_window(), 1..4);
    let asked = prop::collection::vec(-90..90_i64, 1..12);
    let chosen = prop::sample::subsequence(functions.clone(), 1..=functions.len().min(6));
    let of_type = rows(std::slice::from_ref(data_type), 30);
    check(cases, (any_timing(), windows, asked, chosen, of_type), |(timing, windows, asked, functions, rows)| {
        let rows = sorted(rows);
        let features = declared(&functions, &windows, data_type);
        let Ok((plan, _)) = ViewPlan::for_features(timing.clone(), None, &features) else {
            // a list in a series
            return Ok(());
        };
        for items in all_items(&plan, &rows) {
            let answer = evaluate_aggregates(&plan, &items, &asked);
            let columns = match answer {
                Err(error) => {
                    prop_assert_eq!(error.kind(), Kind::NumericValueOutOfRange);
                    continue;
                }
                Ok(columns) => columns,
            };
            prop_assert_eq!(columns.len(), features.len());
            for ((feature, column), plan_feature) in features.iter().zip(columns).zip(&plan.features) {
                array_of(&plan_feature.data_type, column.iter().map(Option::as_ref)).unwrap();
                for (asked, found) in asked.iter().zip(column) {
                    if before_start(&timing, *asked) {
                        prop_assert_eq!(found, None);
                        continue;
                    }
                    let in_span = |(start, end): &(Option<i64>, i64)| {
                        let seen = rows.iter().filter(|row| sees(&timing, *asked, *start, *end, row.ts_us));
                        expected(&feature.function, std::slice::from_ref(data_type), &seen.cloned().collect::<Vec<_>>())
                    };
                    let mut of_spans: Vec<Expected> = spans(&feature.window).iter().map(in_span).collect();
                    if !matches!(feature.window, Window::Series { .. }) {
                        check_value(&feature.function, of_spans.remove(0), found)?;
                        continue;
                    }
                    let found = list_of(found.as_ref());
                    prop_assert_eq!(found.len(), of_spans.len());
                    for (expected, found) in of_spans.into_iter().zip(found) {
                        check_value(&feature.function, expected, found)?;
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn aggregates_of_every_type() {
    for data_type in column_types() {
        check_view(&data_type, 300);
    }
}

#[test]
fn aggregates_by_secondary_key() {
    let data_type = DataType::Float64;
    let functions: Vec<AggregateFunction> =
        all_functions(&data_type).into_iter().filter(|function| !is_list_valued(function)).collect();
    let windows = prop::collection::vec(any_window(), 1..4);
    let asked = prop::collection::vec(-90..90_i64, 1..12);
    let chosen = prop::sample::subsequence(functions, 1..6);
    let of_type = rows(std::slice::from_ref(&data_type), 30);
    check(600, (any_timing(), windows, asked, chosen, of_type), |(timing, windows, asked, functions, rows)| {
        let rows = sorted(rows);
        let features = declared(&functions, &windows, &data_type);
        let Ok((plan, _)) = ViewPlan::for_features(timing.clone(), Some(DataType::Utf8), &features) else {
            // a series
            return Ok(());
        };
        for items in all_items(&plan, &rows) {
            let columns = evaluate_aggregates(&plan, &items, &asked).unwrap();
            prop_assert_eq!(columns.len(), plan.output_columns().len());
            for ((output, column), output_type) in plan.output_columns().iter().zip(columns).zip(plan.output_types()) {
                array_of(&output_type, column.iter().map(Option::as_ref)).unwrap();
                for (asked, found) in asked.iter().zip(column) {
                    if before_start(&timing, *asked) {
                        prop_assert_eq!(found, None);
                        continue;
                    }
                    let window = match output {
                        OutputColumn::Keys { window } => window,
                        OutputColumn::Feature { index } => &features[*index].window,
                    };
                    let (start, end) = spans(window)[0];
                    let seen: Vec<Row> =
                        rows.iter().filter(|row| sees(&timing, *asked, start, end, row.ts_us)).cloned().collect();
                    let keys = ["x", "y", "z"].map(text);
                    let present = keys.iter().filter(|key| seen.iter().any(|row| row.secondary.as_ref() == Some(key)));
                    let present: Vec<Value> = present.cloned().collect();
                    let OutputColumn::Feature { index } = output else {
                        prop_assert_eq!(found, Some(values(present)));
                        continue;
                    };
                    let found = list_of(found.as_ref());
                    prop_assert_eq!(found.len(), present.len());
                    for (key, found) in present.iter().zip(found) {
                        let of_key = seen.iter().filter(|row| row.secondary.as_ref() == Some(key));
                        let function = &features[*index].function;
                        let of_key: Vec<Row> = of_key.cloned().collect();
                        check_value(function, expected(function, std::slice::from_ref(&data_type), &of_key), found)?;
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn attributes() {
    let kind = prop::sample::select(vec![ViewKind::BatchAttributes, ViewKind::StreamAttributes]);
    let optional = |range: std::ops::Range<i64>| prop::option::of(range);
    let view = (kind, 1..20_i64, 0..9_i64, optional(-30..30), optional(1..50));
    let times = prop::collection::vec(-60..60_i64, 0..20);
    check(
        4000,
        (view, times.clone(), times),
        |((kind, schedule_us, delay_us, start_us, ttl_us), mut row_times, asked)| {
            let timing = Timing { schedule_us, delay_us, start_us, ttl_us, ..timing(kind) };
            let plan = ViewPlan::for_attributes(timing, vec![DataType::Int64]);
            row_times.sort();
            let effective = |ts: i64| match kind {
                ViewKind::BatchAttributes => floor(ts, schedule_us) + schedule_us + delay_us,
                _ => ts,
            };
            let chosen = evaluate_attributes(&plan, &row_times, &asked);
            for (asked, chosen) in asked.iter().zip(chosen) {
                let candidates =
                    row_times.iter().enumerate().filter(|(_, ts)| start_us.is_none_or(|start| **ts >= start));
                let newest = candidates
                    .filter(|(_, ts)| effective(**ts) <= *asked)
                    .max_by_key(|(row, ts)| (effective(**ts), **ts, *row));
                let kept = newest.filter(|(_, ts)| ttl_us.is_none_or(|ttl| *asked < effective(**ts + ttl)));
                prop_assert_eq!(chosen, kept.map(|(row, _)| row));
            }
            Ok(())
        },
    );
}

fn count_and_last(timing: Timing, window: Window, secondary_key: Option<DataType>) -> ViewPlan {
    let feature = |function| FeatureInput { function, inputs: vec![(0, DataType::Int64)], window };
    let features = [feature(AggregateFunction::Count), feature(AggregateFunction::Last)];
    ViewPlan::for_features(timing, secondary_key, &features).unwrap().0
}

#[test]
fn unknown_keys_and_unknown_times() {
    let continuous = Timing { start_us: Some(100), ..timing(ViewKind::StreamContinuous) };
    let nothing = AggregateItems::default();
    let window = Window::Last { size_us: 10, offset_us: 0 };
    let plan = count_and_last(continuous.clone(), window, None);
    assert_eq!(empty_row(&plan), [Some(Value::Int(0)), None]);
    let columns = evaluate_aggregates(&plan, &nothing, &[99, 100]).unwrap();
    assert_eq!(columns, [[None, Some(Value::Int(0))], [None, None]]);

    let plan =
        count_and_last(continuous.clone(), Window::Series { from_us: -4, to_us: 0, size_us: 2, step_us: 2 }, None);
    let zeros = Value::List([Some(Value::Int(0)), Some(Value::Int(0))].into());
    let nulls = Value::List([None, None].into());
    assert_eq!(empty_row(&plan), [Some(zeros.clone()), Some(nulls.clone())]);
    let columns = evaluate_aggregates(&plan, &nothing, &[99, 100]).unwrap();
    assert_eq!(columns, [[None, Some(zeros)], [None, Some(nulls)]]);

    let plan = count_and_last(continuous, window, Some(DataType::Utf8));
    assert_eq!(empty_row(&plan), vec![Some(values([])); 3]);
    let columns = evaluate_aggregates(&plan, &nothing, &[99, 100]).unwrap();
    assert_eq!(columns, vec![vec![None, Some(values([]))]; 3]);

    let plan = ViewPlan::for_attributes(timing(ViewKind::StreamAttributes), vec![DataType::Int64; 2]);
    assert_eq!(empty_row(&plan), [None, None]);
    assert_eq!(evaluate_attributes(&plan, &[], &[5]), [None]);
}

#[test]
fn the_keys_of_a_window_stand_before_its_first_feature() {
    let timing = Timing { interval_us: 1, ..timing(ViewKind::StreamTiled) };
    let window = |size_us| Window::Last { size_us, offset_us: 0 };
    let feature = |size_us| FeatureInput {
        function: AggregateFunction::Count,
        inputs: vec![(0, DataType::Int64)],
        window: window(size_us),
    };
    let features = [feature(1), feature(2), feature(1)];
    let (plan, columns) = ViewPlan::for_features(timing, Some(DataType::Utf8), &features).unwrap();
    assert_eq!((plan.partials.len(), columns), (1, vec![vec![0]]));
    let (keys, feature) =
        (|size_us| OutputColumn::Keys { window: window(size_us) }, |index| OutputColumn::Feature { index });
    assert_eq!(plan.output_columns(), [keys(1), feature(0), keys(2), feature(1), feature(2)]);
}

#[test]
fn arrays_of_arrays_are_refused() {
    let feature = |function, window| [FeatureInput { function, inputs: vec![(0, DataType::Int64)], window }];
    let series = Window::Series { from_us: -4, to_us: 0, size_us: 2, step_us: 2 };
    let last = Window::Last { size_us: 2, offset_us: 0 };
    let refused = |secondary_key: Option<DataType>, features: [FeatureInput; 1]| {
        let timing = Timing { interval_us: 1, ..timing(ViewKind::StreamTiled) };
        ViewPlan::for_features(timing, secondary_key, &features).unwrap_err().kind()
    };
    let text_key = Some(DataType::Utf8);
    assert_eq!(refused(None, feature(AggregateFunction::LastN { n: 2 }, series)), Kind::FeatureNotSupported);
    assert_eq!(refused(text_key.clone(), feature(AggregateFunction::TopK { k: 2 }, last)), Kind::FeatureNotSupported);
    assert_eq!(refused(text_key, feature(AggregateFunction::Sum, series)), Kind::FeatureNotSupported);
    let endless = Window::Series { from_us: -1_000_000, to_us: 0, size_us: 1, step_us: 1 };
    assert_eq!(refused(None, feature(AggregateFunction::Sum, endless)), Kind::ConfigurationLimitExceeded);
}

#[test]
fn later_rows_never_change_an_answer() {
    let data_type = DataType::Int16;
    let strategy = (any_timing(), any_window(), rows(std::slice::from_ref(&data_type), 30), -60..60_i64);
    check(500, strategy, |(timing, window, rows, asked)| {
        let features = declared(&[AggregateFunction::Sum, AggregateFunction::Last], &[window], &data_type);
        let (plan, _) = ViewPlan::for_features(timing, None, &features).unwrap();
        let rows = sorted(rows);
        let known: Vec<Row> = rows.iter().filter(|row| row.ts_us <= asked).cloned().collect();
        let answer = |rows: &[Row]| {
            let items = all_items(&plan, rows).remove(0);
            evaluate_aggregates(&plan, &items, &[asked]).unwrap()
        };
        prop_assert_eq!(answer(&known), answer(&rows));
        Ok(())
    });
}

#[test]
fn items_of_another_plan_are_refused() {
    let plan = count_and_last(timing(ViewKind::StreamContinuous), Window::Lifetime, None);
    let items = AggregateItems { times: vec![0], secondary: None, partials: Vec::new() };
    assert_eq!(evaluate_aggregates(&plan, &items, &[0]).unwrap_err().kind(), Kind::Internal);
    let rows = RawRows {
        times: vec![0],
        arrivals: vec![0],
        secondary: None,
        inputs: vec![vec![Arc::new(arrow::array::Int64Array::from(vec![1])) as arrow::array::ArrayRef]; 2],
    };
    let columns = evaluate_aggregates(&plan, &raw_items(&plan, &rows).unwrap(), &[0]).unwrap();
    assert_eq!(columns, [[Some(Value::Int(1))], [Some(Value::Int(1))]]);
}
