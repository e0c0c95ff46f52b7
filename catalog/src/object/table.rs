//! Ordinary tables and views, for labels, models and reports.

use serde::{Deserialize, Serialize};

use super::reference::{Reference, Wanted, each};
use super::{Column, Header, Policy, RowSecurity};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub header: Header,
    pub columns: Vec<Column>,
    /// Which stored rows are the table's; rewriting the table as a whole gives it a new one.
    pub storage_id: u64,
    /// In the order in which they were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<Index>,
    /// A materialized view is a table that a query fills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub materialized: Option<Materialized>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_commit: Option<OnCommit>,
    #[serde(default, skip_serializing_if = "RowSecurity::is_off")]
    pub row_security: RowSecurity,
    /// By name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Policy>,
}

/// What all rows of a table have to fulfil.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    pub name: String,
    pub kind: ConstraintKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConstraintKind {
    PrimaryKey {
        columns: Vec<String>,
    },
    Unique {
        columns: Vec<String>,
    },
    /// An expression that must not be false.
    Check {
        text: String,
    },
}

/// An index: its definition; a unique one is also a rule for the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub name: String,
    /// Names of columns, or expressions, as PostgreSQL would write them.
    pub columns: Vec<String>,
    pub unique: bool,
    /// What is behind the table in CREATE INDEX, as typed: `USING btree (a)`.
    pub definition: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Materialized {
    pub query: String,
    pub depends_on: Vec<ObjectId>,
    pub is_populated: bool,
}

/// What becomes of a temporary table's rows at the end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCommit {
    DeleteRows,
    Drop,
}

impl Table {
    pub fn new(header: Header, columns: Vec<Column>, storage_id: u64) -> Table {
        Table {
            header,
            columns,
            storage_id,
            constraints: Vec::new(),
            indexes: Vec::new(),
            materialized: None,
            on_commit: None,
            row_security: RowSecurity::default(),
            policies: Vec::new(),
        }
    }

    /// The sets of columns in which no two rows are the same, each with its name.
    pub fn unique_keys(&self) -> impl Iterator<Item = (&str, &[String])> {
        let of_constraint = |constraint: &'_ Constraint| match &constraint.kind {
            ConstraintKind::PrimaryKey { .. } | ConstraintKind::Unique { .. } => true,
            ConstraintKind::Check { .. } => false,
        };
        let constraints = self.constraints.iter().filter(move |constraint| of_constraint(constraint));
        let constraints = constraints.map(|constraint| (constraint.name.as_str(), constraint.columns()));
        let indexes = self.indexes.iter().filter(|index| index.unique);
        constraints.chain(indexes.map(|index| (index.name.as_str(), index.columns.as_slice())))
    }

    pub(crate) fn references(&self) -> Vec<Reference> {
        match &self.materialized {
            Some(materialized) => each(Wanted::Anything, &materialized.depends_on).collect(),
            None => Vec::new(),
        }
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        let defaults = self.columns.iter_mut().filter_map(|column| column.default.as_mut());
        defaults.filter_map(|default| default.sequence.as_mut()).for_each(&mut *map);
        self.materialized.iter_mut().flat_map(|materialized| &mut materialized.depends_on).for_each(&mut *map);
        self.policies.iter_mut().for_each(|policy| policy.remap(map));
    }
}

impl Constraint {
    /// Those of a key; a check has none.
    pub fn columns(&self) -> &[String] {
        match &self.kind {
            ConstraintKind::PrimaryKey { columns } | ConstraintKind::Unique { columns } => columns,
            ConstraintKind::Check { .. } => &[],
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub header: Header,
    pub query: String,
    pub columns: Vec<Column>,
    pub depends_on: Vec<ObjectId>,
    /// Whoever reads it needs the rights, and not its owner.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub security_invoker: bool,
}

impl View {
    pub(crate) fn references(&self) -> Vec<Reference> {
        each(Wanted::Anything, &self.depends_on).collect()
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.depends_on.iter_mut().for_each(map);
    }
}
