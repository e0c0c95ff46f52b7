//! Lookups as of now that need no planner: `SELECT columns FROM view WHERE key = value`.
//!
//! A statement's form is recognised once, when it is prepared, and bound to a version of the catalog; each execution
//! goes from its parameters to the online store and back. Whatever is not such a lookup is planned, to the same answer.

mod shape;

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::TableProvider;
use granary_catalog::{FeatureTable, FeatureView, Version};

use super::point_in_time::{Lookup, MAX_CONSTANT_KEYS};
use super::query::{FromSource, QueryPlanner, table_reference};
use super::relation::{BoundView, FeatureRelation, ReadMode, RowsOrigin};
use super::tables::system::is_system_schema;
use super::tables::system::names::columns;
use crate::error::{Error, Result};
use crate::row::Value;

pub use shape::Shape;
use shape::{Shown, Term};

/// A lookup bound to a version of the catalog.
#[derive(Debug)]
pub struct Serving {
    pub version: Version,
    pub search_path: Vec<String>,
    pub parameters: Vec<DataType>,
    pub columns: SchemaRef,
    lookup: Lookup,
    /// by key
    keys: Vec<BoundKey>,
    limit: usize,
}

#[derive(Debug)]
struct BoundKey {
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

impl Serving {
    /// `None` where the statement needs a planner, be it for the error. `declared`: the parameters' types as far as the
    /// client has said them.
    pub async fn bind(planner: &QueryPlanner, shape: &Shape, declared: &[Option<DataType>]) -> Result<Option<Serving>> {
        if planner.from_source == FromSource::On || !planner.scope.is_live() {
            return Ok(None);
        }
        let Some(view) = view_of(planner, shape)? else { return Ok(None) };
        let relation = FeatureRelation::new(planner, view, ReadMode::Now, true).await?;
        if !matches!(relation.origin, RowsOrigin::Online(_)) {
            return Ok(None);
        }
        let Some(columns) = columns_of(&relation, shape) else { return Ok(None) };
        let mut parameters: Vec<Option<DataType>> = declared.to_vec();
        let Some(keys) = keys_of(&relation.view, shape, &mut parameters) else { return Ok(None) };
        // a parameter that stands nowhere has no type
        let Some(parameters) = parameters.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        let (places, fields): (Vec<usize>, Vec<Field>) = columns.into_iter().unzip();
        let columns = Arc::new(Schema::new(fields));
        check_access(planner, shape)?;
        let Some(lookup) = Lookup::of(&relation, &places, Arc::clone(&columns)) else { return Ok(None) };
        Ok(Some(Serving {
            version: planner.scope.snapshot.version(),
            search_path: planner.scope.search_path.clone(),
            parameters,
            columns,
            lookup,
            keys,
            limit: shape.limit.unwrap_or(usize::MAX),
        }))
    }

    /// The rows for these parameters; `None` where their types or number need a planner.
    pub fn answer(&self, parameters: &[(DataType, Option<Value>)], now_us: i64) -> Result<Option<RecordBatch>> {
        let mut values: Vec<Vec<Value>> = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            match key.values(parameters) {
                Some(of_key) => values.push(of_key),
                None => return Ok(None),
            }
        }
        let rows = values.iter().try_fold(1usize, |product, of_key| product.checked_mul(of_key.len()));
        let Some(rows) = rows.filter(|rows| *rows <= MAX_CONSTANT_KEYS) else { return Ok(None) };
        let keys = (0..rows.min(self.limit)).map(|row| {
            let mut rest = row;
            let value = |of_key: &Vec<Value>| {
                let value = of_key[rest % of_key.len()].clone();
                rest /= of_key.len();
                Some(value)
            };
            values.iter().map(value).collect()
        });
        self.lookup.rows(keys, now_us).map(Some)
    }
}

impl BoundKey {
    /// The values that the key may have, each once. NULL is none; nor is a number that the key's type cannot hold.
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
        if values.len() > 1 {
            let mut seen = HashSet::with_capacity(values.len());
            values.retain(|value| seen.insert(value.clone()));
        }
        Some(values)
    }
}

