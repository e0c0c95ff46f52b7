//! Every function over every type: any split into parts, merged in any order and stored in between, gives what the
//! brute force gives.

use proptest::prelude::*;

use super::brute::{Row, agrees, expected};
use super::*;

/// Values that a column of this type may have, with many ties and every edge.
pub fn column_values(data_type: &DataType) -> BoxedStrategy<Option<Value>> {
    let few = |values: Vec<Value>| prop::sample::select(values).boxed();
    let value = match data_type {
        DataType::Boolean => any::<bool>().prop_map(Value::Bool).boxed(),
        DataType::Int16 => any::<i16>().prop_map(|value| Value::Int(value.into())).boxed(),
        DataType::Float64 => prop_oneof![
            6 => few([0.0, -0.0, 1.0, 2.5, -1.5, 0.1, 0.2, 0.3, 3.0, -2.0].map(Value::Float).to_vec()),
            3 => (-1e6..1e6).prop_map(Value::Float),
            1 => few([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e60, -1e-60].map(Value::Float).to_vec()),
        ]
        .boxed(),
        DataType::Float32 => any::<i16>().prop_map(|value| Value::Float(f64::from(value) / 16.0)).boxed(),
        DataType::Decimal128(_, _) => {
            prop_oneof![-1000..1000_i128, prop::sample::select(vec![10_i128.pow(19), -(10_i128.pow(19))])]
                .prop_map(Value::Decimal)
                .boxed()
        }
        DataType::Utf8 => few(["", "a", "b", "aa", "\u{e4}", "z"].map(text).to_vec()),
        DataType::Date32 => (-3..3_i64).prop_map(Value::Int).boxed(),
        DataType::List(_) => few(vec![values([text("a")]), values([]), Value::List([None].into())]),
        _ => prop_oneof![
            6 => -3..4_i64,
            1 => prop::sample::select(vec![i64::MAX, i64::MIN, i64::MAX - 1, 1 << 62]),
        ]
        .prop_map(Value::Int)
        .boxed(),
    };
    prop::option::weighted(0.85, value).boxed()
}

pub fn column_types() -> Vec<DataType> {
    vec![
        DataType::Boolean,
        DataType::Int16,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(20, 2),
        DataType::Utf8,
        DataType::Date32,
        timestamp(),
        DataType::new_list(DataType::Utf8, true),
    ]
}

/// Rows in the order of their arrival, their times in any order, with ties, also before 1970.
pub fn rows(types: &[DataType], most: usize) -> impl Strategy<Value = Vec<Row>> + use<> {
    let inputs: Vec<BoxedStrategy<Option<Value>>> = types.iter().map(column_values).collect();
    let secondary = prop::option::weighted(0.9, prop::sample::select(["x", "y", "z"].map(text).to_vec()));
    let row = (prop_oneof![5 => -60..60_i64, 1 => Just(0)], secondary, inputs);
    prop::collection::vec(row, 0..most).prop_map(|rows| {
        let numbered = rows.into_iter().zip(0..);
        let row = |((ts_us, secondary, inputs), arrival)| Row { ts_us, arrival, secondary, inputs };
        numbered.map(row).collect()
    })
}

fn order_of(row: &Row) -> Order {
    Order { ts_us: row.ts_us, arrival: row.arrival }
}

fn fold<'a>(spec: &PartialSpec, rows: impl IntoIterator<Item = &'a Row>) -> Partial {
    let mut partial = spec.empty();
    rows.into_iter().for_each(|row| partial.update(spec, &row.inputs, order_of(row)).unwrap());
    partial
}

fn merged(spec: &PartialSpec, a: &Partial, b: &Partial) -> Partial {
    let mut merged = a.clone();
    merged.merge(spec, b).unwrap();
    merged
}

/// Functions whose states are the same up to rounding only.
fn is_rounded(function: &AggregateFunction) -> bool {
    use AggregateFunction::*;
    matches!(function, VarPop | VarSamp | StddevPop | StddevSamp | Skewness | Kurtosis | Ewma { .. })
}

