//! Rows that are made up for a test, in the place of those that relations have.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::datasource::{MemTable, TableProvider};
use granary_catalog::{Column, Object, ObjectId, Source, SourceDefinition};

use crate::error::{Error, Kind, Result};

/// The rows of relations while a test runs. Every source, stream, table and dataset without any is empty.
#[derive(Debug, Default)]
pub struct MadeUp(HashMap<ObjectId, Vec<RecordBatch>>);

impl MadeUp {
    /// Gives a relation rows, whose columns have the names of its own; those that are not there are NULL. Errors: a
    /// column that it does not have, a value that does not become one of its type, a relation that has no rows of its own.
    pub fn give(&mut self, object: &Object, rows: &[RecordBatch], names: &[String]) -> Result<()> {
        let columns = own_columns(object).ok_or_else(|| {
            let message =
                format!("rows cannot be given to \"{}\", which is a {}", object.name(), object.kind().as_str());
            Error::new(Kind::WrongObjectType, message)
                .with_hint("give them to the sources, streams and tables behind it")
        })?;
        if let Some(unknown) = names.iter().find(|name| columns.iter().all(|column| column.name != **name)) {
            let message = format!("column \"{unknown}\" of relation \"{}\" does not exist", object.name());
            return Err(Error::new(Kind::UndefinedColumn, message));
        }
        let schema = schema_of(columns);
        let made = rows.iter().map(|batch| {
            let arrays = schema.fields().iter().map(|field| match names.iter().position(|name| name == field.name()) {
                Some(place) => cast(batch.column(place), field.data_type()).map_err(Error::from),
                None => Ok(datafusion::arrow::array::new_null_array(field.data_type(), batch.num_rows())),
            });
            Ok(RecordBatch::try_new(Arc::clone(&schema), arrays.collect::<Result<Vec<_>>>()?)?)
        });
        let made = made.collect::<Result<Vec<_>>>()?;
        self.0.insert(object.id(), made);
        Ok(())
    }

    /// What a relation has while the test runs; `None` of one that stands on others.
    pub(in crate::engine) fn rows(&self, object: &Object) -> Result<Option<Arc<dyn TableProvider>>> {
        let given = self.0.get(&object.id());
        let is_query = matches!(object, Object::Source(Source { definition: SourceDefinition::Query { .. }, .. }));
        match own_columns(object) {
            Some(columns) if given.is_some() || !is_query => {
                let rows = given.cloned().unwrap_or_default();
                Ok(Some(Arc::new(MemTable::try_new(schema_of(columns), vec![rows])?)))
            }
            _ => Ok(None),
        }
    }
}

/// The columns in which rows can be given to a relation, in order.
pub fn own_columns(object: &Object) -> Option<&[Column]> {
    match object {
        Object::Source(source) => Some(&source.columns),
        Object::Stream(stream) => Some(&stream.columns),
        Object::Table(table) => Some(&table.columns),
        Object::Dataset(dataset) => Some(&dataset.newest.columns),
        _ => None,
    }
}

fn schema_of(columns: &[Column]) -> SchemaRef {
    let field = |column: &Column| Field::new(&column.name, column.data_type.clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}
