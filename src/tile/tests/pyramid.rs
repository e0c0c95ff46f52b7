//! One order of merging: the same bits from items, from stored spans of time in their place, and from blocks.

use proptest::prelude::*;

use super::block::check_both_forms;
use super::brute::Row;
use super::functions::rows;
use super::views::{declared, raw_rows, sorted};
use super::windows::timing;
use super::*;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Views whose windows are much longer than the levels by which they are merged.
pub fn any_timing() -> impl Strategy<Value = Timing> {
    let kind = prop::sample::select(vec![ViewKind::BatchAggregates, ViewKind::StreamTiled, ViewKind::StreamContinuous]);
    let interval = prop::sample::select(vec![SECOND, 20 * SECOND, MINUTE, 10 * MINUTE, 25 * MINUTE, HOUR, 6 * HOUR]);
    (kind, interval, 1..4_i64).prop_map(|(kind, interval_us, schedule)| Timing {
        interval_us,
        schedule_us: schedule * interval_us,
        ..timing(kind)
    })
}

/// Of a view with this interval.
fn window(interval_us: i64, (length_us, offset_us): (i64, i64)) -> Window {
    let multiple = |length_us: i64| length_us / interval_us * interval_us;
    match multiple(length_us) {
        0 => Window::Lifetime,
        size_us => Window::Last { size_us, offset_us: -multiple(offset_us) },
    }
}

fn any_lengths() -> impl Strategy<Value = (i64, i64)> {
    let length = prop_oneof![1..HOUR, 1..DAY, DAY..5 * DAY];
    (length, prop_oneof![3 => Just(0), 1 => 1..DAY])
}

/// The same rows over some days, often several in one minute, second, or less.
pub fn spread(rows: Vec<Row>) -> Vec<Row> {
    let gap_us = |ts_us: i64| [0, 15_000, 19 * SECOND, 19 * SECOND + 500_000][ts_us.rem_euclid(4) as usize];
    let at = |ts_us: i64| ts_us.div_euclid(4) * (3 * HOUR + 59 * MINUTE) + gap_us(ts_us);
    sorted(rows.into_iter().map(|row| Row { ts_us: at(row.ts_us), ..row }).collect())
}

pub fn any_asked() -> impl Strategy<Value = i64> {
    -3 * DAY..4 * DAY
}

pub fn rounded_functions() -> Vec<AggregateFunction> {
    use AggregateFunction::*;
    vec![VarPop, StddevSamp, Skewness, Kurtosis, Ewma { half_life_us: 5 * HOUR }, Sum, CountDistinct, Last]
}

/// The items, but in the place of some whole spans inside of `bounds` the one state that is stored of each.
fn with_stored_spans(plan: &ViewPlan, items: &AggregateItems, bounds: &Bounds, mut choices: u64) -> AggregateItems {
    let mut levels: Vec<(i64, AggregateItems)> = Vec::new();
    for width_us in plan.timing.levels() {
        let finer = levels.last().map_or(items, |(_, finer)| finer);
        levels.push((width_us, fold_level(plan, finer, width_us).unwrap()));
    }
    // (start, end, states)
    let mut kept: Vec<(i64, i64, Vec<Partial>)> = Vec::new();
    let states = |items: &AggregateItems, item: usize| items.partials.iter().map(|of| of[item].clone()).collect();
    for (width_us, spans) in levels.iter().rev() {
        for (span, start_us) in spans.times.iter().enumerate() {
            let end_us = start_us + width_us;
            let is_inside = bounds.start_us <= *start_us && end_us <= bounds.end_us;
            let is_free = kept.iter().all(|(start, end, _)| end_us <= *start || *end <= *start_us);
            choices = choices.rotate_left(1);
            if is_inside && is_free && choices & 1 == 1 {
                kept.push((*start_us, end_us, states(spans, span)));
            }
        }
    }
    let stored = kept.clone();
    for (item, time_us) in items.times.iter().enumerate() {
        if stored.iter().all(|(start, end, _)| time_us < start || end <= time_us) {
            kept.push((*time_us, *time_us, states(items, item)));
        }
    }
    kept.sort_by_key(|(start_us, _, _)| *start_us);
    AggregateItems {
        times: kept.iter().map(|(start_us, _, _)| *start_us).collect(),
        secondary: None,
        partials: (0..plan.partials.len())
            .map(|partial| kept.iter().map(|(_, _, states)| states[partial].clone()).collect())
            .collect(),
    }
}

