//! Relations that are not objects of the catalog: the system views of schema `granary`, and PostgreSQL's
//! `pg_catalog` and `information_schema`, so that its clients find their way. All are computed from the catalog's
//! snapshot and the ledger when a query is planned.
//!
//! `layout` says which relations there are and what columns they have, `rows` builds them, `granary` and `postgres`
//! fill them, `views` has those that are queries over others. A relation that nothing fills is always empty.

mod granary;
mod layout;
pub mod names;
mod postgres;
mod rows;
mod views;

use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::datasource::{MemTable, TableProvider};
use granary_catalog::Catalog;
use granary_postgres::datetime::Zone;

use super::events::EventTails;
use crate::alerts::AlertStore;
use crate::engine::activity::Activity;
use crate::engine::catalog_query;
use crate::engine::expiry::Expiry;
use crate::engine::functions::sequence::SessionSequences;
use crate::engine::late::LateRows;
use crate::engine::query::{NameScope, QueryPlanner};
use crate::error::{Error, Kind, Result};
use crate::metrics::Sample;
use crate::monitor::MonitorStore;
use crate::row::Value;

pub use layout::{LATER, Relation, relation};
pub use postgres::{
    arguments_text, constraint_definition, feature_comment, index_definition, index_name, index_named, serial_sequence,
};
pub use views::view_text;

/// One setting of a session.
#[derive(Debug, Clone)]
pub struct ShownSetting {
    pub name: String,
    /// the value as SHOW prints it: a time has a unit
    pub shown: String,
    /// the value as it is kept, in `unit` if there is one
    pub stored: String,
    pub unit: Option<&'static str>,
    pub description: String,
}

/// All settings.
pub type SettingsReader = Arc<dyn Fn() -> Vec<ShownSetting> + Send + Sync>;

/// What is asked of the session by functions and system views.
#[derive(Clone)]
pub struct SessionFacts {
    pub user: String,
    pub database: String,
    pub process_id: i32,
    /// the client's address
    pub client: String,
    pub settings: SettingsReader,
    /// all clients, this one too
    pub activity: Arc<Activity>,
    /// what has expired out of the online store
    pub expiry: Arc<Expiry>,
    /// what has come too late for its job
    pub late: Arc<LateRows>,
    /// what alerts have found and told, where that is known
    pub alerts: Option<Arc<AlertStore>>,
    pub sequences: Arc<SessionSequences>,
    /// what the server counts of itself, but for what the process counts
    pub samples: Samples,
    /// of times that say none
    pub zone: Zone,
}

/// Numbers as they are when they are asked for.
pub type Samples = Arc<dyn Fn() -> Vec<Sample> + Send + Sync>;

impl std::fmt::Debug for SessionFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionFacts").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Default for SessionFacts {
    fn default() -> Self {
        SessionFacts {
            user: String::new(),
            database: String::new(),
            process_id: 0,
            client: String::new(),
            settings: Arc::new(Vec::new),
            activity: Arc::default(),
            expiry: Arc::default(),
            late: Arc::default(),
            alerts: None,
            sequences: Arc::default(),
            samples: Arc::new(Vec::new),
            zone: Zone::UTC,
        }
    }
}

/// Everything that system relations and functions are computed from.
#[derive(Clone)]
pub struct SystemContext {
    pub scope: NameScope,
    pub catalog: Arc<Catalog>,
    pub monitor: Arc<MonitorStore>,
    pub facts: Arc<SessionFacts>,
    pub tails: Arc<EventTails>,
    pub now_us: i64,
    /// plans definitions, for what only a plan says of them
    pub planner: Arc<QueryPlanner>,
}

impl std::fmt::Debug for SystemContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SystemContext").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Schemas whose relations are not objects of the catalog.
pub fn is_system_schema(schema: Option<&str>) -> bool {
    matches!(schema, Some("granary" | "pg_catalog" | "information_schema"))
}

/// The schema and name of the system relation that a name means, if it means one. Names without a schema are looked
/// for in `pg_catalog` first, as PostgreSQL does.
pub fn named(search_path: &[String], reference: &TableReference) -> Option<&'static Relation> {
    match reference.schema() {
        Some(schema) => relation(schema, reference.table()),
        None => relation("pg_catalog", reference.table()).or_else(|| {
            search_path
                .iter()
                .filter(|schema| is_system_schema(Some(schema)))
                .find_map(|schema| relation(schema, reference.table()))
        }),
    }
}

/// The system relation of an OID.
pub fn of_oid(oid: i64) -> Option<&'static Relation> {
    layout::relations().iter().find(|relation| relation.oid == oid)
}

/// The rows of a relation that depend on what is defined, by column.
pub fn filled(context: &SystemContext, relation: &'static Relation) -> Result<Vec<Vec<Option<Value>>>> {
    Ok(rows_in(context, relation)?.into_rows())
}

fn rows_in(context: &SystemContext, relation: &'static Relation) -> Result<rows::Rows> {
    let mut rows = rows::Rows::new(relation);
    match relation.schema {
        "granary" => granary::fill(context, &mut rows)?,
        _ => postgres::fill(context, &mut rows)?,
    }
    Ok(rows)
}

/// The system relation of that name; None for a name outside of the system schemas.
pub fn table(planner: &QueryPlanner, reference: &TableReference) -> Result<Option<Arc<dyn TableProvider>>> {
    let Some(relation) = named(&planner.scope.search_path, reference) else {
        if !is_system_schema(reference.schema()) {
            return Ok(None);
        }
        let name = format!("{}.{}", reference.schema().unwrap_or_default(), reference.table());
        if reference.schema() == Some("granary") && LATER.contains(&reference.table()) {
            return Err(Error::not_supported(name));
        }
        return Err(Error::new(Kind::UndefinedTable, format!("relation \"{name}\" does not exist")));
    };
    let context = planner.system_context();
    let batch = match view_text(relation) {
        None => rows_in(&context, relation)?.finish()?,
        Some(text) => catalog_query::view_rows(planner, text, &relation.arrow)?,
    };
    Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)))
}
