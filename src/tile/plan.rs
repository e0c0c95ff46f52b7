//! What a feature view computes, as plain data: its timing, the states it keeps, and its features over them.

use std::ops::Range;

use arrow::datatypes::DataType;

use super::spec::{PartialSpec, is_list_valued, output_type};
use super::window::Timing;
use super::{AggregateFunction, Window};
use crate::error::{Error, Kind, Result};

/// The most windows in one series.
const MAX_SERIES_LENGTH: u64 = 10_000;

/// A feature view as the evaluators need it: aggregates (`partials` and `features`) or `attributes`, never both.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewPlan {
    pub timing: Timing,
    /// The type of the `AGGREGATE BY` column.
    pub secondary_key: Option<DataType>,
    pub partials: Vec<PartialSpec>,
    pub features: Vec<FeaturePlan>,
    pub attributes: Vec<DataType>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct FeaturePlan {
    /// Index into the plan's `partials`.
    pub partial: usize,
    pub function: AggregateFunction,
    pub window: Window,
    /// The feature's own type: with a secondary key or a series, the list of the function's type.
    pub data_type: DataType,
}

/// An aggregate feature as declared, with the columns that it reads: index and type of each input.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureInput {
    pub function: AggregateFunction,
    pub inputs: Vec<(usize, DataType)>,
    pub window: Window,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputColumn {
    /// The secondary keys present in the window, ascending.
    Keys { window: Window },
    /// Index into the plan's `features`.
    Feature { index: usize },
}

impl ViewPlan {
    /// A plan for attributes of these types.
    pub fn for_attributes(timing: Timing, attributes: Vec<DataType>) -> ViewPlan {
        ViewPlan { timing, secondary_key: None, partials: Vec::new(), features: Vec::new(), attributes }
    }

    /// A plan for aggregates, in which features share what state they can. Also gives, for each of its partials, the
    /// columns that it reads.
    ///
    /// Errors: as [`PartialSpec::new`]; `FeatureNotSupported` for what would be an array of arrays, or a series
    /// together with a secondary key.
    pub fn for_features(
        timing: Timing,
        secondary_key: Option<DataType>,
        declared: &[FeatureInput],
    ) -> Result<(ViewPlan, Vec<Vec<usize>>)> {
        let mut columns: Vec<Vec<usize>> = Vec::new();
        let mut plan =
            ViewPlan { timing, secondary_key, partials: Vec::new(), features: Vec::new(), attributes: Vec::new() };
        for FeatureInput { function, inputs, window } in declared {
            let (read, types): (Vec<usize>, Vec<DataType>) = inputs.iter().cloned().unzip();
            let spec = PartialSpec::new(function, &types)?;
            let data_type = feature_type(function, &types, window, plan.secondary_key.is_some())?;
            let same = |index: &usize| plan.partials[*index] == spec && columns[*index] == read;
            let partial = (0..plan.partials.len()).find(same).unwrap_or(plan.partials.len());
            if partial == plan.partials.len() {
                plan.partials.push(spec);
                columns.push(read);
            }
            plan.features.push(FeaturePlan { partial, function: function.clone(), window: *window, data_type });
        }
        Ok((plan, columns))
    }

    /// The plan with only those features whose places `kept` gives, and for each of its partials, its place in this one.
    pub fn with_features(&self, kept: impl IntoIterator<Item = usize>) -> (ViewPlan, Vec<usize>) {
        let mut places: Vec<usize> = Vec::new();
        let features = kept
            .into_iter()
            .map(|index| {
                let mut feature = self.features[index].clone();
                let known = places.iter().position(|place| *place == feature.partial);
                feature.partial = known.unwrap_or_else(|| {
                    places.push(feature.partial);
                    places.len() - 1
                });
                feature
            })
            .collect();
        let partials = places.iter().map(|place| self.partials[*place].clone()).collect();
        (ViewPlan { partials, features, ..self.clone() }, places)
    }

    /// The distinct windows, in order of first use.
    pub fn windows(&self) -> Vec<Window> {
        let mut windows = Vec::new();
        for feature in &self.features {
            if !windows.contains(&feature.window) {
                windows.push(feature.window);
            }
        }
        windows
    }

    /// The columns that [`super::evaluate_aggregates`] gives: the features as declared, and with a secondary key
    /// the keys of each window right before the first feature that uses the window.
    pub fn output_columns(&self) -> Vec<OutputColumn> {
        let mut columns = Vec::new();
        for (index, feature) in self.features.iter().enumerate() {
            let keys = OutputColumn::Keys { window: feature.window };
            if self.secondary_key.is_some() && !columns.contains(&keys) {
                columns.push(keys);
            }
            columns.push(OutputColumn::Feature { index });
        }
        columns
    }

    /// The types of [`ViewPlan::output_columns`]; of attributes, theirs.
    pub fn output_types(&self) -> Vec<DataType> {
        let key_type = self.secondary_key.as_ref();
        let type_of = |column: OutputColumn| match column {
            OutputColumn::Feature { index } => Some(self.features[index].data_type.clone()),
            OutputColumn::Keys { .. } => key_type.map(|key_type| DataType::new_list(key_type.clone(), true)),
        };
        self.attributes.iter().cloned().chain(self.output_columns().into_iter().filter_map(type_of)).collect()
    }

    /// Beyond these event times (or tile anchors) nothing is read to answer at `[first_us, last_us]`.
    pub fn reach(&self, first_us: i64, last_us: i64) -> Range<i64> {
        let timing = &self.timing;
        if !timing.kind.has_aggregates() {
            return timing.attribute_bounds(first_us).start_us..timing.attribute_bounds(last_us).end_us;
        }
        let windows = self.windows();
        let start_us = windows.iter().map(|window| timing.bounds(window, first_us).start_us).min();
        let end_us = windows.iter().map(|window| timing.bounds(window, last_us).end_us).max();
        start_us.unwrap_or(i64::MAX)..end_us.unwrap_or(i64::MIN)
    }

    /// The event times `[start, end)` that must be materialized to answer at `asked`: [`Timing::required_range`].
    pub fn required_range(&self, asked: impl IntoIterator<Item = i64>) -> Option<(i64, i64)> {
        self.timing.required_range(&self.windows(), asked)
    }
}

fn feature_type(
    function: &AggregateFunction,
    input_types: &[DataType],
    window: &Window,
    has_secondary_key: bool,
) -> Result<DataType> {
    let value_type = output_type(function, input_types)?;
    let is_series = matches!(window, Window::Series { .. });
    let around = match (is_series, has_secondary_key) {
        (false, false) => return Ok(value_type),
        (true, true) => return Err(Error::not_supported("SERIES together with AGGREGATE BY")),
        (true, false) => "SERIES",
        (false, true) => "AGGREGATE BY",
    };
    if window.series_len() > MAX_SERIES_LENGTH {
        let message = format!("a series has {} windows, the limit is {MAX_SERIES_LENGTH}", window.series_len());
        return Err(Error::new(Kind::ConfigurationLimitExceeded, message).with_hint("use a longer STEP"));
    }
    if is_list_valued(function) || matches!(value_type, DataType::List(_)) {
        return Err(Error::not_supported(format!("{}, an array, together with {around}", function.name()))
            .with_hint("use a function that gives one value, such as last(x)"));
    }
    Ok(DataType::new_list(value_type, true))
}
