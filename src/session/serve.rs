//! Prepared lookups: statements that are answered out of the online store without a planner.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::DataType;
use granary_sql::Statement;

use super::{Description, PreparedInner, Session};
use crate::engine::{FromSource, Serving, Shape};
use crate::error::Result;
use crate::row::Value;
use crate::statement::Response;

/// A statement in the form of a lookup, and what it was last bound to.
#[derive(Debug)]
pub struct PreparedLookup {
    shape: Shape,
    /// the types that the client has said
    declared: Vec<Option<DataType>>,
    /// `None` where it needs a planner all the same
    bound: Mutex<Option<Arc<Serving>>>,
}

impl PreparedLookup {
    /// `None` where a planner has to describe the statement.
    pub fn description(&self) -> Option<Description> {
        let bound = self.bound()?;
        Some(Description { parameters: bound.parameters.clone(), columns: Some(Arc::clone(&bound.columns)) })
    }

    fn bound(&self) -> Option<Arc<Serving>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Session {
    pub(super) async fn prepare_lookup(
        &self,
        statement: &Statement,
        sql: &str,
        declared: &[Option<DataType>],
    ) -> Result<Option<PreparedLookup>> {
        let Statement::Query(query) = statement else { return Ok(None) };
        let Some(shape) = Shape::of(query.ast.as_ref()) else { return Ok(None) };
        if self.transaction.working().is_some() {
            return Ok(None);
        }
        let bound = Serving::bind(&self.context(sql).planner(), &shape, declared).await?;
        Ok(Some(PreparedLookup { shape, declared: declared.to_vec(), bound: Mutex::new(bound.map(Arc::new)) }))
    }

    /// The answer of a prepared lookup; `None` where the statement needs a planner.
    pub(super) async fn look_up(
        &self,
        prepared: &PreparedInner,
        parameters: &[(DataType, Option<Value>)],
    ) -> Result<Option<Response>> {
        let Some(lookup) = &prepared.lookup else { return Ok(None) };
        // what the transaction has changed only a planner sees
        if self.transaction.working().is_some() || self.settings.from_source() == FromSource::On {
            return Ok(None);
        }
        let Some(bound) = self.newest(lookup, prepared).await? else { return Ok(None) };
        let now_us = self.transaction.now_us().unwrap_or_else(|| self.warehouse.clock.now_us());
        let rows = bound.answer(parameters, now_us)?;
        Ok(rows.map(|rows| Response::Found { schema: Arc::clone(&bound.columns), rows }))
    }

    /// The lookup as names mean it now; `None` if it shows other columns than were described.
    async fn newest(&self, lookup: &PreparedLookup, prepared: &PreparedInner) -> Result<Option<Arc<Serving>>> {
        let version = self.warehouse.catalog.snapshot().version();
        let search_path = self.settings.search_path(&self.user);
        let is_newest = |bound: &Arc<Serving>| bound.version == version && bound.search_path == search_path;
        if let Some(bound) = lookup.bound().filter(is_newest) {
            return Ok(Some(bound));
        }
        let planner = self.context(&prepared.text).planner();
        let bound = Serving::bind(&planner, &lookup.shape, &lookup.declared).await?.map(Arc::new);
        *lookup.bound.lock().unwrap_or_else(PoisonError::into_inner) = bound.clone();
        Ok(bound.filter(|bound| Some(&bound.columns) == prepared.description.columns.as_ref()))
    }
}
