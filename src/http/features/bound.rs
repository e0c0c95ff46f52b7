//! A feature service as it is served: bound to a version of the catalog, its features in the order of the answer, and
//! divided into parts that are looked up, and kept in the cache, together.
//!
//! Features that may be of one age are one part; those that are never kept, as all of realtime views, are another. What
//! no option lets be kept is one part, which is one state of the store.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use granary_catalog::{Column, FeatureService, Object, ObjectId, Snapshot, Version};
use serde_json::Value as Json;

use super::json::type_json;
use super::logger::RequestLogger;
use super::request::RowParams;
use crate::engine::{AskedRow, Interface, NameScope, ServiceLookup, shown_name};
use crate::error::{Error, Kind, Result};
use crate::http::json::Named;
use crate::http::refusal::{Answered, Refusal};
use crate::http::values::value_of;
use crate::metrics::{self, ServiceMetrics};
use crate::row::Value;
use crate::warehouse::Warehouse;

/// See the module. A feature view, feature table or realtime view can be served by itself, too.
#[derive(Debug)]
pub struct BoundService {
    pub object: Arc<Object>,
    /// the catalog's, with which names were looked up
    pub version: Version,
    /// the last change of the object and of all that it stands on
    pub definition: Version,
    pub keys: Vec<Column>,
    pub request: Vec<Column>,
    /// in the order of an answer
    pub features: Vec<BoundFeature>,
    /// those that a caller has to have a right on: the ones that it gives, and the ones that it gets
    pub columns: Vec<String>,
    pub parts: Vec<Part>,
    pub metrics: Arc<ServiceMetrics>,
    /// of a service that logs requests
    pub log: Option<RequestLogger>,
}

#[derive(Debug)]
pub struct BoundFeature {
    /// `view.feature`
    pub name: String,
    pub data_type: Json,
    pub description: Option<String>,
    pub tags: BTreeMap<String, String>,
    /// it counts, and nothing is zero
    pub is_count: bool,
    pub part: usize,
    /// its number in the part
    pub index: usize,
}

/// What is looked up together.
#[derive(Debug)]
pub struct Part {
    pub lookup: ServiceLookup,
    /// for each of the lookup's keys and request columns, which of the service's it is
    keys: Vec<usize>,
    request: Vec<usize>,
    /// how long it may be kept; `None`: not at all
    pub max_age_us: Option<i64>,
    pub is_realtime: bool,
}

impl BoundService {
    pub async fn bind(warehouse: &Warehouse, scope: NameScope, object: &Arc<Object>) -> Result<BoundService> {
        let snapshot = Arc::clone(&scope.snapshot);
        let interface = Interface::of(&snapshot, object)?;
        let planner = warehouse.planner(scope, warehouse.clock.now_us());
        let mut parts = Vec::new();
        for (max_age_us, of_part) in parts_of(&snapshot, object) {
            let lookup = ServiceLookup::bind(&planner, &of_part).await?;
            parts.push(Part {
                keys: places(&lookup.keys, &interface.keys)?,
                request: places(&lookup.request, &interface.request)?,
                is_realtime: lookup.features.iter().any(|feature| feature.read.is_none()),
                lookup,
                max_age_us,
            });
        }
        let workspace = snapshot.workspace_of(object).ok_or_else(|| Error::internal("a relation without workspace"))?;
        Ok(BoundService {
            log: RequestLogger::of(&snapshot, object, &interface, &parts)?,
            version: snapshot.version(),
            definition: last_change(&snapshot, object, &mut HashSet::new()),
            features: features_of(&parts),
            columns: interface.clone().into_columns().into_iter().map(|column| column.name).collect(),
            metrics: metrics::of_service(&workspace.header.name, &shown_name(&snapshot, object)),
            object: Arc::clone(object),
            keys: interface.keys,
            request: interface.request,
            parts,
        })
    }

