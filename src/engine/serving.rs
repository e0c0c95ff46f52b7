//! Lookups as of now that need no planner: `SELECT columns FROM view WHERE key = value`.
//!
//! A statement's form is recognised once, when it is prepared, and bound to a version of the catalog; each execution
//! goes from its parameters to the online store and back. Whatever is not such a lookup is planned, to the same answer.

mod logger;
mod service;
mod shape;
mod vector;

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::TableProvider;
use granary_catalog::{Column, Object, Snapshot, Workspace};

use super::point_in_time::MAX_CONSTANT_KEYS;
use super::query::{FromSource, QueryPlanner, table_reference};
use super::relation::{BoundView, CompositeRelation, FeatureRelation, Interface, Place, ReadMode};
use super::tables::system::is_system_schema;
use super::tables::system::names::columns;
use crate::access::PUBLIC_SCHEMA;
use crate::error::{Error, Result};
use crate::metrics::{self, Door, Outcome, ServiceMetrics};
use crate::row::{Reader, Value, put_value};
use crate::time::Stopwatch;

use logger::Logger;
pub use service::{ServedFeature, ServedRows, ServiceLookup};
pub use shape::Shape;
use shape::{Shown, Term};
pub use vector::AskedRow;
use vector::Vector;

/// A lookup bound to a version of the catalog.
#[derive(Debug)]
pub struct Serving {
    pub parameters: Vec<DataType>,
    pub columns: SchemaRef,
    vector: Vector,
    /// by key
    keys: Vec<KeyCondition>,
    /// by request column
    request: Vec<Condition>,
    limit: usize,
    /// whether all keys of some view have to be looked through
    scans: bool,
    described: Described,
    metrics: Arc<ServiceMetrics>,
    /// of what is logged
    logger: Option<Logger>,
}

/// A few rows in the bytes in which values are stored, row by row: arrays would cost more than they help.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueRows {
    n_columns: usize,
    count: usize,
    bytes: Vec<u8>,
}

/// What EXPLAIN says of a lookup.
#[derive(Debug)]
pub struct Described {
    pub relation: String,
    /// the conditions on keys and request columns
    pub asked: String,
    /// those that are looked up
    pub views: Vec<String>,
}

/// What a key may be; `None`: any that exists.
type KeyCondition = Option<Condition>;

#[derive(Debug)]
struct Condition {
    data_type: DataType,
    terms: Vec<BoundTerm>,
}

#[derive(Debug)]
enum BoundTerm {
    Value(Value),
    /// the number of a parameter
    Parameter(usize),
    /// of one that is an array
    Items(usize),
}

/// A relation that is looked up in: what it asks for, and what it has.
struct Served {
    interface: Interface,
    /// the columns of the interface in their order, then those that `*` does not show
    schema: SchemaRef,
    /// whether it has rows for keys that are not asked for
    has_rows_of_its_own: bool,
    kind: ServedKind,
}

enum ServedKind {
    View(FeatureRelation),
    Composite(CompositeRelation),
}

impl ValueRows {
    /// With room for this many rows, which are still to be put there.
    fn new(n_columns: usize, count: usize) -> ValueRows {
        const EXPECTED_BYTES: usize = 16;
        ValueRows { n_columns, count, bytes: Vec::with_capacity(n_columns * count * EXPECTED_BYTES) }
    }

    /// By column, then by row.
    pub fn of_columns(columns: &[Vec<Option<Value>>], count: usize) -> ValueRows {
        let mut rows = ValueRows::new(columns.len(), count);
        for row in 0..count {
            columns.iter().for_each(|column| put_value(&mut rows.bytes, column[row].as_ref()));
        }
        rows
    }

    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// The values of one row after the other, from a place in these bytes on.
    pub fn reader(&self, place: usize) -> Reader<'_> {
        Reader::new(&self.bytes[place..])
    }

    /// Where a reader of these bytes has come to.
    pub fn place_of(&self, reader: &Reader<'_>) -> usize {
        self.bytes.len() - reader.n_left()
    }

    /// By column, then by row.
    pub fn columns(&self) -> Result<Vec<Vec<Option<Value>>>> {
        let mut columns = vec![Vec::with_capacity(self.count); self.n_columns];
        let mut reader = self.reader(0);
        for _ in 0..self.count {
            for column in &mut columns {
                column.push(reader.value()?);
            }
        }
        Ok(columns)
    }
}

