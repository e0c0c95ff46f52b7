//! Many entities at once, column by column, against one after the other: the same answers, and the same errors.

use arrow::array::ArrayRef;
use arrow::buffer::NullBuffer;
use arrow::compute::concat;
use arrow::datatypes::DataType;
use proptest::prelude::*;

use super::brute::Row;
use super::functions::{column_types, rows};
use super::views::{any_timing, any_window, declared, raw_rows, sorted};
use super::*;
use crate::row::{array_of, values_of};

/// What one entity has, and when it is asked for; `None` is no time.
pub type Entity = (Vec<Row>, Vec<Option<i64>>);

fn joined(arrays: &[ArrayRef]) -> ArrayRef {
    concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap()
}

struct Block {
    times: Vec<i64>,
    arrivals: Vec<i64>,
    secondary: Option<ArrayRef>,
    columns: Vec<Vec<ArrayRef>>,
    /// the same by entity
    items: Vec<AggregateItems>,
}

/// The entities' rows, or their tiles, behind each other.
fn block(plan: &ViewPlan, entities: &[Entity], form: ItemForm) -> Block {
    let raw: Vec<RawRows> = entities.iter().map(|(rows, _)| raw_rows(plan, rows)).collect();
    let items = |raw: &RawRows| match (form, plan.timing.kind) {
        (ItemForm::Rows, ViewKind::StreamContinuous) => raw_items(plan, raw).unwrap(),
        _ => tile_rows(plan, raw).unwrap(),
    };
    let items: Vec<AggregateItems> = raw.iter().map(items).collect();
    let column = |entity: usize, partial: usize| match form {
        ItemForm::Rows => raw[entity].inputs[partial].clone(),
        ItemForm::Tiles => states_to_arrays(&plan.partials[partial], &items[entity].partials[partial]).unwrap(),
    };
    let columns = (0..plan.partials.len())
        .map(|partial| {
            let of_entities: Vec<Vec<ArrayRef>> = (0..entities.len()).map(|entity| column(entity, partial)).collect();
            (0..of_entities[0].len())
                .map(|place| {
                    let arrays: Vec<ArrayRef> = of_entities.iter().map(|columns| columns[place].clone()).collect();
                    joined(&arrays)
                })
                .collect()
        })
        .collect();
    let times: Vec<i64> = match form {
        ItemForm::Rows => raw.iter().flat_map(|raw| raw.times.clone()).collect(),
        ItemForm::Tiles => items.iter().flat_map(|items| items.times.clone()).collect(),
    };
    let secondary = plan.secondary_key.as_ref().map(|key_type| {
        let keys: Vec<Option<crate::row::Value>> = match form {
            ItemForm::Rows => raw.iter().flat_map(|raw| raw.secondary.clone().unwrap()).collect(),
            ItemForm::Tiles => items.iter().flat_map(|items| items.secondary.clone().unwrap()).collect(),
        };
        array_of(key_type, keys.iter().map(Option::as_ref)).unwrap()
    });
    let arrivals = raw.iter().flat_map(|raw| raw.arrivals.clone()).collect();
    Block { times, arrivals, secondary, columns, items }
}

/// Of which items the entities are made, in a block.
fn lengths(entities: &[Entity], items: &[AggregateItems], form: ItemForm) -> Vec<usize> {
    match form {
        ItemForm::Rows => entities.iter().map(|(rows, _)| rows.len()).collect(),
        ItemForm::Tiles => items.iter().map(|items| items.times.len()).collect(),
    }
}

