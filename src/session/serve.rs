//! Prepared lookups: statements that are answered out of the online store without a planner.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::DataType;
use granary_catalog::Version;
use granary_sql::Statement;

use super::{Description, PreparedInner, Session};
use crate::engine::{Serving, Shape};
use crate::error::Result;
use crate::row::Value;
use crate::statement::Response;

/// So many keys are looked up on the client's own thread, which others wait for meanwhile.
const MOST_KEYS_AT_ONCE: usize = 256;

/// A statement in the form of a lookup, and what it was last bound to.
#[derive(Debug)]
pub struct PreparedLookup {
    shape: Shape,
    /// the types that the client has said
    declared: Vec<Option<DataType>>,
    bound: Mutex<Bound>,
}

/// What a lookup is, as long as neither the catalog nor a setting of the session changes.
#[derive(Debug, Clone)]
struct Bound {
    version: Version,
    settings: u64,
    /// `None` where it needs a planner all the same
    serving: Option<Arc<Serving>>,
}

impl PreparedLookup {
    /// `None` where a planner has to describe the statement.
    pub fn description(&self) -> Option<Description> {
        let bound = self.bound().serving?;
        Some(Description { parameters: bound.parameters.clone(), columns: Some(Arc::clone(&bound.columns)) })
    }

    /// How many keys are asked for at most, of those that are named.
    fn most_keys(&self, parameters: &[(DataType, Option<Value>)]) -> usize {
        self.shape.most_keys(|number| match parameters.get(number) {
            Some((_, Some(Value::List(items)))) => items.len(),
            _ => 1,
        })
    }

    fn bound(&self) -> Bound {
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
        let bound = Mutex::new(self.bind_lookup(&shape, declared, sql).await?);
        Ok(Some(PreparedLookup { shape, declared: declared.to_vec(), bound }))
    }

    async fn bind_lookup(&self, shape: &Shape, declared: &[Option<DataType>], text: &str) -> Result<Bound> {
        let planner = self.context(text).planner();
        let serving = Serving::bind(&planner, shape, declared).await?.map(Arc::new);
        Ok(Bound { version: planner.scope.snapshot.version(), settings: self.settings.revision(), serving })
    }

    /// The answer of a prepared lookup; `None` where the statement needs a planner.
    pub(super) async fn look_up(
        &self,
        prepared: &PreparedInner,
        parameters: &[(DataType, Option<Value>)],
    ) -> Result<Option<Response>> {
        let Some(lookup) = &prepared.lookup else { return Ok(None) };
        // what the transaction has changed only a planner sees
        if self.transaction.working().is_some() {
            return Ok(None);
        }
        let Some(bound) = self.newest(lookup, prepared).await? else { return Ok(None) };
        let now_us = self.transaction.now_us().unwrap_or_else(|| self.warehouse.clock.now_us());
        let rows = if lookup.most_keys(parameters) > MOST_KEYS_AT_ONCE {
            let parameters = parameters.to_vec();
            let serving = Arc::clone(&bound);
            self.warehouse.engine.work(async move { serving.serve(&parameters, now_us) }).await??
        } else {
            bound.serve(parameters, now_us)?
        };
        Ok(rows.map(|rows| Response::Found { schema: Arc::clone(&bound.columns), rows }))
    }

    /// The lookup as names mean it now; `None` if it shows other columns than were described.
    async fn newest(&self, lookup: &PreparedLookup, prepared: &PreparedInner) -> Result<Option<Arc<Serving>>> {
        let version = self.warehouse.catalog.snapshot().version();
        let mut bound = lookup.bound();
        if bound.version != version || bound.settings != self.settings.revision() {
            bound = self.bind_lookup(&lookup.shape, &lookup.declared, &prepared.text).await?;
            *lookup.bound.lock().unwrap_or_else(PoisonError::into_inner) = bound.clone();
        }
        Ok(bound.serving.filter(|serving| Some(&serving.columns) == prepared.description.columns.as_ref()))
    }
}
