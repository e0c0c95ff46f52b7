//! What every function is, computed from the rows at hand in the most obvious way.

use std::collections::BTreeMap;

use super::*;

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub ts_us: i64,
    pub arrival: i64,
    pub secondary: Option<Value>,
    /// One input, or two for arg_max and arg_min.
    pub inputs: Vec<Option<Value>>,
}

/// What a function must give.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    Exactly(Option<Value>),
    /// A float that may differ by so much.
    About(f64, f64),
    /// Some estimate of a count.
    CountAbout(i64),
    OutOfRange,
}

fn null() -> Expected {
    Expected::Exactly(None)
}

fn float(value: f64) -> Expected {
    Expected::Exactly(Some(Value::Float(value)))
}

fn int(value: usize) -> Expected {
    Expected::Exactly(Some(Value::Int(value as i64)))
}

pub fn number(value: &Value, data_type: &DataType) -> f64 {
    match (value, data_type) {
        (Value::Float(value), _) => *value,
        (Value::Int(value), _) => *value as f64,
        (Value::Decimal(value), DataType::Decimal128(_, scale)) => *value as f64 / 10f64.powi((*scale).into()),
        _ => panic!("{value:?} is not a number"),
    }
}

pub fn expected(function: &AggregateFunction, types: &[DataType], rows: &[Row]) -> Expected {
    use AggregateFunction::*;
    let mut rows: Vec<&Row> = rows.iter().filter(|row| row.inputs.iter().all(Option::is_some)).collect();
    rows.sort_by_key(|row| (row.ts_us, row.arrival));
    let values: Vec<Value> = rows.iter().map(|row| row.inputs[0].clone().unwrap()).collect();
    let of_some = |value: Option<&Value>| Expected::Exactly(value.cloned());
    let list = |values: Vec<Value>| Expected::Exactly(Some(super::values(values)));
    let numbers = || values.iter().map(|value| number(value, &types[0])).collect::<Vec<f64>>();
    match *function {
        Count => int(values.len()),
        Sum => sum(&types[0], &values),
        Avg => average(&types[0], &values),
        Min | BoolAnd => of_some(values.iter().min()),
        Max | BoolOr => of_some(values.iter().max()),
        VarPop | VarSamp | StddevPop | StddevSamp | Skewness | Kurtosis => moments(function, &numbers()),
        Last => of_some(values.last()),
        First => of_some(values.first()),
        LastN { n } => list(values[values.len().saturating_sub(n as usize)..].to_vec()),
        FirstN { n } => list(values.into_iter().take(n as usize).collect()),
        LastDistinct { n } => {
            let mut found: Vec<Value> = Vec::new();
            for value in values.iter().rev() {
                if !found.contains(value) && found.len() < n as usize {
                    found.insert(0, value.clone());
                }
            }
            list(found)
        }
        FirstDistinct { n } => {
            let mut found: Vec<Value> = Vec::new();
            for value in &values {
                if !found.contains(value) && found.len() < n as usize {
                    found.push(value.clone());
                }
            }
            list(found)
        }
        CountDistinct => int(counts(&values).len()),
        ApproxCountDistinct { .. } => Expected::CountAbout(counts(&values).len() as i64),
        ApproxPercentile { p, .. } => percentile(numbers(), p),
        Mode => of_some(most_frequent(&values).first()),
        TopK { k } => list(most_frequent(&values).into_iter().take(k as usize).collect()),
        Entropy if values.is_empty() => null(),
        Entropy => {
            let shares = counts(&values).into_values().map(|count| count as f64 / values.len() as f64);
            Expected::About(shares.map(|share| -share * share.log2()).sum(), 1e-12)
        }
        ArgMax | ArgMin => {
            let by = |row: &&Row| row.inputs[1].clone().unwrap();
            let best = if *function == ArgMax { rows.iter().map(by).max() } else { rows.iter().map(by).min() };
            let winner = rows.iter().rev().find(|row| Some(by(row)) == best);
            Expected::Exactly(winner.and_then(|row| row.inputs[0].clone()))
        }
        Ewma { half_life_us } => ewma(&rows, &numbers(), half_life_us),
        Histogram { .. } if values.is_empty() => list(Vec::new()),
        Histogram { low, high, buckets } => {
            let mut bars = vec![0; buckets as usize + 2];
            for number in numbers() {
                bars[width_bucket(number, low, high, buckets) as usize] += 1;
            }
            list(bars.into_iter().map(Value::Int).collect())
        }
    }
}

fn counts(values: &[Value]) -> BTreeMap<Value, usize> {
    let mut counts = BTreeMap::new();
    values.iter().for_each(|value| *counts.entry(value.clone()).or_default() += 1);
    counts
}

fn most_frequent(values: &[Value]) -> Vec<Value> {
    let mut pairs: Vec<(Value, usize)> = counts(values).into_iter().collect();
    pairs.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then(a.cmp(b)));
    pairs.into_iter().map(|(value, _)| value).collect()
}

fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64)
}

fn floats(values: &[Value]) -> Vec<f64> {
    values.iter().map(|value| number(value, &DataType::Float64)).collect()
}

