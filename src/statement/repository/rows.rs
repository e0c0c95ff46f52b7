//! The rows that `granary.plan`, `granary.apply` and `granary.test` give.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use granary_catalog::{Column, Plan};
use serde_json::json;

use super::testing::Tested;
use crate::engine::{GivenRelation, memory_table};
use crate::error::{Error, Result};

/// Columns and their types; `json` is kept as text.
const PLAN: [(&str, &str); 13] = [
    ("plan", "int8"),
    ("action", "text"),
    ("kind", "text"),
    ("schema", "text"),
    ("name", "text"),
    ("renamed_from", "text"),
    ("changes", "json"),
    ("reason", "text"),
    ("jobs", "text"),
    ("estimated_rows", "int8"),
    ("warnings", "json"),
    ("file", "text"),
    ("message", "text"),
];

const TEST: [(&str, &str); 5] =
    [("schema", "text"), ("name", "text"), ("passed", "bool"), ("message", "text"), ("file", "text")];

fn columns(list: &[(&str, &str)]) -> Vec<Column> {
    let column = |(name, type_name): &(&str, &str)| {
        let data_type = match *type_name {
            "int8" => DataType::Int64,
            "bool" => DataType::Boolean,
            _ => DataType::Utf8,
        };
        let declared = (*type_name == "json").then(|| "json".to_owned());
        Column { declared, ..Column::new(*name, data_type, true) }
    };
    list.iter().map(column).collect()
}

fn schema(columns: &[Column]) -> SchemaRef {
    let field = |column: &Column| Field::new(&column.name, column.data_type.clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn relation(name: String, columns: Vec<Column>, arrays: Option<Vec<ArrayRef>>) -> Result<GivenRelation> {
    let schema = schema(&columns);
    let rows = arrays.map(|arrays| RecordBatch::try_new(Arc::clone(&schema), arrays)).transpose();
    let rows = rows.map_err(|error| Error::internal("the rows of a plan").with_source(error))?;
    Ok(GivenRelation { name, rows: memory_table(schema, Vec::from_iter(rows))?, columns })
}

/// No rows, in the columns of a plan.
pub fn no_plan(name: String) -> Result<GivenRelation> {
    relation(name, columns(&PLAN), None)
}

/// No rows, in the columns of tests.
pub fn no_tests(name: String) -> Result<GivenRelation> {
    relation(name, columns(&TEST), None)
}

/// A row for each object that differs.
pub fn of_plan(name: String, plan: &Plan) -> Result<GivenRelation> {
    let changes = &plan.new.changes;
    let texts = |text: &dyn Fn(&granary_catalog::PlannedChange) -> Option<String>| -> ArrayRef {
        Arc::new(changes.iter().map(text).collect::<StringArray>())
    };
    let number = i64::try_from(plan.id.0).map_err(|_| Error::internal("the numbers of plans have run out"))?;
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(changes.iter().map(|_| number))),
        texts(&|change| Some(change.action.as_str().to_owned())),
        texts(&|change| Some(change.kind.clone())),
        texts(&|change| Some(change.schema.clone())),
        texts(&|change| Some(change.name.clone())),
        texts(&|change| change.renamed_from.clone()),
        texts(&|change| Some(change.properties_json())),
        texts(&|change| change.reason.clone()),
        texts(&|change| change.jobs.clone()),
        Arc::new(changes.iter().map(|change| i64::try_from(change.estimated_rows?).ok()).collect::<Int64Array>()),
        texts(&|change| Some(json!(change.warnings).to_string())),
        texts(&|change| change.file.clone()),
        texts(&|_| plan.new.message.clone()),
    ];
    relation(name, columns(&PLAN), Some(arrays))
}

/// A row for each test.
pub fn of_tests(name: String, tests: &[Tested]) -> Result<GivenRelation> {
    let texts = |text: &dyn Fn(&Tested) -> Option<String>| -> ArrayRef {
        Arc::new(tests.iter().map(text).collect::<StringArray>())
    };
    let arrays: Vec<ArrayRef> = vec![
        texts(&|test| Some(test.schema.clone())),
        texts(&|test| Some(test.name.clone())),
        Arc::new(tests.iter().map(|test| Some(test.failure.is_none())).collect::<BooleanArray>()),
        texts(&|test| test.failure.clone()),
        texts(&|test| test.file.clone()),
    ];
    relation(name, columns(&TEST), Some(arrays))
}
