//! Window arithmetic at its edges.

use proptest::prelude::*;

use super::*;

const DAY: i64 = 86_400_000_000;
const HOUR: i64 = 3_600_000_000;

pub fn timing(kind: ViewKind) -> Timing {
    Timing {
        kind,
        interval_us: 0,
        schedule_us: 0,
        delay_us: 0,
        start_us: None,
        lifetime_start_us: None,
        ttl_us: None,
        compaction: false,
    }
}

fn daily() -> Timing {
    Timing { interval_us: HOUR, schedule_us: DAY, delay_us: 5 * HOUR, ..timing(ViewKind::BatchAggregates) }
}

#[test]
fn leading_edges() {
    assert_eq!(daily().leading_edge(DAY + 5 * HOUR), DAY);
    assert_eq!(daily().leading_edge(DAY + 5 * HOUR - 1), 0);
    assert_eq!(daily().leading_edge(5 * HOUR - 1), -DAY);
    let tiled = Timing { interval_us: HOUR, delay_us: 5, ..timing(ViewKind::StreamTiled) };
    assert_eq!(tiled.leading_edge(-1), -HOUR);
    assert_eq!(tiled.leading_edge(HOUR), HOUR);
    assert_eq!(timing(ViewKind::StreamContinuous).leading_edge(17), 17);
}

#[test]
fn bounds_are_half_open() {
    let window = Window::Last { size_us: DAY, offset_us: -2 * DAY };
    let asked = 10 * DAY + 6 * HOUR;
    assert_eq!(daily().bounds(&window, asked), Bounds { start_us: 7 * DAY, end_us: 8 * DAY });
    let continuous = timing(ViewKind::StreamContinuous);
    let bounds = continuous.bounds(&Window::Last { size_us: 10, offset_us: -3 }, 100);
    // (87, 97]
    assert!(!bounds.contains(87) && bounds.contains(88) && bounds.contains(97) && !bounds.contains(98));
    let series = Window::Series { from_us: -6, to_us: 0, size_us: 3, step_us: 2 };
    let placed: Vec<Bounds> = continuous.sub_bounds(&series, 100).collect();
    assert_eq!(placed, [Bounds { start_us: 95, end_us: 98 }, Bounds { start_us: 97, end_us: 100 }]);
}

#[test]
fn compaction_moves_the_trailing_edge_in_steps() {
    let sawtooth = Timing { compaction: true, start_us: Some(50 * DAY), ..timing(ViewKind::StreamContinuous) };
    let asked = 100 * DAY + 5 * HOUR + 7;
    let start = |size_us, offset_us| sawtooth.bounds(&Window::Last { size_us, offset_us }, asked).start_us;
    assert_eq!(start(2 * DAY - 1, 0), asked - 2 * DAY + 2);
    assert_eq!(start(2 * DAY, 0), 98 * DAY + 5 * HOUR);
    assert_eq!(start(10 * DAY, 0), 90 * DAY + 5 * HOUR);
    assert_eq!(start(11 * DAY, 0), 89 * DAY);
    assert_eq!(start(11 * DAY, -6 * HOUR), 88 * DAY);
    let window = Window::Last { size_us: 11 * DAY, offset_us: 0 };
    assert_eq!(sawtooth.bounds(&window, asked).end_us, asked + 1);
    assert_eq!(sawtooth.materialized_from(&[window]), Some(39 * DAY));
    let series = Window::Series { from_us: -12 * DAY, to_us: 0, size_us: 11 * DAY, step_us: DAY };
    let placed: Vec<i64> = sawtooth.sub_bounds(&series, asked).map(|bounds| bounds.start_us).collect();
    assert_eq!(placed, [88 * DAY, 89 * DAY]);
    assert_eq!(sawtooth.bounds(&series, asked), Bounds { start_us: 88 * DAY, end_us: asked + 1 });
}

#[test]
fn lifetime_begins_at_its_start() {
    let mut timing = timing(ViewKind::StreamContinuous);
    assert_eq!(timing.bounds(&Window::Lifetime, 100), Bounds { start_us: i64::MIN, end_us: 101 });
    timing.start_us = Some(50);
    assert_eq!(timing.bounds(&Window::Lifetime, 100).start_us, 50);
    timing.lifetime_start_us = Some(20);
    assert_eq!(timing.bounds(&Window::Lifetime, 100).start_us, 20);
    assert!(timing.bounds(&Window::Lifetime, 10).is_empty());
}

#[test]
fn effective_times() {
    let batch = Timing { schedule_us: DAY, delay_us: HOUR, ttl_us: Some(DAY / 2), ..timing(ViewKind::BatchAttributes) };
    assert_eq!(batch.effective(0), DAY + HOUR);
    assert_eq!(batch.effective(-1), HOUR);
    assert!(!batch.is_expired(DAY / 2, 2 * DAY + HOUR - 1));
    assert!(batch.is_expired(DAY / 2 - 1, DAY + HOUR));
    let stream = Timing { ttl_us: Some(10), ..timing(ViewKind::StreamAttributes) };
    assert!(!stream.is_expired(0, 9));
    assert!(stream.is_expired(0, 10));
}