impl Serving {
    /// `None` where the statement needs a planner, be it for the error. `declared`: the parameters' types as far as the
    /// client has said them.
    pub async fn bind(planner: &QueryPlanner, shape: &Shape, declared: &[Option<DataType>]) -> Result<Option<Serving>> {
        if planner.from_source == FromSource::On || !planner.scope.is_live() {
            return Ok(None);
        }
        // planning says what is wrong with a name, or that nothing is kept online
        let Some(object) = object_of(planner, shape) else { return Ok(None) };
        let Some(served) = Served::of(planner, object).await? else { return Ok(None) };
        check_access(planner, object, shape)?;
        let Some((places, fields)) = served.columns(shape) else { return Ok(None) };
        let Some(vector) = served.vector(planner, &places)? else { return Ok(None) };
        let logger = Box::pin(Logger::of(planner, object, &places)).await?;
        let mut parameters: Vec<Option<DataType>> = declared.to_vec();
        let Some((keys, request)) = served.conditions(shape, &mut parameters) else { return Ok(None) };
        // a parameter that stands nowhere has no type
        let Some(parameters) = parameters.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        Ok(Some(Serving {
            parameters,
            columns: Arc::new(Schema::new(fields)),
            described: Described {
                relation: object.name().to_owned(),
                asked: shape.conditions_text(),
                views: vector.views().map(str::to_owned).collect(),
            },
            scans: vector.scans(|key| keys[key].is_some()),
            vector,
            keys,
            request,
            limit: shape.limit.unwrap_or(usize::MAX),
            metrics: metrics_of(planner, object)?,
            logger,
        }))
    }

    /// Whether it may take its time.
    pub fn scans(&self) -> bool {
        self.scans
    }

    pub fn described(&self) -> &Described {
        &self.described
    }

    /// As [`Serving::answer`], counted as a request of the Postgres port, and logged if it is one of the sample.
    pub fn serve(&self, parameters: &[(DataType, Option<Value>)], now_us: i64) -> Result<Option<ValueRows>> {
        let watch = Stopwatch::start();
        let answer = self.logged_answer(parameters, now_us);
        match &answer {
            Ok(Some(_)) => self.metrics.served(Door::Postgres, watch.elapsed(), Outcome::Answered),
            Ok(None) => {}
            Err(_) => self.metrics.served(Door::Postgres, watch.elapsed(), Outcome::Failed),
        }
        answer
    }

    fn logged_answer(&self, parameters: &[(DataType, Option<Value>)], now_us: i64) -> Result<Option<ValueRows>> {
        let Some(logger) = &self.logger else { return self.answer(parameters, now_us) };
        let Some(asked) = self.asked_by(parameters, now_us)? else { return Ok(None) };
        match logger.answer(&asked, now_us)? {
            Some(rows) => Ok(Some(rows)),
            None => Ok(Some(self.vector.rows(&asked, now_us.into())?)),
        }
    }

    /// The rows for these parameters; `None` where their types or number need a planner.
    pub fn answer(&self, parameters: &[(DataType, Option<Value>)], now_us: i64) -> Result<Option<ValueRows>> {
        let Some(asked) = self.asked_by(parameters, now_us)? else { return Ok(None) };
        Ok(Some(self.vector.rows(&asked, now_us.into())?))
    }

