//! What is kept of a run: figures that are small, for views and conditions. The sketches behind them are pieces.

use serde::{Deserialize, Serialize};

use super::column::ColumnProfile;
use super::drift::Drift;
use super::exact;
use super::profile::RowsProfile;

/// Which quantiles the figures have.
pub const QUANTILES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];
/// So many of the most frequent values are figures.
pub const TOP_VALUES: usize = 10;

/// One run of a view: its figures and what its expectations said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub view: u64,
    pub job: u64,
    /// the range; from `i64::MIN` if it has no beginning
    pub start_us: i64,
    pub end_us: i64,
    pub profiled_at_us: i64,
    pub rows: u64,
    pub keys: u64,
    pub keys_exact: bool,
    /// the job of the run that this one was compared with
    #[serde(default)]
    pub previous: Option<u64>,
    pub columns: Vec<ColumnFigures>,
    #[serde(default)]
    pub results: Vec<ExpectationResult>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnFigures {
    pub name: String,
    /// what of the run's range it was written for; all of it if there is none
    #[serde(default)]
    pub parts: Vec<(i64, i64)>,
    pub rows: u64,
    pub nulls: u64,
    pub zeros: Option<u64>,
    pub non_finite: Option<u64>,
    pub distinct: Option<u64>,
    pub distinct_exact: bool,
    #[serde(with = "exact::option")]
    pub min: Option<f64>,
    #[serde(with = "exact::option")]
    pub max: Option<f64>,
    #[serde(with = "exact::option")]
    pub mean: Option<f64>,
    #[serde(with = "exact::option")]
    pub stddev: Option<f64>,
    /// of [`QUANTILES`]; empty for what has none
    pub quantiles: Vec<Figure>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    #[serde(with = "exact::option")]
    pub mean_length: Option<f64>,
    pub top: Vec<(String, u64)>,
    /// the most by which a count of these may be too low
    pub top_error: u64,
    /// from the run before to this one
    #[serde(default)]
    pub drift: Option<Drift>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Figure(#[serde(with = "exact")] pub f64);

impl ColumnFigures {
    pub fn of(name: &str, column: &ColumnProfile, drift: Option<Drift>) -> ColumnFigures {
        let numbers = column.numbers();
        let lengths = column.lengths();
        let (top, top_error) = column.top(TOP_VALUES);
        let quantiles = QUANTILES.iter().filter_map(|p| numbers.and_then(|numbers| numbers.quantile(*p)).map(Figure));
        ColumnFigures {
            name: name.to_owned(),
            parts: Vec::new(),
            rows: column.rows,
            nulls: column.nulls,
            zeros: column.zeros(),
            non_finite: numbers.map(|numbers| numbers.non_finite()),
            distinct: column.distinct().map(|(count, _)| count),
            distinct_exact: column.distinct().is_some_and(|(_, exact)| exact),
            min: numbers.and_then(|numbers| numbers.min()),
            max: numbers.and_then(|numbers| numbers.max()),
            mean: numbers.and_then(|numbers| numbers.mean()),
            stddev: numbers.and_then(|numbers| numbers.stddev()),
            quantiles: quantiles.collect(),
            min_length: lengths.and_then(|lengths| lengths.min()),
            max_length: lengths.and_then(|lengths| lengths.max()),
            mean_length: lengths.and_then(|lengths| lengths.mean()),
            top,
            top_error,
            drift,
        }
    }

    /// Of all columns of a profile, beside those of the run before.
    pub fn of_rows(profile: &RowsProfile, previous: Option<&RowsProfile>) -> Vec<ColumnFigures> {
        let of = |(name, column): &(String, ColumnProfile)| {
            let before = previous.and_then(|previous| previous.column(name));
            ColumnFigures::of(name, column, before.and_then(|before| super::drift(before, column)))
        };
        profile.columns.iter().map(of).collect()
    }
}

/// What an expectation said of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpectationResult {
    /// the expectation's number in the catalog
    pub id: u64,
    pub name: String,
    pub check: String,
    pub severity: String,
    pub on_failure: String,
    /// None: there was nothing to say it of
    pub ok: Option<bool>,
    /// each figure that it names, with its value
    pub figures: Vec<(String, String)>,
    /// why it could not be told, if it could not
    #[serde(default)]
    pub error: Option<String>,
}