fn check_block(plan: &ViewPlan, entities: &[Entity], form: ItemForm) -> Result<(), TestCaseError> {
    let Block { times, arrivals, secondary, columns, items } = block(plan, entities, form);
    let block = ItemBlock { form, times: &times, arrivals: &arrivals, known_at: None, secondary, columns };
    let mut runs = Vec::new();
    let (mut first_asked, mut first_item) = (0, 0);
    for ((_, asked), length) in entities.iter().zip(lengths(entities, &items, form)) {
        runs.push(Run { asked: first_asked..first_asked + asked.len(), items: first_item..first_item + length });
        first_asked += asked.len();
        first_item += length;
    }
    let asked: Vec<Option<i64>> = entities.iter().flat_map(|(_, asked)| asked.clone()).collect();
    let known = NullBuffer::from(asked.iter().map(Option::is_some).collect::<Vec<_>>());
    let times: Vec<i64> = asked.iter().map(|time| time.unwrap_or(i64::MAX)).collect();
    let found = evaluate_block(plan, &block, &AskedBlock { times: &times, known: Some(&known), runs: &runs });
    let mut expected: Vec<Vec<Option<crate::row::Value>>> = vec![Vec::new(); plan.output_columns().len()];
    for ((_, asked), items) in entities.iter().zip(&items) {
        for time in asked {
            let values = match time {
                None => Ok(empty_row(plan)),
                Some(time) => evaluate_aggregates(plan, items, &[*time])
                    .map(|columns| columns.into_iter().map(|mut column| column.remove(0)).collect()),
            };
            match values {
                Ok(values) => expected.iter_mut().zip(values).for_each(|(column, value)| column.push(value)),
                Err(error) => {
                    prop_assert_eq!(found.unwrap_err().kind(), error.kind());
                    return Ok(());
                }
            }
        }
    }
    let found = found.unwrap();
    let types = plan.output_types();
    for ((column, expected), data_type) in found.columns.iter().zip(&expected).zip(&types) {
        prop_assert_eq!(column.data_type(), data_type);
        // shows every bit but those of NaN
        let found = values_of(column.as_ref()).unwrap();
        prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    }
    Ok(())
}

fn check_type(data_type: &DataType, secondary: bool) {
    let functions = all_functions(data_type);
    let windows = prop::collection::vec(any_window(), 1..4);
    let asked = prop::collection::vec(prop::option::weighted(0.9, -90..90_i64), 0..6);
    let chosen = prop::sample::subsequence(functions.clone(), 1..=functions.len().min(6));
    let entity = (rows(std::slice::from_ref(data_type), 20), asked);
    let entities = prop::collection::vec(entity, 1..5);
    check(60, (any_timing(), windows, chosen, entities), |(timing, windows, functions, entities)| {
        let features = declared(&functions, &windows, data_type);
        let secondary = (secondary && timing.kind != ViewKind::StreamContinuous).then_some(DataType::Utf8);
        let Ok((plan, _)) = ViewPlan::for_features(timing, secondary, &features) else {
            return Ok(());
        };
        check_both_forms(&plan, entities)
    });
}

/// Sorts rows and questions first.
pub fn check_both_forms(plan: &ViewPlan, entities: Vec<Entity>) -> Result<(), TestCaseError> {
    let in_order = |(rows, mut asked): Entity| {
        asked.sort_unstable();
        (sorted(rows), asked)
    };
    let entities: Vec<Entity> = entities.into_iter().map(in_order).collect();
    check_block(plan, &entities, ItemForm::Rows)?;
    if plan.timing.kind != ViewKind::StreamContinuous {
        check_block(plan, &entities, ItemForm::Tiles)?;
    }
    Ok(())
}

#[test]
fn blocks_answer_as_entities_do() {
    for data_type in column_types() {
        check_type(&data_type, false);
    }
}

#[test]
fn blocks_answer_by_secondary_key_too() {
    for data_type in [DataType::Float64, DataType::Utf8] {
        check_type(&data_type, true);
    }
}