    /// What these parameters ask for.
    fn asked_by(&self, parameters: &[(DataType, Option<Value>)], now_us: i64) -> Result<Option<Vec<AskedRow>>> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            match key.as_ref().map(|key| key.values(parameters)) {
                None => keys.push(None),
                Some(Some(values)) => keys.push(Some(values)),
                Some(None) => return Ok(None),
            }
        }
        let Some(request) = self.request.iter().map(|column| column.values(parameters)).collect() else {
            return Ok(None);
        };
        self.asked(&keys, request, now_us)
    }

    /// Every combination of these values, as many as are wanted; `None`: they are too many.
    fn asked(
        &self,
        keys: &[Option<Vec<Value>>],
        request: Vec<Vec<Value>>,
        now_us: i64,
    ) -> Result<Option<Vec<AskedRow>>> {
        let any = [None];
        let of_keys: Vec<Vec<Option<Value>>> = keys
            .iter()
            .map(|values| match values {
                Some(values) => values.iter().cloned().map(Some).collect(),
                None => any.to_vec(),
            })
            .collect();
        let Some(mut keys_asked) = combinations(&of_keys, self.limit) else { return Ok(None) };
        if keys.iter().any(Option::is_none) {
            let mut existing = Vec::new();
            for bound in &keys_asked {
                existing.extend(self.vector.existing_keys(bound, MAX_CONSTANT_KEYS, now_us)?);
                if existing.len() > MAX_CONSTANT_KEYS {
                    return Ok(None);
                }
            }
            keys_asked = existing;
        }
        let request: Vec<Vec<Option<Value>>> =
            request.into_iter().map(|values| values.into_iter().map(Some).collect()).collect();
        let Some(request) = combinations(&request, self.limit) else { return Ok(None) };
        if keys_asked.len().saturating_mul(request.len()) > MAX_CONSTANT_KEYS {
            return Ok(None);
        }
        if let [only] = request.as_slice() {
            let row = |keys| AskedRow { keys, request: only.clone() };
            return Ok(Some(keys_asked.into_iter().take(self.limit).map(row).collect()));
        }
        let rows = keys_asked
            .iter()
            .flat_map(|keys| request.iter().map(|request| AskedRow { keys: keys.clone(), request: request.clone() }));
        Ok(Some(rows.take(self.limit).collect()))
    }
}

/// One of each list, in every combination, up to `limit`; `None` if there are too many.
fn combinations(lists: &[Vec<Option<Value>>], limit: usize) -> Option<Vec<Vec<Option<Value>>>> {
    let count = lists.iter().try_fold(1usize, |product, list| product.checked_mul(list.len()))?;
    if count > MAX_CONSTANT_KEYS {
        return None;
    }
    let combination = |number: usize| {
        let mut rest = number;
        let of_list = |list: &Vec<Option<Value>>| {
            let value = list[rest % list.len()].clone();
            rest /= list.len();
            value
        };
        lists.iter().map(of_list).collect()
    };
    Some((0..count.min(limit)).map(combination).collect())
}

impl Condition {
    /// The values that the column may have, each once. NULL is none; nor is a number that its type cannot hold.
    fn values(&self, parameters: &[(DataType, Option<Value>)]) -> Option<Vec<Value>> {
        if let [BoundTerm::Value(value)] = self.terms.as_slice() {
            return Some(vec![value.clone()]);
        }
        let mut values = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            match term {
                BoundTerm::Value(value) => values.push(value.clone()),
                BoundTerm::Parameter(number) => {
                    let (data_type, value) = parameters.get(*number)?;
                    if !is_comparable(data_type, &self.data_type) {
                        return None;
                    }
                    values.extend(value.as_ref().filter(|value| fits(value, &self.data_type)).cloned());
                }
                BoundTerm::Items(number) => {
                    let (data_type, value) = parameters.get(*number)?;
                    match data_type {
                        DataType::List(item) if is_comparable(item.data_type(), &self.data_type) => {}
                        _ => return None,
                    }
                    let Some(Value::List(items)) = value else { continue };
                    values.extend(items.iter().flatten().filter(|value| fits(value, &self.data_type)).cloned());
                }
            }
        }
        if !values.is_sorted_by(|a, b| a < b) {
            let mut seen = HashSet::with_capacity(values.len());
            let is_first: Vec<bool> = values.iter().map(|value| seen.insert(value)).collect();
            let mut is_first = is_first.into_iter();
            values.retain(|_| is_first.next() == Some(true));
        }
        Some(values)
    }
}

