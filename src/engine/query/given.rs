//! Relations that are in no catalog: of one statement alone, or made up for a test.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{TableProvider, provider_as_source};
use datafusion::logical_expr::TableSource;
use granary_catalog::Object;

use super::QueryPlanner;
use crate::engine::made_up::MadeUp;
use crate::error::Result;

/// A relation that is in no catalog.
#[derive(Debug, Clone)]
pub struct GivenRelation {
    pub name: String,
    pub rows: Arc<dyn TableProvider>,
    /// as they were declared, as far as that is known
    pub columns: Vec<granary_catalog::Column>,
}

impl QueryPlanner {
    /// `name` means a relation of this statement alone. No object may have it.
    pub fn with_relation(mut self, name: String, relation: Arc<dyn TableProvider>) -> Self {
        self.given.push(GivenRelation { name, rows: relation, columns: Vec::new() });
        self
    }

    /// The same of one whose columns were declared.
    pub fn with_given(mut self, relations: impl IntoIterator<Item = GivenRelation>) -> Self {
        self.given.extend(relations);
        self
    }

    /// The same of an empty one: what is written to, or whose columns an expression may name.
    pub fn with_columns(self, name: String, columns: SchemaRef) -> Self {
        self.with_relation(name, Arc::new(EmptyTable::new(columns)))
    }

    /// Relations have these rows, and no others.
    pub fn with_made_up(mut self, rows: Arc<MadeUp>) -> Self {
        self.made_up = Some(rows);
        self
    }

    /// What a relation has in a test; `None` outside of one, and of a relation that stands on others.
    pub(in crate::engine) fn made_up(&self, object: &Object) -> Result<Option<Arc<dyn TableProvider>>> {
        self.made_up.as_ref().map_or(Ok(None), |rows| rows.rows(object))
    }

    /// Whether a test runs.
    pub(in crate::engine) fn is_made_up(&self) -> bool {
        self.made_up.is_some()
    }

    /// A relation of this statement alone.
    pub(in crate::engine) fn given(&self, reference: &TableReference) -> Option<Arc<dyn TableSource>> {
        self.given_relation(reference).map(|given| provider_as_source(Arc::clone(&given.rows)))
    }

    pub(in crate::engine) fn given_relation(&self, reference: &TableReference) -> Option<&GivenRelation> {
        self.given.iter().find(|given| given.name == reference.table() && reference.schema().is_none())
    }
}
