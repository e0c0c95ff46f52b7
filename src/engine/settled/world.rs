//! What a query over tables sees: the catalogs as [`CatalogWorld`] has them, and relations of users.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::logical_expr::TableSource;
use granary_postgres::datetime::Clock;
use granary_postgres::plan::Function;
use granary_postgres::resolve::Proc;
use granary_postgres::{Column, NameKind, Relation, Result, Row, World};

use crate::engine::catalog_query::world::CatalogWorld;

/// A relation of a user in one statement.
pub struct Known {
    pub relation: Arc<Relation>,
    pub source: Arc<dyn TableSource>,
}

/// Numbers from here on are of no object of the catalog.
pub const FIRST_UNKNOWN: u32 = 0xF000_0000;

pub struct SettledWorld {
    catalogs: CatalogWorld,
    /// by schema and name, as the statement says them
    known: HashMap<(Option<String>, String), Known>,
    /// while it runs in memory
    rows: Mutex<HashMap<u32, Arc<Vec<Row>>>>,
}

impl SettledWorld {
    pub fn new(catalogs: CatalogWorld, known: HashMap<(Option<String>, String), Known>) -> SettledWorld {
        SettledWorld { catalogs, known, rows: Mutex::default() }
    }

    pub fn source(&self, relation: &Relation) -> Option<&Arc<dyn TableSource>> {
        self.known.values().find(|known| known.relation.oid == relation.oid).map(|known| &known.source)
    }

    pub fn known(&self) -> impl Iterator<Item = &Known> {
        self.known.values()
    }

    /// The same, with rows of relations, by number.
    pub fn with_rows(&self, catalogs: CatalogWorld, rows: HashMap<u32, Arc<Vec<Row>>>) -> SettledWorld {
        SettledWorld { catalogs, known: HashMap::new(), rows: Mutex::new(rows) }
    }
}

impl World for SettledWorld {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Arc<Relation>> {
        match self.known.get(&(schema.map(str::to_owned), name.to_owned())) {
            Some(known) => Some(Arc::clone(&known.relation)),
            None => self.catalogs.relation(schema, name),
        }
    }

    fn rows(&self, relation: &Relation) -> Result<Arc<Vec<Row>>> {
        if let Some(rows) = self.rows.lock().unwrap_or_else(PoisonError::into_inner).get(&relation.oid) {
            return Ok(Arc::clone(rows));
        }
        self.catalogs.rows(relation)
    }

    fn function(&self, proc: &Proc) -> Option<Function> {
        self.catalogs.function(proc)
    }

    fn number_of(&self, kind: NameKind, name: &str) -> Result<Option<u32>> {
        self.catalogs.number_of(kind, name)
    }

    fn name_of(&self, kind: NameKind, number: u32) -> Option<String> {
        self.catalogs.name_of(kind, number)
    }

    fn user(&self) -> String {
        self.catalogs.user()
    }

    fn session_user(&self) -> String {
        self.catalogs.session_user()
    }

    fn database(&self) -> String {
        self.catalogs.database()
    }

    fn current_schema(&self) -> Option<String> {
        self.catalogs.current_schema()
    }

    fn clock(&self) -> Clock {
        self.catalogs.clock()
    }

    fn check_stopped(&self) -> Result<()> {
        self.catalogs.check_stopped()
    }
}

/// A relation as queries see it.
pub fn relation(oid: u32, (schema, name): (&str, &str), columns: Vec<Column>, key: Vec<usize>) -> Arc<Relation> {
    Arc::new(Relation { oid, schema: schema.to_owned(), name: name.to_owned(), columns, key, view: None })
}
