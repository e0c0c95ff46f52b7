//! The lineage of an object down to what has rows of its own: through views, sources that are queries, services and
//! realtime views, which are computed when they are asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use granary_catalog::{Object, ObjectId, Source, SourceDefinition};

use super::walk::used;
use super::{Influences, Origin, lineage_of};
use crate::engine::query::QueryPlanner;

/// By column of the object, what it is made of; behind `None` what decides columns that nobody knows.
pub type Flat = BTreeMap<Option<String>, Influences>;

pub fn flat_lineage(planner: &QueryPlanner, object: &Arc<Object>) -> Arc<Flat> {
    flat(planner, object, &mut HashMap::new())
}

/// Definitions stand on each other only so deep: whoever made them has planned them.
fn flat(planner: &QueryPlanner, object: &Arc<Object>, known: &mut HashMap<ObjectId, Arc<Flat>>) -> Arc<Flat> {
    if let Some(flat) = known.get(&object.id()) {
        return Arc::clone(flat);
    }
    let mut all = Flat::new();
    for edge in &lineage_of(planner, object).edges {
        let into = all.entry(edge.column.clone()).or_default();
        let Origin::Column(id, column) = &edge.from else {
            into.insert((edge.from.clone(), edge.how));
            continue;
        };
        // what a request brings is nobody's row
        if *id == object.id() {
            continue;
        }
        match planner.scope.snapshot.get(*id) {
            Some(behind) if is_computed(behind) => {
                let inner = flat(planner, behind, known);
                for found in [Some(column.clone()), None].iter().filter_map(|column| inner.get(column)) {
                    into.extend(used(found, edge.how));
                }
            }
            _ => {
                into.insert((edge.from.clone(), edge.how));
            }
        }
    }
    let all = Arc::new(all);
    known.insert(object.id(), Arc::clone(&all));
    all
}

/// Whether it has no rows but those of others.
fn is_computed(object: &Object) -> bool {
    matches!(
        object,
        Object::View(_)
            | Object::FeatureService(_)
            | Object::RealtimeView(_)
            | Object::Source(Source { definition: SourceDefinition::Query { .. }, .. })
    )
}