#[test]
fn stored_spans_of_time_change_no_bit() {
    let strategy = (any_timing(), any_lengths(), any_asked(), rows(&[DataType::Float64], 60), any::<u64>());
    check(2000, strategy, |(timing, lengths, asked_us, rows, choices)| {
        let window = window(timing.interval_us, lengths);
        let features = declared(&rounded_functions(), &[window], &DataType::Float64);
        let (plan, _) = ViewPlan::for_features(timing, None, &features).unwrap();
        let raw = raw_rows(&plan, &spread(rows));
        let items = match plan.timing.kind {
            ViewKind::StreamContinuous => raw_items(&plan, &raw).unwrap(),
            _ => tile_rows(&plan, &raw).unwrap(),
        };
        let bounds = plan.timing.bounds(&window, asked_us);
        let stored = with_stored_spans(&plan, &items, &bounds, choices);
        // shows every bit but those of NaN
        let answer = |items: &AggregateItems| format!("{:?}", evaluate_aggregates(&plan, items, &[asked_us]).unwrap());
        prop_assert_eq!(answer(&stored), answer(&items));
        // what is outside of the window has no part in the value
        let inside: Vec<usize> = (0..items.times.len()).filter(|item| bounds.contains(items.times[*item])).collect();
        let alone = AggregateItems {
            times: inside.iter().map(|item| items.times[*item]).collect(),
            secondary: None,
            partials: items.partials.iter().map(|of| inside.iter().map(|item| of[*item].clone()).collect()).collect(),
        };
        prop_assert_eq!(answer(&alone), answer(&items));
        Ok(())
    });
}

#[test]
fn blocks_merge_in_the_same_order() {
    let asked = prop::collection::vec(prop::option::weighted(0.9, any_asked()), 0..8);
    let entities = prop::collection::vec((rows(&[DataType::Float64], 60), asked), 1..4);
    let windows = prop::collection::vec(any_lengths(), 1..4);
    check(600, (any_timing(), windows, entities, any::<bool>()), |(timing, windows, entities, secondary)| {
        let windows: Vec<Window> = windows.into_iter().map(|lengths| window(timing.interval_us, lengths)).collect();
        let functions = rounded_functions();
        let features = declared(&functions, &windows, &DataType::Float64);
        let secondary = (secondary && timing.kind != ViewKind::StreamContinuous).then_some(DataType::Utf8);
        let (plan, _) = ViewPlan::for_features(timing, secondary, &features).unwrap();
        check_both_forms(&plan, entities.into_iter().map(|(rows, asked)| (spread(rows), asked)).collect())
    });
}

/// The items that are read of each stretch.
fn read(plan: &ViewPlan, items: &AggregateItems, stretches: &[Stretch]) -> AggregateItems {
    let mut levels: Vec<(Option<i64>, AggregateItems)> = vec![(None, items.clone())];
    for width_us in plan.timing.levels() {
        let finer = &levels.last().unwrap().1;
        levels.push((Some(width_us), fold_level(plan, finer, width_us).unwrap()));
    }
    let mut read =
        AggregateItems { times: Vec::new(), secondary: None, partials: vec![Vec::new(); plan.partials.len()] };
    for Stretch { level_us, bounds } in stretches {
        let (_, spans) = levels.iter().find(|(width_us, _)| width_us == level_us).unwrap();
        for (span, start_us) in spans.times.iter().enumerate().filter(|(_, start_us)| bounds.contains(**start_us)) {
            read.times.push(*start_us);
            read.partials.iter_mut().zip(&spans.partials).for_each(|(read, spans)| read.push(spans[span].clone()));
        }
    }
    read
}

