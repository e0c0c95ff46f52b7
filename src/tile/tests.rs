//! The algebra against the law's own examples, and against brute forces that a reader can check by eye.

mod block;
mod brute;
mod exact_sum;
mod functions;
mod known;
mod lifetime;
mod pyramid;
mod quantile;
mod sketch;
mod stored;
mod types;
mod vectors;
mod views;
mod windows;

use std::fmt::Debug;

use arrow::datatypes::{DataType, TimeUnit};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use super::*;
use crate::row::Value;

/// Runs `property` on `cases` inputs, the same ones every time.
fn check<S: Strategy>(cases: u32, strategy: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: Debug,
{
    let config = Config { cases, rng_seed: RngSeed::Fixed(42), failure_persistence: None, ..Config::default() };
    if let Err(failure) = TestRunner::new(config).run(&strategy, property) {
        panic!("{failure}");
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn values(values: impl IntoIterator<Item = Value>) -> Value {
    Value::List(values.into_iter().map(Some).collect())
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Every function (with a parameter or two) over every type of input that it takes.
fn all_functions(input: &DataType) -> Vec<AggregateFunction> {
    use AggregateFunction::*;
    let all = vec![
        Count,
        Sum,
        Avg,
        Min,
        Max,
        VarPop,
        VarSamp,
        StddevPop,
        StddevSamp,
        Last,
        First,
        LastN { n: 1 },
        LastN { n: 3 },
        FirstN { n: 3 },
        LastDistinct { n: 2 },
        LastDistinct { n: 1 },
        FirstDistinct { n: 3 },
        CountDistinct,
        ApproxCountDistinct { precision: 8 },
        ApproxPercentile { p: 0.5, precision: 100 },
        ApproxPercentile { p: 0.9, precision: 100 },
        ApproxPercentile { p: 0.0, precision: 100 },
        ApproxPercentile { p: 1.0, precision: 100 },
        BoolAnd,
        BoolOr,
        Mode,
        Entropy,
        Skewness,
        Kurtosis,
        Ewma { half_life_us: 7 },
        TopK { k: 2 },
        Histogram { low: -2.0, high: 3.0, buckets: 4 },
        Histogram { low: 3.0, high: -2.0, buckets: 4 },
    ];
    let takes = |function: &AggregateFunction| PartialSpec::new(function, std::slice::from_ref(input)).is_ok();
    all.into_iter().filter(takes).collect()
}