fn view_of(planner: &QueryPlanner, shape: &Shape) -> Result<Option<BoundView>> {
    let Some(reference) = table_reference(&shape.relation) else { return Ok(None) };
    if is_system_schema(reference.schema()) {
        return Ok(None);
    }
    // planning says what is wrong with a name, and that nothing is kept online
    let Ok(Some(object)) = planner.scope.relation(&reference) else { return Ok(None) };
    if planner.check_online(object).is_err() {
        return Ok(None);
    }
    match (object.downcast::<FeatureView>(), object.downcast::<FeatureTable>()) {
        (Some(view), _) => BoundView::of_feature_view(view).map(Some),
        (_, Some(table)) => BoundView::of_feature_table(table).map(Some),
        _ => Ok(None),
    }
}

/// Refuses a lookup that names a column which may not be read, as planning it would.
fn check_access(planner: &QueryPlanner, shape: &Shape) -> Result<()> {
    let reference = table_reference(&shape.relation);
    let object = reference.map(|reference| planner.scope.relation(&reference)).transpose()?.flatten();
    let object = object.ok_or_else(|| Error::internal("a lookup of no relation"))?;
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

/// The places of the columns in the relation, and how they are shown.
fn columns_of(relation: &FeatureRelation, shape: &Shape) -> Option<Vec<(usize, Field)>> {
    let schema = relation.schema();
    let mut columns = Vec::new();
    for shown in &shape.shown {
        match shown {
            // the system columns are hidden
            Shown::All => {
                let all = 0..relation.view.output.fields().len();
                columns.extend(all.map(|place| (place, schema.field(place).clone())));
            }
            Shown::Column { name, label } => {
                let place = schema.index_of(name).ok()?;
                columns.push((place, schema.field(place).clone().with_name(label)));
            }
        }
    }
    Some(columns)
}

/// What each key may be. Fills in the types of parameters that the client has left open.
fn keys_of(view: &BoundView, shape: &Shape, parameters: &mut Vec<Option<DataType>>) -> Option<Vec<BoundKey>> {
    if shape.conditions.len() != view.keys.len() {
        return None;
    }
    let mut keys = Vec::with_capacity(view.keys.len());
    for key in &view.keys {
        if !is_plain(&key.data_type) {
            return None;
        }
        let (_, terms) = shape.conditions.iter().find(|(column, _)| *column == key.name)?;
        let mut bound = Vec::with_capacity(terms.len());
        for term in terms {
            let (number, wanted) = match term {
                Term::Text(text) => {
                    bound.push(BoundTerm::Value(literal(text, true, &key.data_type)?));
                    continue;
                }
                Term::Number(text) => {
                    bound.push(BoundTerm::Value(literal(text, false, &key.data_type)?));
                    continue;
                }
                Term::Parameter(number) => (*number, key.data_type.clone()),
                Term::Items(number) => (*number, DataType::new_list(key.data_type.clone(), true)),
            };
            if parameters.len() <= number {
                parameters.resize(number + 1, None);
            }
            let known = parameters[number].get_or_insert_with(|| wanted.clone());
            let comparable = match (&*known, &wanted) {
                (DataType::List(known), DataType::List(wanted)) => is_comparable(known.data_type(), wanted.data_type()),
                (known, wanted) => is_comparable(known, wanted),
            };
            if !comparable {
                return None;
            }
            bound.push(match term {
                Term::Items(_) => BoundTerm::Items(number),
                _ => BoundTerm::Parameter(number),
            });
        }
        keys.push(BoundKey { data_type: key.data_type.clone(), terms: bound });
    }
    Some(keys)
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

fn fits(value: &Value, data_type: &DataType) -> bool {
    match (value, data_type) {
        (Value::Int(value), DataType::Int16) => i16::try_from(*value).is_ok(),
        (Value::Int(value), DataType::Int32) => i32::try_from(*value).is_ok(),
        (Value::Int(_), DataType::Int64) | (Value::Text(_), DataType::Utf8) => true,
        _ => false,
    }
}

/// A constant in the key's type; `None` where a planner has to say what it means.
fn literal(text: &str, is_quoted: bool, data_type: &DataType) -> Option<Value> {
    let value = match data_type {
        DataType::Utf8 if is_quoted => Value::Text(text.into()),
        DataType::Utf8 => return None,
        _ => Value::Int(text.parse().ok()?),
    };
    fits(&value, data_type).then_some(value)
}