fn integer_sum(values: &[Value]) -> i128 {
    let integers = values.iter().map(|value| match value {
        Value::Int(value) => i128::from(*value),
        Value::Decimal(value) => *value,
        _ => panic!("{value:?} is not an integer"),
    });
    integers.sum()
}

fn sum(data_type: &DataType, values: &[Value]) -> Expected {
    if values.is_empty() {
        return null();
    }
    if is_float(data_type) {
        return float(exact_sum::sum(&floats(values)));
    }
    let total = integer_sum(values);
    match data_type {
        DataType::Decimal128(_, _) => Expected::Exactly(Some(Value::Decimal(total))),
        _ => i64::try_from(total).map_or(Expected::OutOfRange, |total| Expected::Exactly(Some(Value::Int(total)))),
    }
}

fn average(data_type: &DataType, values: &[Value]) -> Expected {
    if values.is_empty() {
        return null();
    }
    let total = match data_type {
        _ if is_float(data_type) => exact_sum::sum(&floats(values)),
        _ => number(
            &Value::Decimal(integer_sum(values)),
            &match data_type {
                DataType::Decimal128(_, _) => data_type.clone(),
                _ => DataType::Decimal128(38, 0),
            },
        ),
    };
    let mean = total / values.len() as f64;
    if mean.is_finite() { Expected::About(mean, mean.abs() * 1e-14) } else { float(mean) }
}

fn moments(function: &AggregateFunction, numbers: &[f64]) -> Expected {
    let count = numbers.len() as f64;
    let mean = exact_sum::sum(numbers) / count;
    let power = |power: i32| exact_sum::sum(&numbers.iter().map(|x| (x - mean).powi(power)).collect::<Vec<_>>());
    let (m2, all_equal) = (power(2), numbers.iter().all(|x| *x == numbers[0]));
    let value = match function {
        AggregateFunction::VarPop | AggregateFunction::StddevPop if numbers.is_empty() => return null(),
        AggregateFunction::VarSamp | AggregateFunction::StddevSamp if numbers.len() < 2 => return null(),
        AggregateFunction::VarPop => m2 / count,
        AggregateFunction::VarSamp => m2 / (count - 1.0),
        AggregateFunction::StddevPop => (m2 / count).sqrt(),
        AggregateFunction::StddevSamp => (m2 / (count - 1.0)).sqrt(),
        _ if numbers.is_empty() => return null(),
        _ if all_equal && mean.is_finite() => return null(),
        AggregateFunction::Skewness => (power(3) / count) / (m2 / count).powf(1.5),
        _ => (power(4) / count) / (m2 / count).powi(2) - 3.0,
    };
    if value.is_nan() { float(value) } else { Expected::About(value, 1e-9 * value.abs().max(1e-3)) }
}

/// percentile_cont over the finite values.
pub fn percentile(numbers: Vec<f64>, p: f64) -> Expected {
    let mut numbers: Vec<f64> = numbers.into_iter().filter(|x| x.is_finite()).collect();
    numbers.sort_by(f64::total_cmp);
    if numbers.is_empty() {
        return null();
    }
    let place = p * (numbers.len() - 1) as f64;
    let (low, high) = (numbers[place.floor() as usize], numbers[place.ceil() as usize]);
    let value = low + (high - low) * place.fract();
    Expected::About(value, 1e-12 * value.abs())
}

fn ewma(rows: &[&Row], numbers: &[f64], half_life_us: i64) -> Expected {
    let Some(newest) = rows.iter().map(|row| row.ts_us).max() else { return null() };
    let weight = |row: &&Row| 0.5f64.powf((newest - row.ts_us) as f64 / half_life_us as f64);
    let weights: f64 = rows.iter().map(weight).sum();
    let weighted: f64 = rows.iter().zip(numbers).map(|(row, x)| weight(row) * x).sum();
    let greatest = numbers.iter().fold(0.0, |greatest: f64, x| greatest.max(x.abs()));
    let value = weighted / weights;
    if value.is_finite() { Expected::About(value, 1e-12 * greatest) } else { float(value) }
}

/// PostgreSQL's width_bucket, for NaN 1 + the last.
fn width_bucket(x: f64, low: f64, high: f64, buckets: u32) -> i64 {
    let buckets = i64::from(buckets);
    if low > high {
        return if x.is_nan() { 0 } else { width_bucket(-x, -low, -high, buckets as u32) };
    }
    match x {
        _ if x.is_nan() || x >= high => buckets + 1,
        _ if x < low => 0,
        _ => ((x - low) * buckets as f64 / (high - low)).floor() as i64 + 1,
    }
}

/// Whether `found` is what was expected.
pub fn agrees(expected: &Expected, found: &crate::error::Result<Option<Value>>) -> bool {
    match (expected, found) {
        (Expected::OutOfRange, Err(error)) => error.sqlstate() == "22003",
        (Expected::Exactly(expected), Ok(found)) => expected == found,
        (Expected::About(expected, by), Ok(Some(Value::Float(found)))) => (expected - found).abs() <= *by,
        (Expected::CountAbout(count), Ok(Some(Value::Int(found)))) => {
            let allowed = (4.0 * 1.04 / 16.0 * *count as f64).max(2.0);
            (*found - *count).abs() as f64 <= allowed
        }
        _ => false,
    }
}
