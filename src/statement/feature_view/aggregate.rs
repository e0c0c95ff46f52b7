//! The call of an aggregate in FEATURES: which function it names, its columns, and the constants among its arguments.

use granary_catalog::AggregateFunction;
use granary_sql::name::fold;
use granary_sql::{AggregateCall, Arguments};
use sqlparser::ast::{Expr, UnaryOperator, Value};

use crate::error::{Error, Kind, Result};

/// The precision of approx_count_distinct without one.
const DEFAULT_HLL_PRECISION: u8 = 8;
const DEFAULT_PERCENTILE_PRECISION: u32 = 100;
const MAX_LIST_LENGTH: u64 = 1000;
const MAX_HISTOGRAM_BUCKETS: u64 = 1000;

/// The function that a call names, with its parameters, and the texts of its column arguments.
pub fn function(call: &AggregateCall) -> Result<(AggregateFunction, Vec<String>)> {
    let name = fold(&call.name);
    let arguments = match &call.arguments {
        Arguments::Star if name == "count" && !call.distinct => return Ok((AggregateFunction::Count, Vec::new())),
        Arguments::Star => return Err(no_function(&format!("{name}(*)"))),
        Arguments::List(arguments) => arguments,
    };
    if call.distinct && name != "count" {
        return Err(Error::not_supported(format!("{name}(DISTINCT …)")));
    }
    let parameters = Parameters { name: &name, arguments };
    let plain = |function| parameters.exactly(1).map(|()| (function, 1));
    let (function, columns) = match name.as_str() {
        "count" if call.distinct => plain(AggregateFunction::CountDistinct)?,
        "count" => plain(AggregateFunction::Count)?,
        "sum" => plain(AggregateFunction::Sum)?,
        "avg" | "mean" => plain(AggregateFunction::Avg)?,
        "min" => plain(AggregateFunction::Min)?,
        "max" => plain(AggregateFunction::Max)?,
        "var_pop" => plain(AggregateFunction::VarPop)?,
        "var_samp" | "variance" => plain(AggregateFunction::VarSamp)?,
        "stddev_pop" => plain(AggregateFunction::StddevPop)?,
        "stddev_samp" | "stddev" => plain(AggregateFunction::StddevSamp)?,
        "last" if arguments.len() == 1 => (AggregateFunction::Last, 1),
        "first" if arguments.len() == 1 => (AggregateFunction::First, 1),
        "last" => (AggregateFunction::LastN { n: parameters.length()? }, 1),
        "first" => (AggregateFunction::FirstN { n: parameters.length()? }, 1),
        "last_distinct" => (AggregateFunction::LastDistinct { n: parameters.length()? }, 1),
        "first_distinct" => (AggregateFunction::FirstDistinct { n: parameters.length()? }, 1),
        "count_distinct" => plain(AggregateFunction::CountDistinct)?,
        "approx_count_distinct" => {
            let precision = parameters.optional_integer(1, 4, 16)?;
            let precision = precision.map_or(Ok(DEFAULT_HLL_PRECISION), u8::try_from);
            let precision = precision.map_err(|_| Error::internal("a checked number does not fit"))?;
            (AggregateFunction::ApproxCountDistinct { precision }, 1)
        }
        "approx_percentile" => (parameters.percentile()?, 1),
        "median" => {
            parameters.exactly(1)?;
            (AggregateFunction::ApproxPercentile { p: 0.5, precision: DEFAULT_PERCENTILE_PRECISION }, 1)
        }
        "bool_and" | "every" => plain(AggregateFunction::BoolAnd)?,
        "bool_or" => plain(AggregateFunction::BoolOr)?,
        "mode" => plain(AggregateFunction::Mode)?,
        "arg_max" | "max_by" => parameters.exactly(2).map(|()| (AggregateFunction::ArgMax, 2))?,
        "arg_min" | "min_by" => parameters.exactly(2).map(|()| (AggregateFunction::ArgMin, 2))?,
        "entropy" => plain(AggregateFunction::Entropy)?,
        "skewness" => plain(AggregateFunction::Skewness)?,
        "kurtosis" => plain(AggregateFunction::Kurtosis)?,
        "ewma" => (AggregateFunction::Ewma { half_life_us: parameters.half_life()? }, 1),
        "top_k" => (AggregateFunction::TopK { k: parameters.length()? }, 1),
        "histogram" => (parameters.histogram()?, 1),
        _ => return Err(no_function(&name)),
    };
    Ok((function, arguments[..columns].iter().map(|argument| argument.text.clone()).collect()))
}

