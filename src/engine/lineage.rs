//! Which columns are made of which: from sources through views to services and datasets, an edge for each pair.
//!
//! Nothing of it is stored. The definition of an object is planned over outlines of what it reads (`query::outline`), its
//! plan is walked (`walk`), and what comes of it is kept as long as neither the object nor what it reads has changed.

mod flat;
mod objects;
mod reach;
mod walk;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use granary_catalog::{Object, ObjectId, ObjectKind, Snapshot};

use super::query::QueryPlanner;

pub use flat::flat_lineage;
pub use reach::{Direction, Start, reach_table};

/// How a column decides another, in the words of OpenLineage. In this order the later of two in a row is what both are
/// together, as long as both are direct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transformation {
    Identity,
    Transformation,
    Aggregation,
    Conditional,
    Filter,
    GroupBy,
    Join,
    Sort,
    Window,
    /// of a plan that is not understood: all of its columns may decide all
    Unknown,
}

impl Transformation {
    pub fn is_direct(self) -> bool {
        matches!(self, Transformation::Identity | Transformation::Transformation | Transformation::Aggregation)
    }

    pub fn type_name(self) -> &'static str {
        if self.is_direct() { "DIRECT" } else { "INDIRECT" }
    }

    pub fn subtype(self) -> &'static str {
        match self {
            Transformation::Identity => "IDENTITY",
            Transformation::Transformation => "TRANSFORMATION",
            Transformation::Aggregation => "AGGREGATION",
            Transformation::Conditional => "CONDITIONAL",
            Transformation::Filter => "FILTER",
            Transformation::GroupBy => "GROUP_BY",
            Transformation::Join => "JOIN",
            Transformation::Sort => "SORT",
            Transformation::Window => "WINDOW",
            Transformation::Unknown => "UNKNOWN",
        }
    }

    /// What it becomes where its result is used in this way.
    fn then(self, used: Transformation) -> Transformation {
        match (self.is_direct(), used.is_direct()) {
            _ if used == Transformation::Unknown => used,
            (true, true) => self.max(used),
            (true, false) => used,
            // what chooses rows has chosen them, whatever becomes of these
            (false, _) => self,
        }
    }
}

/// What a column is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// a column of an object
    Column(ObjectId, String),
    /// an object, nobody knows which of its columns: it may be gone
    Object { kind: ObjectKind, schema: String, name: String },
    /// a column of a system view: schema, name, column
    System(&'static str, &'static str, String),
    /// something without a name, such as the rows of a function
    Unnamed(String),
}

/// All that decides one column.
pub type Influences = BTreeSet<(Origin, Transformation)>;

/// What comes into one column of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    pub from: Origin,
    /// of the object; `None`: nobody knows which
    pub column: Option<String>,
    pub how: Transformation,
}

/// Of one object.
#[derive(Debug, Clone, Default)]
pub struct Lineage {
    pub edges: Vec<Edge>,
    /// why it could not be told column by column
    pub error: Option<String>,
}

/// A lineage, and what it is true of.
#[derive(Debug)]
struct Known {
    object: Arc<Object>,
    /// what it reads, directly, and the functions behind those that it calls
    read: Vec<Option<Arc<Object>>>,
    lineage: Arc<Lineage>,
}

impl Known {
    fn is_of(&self, object: &Arc<Object>, read: &[Option<Arc<Object>>]) -> bool {
        let is_same = |(a, b): (&Option<Arc<Object>>, &Option<Arc<Object>>)| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        Arc::ptr_eq(&self.object, object) && self.read.len() == read.len() && self.read.iter().zip(read).all(is_same)
    }
}

/// How many lineages are kept.
const MOST_KNOWN: usize = 100_000;

/// Lineages that were asked for before.
#[derive(Debug, Default)]
pub struct KnownLineages(Mutex<HashMap<ObjectId, Known>>);

impl KnownLineages {
    fn get(&self, object: &Arc<Object>, read: &[Option<Arc<Object>>]) -> Option<Arc<Lineage>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&object.id()).filter(|known| known.is_of(object, read)).map(|known| Arc::clone(&known.lineage))
    }

    fn keep(&self, known: Known) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_KNOWN {
            all.clear();
        }
        all.insert(known.object.id(), known);
    }
}

/// The lineage of one object. What has none has no edges; a definition that cannot be planned any more has the objects
/// that it read.
pub fn lineage_of(planner: &QueryPlanner, object: &Arc<Object>) -> Arc<Lineage> {
    let read = read_by(&planner.scope.snapshot, object);
    // the number of a temporary object may be another's in another session
    let is_kept = !object.id().is_temporary();
    if is_kept && let Some(known) = planner.engine.lineages().get(object, &read) {
        return known;
    }
    let lineage = Arc::new(objects::lineage(planner, object));
    if is_kept {
        let known = Known { object: Arc::clone(object), read, lineage: Arc::clone(&lineage) };
        planner.engine.lineages().keep(known);
    }
    lineage
}

/// All that decides what the names in a definition mean: what it refers to, and what functions among that call.
fn read_by(snapshot: &Snapshot, object: &Object) -> Vec<Option<Arc<Object>>> {
    let mut ids = objects::references(object);
    let mut place = 0;
    while let Some(id) = ids.get(place).copied() {
        if let Some(Object::Function(function)) = snapshot.get(id).map(AsRef::as_ref) {
            let called = function.depends_on.iter().filter(|called| !ids.contains(called)).copied();
            ids.extend(called.collect::<Vec<_>>());
        }
        place += 1;
    }
    ids.into_iter().map(|id| snapshot.get(id).cloned()).collect()
}
