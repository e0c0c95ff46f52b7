//! A feature: one named, typed value of a feature view, feature table or realtime view.

use arrow_schema::DataType;
use serde::{Deserialize, Serialize};

use super::{AggregateFunction, Window};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    pub name: String,
    pub data_type: DataType,
    #[serde(default)]
    pub comment: Option<String>,
    pub definition: FeatureDefinition,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureDefinition {
    /// The value of a column, as of a time.
    Attribute { column: String },
    /// A value over the rows of a window.
    Aggregate {
        function: AggregateFunction,
        /// The SQL text of each argument.
        inputs: Vec<String>,
        /// The type of each argument, so that stored states can be read without the source.
        #[serde(default)]
        input_types: Vec<DataType>,
        /// The SQL text of `FILTER (WHERE …)`.
        #[serde(default)]
        filter: Option<String>,
        window: Window,
    },
    /// Computed when it is asked for: the SQL text of a realtime view's expression.
    Expression { sql: String },
}

impl Feature {
    pub fn window(&self) -> Option<&Window> {
        match &self.definition {
            FeatureDefinition::Attribute { .. } | FeatureDefinition::Expression { .. } => None,
            FeatureDefinition::Aggregate { window, .. } => Some(window),
        }
    }
}