fn no_function(name: &str) -> Error {
    Error::new(Kind::UndefinedFunction, format!("feature aggregate {name} does not exist"))
        .with_hint("see the list of aggregates: count, sum, avg, min, max, stddev, last, first, approx_percentile, …")
}

/// Constants among the arguments of a call.
struct Parameters<'a> {
    name: &'a str,
    arguments: &'a [granary_sql::SqlText<Expr>],
}

impl Parameters<'_> {
    fn exactly(&self, n: usize) -> Result<()> {
        if self.arguments.len() == n { Ok(()) } else { Err(self.wrong(&format!("takes {n} argument(s)"))) }
    }

    fn wrong(&self, what: &str) -> Error {
        Error::new(Kind::InvalidParameterValue, format!("{} {what}", self.name))
    }

    fn number(&self, index: usize) -> Result<Option<f64>> {
        let Some(argument) = self.arguments.get(index) else { return Ok(None) };
        match number_of(&argument.ast) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(&format!("takes a number as argument {}, not {argument}", index + 1))),
        }
    }

    fn optional_integer(&self, index: usize, least: u64, most: u64) -> Result<Option<u64>> {
        if self.arguments.is_empty() || self.arguments.len() > index + 1 {
            return Err(self.wrong(&format!("takes up to {} arguments", index + 1)));
        }
        let Some(number) = self.number(index)? else { return Ok(None) };
        let is_whole = number.fract() == 0.0 && number >= least as f64 && number <= most as f64;
        if !is_whole {
            return Err(self.wrong(&format!("takes a whole number from {least} to {most} as argument {}", index + 1)));
        }
        Ok(Some(number as u64))
    }

    /// `n` of the n-forms.
    fn length(&self) -> Result<u32> {
        self.exactly(2)?;
        let n = self.optional_integer(1, 1, MAX_LIST_LENGTH)?.unwrap_or(1);
        u32::try_from(n).map_err(|_| Error::internal("a checked number does not fit"))
    }

    fn percentile(&self) -> Result<AggregateFunction> {
        if !(2..=3).contains(&self.arguments.len()) {
            return Err(self.wrong("takes a column, a number from 0 to 1, and perhaps a precision"));
        }
        let p = self.number(1)?.filter(|p| (0.0..=1.0).contains(p));
        let p = p.ok_or_else(|| self.wrong("takes a number from 0 to 1 as argument 2"))?;
        let precision = self.optional_integer(2, 20, 10_000)?;
        let precision = precision.and_then(|precision| u32::try_from(precision).ok());
        Ok(AggregateFunction::ApproxPercentile { p, precision: precision.unwrap_or(DEFAULT_PERCENTILE_PRECISION) })
    }

    fn half_life(&self) -> Result<i64> {
        self.exactly(2)?;
        let text = self.arguments.get(1).and_then(|argument| text_of(&argument.ast));
        let text = text.ok_or_else(|| self.wrong("takes an interval as argument 2, such as '1 day'"))?;
        let interval = granary_sql::interval::parse_interval(&text)
            .map_err(|error| self.wrong(&format!("takes an interval as argument 2: {error}")))?;
        if interval.microseconds <= 0 {
            return Err(self.wrong("takes a half-life longer than zero"));
        }
        Ok(interval.microseconds)
    }

    fn histogram(&self) -> Result<AggregateFunction> {
        self.exactly(4)?;
        let (low, high) = (self.number(1)?, self.number(2)?);
        let buckets = self.optional_integer(3, 1, MAX_HISTOGRAM_BUCKETS)?;
        match (low, high, buckets.and_then(|buckets| u32::try_from(buckets).ok())) {
            (Some(low), Some(high), Some(buckets)) if low < high => {
                Ok(AggregateFunction::Histogram { low, high, buckets })
            }
            _ => Err(self.wrong("takes a low bound below its high bound")),
        }
    }
}

fn number_of(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.to_string().parse().ok(),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Some(-number_of(expr)?),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } | Expr::Nested(expr) => number_of(expr),
        _ => None,
    }
}

fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        Expr::Interval(interval) => text_of(&interval.value),
        Expr::Nested(expr) => text_of(expr),
        _ => None,
    }
}
