//! In which tables a feature view's rows are stored, and with which columns. It is said only of a view that was defined
//! anew while its rows stayed: else its features say it, and there is one table.

use arrow_schema::DataType;
use serde::{Deserialize, Serialize};

use super::AggregateFunction;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewStorage {
    /// At least one; ascending by number.
    pub groups: Vec<ColumnGroup>,
    /// The number of the next group: none is used again while the view stays.
    pub next_group: u64,
    /// A row of the online store has its values in this order. So it only grows at its end.
    pub columns: Vec<StoredColumn>,
    /// The view's definition changed in what decides its rows, and its owner said that they are the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept_by_owner: bool,
}

/// One table: it has keys and times, and the columns of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnGroup {
    pub number: u64,
    /// Tells the table from all others that the view has had.
    pub fingerprint: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredColumn {
    pub value: StoredValue,
    /// `None`: it is stored nowhere any more, and only keeps the place of others.
    pub group: Option<u64>,
    /// No feature has needed it once, so rows may be stored that lack it: no feature can use it again.
    #[serde(default)]
    pub dropped: bool,
}

/// What is stored of a row, or of the rows of a tile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredValue {
    /// A column of the query.
    Column { column: String, data_type: DataType },
    /// An argument of an aggregate; of a counted one, whether it is there.
    Argument {
        #[serde(default)]
        sql: Option<String>,
        #[serde(default)]
        filter: Option<String>,
        #[serde(default)]
        counted: bool,
        data_type: DataType,
    },
    /// A state, which this function and maybe others are made of.
    State {
        function: AggregateFunction,
        inputs: Vec<String>,
        input_types: Vec<DataType>,
        #[serde(default)]
        filter: Option<String>,
    },
}