    /// Every join key and request column, in the service's order and types.
    pub fn asked_row(&self, row: &RowParams, ignores_extra_fields: bool) -> Answered<AskedRow> {
        let keys = self.some_keys(row)?.into_iter().zip(&self.keys);
        let keys = keys.map(|(value, key)| {
            value.ok_or_else(|| missing(&format!("join key \"{}\" is missing", key.name), &self.keys))
        });
        let keys = keys.collect::<Answered<_>>()?;
        Ok(AskedRow { keys, request: self.request_values(row, ignores_extra_fields)? })
    }

    /// The join keys that are given.
    pub fn some_keys(&self, row: &RowParams) -> Answered<Vec<Option<Option<Value>>>> {
        if let Some(unknown) = unknown_name(&row.join_key_map, &self.keys) {
            return Err(missing(&format!("\"{}\" has no join key \"{unknown}\"", self.object.name()), &self.keys));
        }
        self.keys.iter().map(|key| given(&row.join_key_map, key, "join key")).collect()
    }

    /// The keys that there are, of those that have the values that are given; if no key is open, those.
    pub fn keys_like(
        &self,
        given: &[Option<Option<Value>>],
        limit: usize,
        now_us: i64,
    ) -> Result<Vec<Vec<Option<Value>>>> {
        if let Some(all) = given.iter().cloned().collect::<Option<Vec<_>>>() {
            return Ok(vec![all]);
        }
        if given.iter().all(Option::is_none) {
            let message = format!("no join key of \"{}\" is given", self.object.name());
            return Err(
                Error::new(Kind::InvalidParameterValue, message).with_hint("give those that all rows have in common")
            );
        }
        // NULL is no key that a row has
        if given.iter().any(|value| matches!(value, Some(None))) {
            return Ok(Vec::new());
        }
        let mut found: BTreeSet<Vec<Option<Value>>> = BTreeSet::new();
        // a part without keys is computed from the request alone
        let mut parts = self.parts.iter().filter(|part| !part.keys.is_empty()).peekable();
        if parts.peek().is_none() {
            return Err(self.no_list_of_keys());
        }
        for part in parts {
            let bound: Vec<Option<Value>> = part.keys.iter().map(|key| given[*key].clone().flatten()).collect();
            if part.keys.len() != self.keys.len() || !part.lookup.has_rows_of_its_own {
                return Err(self.no_list_of_keys());
            }
            for own in part.lookup.existing_keys(&bound, limit, now_us)? {
                let mut whole = vec![None; self.keys.len()];
                part.keys.iter().zip(own).for_each(|(place, value)| whole[*place] = value);
                found.insert(whole);
            }
            if found.len() > limit {
                let message = format!("more than {limit} keys of \"{}\" fit", self.object.name());
                return Err(
                    Error::new(Kind::ConfigurationLimitExceeded, message).with_hint("give more of its join keys")
                );
            }
        }
        Ok(found.into_iter().collect())
    }

    fn no_list_of_keys(&self) -> Error {
        let names: Vec<&str> = self.keys.iter().map(|key| key.name.as_str()).collect();
        let message = format!("all join keys of \"{}\" have to be given: {}", self.object.name(), names.join(", "));
        Error::new(Kind::InvalidParameterValue, message)
            .with_detail("Not every view of it has all of them, so that there is no list of those that exist.")
    }

    pub fn request_values(&self, row: &RowParams, ignores_extra_fields: bool) -> Answered<Vec<Option<Value>>> {
        if !ignores_extra_fields && let Some(unknown) = unknown_name(&row.request_context_map, &self.request) {
            let message = format!("\"{}\" has no request column \"{unknown}\"", self.object.name());
            return Err(missing(&message, &self.request));
        }
        let value = |column: &Column| {
            given(&row.request_context_map, column, "request column")?
                .ok_or_else(|| missing(&format!("request column \"{}\" is missing", column.name), &self.request))
        };
        self.request.iter().map(value).collect()
    }
}

impl Part {
    /// What the part asks for, of what the service is asked for.
    pub fn asked_row(&self, whole: &AskedRow) -> AskedRow {
        let chosen = |values: &[Option<Value>], places: &[usize]| -> Vec<Option<Value>> {
            places.iter().map(|place| values[*place].clone()).collect()
        };
        AskedRow { keys: chosen(&whole.keys, &self.keys), request: chosen(&whole.request, &self.request) }
    }
}

