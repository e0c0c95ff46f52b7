//! Which types functions take and give, and what they say to others.

use super::*;
use crate::error::Kind;

#[test]
fn output_types_are_those_of_the_law() {
    use AggregateFunction::*;
    let of = |function: AggregateFunction, input: DataType| output_type(&function, &[input]).unwrap();
    let list = |data_type| DataType::new_list(data_type, true);
    assert_eq!(of(Sum, DataType::Int16), DataType::Int64);
    assert_eq!(of(Sum, DataType::Float32), DataType::Float64);
    assert_eq!(of(Sum, DataType::Decimal128(10, 2)), DataType::Decimal128(38, 2));
    assert_eq!(of(Avg, DataType::Int64), DataType::Float64);
    assert_eq!(of(Min, DataType::Float32), DataType::Float32);
    assert_eq!(of(Max, timestamp()), timestamp());
    assert_eq!(of(Count, list(DataType::Utf8)), DataType::Int64);
    assert_eq!(of(Last, list(DataType::Utf8)), list(DataType::Utf8));
    assert_eq!(of(LastN { n: 2 }, DataType::Utf8), list(DataType::Utf8));
    assert_eq!(of(TopK { k: 2 }, DataType::Int32), list(DataType::Int32));
    assert_eq!(of(Histogram { low: 0.0, high: 1.0, buckets: 2 }, DataType::Int32), list(DataType::Int64));
    assert_eq!(output_type(&ArgMax, &[DataType::Utf8, DataType::Int64]).unwrap(), DataType::Utf8);
}

#[test]
fn finished_values_fit_the_output_type() {
    for data_type in super::functions::column_types() {
        for function in all_functions(&data_type) {
            let spec = PartialSpec::new(&function, std::slice::from_ref(&data_type)).unwrap();
            let output = output_type(&function, std::slice::from_ref(&data_type)).unwrap();
            let mut partial = spec.empty();
            let empty = partial.finish(&spec, &function).unwrap();
            assert_eq!(empty, empty_value(&function));
            let value = match &data_type {
                DataType::Boolean => Value::Bool(true),
                DataType::Utf8 => text("a"),
                DataType::Float32 | DataType::Float64 => Value::Float(1.5),
                DataType::Decimal128(_, _) => Value::Decimal(150),
                DataType::List(_) => values([text("a")]),
                _ => Value::Int(1),
            };
            partial.update(&spec, &[Some(value)], Order { ts_us: 0, arrival: 0 }).unwrap();
            let found = partial.finish(&spec, &function).unwrap();
            crate::row::array_of(&output, [found.as_ref(), empty.as_ref()]).unwrap();
        }
    }
}

#[test]
fn wrong_types_and_parameters_are_named() {
    use AggregateFunction::*;
    let refused = |function: AggregateFunction, types: &[DataType]| PartialSpec::new(&function, types).unwrap_err();
    let error = refused(Sum, &[DataType::Utf8]);
    assert_eq!(error.kind(), Kind::UndefinedFunction);
    assert_eq!(error.message(), "aggregate function sum(text) does not exist");
    assert!(error.hint().is_some());
    for (function, types) in [
        (BoolAnd, vec![DataType::Int64]),
        (Min, vec![DataType::new_list(DataType::Int64, true)]),
        (Min, vec![DataType::Binary]),
        (LastN { n: 2 }, vec![DataType::new_list(DataType::Int64, true)]),
        (ArgMax, vec![DataType::Int64]),
        (Sum, vec![DataType::Int64, DataType::Int64]),
        // not a type in which columns are stored
        (Sum, vec![DataType::UInt64]),
    ] {
        assert_eq!(refused(function, &types).kind(), Kind::UndefinedFunction, "{types:?}");
    }
    for function in [
        LastN { n: 0 },
        LastN { n: 1001 },
        TopK { k: 0 },
        ApproxCountDistinct { precision: 3 },
        ApproxCountDistinct { precision: 17 },
        ApproxPercentile { p: 1.5, precision: 100 },
        ApproxPercentile { p: f64::NAN, precision: 100 },
        Ewma { half_life_us: 0 },
        Histogram { low: 1.0, high: 1.0, buckets: 2 },
        Histogram { low: 0.0, high: f64::NAN, buckets: 2 },
        Histogram { low: 0.0, high: 1.0, buckets: 0 },
    ] {
        assert_eq!(refused(function.clone(), &[DataType::Int64]).kind(), Kind::InvalidParameterValue, "{function:?}");
    }
}

#[test]
fn states_are_shared() {
    use AggregateFunction::*;
    let percentile = |p| ApproxPercentile { p, precision: 100 };
    for (a, b, data_type) in [
        (Sum, Avg, DataType::Int64),
        (VarPop, StddevSamp, DataType::Int64),
        (Skewness, Kurtosis, DataType::Int64),
        (percentile(0.1), percentile(0.9), DataType::Int64),
        (Mode, Entropy, DataType::Utf8),
        (Mode, TopK { k: 3 }, DataType::Utf8),
        (BoolAnd, Min, DataType::Boolean),
    ] {
        let types = [data_type];
        assert_eq!(PartialSpec::new(&a, &types).unwrap(), PartialSpec::new(&b, &types).unwrap());
    }
    let types = [DataType::Int64];
    assert_ne!(PartialSpec::new(&Last, &types).unwrap(), PartialSpec::new(&First, &types).unwrap());
    assert_ne!(PartialSpec::new(&VarPop, &types).unwrap(), PartialSpec::new(&Kurtosis, &types).unwrap());
}

#[test]
fn sums_out_of_range_are_errors() {
    let function = AggregateFunction::Sum;
    let spec = PartialSpec::new(&function, &[DataType::Int64]).unwrap();
    let mut partial = spec.empty();
    let order = Order { ts_us: 0, arrival: 0 };
    for value in [i64::MAX, 1] {
        partial.update(&spec, &[Some(Value::Int(value))], order).unwrap();
    }
    let error = partial.finish(&spec, &function).unwrap_err();
    assert_eq!((error.sqlstate(), error.message()), ("22003", "bigint out of range"));
    assert!(partial.finish(&spec, &AggregateFunction::Avg).is_ok());
    partial.update(&spec, &[Some(Value::Int(-1))], order).unwrap();
    assert_eq!(partial.finish(&spec, &function).unwrap(), Some(Value::Int(i64::MAX)));

    let spec = PartialSpec::new(&function, &[DataType::Decimal128(38, 0)]).unwrap();
    let mut partial = spec.empty();
    for _ in 0..2 {
        partial.update(&spec, &[Some(Value::Decimal(10_i128.pow(38) - 1))], order).unwrap();
    }
    assert_eq!(partial.finish(&spec, &function).unwrap_err().kind(), Kind::NumericValueOutOfRange);
}

#[test]
fn null_in_either_input_is_ignored() {
    let function = AggregateFunction::ArgMax;
    let spec = PartialSpec::new(&function, &[DataType::Utf8, DataType::Int64]).unwrap();
    let mut partial = spec.empty();
    let order = Order { ts_us: 0, arrival: 0 };
    for inputs in [[None, Some(Value::Int(9))], [Some(text("a")), None], [None, None]] {
        partial.update(&spec, &inputs, order).unwrap();
    }
    assert_eq!(partial, spec.empty());
    partial.update(&spec, &[Some(text("b")), Some(Value::Int(1))], order).unwrap();
    assert_eq!(partial.finish(&spec, &function).unwrap(), Some(text("b")));
    assert_eq!(partial.update(&spec, &[None], order).unwrap_err().kind(), Kind::Internal);
}