/// Longer than any limit inside of a state, with times that are asked often and seldom.
#[test]
fn blocks_of_long_runs_answer_as_entities_do() {
    let value = |row: i64| match row % 50 {
        0 => None,
        1 => Some(crate::row::Value::Float(f64::NAN)),
        // some thousand numbers of one octave, and a few others
        _ if row % 3 > 0 => Some(crate::row::Value::Float(1.0 + (row * 769 % 4096) as f64 / 4096.0)),
        _ => Some(crate::row::Value::Float((row % 7 - 3) as f64)),
    };
    let row = |ts_us: i64| Row { ts_us, arrival: ts_us, secondary: Some(text("x")), inputs: vec![value(ts_us)] };
    let rows: Vec<Row> = (0..5000).map(row).collect();
    let asked = (0..60).map(|number| Some(if number % 2 == 0 { number * 130 } else { number * 130 - 129 }));
    let entities: Vec<Entity> = vec![(rows[..40].to_vec(), vec![Some(30), None, Some(31)]), (rows, asked.collect())];
    let windows = [4000, 2000, 200].map(|size_us| Window::Last { size_us, offset_us: 0 });
    for (kind, interval_us) in
        [(ViewKind::StreamContinuous, 0), (ViewKind::StreamTiled, 40), (ViewKind::StreamTiled, 2000)]
    {
        for window in windows.iter().filter(|window| interval_us == 0 || window.is_aligned_to(interval_us)) {
            let timing = Timing { interval_us, ..super::windows::timing(kind) };
            let features = declared(&all_functions(&DataType::Float64), &[*window], &DataType::Float64);
            let (plan, _) = ViewPlan::for_features(timing, None, &features).unwrap();
            check_both_forms(&plan, entities.clone()).unwrap();
        }
    }
}

#[test]
fn blocks_find_what_stands_beside_an_extreme() {
    for by in [DataType::Int64, DataType::Float64, DataType::Utf8, DataType::Boolean, DataType::Decimal128(20, 2)] {
        for value in [DataType::Utf8, DataType::Float64, DataType::new_list(DataType::Utf8, true)] {
            let types = [value, by.clone()];
            let asked = prop::collection::vec(prop::option::weighted(0.9, -90..90_i64), 0..6);
            let entities = prop::collection::vec((rows(&types, 20), asked), 1..4);
            let feature = |function, window| FeatureInput {
                function,
                inputs: types.iter().cloned().enumerate().collect(),
                window,
            };
            check(60, (any_timing(), any_window(), any_window(), entities), |(timing, one, two, entities)| {
                let features = [feature(AggregateFunction::ArgMax, one), feature(AggregateFunction::ArgMin, two)];
                let Ok((plan, _)) = ViewPlan::for_features(timing, None, &features) else {
                    // a list in a series
                    return Ok(());
                };
                check_both_forms(&plan, entities)
            });
        }
    }
}

#[test]
fn blocks_choose_attribute_rows_as_entities_do() {
    let times = prop::collection::vec(-60..60_i64, 0..12);
    let asked = prop::collection::vec(-90..90_i64, 1..6);
    let ttl = prop::option::of(1..40_i64);
    check(400, (any_timing(), ttl, prop::collection::vec((times, asked), 1..5)), |(timing, ttl_us, mut entities)| {
        let kind = if timing.kind == ViewKind::BatchAggregates {
            ViewKind::BatchAttributes
        } else {
            ViewKind::StreamAttributes
        };
        let timing = Timing { kind, ttl_us: ttl_us.map(|ttl| ttl * timing.schedule_us.max(1)), ..timing };
        let plan = ViewPlan::for_attributes(timing, vec![DataType::Int64]);
        let (mut runs, mut all_times, mut all_asked, mut expected) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (times, asked) in &mut entities {
            times.sort_unstable();
            asked.sort_unstable();
            let (items, askers) = (all_times.len(), all_asked.len());
            for chosen in evaluate_attributes(&plan, times, asked) {
                expected.push(chosen.map(|row| crate::row::Value::Int((items + row) as i64)));
            }
            all_times.extend_from_slice(times);
            all_asked.extend_from_slice(asked);
            runs.push(Run { asked: askers..all_asked.len(), items: items..all_times.len() });
        }
        let numbers: arrow::array::Int64Array = (0..all_times.len() as i64).map(Some).collect();
        let block = ItemBlock {
            form: ItemForm::Rows,
            arrivals: &vec![0; all_times.len()],
            times: &all_times,
            known_at: None,
            secondary: None,
            columns: vec![vec![std::sync::Arc::new(numbers)]],
        };
        let asked = AskedBlock { times: &all_asked, known: None, runs: &runs };
        let found = evaluate_block(&plan, &block, &asked).unwrap();
        prop_assert_eq!(values_of(found.columns[0].as_ref()).unwrap(), expected);
        Ok(())
    });
}
