//! The aggregate functions of features, with their parameters. What they compute is not known here.

use serde::{Deserialize, Serialize};

use super::exact_float;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AggregateFunction {
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
    LastN {
        n: u32,
    },
    FirstN {
        n: u32,
    },
    LastDistinct {
        n: u32,
    },
    FirstDistinct {
        n: u32,
    },
    CountDistinct,
    ApproxCountDistinct {
        precision: u8,
    },
    /// `median(x)` is this with `p = 0.5`.
    ApproxPercentile {
        #[serde(with = "exact_float")]
        p: f64,
        precision: u32,
    },
    BoolAnd,
    BoolOr,
    Mode,
    ArgMax,
    ArgMin,
    Entropy,
    Skewness,
    Kurtosis,
    Ewma {
        half_life_us: i64,
    },
    TopK {
        k: u32,
    },
    Histogram {
        #[serde(with = "exact_float")]
        low: f64,
        #[serde(with = "exact_float")]
        high: f64,
        buckets: u32,
    },
}

impl AggregateFunction {
    /// The function's name in SQL.
    pub fn name(&self) -> &'static str {
        match self {
            AggregateFunction::Count => "count",
            AggregateFunction::Sum => "sum",
            AggregateFunction::Avg => "avg",
            AggregateFunction::Min => "min",
            AggregateFunction::Max => "max",
            AggregateFunction::VarPop => "var_pop",
            AggregateFunction::VarSamp => "var_samp",
            AggregateFunction::StddevPop => "stddev_pop",
            AggregateFunction::StddevSamp => "stddev_samp",
            AggregateFunction::Last | AggregateFunction::LastN { .. } => "last",
            AggregateFunction::First | AggregateFunction::FirstN { .. } => "first",
            AggregateFunction::LastDistinct { .. } => "last_distinct",
            AggregateFunction::FirstDistinct { .. } => "first_distinct",
            AggregateFunction::CountDistinct => "count_distinct",
            AggregateFunction::ApproxCountDistinct { .. } => "approx_count_distinct",
            AggregateFunction::ApproxPercentile { .. } => "approx_percentile",
            AggregateFunction::BoolAnd => "bool_and",
            AggregateFunction::BoolOr => "bool_or",
            AggregateFunction::Mode => "mode",
            AggregateFunction::ArgMax => "arg_max",
            AggregateFunction::ArgMin => "arg_min",
            AggregateFunction::Entropy => "entropy",
            AggregateFunction::Skewness => "skewness",
            AggregateFunction::Kurtosis => "kurtosis",
            AggregateFunction::Ewma { .. } => "ewma",
            AggregateFunction::TopK { .. } => "top_k",
            AggregateFunction::Histogram { .. } => "histogram",
        }
    }
}
