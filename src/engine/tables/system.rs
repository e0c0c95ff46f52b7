//! The system views of schema `granary`, computed from the catalog and the ledger when a query is planned.

use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::datasource::TableProvider;

use crate::engine::query::QueryPlanner;
use crate::error::{Error, Kind, Result};

/// Schemas whose relations are not objects of the catalog.
pub fn is_system_schema(schema: Option<&str>) -> bool {
    matches!(schema, Some("granary" | "pg_catalog" | "information_schema"))
}

/// The system view of that name; None for a name outside of the system schemas.
pub fn table(_planner: &QueryPlanner, reference: &TableReference) -> Result<Option<Arc<dyn TableProvider>>> {
    if !is_system_schema(reference.schema()) {
        return Ok(None);
    }
    let name = format!("{}.{}", reference.schema().unwrap_or_default(), reference.table());
    Err(Error::new(Kind::UndefinedTable, format!("relation \"{name}\" does not exist")))
}