#[test]
fn labels() {
    let last = |size_us, offset_us| window_label(&Window::Last { size_us, offset_us });
    assert_eq!(last(7 * DAY, 0), "7d");
    assert_eq!(last(HOUR, 0), "1h");
    assert_eq!(last(25 * HOUR, 0), "25h");
    assert_eq!(last(90 * 60_000_000, 0), "90m");
    assert_eq!(last(1_500, 0), "1500us");
    assert_eq!(last(7 * DAY, -7 * DAY), "7d_offset_7d");
    assert_eq!(window_label(&Window::Lifetime), "lifetime");
    let series = Window::Series { from_us: -3 * DAY, to_us: 0, size_us: DAY, step_us: HOUR };
    assert_eq!(window_label(&series), "series_3d_to_0d_size_1d_step_1h");
}

fn any_timing() -> impl Strategy<Value = Timing> {
    let kind = prop::sample::select(vec![
        ViewKind::BatchAttributes,
        ViewKind::BatchAggregates,
        ViewKind::StreamAttributes,
        ViewKind::StreamTiled,
        ViewKind::StreamContinuous,
    ]);
    let start = prop::option::of(-40..40_i64);
    (kind, 1..6_i64, 1..4_i64, 0..8_i64, start.clone(), start, prop::option::of(1..30_i64)).prop_map(
        |(kind, interval_us, schedule, delay_us, start_us, lifetime, ttl_us)| Timing {
            kind,
            interval_us,
            schedule_us: interval_us * schedule,
            delay_us,
            start_us,
            lifetime_start_us: lifetime.map(|lifetime| lifetime.div_euclid(interval_us) * interval_us),
            ttl_us,
            compaction: false,
        },
    )
}

fn any_window(interval_us: i64) -> impl Strategy<Value = Window> {
    prop_oneof![
        (1..5_i64, -4..=0_i64).prop_map(move |(size, offset)| Window::Last {
            size_us: size * interval_us,
            offset_us: offset * interval_us
        }),
        Just(Window::Lifetime),
        (1..8_i64, 0..3_i64, 1..4_i64, 1..3_i64).prop_map(move |(reach, to, size, step)| Window::Series {
            from_us: -(reach + to) * interval_us,
            to_us: -to * interval_us,
            size_us: size * interval_us,
            step_us: step * interval_us,
        }),
    ]
}

fn any_timed_windows() -> impl Strategy<Value = (Timing, Vec<Window>)> {
    any_timing().prop_flat_map(|timing| {
        let windows = prop::collection::vec(any_window(timing.interval_us), 1..4);
        (Just(timing), windows)
    })
}

#[test]
fn the_required_range_has_every_row_that_matters_and_no_more_at_its_ends() {
    let strategy = (any_timed_windows(), prop::collection::vec(-50..50_i64, 0..4));
    check(3000, strategy, |((timing, windows), asked)| {
        // by definition: a row matters if some window, or some attribute lookup, can see it
        let matters = |ts_us: i64| {
            asked.iter().any(|asked_us| {
                if !timing.kind.has_aggregates() {
                    return timing.effective(ts_us) <= *asked_us
                        && !timing.is_expired(ts_us, *asked_us)
                        && timing.start_us.is_none_or(|start_us| ts_us >= start_us);
                }
                let item_us = match timing.kind {
                    ViewKind::StreamContinuous => ts_us,
                    _ => timing.tile_anchor(ts_us),
                };
                let in_window =
                    |window: &Window| timing.sub_bounds(window, *asked_us).any(|bounds| bounds.contains(item_us));
                !timing.is_before_start(*asked_us) && windows.iter().any(in_window)
            })
        };
        let range = timing.required_range(&windows, asked.iter().copied());
        let mattering: Vec<i64> = (-400..200).filter(|ts_us| matters(*ts_us)).collect();
        let tight = (mattering.first().copied(), mattering.last().copied());
        match (range, tight) {
            (None, (first, _)) => prop_assert_eq!(first, None),
            (Some((start_us, end_us)), (Some(first), Some(last))) => {
                prop_assert!(start_us == first || start_us == i64::MIN && first == -400);
                prop_assert_eq!(end_us, last + 1);
                if let Some(from_us) = timing.materialized_from(&windows) {
                    prop_assert!(from_us <= start_us);
                }
            }
            (Some(range), none) => prop_assert!(false, "{range:?} but {none:?}"),
        }
        Ok(())
    });
}

#[test]
fn nothing_overflows() {
    let extreme =
        prop_oneof![Just(i64::MIN), Just(i64::MAX), i64::MIN..i64::MIN + 100, i64::MAX - 100..i64::MAX, -5..5_i64];
    let length = prop_oneof![Just(i64::MAX), 1..100_i64, Just(DAY)];
    let strategy = (any_timing(), any_window(HOUR), extreme.clone(), extreme, length.clone(), length);
    check(3000, strategy, |(mut timing, window, asked_us, ts_us, schedule_us, size_us)| {
        timing.compaction = asked_us % 2 == 0;
        timing.schedule_us = schedule_us;
        timing.ttl_us = timing.ttl_us.map(|_| size_us);
        timing.start_us = timing.start_us.map(|_| ts_us);
        timing.delay_us = size_us;
        for window in [window, Window::Last { size_us, offset_us: -size_us }, Window::Lifetime] {
            let bounds = timing.bounds(&window, asked_us);
            prop_assert!(
                timing.sub_bounds(&window, asked_us).all(|part| part.is_empty() || part.start_us >= bounds.start_us)
            );
            let _ = timing.required_range(&[window], [asked_us]);
            let _ = timing.materialized_from(&[window]);
        }
        let _ = (timing.effective(ts_us), timing.is_expired(ts_us, asked_us), timing.is_before_start(asked_us));
        let _ = (timing.tile_anchor(ts_us), timing.attribute_bounds(asked_us));
        Ok(())
    });
}