fn check_function(function: &AggregateFunction, types: &[DataType], cases: u32) {
    let spec = PartialSpec::new(function, types).unwrap();
    let parts = prop::collection::vec(0..4usize, 40);
    check(cases, (rows(types, 40), parts), |(rows, parts)| {
        let expected = expected(function, types, &rows);
        let part =
            |index: usize| fold(&spec, rows.iter().zip(&parts).filter(|(_, part)| **part == index).map(|(row, _)| row));
        let [a, b, c, d] = [part(0), part(1), part(2), part(3)];
        let whole = fold(&spec, &rows);
        let together = merged(&spec, &merged(&spec, &merged(&spec, &a, &b), &c), &d);
        let grouped = merged(&spec, &merged(&spec, &d, &a), &merged(&spec, &c, &b));
        let bytes = |partial: &Partial| {
            let mut bytes = Vec::new();
            partial.encode(&spec, &mut bytes);
            bytes
        };
        let stored = states_to_arrays(&spec, &[a, b, c, d, whole.clone()]).unwrap();
        let states = states_from_arrays(&spec, &stored).unwrap();
        prop_assert_eq!(&states[4], &whole);
        for (column, field) in stored.iter().zip(spec.state_fields("x")) {
            prop_assert_eq!(column.data_type(), field.data_type());
        }
        let from_columns = states[..4].iter().fold(spec.empty(), |sum, state| merged(&spec, &sum, state));
        prop_assert_eq!(&Partial::decode(&spec, &bytes(&whole)).unwrap(), &whole);
        let from_bytes = Partial::decode(&spec, &bytes(&together)).unwrap();
        for partial in [&whole, &together, &grouped, &from_columns, &from_bytes] {
            let found = partial.finish(&spec, function);
            prop_assert!(agrees(&expected, &found), "{:?}: {:?}, not {:?}", function, found, expected);
        }
        // bit for bit, where no rounding is involved
        if !is_rounded(function) {
            prop_assert_eq!(bytes(&together), bytes(&grouped));
            prop_assert_eq!(bytes(&together), bytes(&whole));
        }
        Ok(())
    });
}

#[test]
fn every_function_over_every_type() {
    for data_type in column_types() {
        for function in all_functions(&data_type) {
            check_function(&function, std::slice::from_ref(&data_type), 150);
        }
    }
}

#[test]
fn arg_max_and_arg_min() {
    for by in [DataType::Int64, DataType::Float64, DataType::Utf8, timestamp()] {
        for value in [DataType::Utf8, DataType::Float64, DataType::new_list(DataType::Utf8, true)] {
            for function in [AggregateFunction::ArgMax, AggregateFunction::ArgMin] {
                check_function(&function, &[value.clone(), by.clone()], 150);
            }
        }
    }
}

fn of_floats(function: AggregateFunction, numbers: &[f64]) -> Option<Value> {
    let spec = PartialSpec::new(&function, &[DataType::Float64]).unwrap();
    let rows = numbers.iter().zip(0..).map(|(x, arrival)| Row {
        ts_us: 0,
        arrival,
        secondary: None,
        inputs: vec![Some(Value::Float(*x))],
    });
    fold(&spec, &rows.collect::<Vec<_>>()).finish(&spec, &function).unwrap()
}

#[test]
fn variance_is_stable_and_zero_of_equal_values() {
    let shifted = [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0];
    assert_eq!(of_floats(AggregateFunction::VarSamp, &shifted), Some(Value::Float(30.0)));
    assert_eq!(of_floats(AggregateFunction::VarPop, &[0.1; 7]), Some(Value::Float(0.0)));
    assert_eq!(of_floats(AggregateFunction::Skewness, &[0.1; 7]), None);
    assert_eq!(of_floats(AggregateFunction::StddevPop, &[5.0]), Some(Value::Float(0.0)));
    assert_eq!(of_floats(AggregateFunction::StddevSamp, &[5.0]), None);
    assert_eq!(of_floats(AggregateFunction::VarPop, &[f64::INFINITY]), Some(Value::Float(f64::NAN)));
    assert_eq!(of_floats(AggregateFunction::VarSamp, &[f64::NAN]), None);
}

#[test]
fn ewma_of_times_far_apart_is_a_number() {
    let function = AggregateFunction::Ewma { half_life_us: 1 };
    let spec = PartialSpec::new(&function, &[DataType::Float64]).unwrap();
    let at = |ts_us, x| Row { ts_us, arrival: 0, secondary: None, inputs: vec![Some(Value::Float(x))] };
    let value = |rows: &[Row]| fold(&spec, rows).finish(&spec, &function).unwrap();
    let (first, last) = (at(i64::MIN, f64::MIN), at(i64::MAX - 1, f64::MAX));
    assert_eq!(value(&[first.clone(), last.clone()]), Some(Value::Float(f64::MAX)));
    assert_eq!(value(&[last, first.clone()]), Some(Value::Float(f64::MAX)));
    assert_eq!(value(&[first, at(i64::MIN, f64::MAX)]), Some(Value::Float(0.0)));
    assert_eq!(value(&[at(-5, 8.0), at(-4, 2.0)]), Some(Value::Float(4.0)));
}

