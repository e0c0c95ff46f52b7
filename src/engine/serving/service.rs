//! Feature vectors for who asks by name and key instead of SQL: with each feature its view, and of each view whether it
//! knows the key and since when.

use std::collections::BTreeMap;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use granary_catalog::{Column, Feature, Object, Snapshot, Version};

use super::vector::{AskedRow, Vector};
use super::{Served, ServedKind};
use crate::engine::point_in_time::PRESENT;
use crate::engine::query::QueryPlanner;
use crate::engine::relation::{Interface, Place};
use crate::error::{Error, Kind, Result};
use crate::row::{Value, array_of};

/// A feature service, realtime view, feature view or feature table, bound to a version of the catalog.
#[derive(Debug)]
pub struct ServiceLookup {
    pub version: Version,
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
    /// Which of the views that are looked up has its value; `None`: it is computed for each request.
    pub read: Option<usize>,
}

/// A row for every one that was asked for.
#[derive(Debug)]
pub struct ServedRows {
    /// By feature.
    pub columns: Vec<ArrayRef>,
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
        let interface = Interface::of(snapshot, object)?;
        let served = Served::of(planner, object).await?;
        let served = served.ok_or_else(|| Error::internal("a feature relation that cannot be looked up"))?;
        let n_asked = interface.keys.len() + interface.request.len();
        let n_features = interface.features.len();
        let (vector, reads, n_reads) = match &served.kind {
            ServedKind::View(relation) => {
                // its own two columns stand behind the features
                let columns: Vec<usize> = (n_asked..n_asked + n_features + 2).collect();
                (Vector::of_view(relation, &columns), vec![Some(0); n_features], 1)
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
        let features = described(snapshot, object, &interface)?.into_iter().zip(reads);
        Ok(ServiceLookup {
            version: snapshot.version(),
            features: features.map(|(feature, read)| ServedFeature { read, ..feature }).collect(),
            keys: interface.keys,
            request: interface.request,
            has_rows_of_its_own: served.has_rows_of_its_own,
            vector,
            n_reads,
        })
    }

    /// Values are those of `keys` and `request`, in their order and types. All rows are out of one state of the store.
    pub fn answer(&self, asked: &[AskedRow], now_us: i64) -> Result<ServedRows> {
        let mut columns = self.vector.answer(asked, now_us)?;
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
        let columns = self.features.iter().zip(&columns);
        let columns = columns.map(|(feature, values)| array_of(&feature.data_type, values.iter().map(Option::as_ref)));
        Ok(ServedRows { columns: columns.collect::<Result<_>>()?, present, effective_us })
    }

    /// The keys that there are, of those that are `bound` to these values where it says any, ascending.
    pub fn existing_keys(&self, bound: &[Option<Value>], now_us: i64) -> Result<Vec<Vec<Option<Value>>>> {
        if !self.has_rows_of_its_own {
            let names: Vec<&str> = self.keys.iter().map(|key| key.name.as_str()).collect();
            let message = format!("all of the keys {} have to be given", names.join(", "));
            return Err(Error::new(Kind::InvalidParameterValue, message)
                .with_detail("Some view does not have all of them, so that there is no list of those that exist."));
        }
        self.vector.existing_keys(bound, now_us)
    }
}

/// The features in the order of the interface; which view is read for each is not known here.
fn described(snapshot: &Snapshot, object: &Object, interface: &Interface) -> Result<Vec<ServedFeature>> {
    let mut found = Vec::with_capacity(interface.features.len());
    match object {
        Object::FeatureService(service) => {
            for member in &service.members {
                let view = snapshot.get(member.view).ok_or_else(|| Error::internal("a member of a service is gone"))?;
                let own = Interface::of(snapshot, view)?;
                let names = match &member.features {
                    Some(names) => names.clone(),
                    None => own.features.iter().map(|feature| feature.name.clone()).collect(),
                };
                found.extend(names.into_iter().map(|name| feature_of(view, &member.alias, name)));
            }
        }
        view => {
            let names = interface.features.iter().map(|feature| feature.name.clone());
            found.extend(names.map(|name| feature_of(view, view.name(), name)));
        }
    }
    let types = interface.features.iter().map(|column| column.data_type.clone());
    Ok(found.into_iter().zip(types).map(|(feature, data_type)| ServedFeature { data_type, ..feature }).collect())
}

fn feature_of(view: &Object, alias: &str, name: String) -> ServedFeature {
    let features: &[Feature] = match view {
        Object::FeatureView(view) => &view.features,
        Object::FeatureTable(table) => &table.features,
        Object::RealtimeView(view) => &view.features,
        _ => &[],
    };
    let declared = features.iter().find(|feature| feature.name == name);
    ServedFeature {
        view: alias.to_owned(),
        description: declared.and_then(|feature| feature.comment.clone()),
        tags: view.header().tags.clone(),
        feature: name,
        data_type: DataType::Null,
        read: None,
    }
}