/// What the relation's name means, if it is one of the catalog's.
fn object_of<'a>(planner: &'a QueryPlanner, shape: &Shape) -> Option<&'a Arc<Object>> {
    let reference = table_reference(&shape.relation).filter(|reference| !is_system_schema(reference.schema()))?;
    planner.scope.relation(&reference).ok().flatten()
}

/// The counters of the relation that is looked up in.
fn metrics_of(planner: &QueryPlanner, object: &Object) -> Result<Arc<ServiceMetrics>> {
    let snapshot = &planner.scope.snapshot;
    let workspace = snapshot.get_as::<Workspace>(planner.scope.workspace);
    let workspace = workspace.ok_or_else(|| Error::internal("a lookup in no workspace"))?;
    Ok(metrics::of_service(&workspace.header.name, &shown_name(snapshot, object)))
}

/// A relation's name with its schema, unless that is `public`.
pub fn shown_name(snapshot: &Snapshot, object: &Object) -> String {
    match snapshot.schema_of(object).map(|schema| schema.header.name.as_str()) {
        None | Some(PUBLIC_SCHEMA) => object.name().to_owned(),
        Some(schema) => format!("{schema}.{}", object.name()),
    }
}

/// Refuses a lookup that names a column which may not be read, as planning it would.
fn check_access(planner: &QueryPlanner, object: &Object, shape: &Shape) -> Result<()> {
    let all = columns(&planner.scope.snapshot, object);
    let mut named: Vec<&str> = shape.conditions.iter().map(|(column, _)| column.as_str()).collect();
    for shown in &shape.shown {
        match shown {
            Shown::All => named.extend(all.iter().map(|column| column.name.as_str())),
            Shown::Column { name, .. } => named.push(name),
        }
    }
    planner.scope.check_select(object, named.into_iter())
}

impl Served {
    /// `None` for an object of another kind, and for one that cannot be read as of now.
    async fn of(planner: &QueryPlanner, object: &Object) -> Result<Option<Served>> {
        let view = match object {
            Object::FeatureView(view) => BoundView::of_feature_view(view)?,
            Object::FeatureTable(table) => BoundView::of_feature_table(table)?,
            Object::FeatureService(_) | Object::RealtimeView(_) => {
                let relation = CompositeRelation::new(planner, object, ReadMode::Now, true).await;
                return Ok(relation.ok().map(|relation| Served {
                    interface: relation.interface.clone(),
                    schema: relation.schema(),
                    has_rows_of_its_own: relation.has_rows_of_its_own(),
                    kind: ServedKind::Composite(relation),
                }));
            }
            _ => return Ok(None),
        };
        if planner.check_online(object).is_err() {
            return Ok(None);
        }
        let relation = FeatureRelation::new(planner, view, ReadMode::Now, true).await?;
        Ok(Some(Served {
            interface: Interface::of_view(&relation.view),
            schema: relation.schema(),
            has_rows_of_its_own: true,
            kind: ServedKind::View(relation),
        }))
    }

    /// The places of the columns in the relation, and how they are shown.
    fn columns(&self, shape: &Shape) -> Option<(Vec<usize>, Vec<Field>)> {
        let Interface { keys, request, features } = &self.interface;
        let all = 0..keys.len() + request.len() + features.len();
        let mut columns = Vec::new();
        for shown in &shape.shown {
            match shown {
                Shown::All => columns.extend(all.clone().map(|place| (place, self.schema.field(place).clone()))),
                Shown::Column { name, label } => {
                    let place = self.schema.index_of(name).ok()?;
                    columns.push((place, self.schema.field(place).clone().with_name(label)));
                }
            }
        }
        Some(columns.into_iter().unzip())
    }

