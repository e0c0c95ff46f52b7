//! What surrounds a query: relations and their rows, names, settings. The engine above has them.

use std::sync::Arc;

use crate::datetime::Clock;
use crate::error::Result;
use crate::plan::Function;
use crate::resolve::Proc;
use crate::types::Type;
use crate::value::Row;

/// A relation that queries may name.
#[derive(Debug)]
pub struct Relation {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub columns: Vec<Column>,
    /// places of the columns of its primary key
    pub key: Vec<usize>,
    /// of a view: its query
    pub view: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub data_type: Type,
}

/// Which names a `reg…` type has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    Relation,
    Schema,
    Role,
}

pub trait World: Send + Sync {
    /// None: there is no such relation, or none that can be answered here.
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Arc<Relation>>;

    /// The rows of a relation that is no view, in the order of its columns.
    fn rows(&self, relation: &Relation) -> Result<Arc<Vec<Row>>>;

    /// What carries out a function that depends on the session or on what is defined.
    fn function(&self, proc: &Proc) -> Option<Function>;

    /// The number of a name, which may be qualified and quoted as in SQL.
    fn number_of(&self, kind: NameKind, name: &str) -> Result<Option<u32>>;

    /// A number's name, qualified where it has to be, quoted as SQL needs it.
    fn name_of(&self, kind: NameKind, number: u32) -> Option<String>;

    /// What `current_user`, `current_schema` and their like are.
    fn user(&self) -> String;
    fn session_user(&self) -> String;
    fn database(&self) -> String;
    fn current_schema(&self) -> Option<String>;

    fn clock(&self) -> Clock;

    /// Errors: 57014 if the statement is to stop.
    fn check_stopped(&self) -> Result<()>;
}