#[test]
fn histogram_edges_are_those_of_width_bucket() {
    let rising = AggregateFunction::Histogram { low: 0.0, high: 1.0, buckets: 2 };
    let falling = AggregateFunction::Histogram { low: 1.0, high: 0.0, buckets: 2 };
    let numbers = [-0.1, 0.0, 0.49, 0.5, 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    assert_eq!(of_floats(rising, &numbers), Some(values([2, 2, 1, 3].map(Value::Int))));
    assert_eq!(of_floats(falling, &numbers), Some(values([2, 1, 2, 3].map(Value::Int))));
    let wide = AggregateFunction::Histogram { low: f64::MIN, high: f64::MAX, buckets: 2 };
    assert_eq!(of_floats(wide, &[-1e308, 1e308]), Some(values([0, 1, 1, 0].map(Value::Int))));
}

/// What NumPy 2.4 and SciPy 1.17 say of the same numbers.
#[test]
fn functions_agree_with_numpy_and_scipy() {
    let numbers = [2.0, 4.0, 4.0, 5.0, 7.0, 9.5, -3.25, 100.0];
    let about = |function: AggregateFunction, expected: f64| {
        let found = of_floats(function.clone(), &numbers);
        let Some(Value::Float(found)) = found else { panic!("{function:?} is {found:?}") };
        assert!(
            (found - expected).abs() <= 4.0 * f64::EPSILON * expected.abs(),
            "{function:?}: {found}, not {expected}"
        );
    };
    // scipy.stats.skew(x), scipy.stats.kurtosis(x)
    about(AggregateFunction::Skewness, 2.21335876505546);
    about(AggregateFunction::Kurtosis, 3.0095777782396205);
    // numpy.var(x), numpy.std(x, ddof=1)
    about(AggregateFunction::VarPop, 1019.3505859375);
    about(AggregateFunction::StddevSamp, 34.13168759692796);
    // numpy.percentile(x, 90)
    about(AggregateFunction::ApproxPercentile { p: 0.9, precision: 100 }, 36.649999999999984);
    // numpy.histogram(x, bins=4, range=(0, 10)) without the outsides: [1, 2, 2, 1]
    let histogram = AggregateFunction::Histogram { low: 0.0, high: 10.0, buckets: 4 };
    assert_eq!(of_floats(histogram, &numbers), Some(values([1, 1, 2, 2, 1, 1].map(Value::Int))));
}

#[test]
fn entropy_and_ewma_agree_with_numpy_and_scipy() {
    // scipy.stats.entropy([0.4, 0.3, 0.2, 0.1], base=2)
    let shares = [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 4.0];
    let Some(Value::Float(found)) = of_floats(AggregateFunction::Entropy, &shares) else { panic!("a number") };
    assert!((found - 1.8464393446710157).abs() < 1e-15, "{found}");
    assert_eq!(of_floats(AggregateFunction::Entropy, &[1.0, 2.0, 3.0, 4.0]), Some(Value::Float(2.0)));
    assert_eq!(of_floats(AggregateFunction::Entropy, &[7.0; 3]), Some(Value::Float(0.0)));
    // numpy.average([10, 20, 5, 40], weights=0.5 ** (numpy.array([300, 120, 60, 0]) / 60))
    let function = AggregateFunction::Ewma { half_life_us: 60 };
    let spec = PartialSpec::new(&function, &[DataType::Float64]).unwrap();
    let row = |(ts_us, x)| Row { ts_us, arrival: 0, secondary: None, inputs: vec![Some(Value::Float(x))] };
    let rows = [(0, 10.0), (180, 20.0), (240, 5.0), (300, 40.0)].map(row);
    let found = fold(&spec, &rows).finish(&spec, &function).unwrap();
    let Some(Value::Float(found)) = found else { panic!("{found:?}") };
    assert!((found - 26.842105263157894).abs() < 1e-14, "{found}");
}
