//! Stored states are a promise: the bytes of format 1 are fixed, and damage is an error.

use proptest::prelude::*;

use super::*;
use crate::error::Kind;

fn example(function: &AggregateFunction, types: &[DataType]) -> (PartialSpec, Partial) {
    let spec = PartialSpec::new(function, types).unwrap();
    let mut partial = spec.empty();
    for (arrival, number) in [1.5, -2.0, 0.1, 1.5].into_iter().enumerate() {
        let value = |data_type: &DataType| match data_type {
            DataType::Utf8 => text(&format!("v{number}")),
            DataType::Boolean => Value::Bool(number > 0.0),
            DataType::Float64 => Value::Float(number),
            DataType::Decimal128(_, _) => Value::Decimal((number * 100.0) as i128),
            _ => Value::Int((number * 10.0) as i64),
        };
        let inputs: Vec<Option<Value>> = types.iter().map(|data_type| Some(value(data_type))).collect();
        let order = Order { ts_us: 1000 * number as i64, arrival: arrival as i64 };
        partial.update(&spec, &inputs, order).unwrap();
    }
    (spec, partial)
}

fn examples() -> Vec<(AggregateFunction, PartialSpec, Partial)> {
    let mut examples = Vec::new();
    for data_type in [DataType::Float64, DataType::Int64, DataType::Utf8, DataType::Boolean, DataType::Decimal128(9, 2)]
    {
        for function in all_functions(&data_type) {
            let (spec, partial) = example(&function, std::slice::from_ref(&data_type));
            examples.push((function, spec, partial));
        }
    }
    let (spec, partial) = example(&AggregateFunction::ArgMin, &[DataType::Utf8, DataType::Float64]);
    examples.push((AggregateFunction::ArgMin, spec, partial));
    examples
}

fn bytes(spec: &PartialSpec, partial: &Partial) -> Vec<u8> {
    let mut bytes = Vec::new();
    partial.encode(spec, &mut bytes);
    bytes
}

#[test]
fn cut_bytes_are_damage() {
    for (_, spec, partial) in examples() {
        let whole = bytes(&spec, &partial);
        for end in 1..whole.len() {
            let error = Partial::decode(&spec, &whole[..end]).unwrap_err();
            assert_eq!(error.kind(), Kind::DataCorrupted, "{spec:?} cut at {end}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(Partial::decode(&spec, &longer).unwrap_err().kind(), Kind::DataCorrupted, "{spec:?}");
        let mut newer = whole;
        newer[0] += 1;
        assert_eq!(Partial::decode(&spec, &newer).unwrap_err().kind(), Kind::DataCorrupted, "{spec:?}");
    }
}

#[test]
fn damaged_bytes_never_panic() {
    for (function, spec, partial) in examples() {
        let whole = bytes(&spec, &partial);
        let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
        check(300, damage, |damage| {
            let mut damaged = whole.clone();
            for (index, byte) in damage {
                let index = index.index(damaged.len());
                damaged[index] = byte;
            }
            // what still reads can be used, whatever it says
            if let Ok(mut read) = Partial::decode(&spec, &damaged) {
                let _ = read.finish(&spec, &function);
                read.merge(&spec, &partial).unwrap();
                let _ = read.finish(&spec, &function);
                let _ = bytes(&spec, &read);
            }
            Ok(())
        });
    }
}

#[test]
fn random_bytes_never_panic() {
    for (_, spec, partial) in examples() {
        let head = bytes(&spec, &partial)[..2].to_vec();
        check(200, prop::collection::vec(any::<u8>(), 0..80), |tail| {
            let _ = Partial::decode(&spec, &[head.clone(), tail].concat());
            Ok(())
        });
    }
}

/// Golden: a change here means that stored online rows can no longer be read.
#[test]
fn format_1_does_not_change() {
    use AggregateFunction::*;
    let float = vec![DataType::Float64];
    let functions = [
        (Count, float.clone()),
        (Sum, vec![DataType::Int64]),
        (Sum, float.clone()),
        (Max, float.clone()),
        (VarPop, float.clone()),
        (Kurtosis, float.clone()),
        (LastN { n: 2 }, float.clone()),
        (CountDistinct, float.clone()),
        (Mode, vec![DataType::Utf8]),
        (ApproxCountDistinct { precision: 8 }, float.clone()),
        (ApproxPercentile { p: 0.5, precision: 100 }, float.clone()),
        (ArgMin, vec![DataType::Utf8, DataType::Float64]),
        (Ewma { half_life_us: 1000 }, float.clone()),
        (Histogram { low: 0.0, high: 2.0, buckets: 2 }, float),
    ];
    let mut golden = GOLDEN.lines();
    for (function, types) in functions {
        let (spec, partial) = example(&function, &types);
        let hex: String = bytes(&spec, &partial).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(golden.next(), Some(&*format!("{} {hex}", function.name())));
    }
    assert_eq!(golden.next(), None);
}

const GOLDEN: &str = include_str!("../../../tests/data/partial_states_1.txt");

#[test]
fn columns_are_readable() {
    let columns = |function: AggregateFunction, data_type: DataType| {
        let spec = PartialSpec::new(&function, &[data_type]).unwrap();
        let fields = spec.state_fields("x").into_iter();
        fields.map(|field| format!("{} {}", field.name(), field.data_type())).collect::<Vec<_>>().join(", ")
    };
    use AggregateFunction::*;
    assert_eq!(columns(Count, DataType::Utf8), "x_count Int64");
    assert_eq!(columns(Avg, DataType::Int32), "x_count Int64, x_sum Decimal128(38, 0)");
    assert_eq!(columns(Min, DataType::Utf8), "x_min Utf8");
    assert_eq!(columns(StddevPop, DataType::Int32), "x_count Int64, x_mean Float64, x_m2 Float64");
    assert!(columns(LastN { n: 3 }, DataType::Utf8).starts_with("x_rows List(Struct("));
}

#[test]
fn columns_written_by_others_are_read() {
    use arrow::compute::cast;
    let (spec, partial) = example(&AggregateFunction::Min, &[DataType::Utf8]);
    let columns = states_to_arrays(&spec, std::slice::from_ref(&partial)).unwrap();
    let views: Vec<_> = columns.iter().map(|column| cast(column, &DataType::Utf8View).unwrap()).collect();
    assert_eq!(states_from_arrays(&spec, &views).unwrap(), [partial]);
    let (spec, _) = example(&AggregateFunction::Sum, &[DataType::Float64]);
    let null = arrow::array::new_null_array(&DataType::Int64, 1);
    let error = states_from_arrays(&spec, &[null.clone(), null.clone(), null.clone()]).unwrap_err();
    assert_eq!(error.kind(), Kind::DataCorrupted);
    assert_eq!(states_from_arrays(&spec, &[null]).unwrap_err().kind(), Kind::DataCorrupted);
}