fn given(named: &Named, column: &Column, what: &str) -> Answered<Option<Option<Value>>> {
    let Some(json) = named.get(&column.name) else { return Ok(None) };
    value_of(json, &column.data_type).map(Some).map_err(|error| {
        let message = format!("{what} \"{}\": {}", column.name, error.message());
        Refusal::from(Error::new(error.kind(), message))
    })
}

fn unknown_name<'a>(named: &'a Named, columns: &[Column]) -> Option<&'a str> {
    named.keys().map(String::as_str).find(|name| !columns.iter().any(|column| column.name == *name))
}

fn missing(message: &str, columns: &[Column]) -> Refusal {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let error = Error::new(Kind::InvalidParameterValue, message);
    if names.is_empty() { error.into() } else { error.with_hint(format!("it takes: {}", names.join(", "))).into() }
}

fn places(columns: &[Column], whole: &[Column]) -> Result<Vec<usize>> {
    let place = |column: &Column| {
        let found = whole.iter().position(|known| known.name == column.name);
        found.ok_or_else(|| Error::internal(format!("column {} of a part is not one of its service", column.name)))
    };
    columns.iter().map(place).collect()
}

/// A service's members by the age that they may have, each time as a service of its own; what is never kept comes first.
fn parts_of(snapshot: &Snapshot, object: &Arc<Object>) -> Vec<(Option<i64>, Arc<Object>)> {
    let service = match object.as_ref() {
        Object::FeatureService(service) => service,
        view => return vec![(age_of_view(view), Arc::clone(object))],
    };
    let mut by_age: BTreeMap<Option<i64>, Vec<_>> = BTreeMap::new();
    for member in &service.members {
        let age = snapshot.get(member.view).and_then(|view| age_of_member(service, view));
        by_age.entry(age).or_default().push(member.clone());
    }
    let part = |members| Arc::new(Object::FeatureService(FeatureService { members, ..service.clone() }));
    by_age.into_iter().map(|(age, members)| (age, part(members))).collect()
}

/// What a realtime view computes is never kept. Of the service's and the view's option the stricter counts.
fn age_of_member(service: &FeatureService, view: &Object) -> Option<i64> {
    match view {
        Object::RealtimeView(_) => None,
        view => [service.cache_us, age_of_view(view)].into_iter().flatten().min(),
    }
}

fn age_of_view(view: &Object) -> Option<i64> {
    match view {
        Object::FeatureView(view) => view.cache_us,
        _ => None,
    }
}

/// Realtime features come first, by view and as declared; then the others, by view and name.
fn features_of(parts: &[Part]) -> Vec<BoundFeature> {
    let mut features = Vec::new();
    for (part, bound) in parts.iter().enumerate() {
        for (index, feature) in bound.lookup.features.iter().enumerate() {
            let is_realtime = feature.read.is_none();
            let place = (!is_realtime, feature.view.clone(), (!is_realtime).then(|| feature.feature.clone()));
            let bound = BoundFeature {
                name: format!("{}.{}", feature.view, feature.feature),
                data_type: type_json(&feature.data_type),
                description: feature.description.clone(),
                tags: feature.tags.clone(),
                is_count: feature.is_count,
                part,
                index,
            };
            features.push((place, bound));
        }
    }
    // stable: realtime features of one view stay as declared
    features.sort_by(|(one, _), (other, _)| one.cmp(other));
    features.into_iter().map(|(_, feature)| feature).collect()
}

/// The last change of an object and of all that its values come from.
fn last_change(snapshot: &Snapshot, object: &Object, seen: &mut HashSet<ObjectId>) -> Version {
    let mut last = object.header().changed;
    for id in object.depends_on() {
        if seen.insert(id)
            && let Some(object) = snapshot.get(id)
        {
            last = last.max(last_change(snapshot, object, seen));
        }
    }
    last
}