    fn vector(&self, planner: &QueryPlanner, columns: &[usize]) -> Result<Option<Vector>> {
        match &self.kind {
            ServedKind::View(relation) => Vector::of_view(relation, columns),
            ServedKind::Composite(relation) => {
                let places: Vec<Place> = columns.iter().map(|column| relation.places[*column]).collect();
                // those of the whole are made of those of its views
                if places.iter().any(|place| matches!(place, Place::EffectiveTime | Place::Status)) {
                    return Ok(None);
                }
                Vector::of_places(relation, &places, &planner.state())
            }
        }
    }

    /// What each key and request column may be. Fills in the types of parameters that the client has left open.
    fn conditions(
        &self,
        shape: &Shape,
        parameters: &mut Vec<Option<DataType>>,
    ) -> Option<(Vec<KeyCondition>, Vec<Condition>)> {
        let mut found = 0;
        let mut condition = |column: &Column| {
            let Some((_, terms)) = shape.conditions.iter().find(|(name, _)| *name == column.name) else {
                return Some(None);
            };
            found += 1;
            let terms = terms.iter().map(|term| bound(term, &column.data_type, parameters)).collect::<Option<_>>()?;
            Some(Some(Condition { data_type: column.data_type.clone(), terms }))
        };
        let Interface { keys, request, .. } = &self.interface;
        if !keys.iter().all(|key| is_plain(&key.data_type)) {
            return None;
        }
        let keys: Vec<KeyCondition> = keys.iter().map(&mut condition).collect::<Option<_>>()?;
        // a request column that is left open is an error, which a planner words
        let request = request.iter().map(|column| condition(column)?).collect::<Option<_>>()?;
        // a condition on a feature is a filter
        let are_all = found == shape.conditions.len();
        let is_bound = keys.iter().all(Option::is_some) || self.has_rows_of_its_own;
        (are_all && is_bound).then_some((keys, request))
    }
}

/// `None` where a planner has to say what the term means for a column of this type.
fn bound(term: &Term, data_type: &DataType, parameters: &mut Vec<Option<DataType>>) -> Option<BoundTerm> {
    let (number, wanted) = match term {
        Term::Text(text) => return Some(BoundTerm::Value(literal(text, true, data_type)?)),
        Term::Number(text) => return Some(BoundTerm::Value(literal(text, false, data_type)?)),
        Term::Parameter(number) => (*number, data_type.clone()),
        Term::Items(number) => (*number, DataType::new_list(data_type.clone(), true)),
    };
    if parameters.len() <= number {
        parameters.resize(number + 1, None);
    }
    let known = parameters[number].get_or_insert_with(|| wanted.clone());
    let comparable = match (&*known, &wanted) {
        (DataType::List(known), DataType::List(wanted)) => is_comparable(known.data_type(), wanted.data_type()),
        (known, wanted) => is_comparable(known, wanted),
    };
    comparable.then_some(match term {
        Term::Items(_) => BoundTerm::Items(number),
        _ => BoundTerm::Parameter(number),
    })
}

/// Types of keys whose values are compared as they are.
fn is_plain(data_type: &DataType) -> bool {
    *data_type == DataType::Utf8 || is_integer(data_type)
}

fn is_integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int16 | DataType::Int32 | DataType::Int64)
}

fn is_comparable(given: &DataType, key: &DataType) -> bool {
    given == key || is_integer(given) && is_integer(key)
}

/// Whether a value of a comparable type is one of this type.
fn fits(value: &Value, data_type: &DataType) -> bool {
    match (value, data_type) {
        (Value::Int(value), DataType::Int16) => i16::try_from(*value).is_ok(),
        (Value::Int(value), DataType::Int32) => i32::try_from(*value).is_ok(),
        _ => true,
    }
}

/// A constant in the key's type; `None` where a planner has to say what it means.
fn literal(text: &str, is_quoted: bool, data_type: &DataType) -> Option<Value> {
    let value = match data_type {
        DataType::Utf8 if is_quoted => Value::Text(text.into()),
        DataType::Float64 => Value::Float(text.parse().ok()?),
        data_type if is_integer(data_type) => Value::Int(text.parse().ok()?),
        _ => return None,
    };
    fits(&value, data_type).then_some(value)
}
