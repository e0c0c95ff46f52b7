//! What clients of the ingest server send, as JSON, and its records as rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use serde::Deserialize;

use crate::error::{Error, Kind, Result};
use crate::http::json::{Named, null_is_default, present, read_json};
use crate::http::refusal::{Answered, Refusal};
use crate::http::values::value_of;
use crate::row::{Value, array_of};
use crate::session::{Fault, LeftOut, Target};

/// Records that one request may have.
const MOST_RECORDS: usize = 50_000;

/// Fields may be written in snake_case, as Tecton's clients do, and in camelCase.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(alias = "workspaceName")]
    workspace_name: Option<String>,
    /// all is checked, and nothing stored
    #[serde(default, alias = "dryRun", deserialize_with = "null_is_default")]
    pub dry_run: bool,
    /// records that do not fit are left out, rather than to refuse all
    #[serde(default, deserialize_with = "null_is_default")]
    pub partial: bool,
    records: Option<Named<Vec<Record>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    record: Named,
}

impl Request {
    pub fn read(body: &[u8]) -> Answered<Request> {
        read_json(body)
    }

    pub fn workspace(&self) -> Answered<&str> {
        present(self.workspace_name.as_deref(), "workspace_name")
    }

    /// The records by the name of their relation, in the order of these names.
    pub fn into_records(self) -> Answered<Named<Vec<Record>>> {
        let records = self.records.ok_or_else(|| Refusal::bad_request("\"records\" is missing"))?;
        let count: usize = records.values().map(Vec::len).sum();
        match count {
            0 => Err(Refusal::bad_request("\"records\" has no record")),
            1..=MOST_RECORDS => Ok(records),
            _ => {
                let message = format!("\"records\" has {count} records, more than {MOST_RECORDS}");
                let error = Error::new(Kind::ConfigurationLimitExceeded, message);
                Err(error.with_hint("send the rest in another request").into())
            }
        }
    }
}

/// All columns that any of the records names.
pub fn column_names(records: &[Record]) -> BTreeSet<&str> {
    records.iter().flat_map(|record| record.record.keys().map(String::as_str)).collect()
}

/// The records as rows of the target, with their numbers, counted from one. Those that are none are noted as left out.
pub fn rows_of(records: Vec<Record>, target: &Target, left_out: &LeftOut) -> Result<(RecordBatch, Vec<u64>)> {
    let schema = target.nullable_schema();
    let mut columns: Vec<Vec<Option<Value>>> = vec![Vec::with_capacity(records.len()); target.columns.len()];
    let mut numbers = Vec::with_capacity(records.len());
    for (Record { record }, number) in records.into_iter().zip(1..) {
        match values_of_record(&record, target) {
            Ok(values) => {
                columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
                numbers.push(number);
            }
            Err(error) => left_out.add(Fault { number, refused: error.into() }),
        }
    }
    let arrays = columns.iter().zip(schema.fields());
    let arrays = arrays.map(|(values, field)| array_of(field.data_type(), values.iter().map(Option::as_ref)));
    let rows = RecordBatch::try_new(Arc::clone(&schema), arrays.collect::<Result<_>>()?)
        .map_err(|error| Error::internal("records do not fit their relation").with_source(error))?;
    Ok((rows, numbers))
}

/// The values of a record in the target's columns; one that it lacks is NULL.
fn values_of_record(record: &Named, target: &Target) -> Result<Vec<Option<Value>>> {
    if let Some(unknown) = record.keys().find(|name| !target.columns.iter().any(|column| column.name == **name)) {
        let names: Vec<&str> = target.columns.iter().map(|column| column.name.as_str()).collect();
        let message = format!("column \"{unknown}\" of relation \"{}\" does not exist", target.name);
        return Err(Error::new(Kind::UndefinedColumn, message).with_hint(format!("it has: {}", names.join(", "))));
    }
    let value = |column: &granary_catalog::Column| {
        let Some(json) = record.get(&column.name) else { return Ok(None) };
        value_of(json, &column.data_type)
            .map_err(|error| Error::new(error.kind(), format!("column \"{}\": {}", column.name, error.message())))
    };
    target.columns.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    fn refused(body: &str) -> u16 {
        let records = Request::read(body.as_bytes()).and_then(Request::into_records);
        records.map(|_| ()).unwrap_err().into_response().status().as_u16()
    }

    #[test]
    fn both_spellings_of_a_field_are_read() {
        for body in [
            r#"{"workspace_name": "w", "dry_run": true, "records": {"s": [{"record": {"k": 1}}]}}"#,
            r#"{"workspaceName": "w", "dryRun": true, "partial": null, "records": {"s": [{"record": {"k": 1}}]}}"#,
        ] {
            let request = Request::read(body.as_bytes()).unwrap();
            assert_eq!((request.workspace().unwrap(), request.dry_run, request.partial), ("w", true, false));
            assert_eq!(request.into_records().unwrap()["s"][0].record["k"], 1);
        }
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        for body in [
            "{",
            "{}",
            r#"{"records": {}}"#,
            r#"{"records": {"s": []}}"#,
            r#"{"records": {"s": [{}]}}"#,
            r#"{"records": {"s": [{"record": []}]}}"#,
            r#"{"records": {"s": [{"record": {}, "more": 1}]}}"#,
            r#"{"records": {"s": [{"record": {}}], "s": []}}"#,
            r#"{"records": {"s": [{"record": {"k": 1, "k": 2}}]}}"#,
            r#"{"dry": true, "records": {"s": [{"record": {}}]}}"#,
        ] {
            assert_eq!(refused(body), 400, "{body}");
        }
        let many = |count: usize| format!(r#"{{"records": {{"s": [{}]}}}}"#, vec![r#"{"record":{}}"#; count].join(","));
        assert_eq!(refused(&many(MOST_RECORDS + 1)), 400);
        assert!(Request::read(many(MOST_RECORDS).as_bytes()).and_then(Request::into_records).is_ok());
    }
}