#[test]
fn longer_spans_are_read_where_no_window_has_an_edge() {
    let windows = prop::collection::vec(any_lengths(), 1..4);
    let asked = (any_asked(), prop::collection::vec(0..DAY, 1..4), 1..100_000_i64);
    let strategy = (any_timing(), windows, asked, rows(&[DataType::Float64], 60));
    check(1000, strategy, |(timing, windows, (first_us, steps, part), rows)| {
        let windows: Vec<Window> = windows.into_iter().map(|lengths| window(timing.interval_us, lengths)).collect();
        let features = declared(&rounded_functions(), &windows, &DataType::Float64);
        let (plan, _) = ViewPlan::for_features(timing, None, &features).unwrap();
        // sometimes close together, sometimes not
        let asked: Vec<i64> = steps.iter().map(|step| first_us + step / part).collect();
        let last_us = *asked.iter().max().unwrap();
        let raw = raw_rows(&plan, &spread(rows));
        let items = match plan.timing.kind {
            ViewKind::StreamContinuous => raw_items(&plan, &raw).unwrap(),
            _ => tile_rows(&plan, &raw).unwrap(),
        };
        let stretches = stretches(&plan.timing, &plan.windows(), first_us, last_us);
        prop_assert!(stretches.is_sorted_by(|a, b| a.bounds.end_us <= b.bounds.start_us));
        let answer = |items: &AggregateItems| format!("{:?}", evaluate_aggregates(&plan, items, &asked).unwrap());
        prop_assert_eq!(answer(&read(&plan, &items, &stretches)), answer(&items));
        Ok(())
    });
}

#[test]
fn a_long_window_reads_days_between_its_edges() {
    let timing = Timing { interval_us: 10 * MINUTE, ..timing(ViewKind::StreamTiled) };
    let window = Window::Last { size_us: 7 * DAY, offset_us: 0 };
    let asked = 100 * DAY + 3 * HOUR + 25 * MINUTE;
    let edge = 100 * DAY + 3 * HOUR + 20 * MINUTE;
    let stretch = |level_us, start_us, end_us| Stretch { level_us, bounds: Bounds { start_us, end_us } };
    let expected = [
        stretch(None, edge - 7 * DAY, 93 * DAY + 4 * HOUR),
        stretch(Some(HOUR), 93 * DAY + 4 * HOUR, 94 * DAY),
        stretch(Some(DAY), 94 * DAY, 100 * DAY),
        stretch(Some(HOUR), 100 * DAY, 100 * DAY + 3 * HOUR),
        stretch(None, 100 * DAY + 3 * HOUR, edge),
    ];
    assert_eq!(stretches(&timing, &[window], asked, asked), expected);
    // an hour of asked times: its edges are read as they are
    let hour = stretches(&timing, &[window], asked, asked + HOUR);
    let fine = |from: i64| stretch(None, from, from + 100 * MINUTE);
    assert_eq!(hour[0], fine(edge - 7 * DAY));
    assert_eq!(hour.last(), Some(&stretch(None, edge - 20 * MINUTE, edge + HOUR)));
    assert_eq!(hour.iter().filter(|stretch| stretch.level_us == Some(DAY)).count(), 1);
}

#[test]
fn levels_are_proper_multiples_of_the_interval() {
    let levels = |kind, interval_us| Timing { interval_us, ..timing(kind) }.levels().collect::<Vec<_>>();
    assert_eq!(levels(ViewKind::StreamContinuous, 0), [20_000, SECOND, MINUTE, HOUR, DAY]);
    assert_eq!(levels(ViewKind::StreamTiled, 10_000), [20_000, SECOND, MINUTE, HOUR, DAY]);
    assert_eq!(levels(ViewKind::StreamTiled, SECOND), [MINUTE, HOUR, DAY]);
    assert_eq!(levels(ViewKind::StreamTiled, MINUTE), [HOUR, DAY]);
    assert_eq!(levels(ViewKind::BatchAggregates, 25 * MINUTE), [] as [i64; 0]);
    assert_eq!(levels(ViewKind::BatchAggregates, 40 * MINUTE), [DAY]);
    assert_eq!(levels(ViewKind::BatchAggregates, DAY), [] as [i64; 0]);
}
