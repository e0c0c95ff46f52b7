//! A function that users have written in SQL: one expression over its arguments.

use arrow_schema::DataType;
use serde::{Deserialize, Serialize};

use super::Header;
use super::reference::{Reference, Wanted, each};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    pub header: Header,
    pub arguments: Vec<FunctionArgument>,
    pub returns: DataType,
    /// The expression, as typed.
    pub body: String,
    /// NULL, without a look at the expression, where any argument is NULL.
    pub strict: bool,
    /// As declared. What holds is what the expression calls.
    pub volatility: Volatility,
    /// The functions that the expression calls.
    pub depends_on: Vec<ObjectId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FunctionArgument {
    /// Without one the expression says `$1`, which may stand for a named one, too.
    #[serde(default)]
    pub name: Option<String>,
    pub data_type: DataType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Volatility {
    Immutable,
    Stable,
    #[default]
    Volatile,
}

impl Function {
    pub(crate) fn references(&self) -> Vec<Reference> {
        each(Wanted::Function, &self.depends_on).collect()
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.depends_on.iter_mut().for_each(map);
    }
}
