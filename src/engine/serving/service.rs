//! Feature vectors for who asks by name and key instead of SQL: with each feature its view, and of each view whether it
//! knows the key and since when.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::DataType;
use granary_catalog::{Column, Feature, FeatureDefinition, Object, Snapshot};

use super::vector::{AskedRow, Vector};
use super::{Served, ServedKind};
use crate::engine::leading_edge::Moment;
use crate::engine::point_in_time::PRESENT;
use crate::engine::query::QueryPlanner;
use crate::engine::relation::{Interface, Place};
use crate::error::{Error, Kind, Result};
use crate::row::Value;
use crate::tile::empty_value;

/// A feature service, realtime view, feature view or feature table, as it was when it was bound.
#[derive(Debug)]
pub struct ServiceLookup {
    pub keys: Vec<Column>,
    pub request: Vec<Column>,
    pub features: Vec<ServedFeature>,
    /// Whether it has rows for keys that are not asked for.
    pub has_rows_of_its_own: bool,
    vector: Vector,
    n_reads: usize,
}

/// One feature of a vector.
#[derive(Debug, Clone)]
pub struct ServedFeature {
    /// The view's name inside of the service.
    pub view: String,
    pub feature: String,
    pub data_type: DataType,
    pub description: Option<String>,
    /// Those of its view.
    pub tags: BTreeMap<String, String>,
    /// It counts: of nothing it is zero.
    pub is_count: bool,
    /// Which of the views that are looked up has its value; `None`: it is computed for each request.
    pub read: Option<usize>,
}

/// A row for every one that was asked for.
#[derive(Debug)]
pub struct ServedRows {
    /// By feature, then by row.
    pub columns: Vec<Vec<Option<Value>>>,
    /// By view that is looked up, then by row: whether it knows the key.
    pub present: Vec<Vec<bool>>,
    /// By view that is looked up, then by row: since when its answer holds, microseconds.
    pub effective_us: Vec<Vec<Option<i64>>>,
}

impl ServiceLookup {
    /// Errors: 42809 for another kind of object, 55000 if it is not served online.
    pub async fn bind(planner: &QueryPlanner, object: &Object) -> Result<ServiceLookup> {
        if !planner.scope.is_live() {
            let message = format!("\"{}\" is in a development workspace, which serves nothing", object.name());
            return Err(Error::new(Kind::ObjectNotInPrerequisiteState, message)
                .with_hint("apply it to a live workspace: CREATE WORKSPACE name LIVE"));
        }
        let snapshot = &planner.scope.snapshot;
        let served = Served::of(planner, object).await?;
        let Served { interface, has_rows_of_its_own, kind, .. } =
            served.ok_or_else(|| Error::internal("a feature relation that cannot be looked up"))?;
        let n_asked = interface.keys.len() + interface.request.len();
        let n_features = interface.features.len();
        let (vector, reads, n_reads) = match &kind {
            ServedKind::View(relation) => {
                // its own two columns stand behind the features
                let columns: Vec<usize> = (n_asked..n_asked + n_features + 2).collect();
                (Vector::of_view(relation, &columns)?, vec![Some(0); n_features], 1)
            }
            ServedKind::Composite(relation) => {
                let mut places: Vec<Place> = relation.places[n_asked..n_asked + n_features].to_vec();
                let read = |place: &Place| match place {
                    Place::Read { read, .. } => Some(*read),
                    _ => None,
                };
                let reads = places.iter().map(read).collect();
                for (number, keyed) in relation.reads.iter().enumerate() {
                    let own = [Place::EffectiveTime, Place::Status];
                    places.extend(own.map(|place| relation.system_column(keyed, number, place)));
                }
                (Vector::of_places(relation, &places, &planner.state())?, reads, relation.reads.len())
            }
        };
        let vector = vector.ok_or_else(|| Error::internal("an online view without an online store"))?;
        let named = named_features(snapshot, object, &interface)?;
        let features = named.into_iter().zip(&interface.features).zip(reads);
        Ok(ServiceLookup {
            features: features.map(|((named, column), read)| named.served(&column.data_type, read)).collect(),
            keys: interface.keys,
            request: interface.request,
            has_rows_of_its_own,
            vector,
            n_reads,
        })
    }

    /// Values are those of `keys` and `request`, in their order and types. All rows are out of one state of the store.
    pub fn answer(&self, asked: &[AskedRow], moment: Moment) -> Result<ServedRows> {
        let mut columns = self.vector.columns(asked, moment)?;
        let own = columns.split_off(self.features.len());
        let (mut present, mut effective_us) = (Vec::with_capacity(self.n_reads), Vec::with_capacity(self.n_reads));
        for pair in own.chunks_exact(2) {
            let time = |time: &Option<Value>| match time {
                Some(Value::Int(time_us)) => Some(*time_us),
                _ => None,
            };
            let is_present =
                |status: &Option<Value>| matches!(status, Some(Value::Text(status)) if **status == *PRESENT);
            effective_us.push(pair[0].iter().map(time).collect());
            present.push(pair[1].iter().map(is_present).collect());
        }
        Ok(ServedRows { columns, present, effective_us })
    }

    /// The keys that there are, of those that are `bound` to these values where it says any, ascending; some that are one
    /// more than `limit` if there are more. Only where it [has rows of its own](ServiceLookup::has_rows_of_its_own).
    pub fn existing_keys(&self, bound: &[Option<Value>], limit: usize, now_us: i64) -> Result<Vec<Vec<Option<Value>>>> {
        self.vector.existing_keys(bound, limit, now_us)
    }
}

/// A feature by its view, the view's name inside of the service, and its own.
struct NamedFeature<'a> {
    view: &'a Object,
    alias: &'a str,
    name: String,
}

/// The features in the order of the interface.
fn named_features<'a>(
    snapshot: &'a Snapshot,
    object: &'a Object,
    interface: &Interface,
) -> Result<Vec<NamedFeature<'a>>> {
    let all_of = |interface: &Interface| interface.features.iter().map(|feature| feature.name.clone()).collect();
    let named = |view: &'a Object, alias: &'a str, names: Vec<String>| {
        names.into_iter().map(move |name| NamedFeature { view, alias, name })
    };
    let Object::FeatureService(service) = object else {
        return Ok(named(object, object.name(), all_of(interface)).collect());
    };
    let mut features = Vec::with_capacity(interface.features.len());
    for member in &service.members {
        let view = snapshot.get(member.view).ok_or_else(|| Error::internal("a member of a service is gone"))?;
        let names = match &member.features {
            Some(names) => names.clone(),
            None => all_of(&Interface::of(snapshot, view)?),
        };
        features.extend(named(view, &member.alias, names));
    }
    Ok(features)
}

impl NamedFeature<'_> {
    fn served(self, data_type: &DataType, read: Option<usize>) -> ServedFeature {
        let features: &[Feature] = match self.view {
            Object::FeatureView(view) => &view.features,
            Object::FeatureTable(table) => &table.features,
            Object::RealtimeView(view) => &view.features,
            _ => &[],
        };
        let declared = features.iter().find(|feature| feature.name == self.name);
        let counts = |feature: &Feature| match &feature.definition {
            FeatureDefinition::Aggregate { function, .. } => empty_value(function) == Some(Value::Int(0)),
            _ => false,
        };
        ServedFeature {
            view: self.alias.to_owned(),
            description: declared.and_then(|feature| feature.comment.clone()),
            tags: self.view.header().tags.clone(),
            is_count: declared.is_some_and(counts),
            feature: self.name,
            data_type: data_type.clone(),
            read,
        }
    }
}
