//! Builds the rows of a system relation by column name. A column that is not said is NULL, or what PostgreSQL has
//! there for "nothing" where NULL is not allowed: false, zero, no text.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit};

use super::layout::Relation;
use crate::error::{Error, Result};
use crate::row::{Value, array_of};

/// A cell; `None` is NULL.
#[derive(Debug, Clone)]
pub struct Cell(pub Option<Value>);

macro_rules! cell_of {
    ($($source:ty => |$value:ident| $make:expr;)*) => {
        $(impl From<$source> for Cell {
            fn from($value: $source) -> Cell {
                Cell(Some($make))
            }
        })*
    };
}

cell_of! {
    bool => |value| Value::Bool(value);
    i16 => |value| Value::Int(value.into());
    i32 => |value| Value::Int(value.into());
    i64 => |value| Value::Int(value);
    u32 => |value| Value::Int(value.into());
    u64 => |value| Value::Int(i64::try_from(value).unwrap_or(i64::MAX));
    usize => |value| Value::Int(i64::try_from(value).unwrap_or(i64::MAX));
    f64 => |value| Value::Float(value);
    &str => |value| Value::Text(value.into());
    Vec<u8> => |value| Value::Bytes(value.into());
    String => |value| Value::Text(value.into());
    &String => |value| Value::Text(value.as_str().into());
    Vec<String> => |value| Value::List(value.into_iter().map(|item| Some(Value::Text(item.into()))).collect());
    Vec<i64> => |value| Value::List(value.into_iter().map(|item| Some(Value::Int(item))).collect());
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell(None), Into::into)
    }
}

/// Rows in the making.
#[derive(Debug)]
pub struct Rows {
    pub relation: &'static Relation,
    prototype: Vec<Option<Value>>,
    columns: Vec<Vec<Option<Value>>>,
    n_rows: usize,
}

impl Rows {
    pub fn new(relation: &'static Relation) -> Rows {
        let prototype = relation
            .columns
            .iter()
            .zip(relation.arrow.fields())
            .map(|(column, field)| column.not_null.then(|| nothing(field.data_type())).flatten())
            .collect();
        Rows { relation, prototype, columns: vec![Vec::new(); relation.columns.len()], n_rows: 0 }
    }

    /// Adds a row. Columns that the relation lacks are left out: one description fits several relations.
    pub fn add(&mut self, cells: &[(&str, Cell)]) {
        for (column, value) in self.columns.iter_mut().zip(&self.prototype) {
            column.push(value.clone());
        }
        for (name, cell) in cells {
            if let Some(index) = self.relation.columns.iter().position(|column| column.name == *name) {
                self.columns[index][self.n_rows] = cell.0.clone();
            }
        }
        self.n_rows += 1;
    }

    /// Row by row.
    pub fn into_rows(self) -> Vec<Vec<Option<Value>>> {
        let mut columns: Vec<_> = self.columns.into_iter().map(Vec::into_iter).collect();
        (0..self.n_rows).map(|_| columns.iter_mut().map(|column| column.next().flatten()).collect()).collect()
    }

    pub fn finish(self) -> Result<RecordBatch> {
        let arrays = self
            .columns
            .iter()
            .zip(self.relation.arrow.fields())
            .map(|(values, field)| array(field.data_type(), values))
            .collect::<Result<Vec<ArrayRef>>>()?;
        RecordBatch::try_new(Arc::clone(&self.relation.arrow), arrays)
            .map_err(|error| Error::internal("rows of a system relation").with_source(error))
    }
}

fn array(data_type: &DataType, values: &[Option<Value>]) -> Result<ArrayRef> {
    if values.is_empty() {
        return Ok(new_null_array(data_type, 0));
    }
    match data_type {
        DataType::Duration(TimeUnit::Microsecond) => {
            let plain = array_of(&DataType::Int64, values.iter().map(Option::as_ref))?;
            cast(&plain, data_type).map_err(|error| Error::internal("a duration").with_source(error))
        }
        _ => array_of(data_type, values.iter().map(Option::as_ref)),
    }
}

fn nothing(data_type: &DataType) -> Option<Value> {
    match data_type {
        DataType::Boolean => Some(Value::Bool(false)),
        DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Duration(_) => Some(Value::Int(0)),
        DataType::Float32 | DataType::Float64 => Some(Value::Float(0.0)),
        DataType::Utf8 => Some(Value::Text("".into())),
        DataType::Binary => Some(Value::Bytes(Arc::new([]))),
        DataType::List(_) => Some(Value::List(Arc::new([]))),
        _ => None,
    }
}

/// `row!(rows, name: value, …)`
macro_rules! row {
    ($rows:expr, $($name:ident : $value:expr),* $(,)?) => {
        $rows.add(&[$((stringify!($name), $crate::engine::tables::system::rows::Cell::from($value))),*])
    };
}
pub(super) use row;
