//! Prepared lookups: statements that are answered out of the online store without a planner.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::DataType;
use granary_catalog::Version;
use granary_sql::Statement;
use sqlparser::ast;

use super::{Description, Parameter, PreparedInner, Session, TransactionStatus, parameters};
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
    /// the types that the client has said, or the statement
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
        Some(Description::of(bound.parameters.clone(), Some(Arc::clone(&bound.columns))))
    }

    /// How many keys are asked for at most, of those that are named.
    fn most_keys(&self, parameters: &[Parameter]) -> usize {
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
        if self.sees_own() {
            return Ok(None);
        }
        let declared = parameters::declared(query.ast.as_ref(), declared);
        // what a cast would change is for a planner
        let is_of_type = |(number, to): &(usize, ast::DataType)| parameters::is_of_type(declared[*number].as_ref(), to);
        if !shape.casts.iter().all(is_of_type) {
            return Ok(None);
        }
        let bound = Mutex::new(self.bind_lookup(&shape, &declared, sql).await?);
        Ok(Some(PreparedLookup { shape, declared, bound }))
    }

    async fn bind_lookup(&self, shape: &Shape, declared: &[Option<DataType>], text: &str) -> Result<Bound> {
        let planner = self.context(text).planner();
        let serving = Serving::bind(&planner, shape, declared).await?.map(Arc::new);
        Ok(Bound { version: planner.scope.snapshot.version(), settings: self.settings.revision(), serving })
    }

    /// The answer of a prepared lookup that is bound to names as they are now; `None` if there is more to be done.
    pub(super) fn look_up_at_once(
        &self,
        prepared: &PreparedInner,
        parameters: &[Parameter],
    ) -> Result<Option<Response>> {
        let Some(lookup) = &prepared.lookup else { return Ok(None) };
        let status = self.transaction.status();
        if status == TransactionStatus::Failed || self.sees_own() || lookup.most_keys(parameters) > MOST_KEYS_AT_ONCE {
            return Ok(None);
        }
        let bound = lookup.bound();
        if !self.is_current(&bound) {
            return Ok(None);
        }
        let serving = described(bound, prepared).filter(|serving| !serving.scans());
        serving.map_or(Ok(None), |serving| self.served(&serving, parameters))
    }

    /// The answer of a prepared lookup; `None` where the statement needs a planner.
    pub(super) async fn look_up(&self, prepared: &PreparedInner, parameters: &[Parameter]) -> Result<Option<Response>> {
        let Some(lookup) = &prepared.lookup else { return Ok(None) };
        // what the transaction has changed only a planner sees
        if self.sees_own() {
            return Ok(None);
        }
        let mut bound = lookup.bound();
        if !self.is_current(&bound) {
            bound = self.bind_lookup(&lookup.shape, &lookup.declared, &prepared.text).await?;
            *lookup.bound.lock().unwrap_or_else(PoisonError::into_inner) = bound.clone();
        }
        let Some(serving) = described(bound, prepared) else { return Ok(None) };
        if lookup.most_keys(parameters) <= MOST_KEYS_AT_ONCE && !serving.scans() {
            return self.served(&serving, parameters);
        }
        let (now_us, own, parameters) = (self.now_us(), Arc::clone(&serving), parameters.to_vec());
        let rows = self.warehouse.engine.work(async move { own.serve(&parameters, now_us) }).await??;
        Ok(rows.map(|rows| Response::Found { schema: Arc::clone(&serving.columns), rows }))
    }

    /// Whether names or rows are not those that everybody sees.
    fn sees_own(&self) -> bool {
        self.transaction.has_gathered() || !self.temporary.is_empty()
    }

    fn is_current(&self, bound: &Bound) -> bool {
        bound.version == self.warehouse.catalog.snapshot().version() && bound.settings == self.settings.revision()
    }

    fn served(&self, serving: &Serving, parameters: &[Parameter]) -> Result<Option<Response>> {
        let rows = serving.serve(parameters, self.now_us())?;
        Ok(rows.map(|rows| Response::Found { schema: Arc::clone(&serving.columns), rows }))
    }

    fn now_us(&self) -> i64 {
        self.transaction.now_us().unwrap_or_else(|| self.warehouse.clock.now_us())
    }
}

/// `None` where the statement needs a planner, or shows other columns than were described.
fn described(bound: Bound, prepared: &PreparedInner) -> Option<Arc<Serving>> {
    bound.serving.filter(|serving| Some(&serving.columns) == prepared.description.columns.as_ref())
}
