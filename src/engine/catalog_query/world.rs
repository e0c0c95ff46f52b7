//! What a catalog query sees: the relations of [`system`], the catalog's names, the session.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use granary_catalog::{Object, Role, Schema};
use granary_postgres::datetime::{Clock, Zone};
use granary_postgres::functions::casts;
use granary_postgres::plan::Function;
use granary_postgres::resolve::Proc;
use granary_postgres::types::{self as t, Type};
use granary_postgres::{Column, Error, NameKind, Relation, Result, Row, Value as Pg, World, builtin, text};
use tokio_util::sync::CancellationToken;

use crate::engine::functions::session;
use crate::engine::tables::system::{self, SystemContext, names};
use crate::row::Value;

/// What `set_config` wants done to the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingChange {
    pub name: String,
    pub value: String,
    /// until the transaction ends
    pub is_local: bool,
}

pub struct CatalogWorld {
    context: Arc<SystemContext>,
    rows: Mutex<HashMap<u32, Arc<Vec<Row>>>>,
    stop: Mutex<CancellationToken>,
    changes: Arc<Mutex<Vec<SettingChange>>>,
}

impl CatalogWorld {
    pub fn new(context: SystemContext) -> CatalogWorld {
        CatalogWorld {
            context: Arc::new(context),
            rows: Mutex::default(),
            stop: Mutex::default(),
            changes: Arc::default(),
        }
    }

    pub fn stop_by(&self, stop: CancellationToken) {
        *self.stop.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = stop;
    }

    pub fn take_changes(&self) -> Vec<SettingChange> {
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// The relations that every PostgreSQL 15 has the same rows of.
static FIXED: LazyLock<Mutex<HashMap<u32, Arc<Vec<Row>>>>> = LazyLock::new(Mutex::default);

fn fixed_rows(relation: &system::Relation) -> Result<Option<Arc<Vec<Row>>>> {
    let Some(table) = builtin::table(relation.name).filter(|_| relation.schema == "pg_catalog") else {
        return Ok(None);
    };
    let number = u32::try_from(relation.oid).unwrap_or(0);
    let mut fixed = FIXED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(rows) = fixed.get(&number) {
        return Ok(Some(Arc::clone(rows)));
    }
    let types: Vec<Type> = table.columns.iter().map(|(_, name)| pg_type(name)).collect();
    let row = |line: &str| {
        line.split('\t').zip(&types).map(|(field, data_type)| cell(field, data_type)).collect::<Result<Row>>()
    };
    let rows = Arc::new(table.lines().map(row).collect::<Result<Vec<Row>>>()?);
    fixed.insert(number, Arc::clone(&rows));
    Ok(Some(rows))
}

/// A field of a file of rows.
fn cell(field: &str, data_type: &Type) -> Result<Pg> {
    if field == "\\N" {
        return Ok(Pg::Null);
    }
    if t::REG_TYPES.contains(&data_type.oid) {
        return text::parse(field, &Type::of(t::OID), UTC);
    }
    let unescaped = if field.contains('\\') {
        field.replace("\\t", "\t").replace("\\n", "\n").replace("\\\\", "\\")
    } else {
        field.to_owned()
    };
    text::parse(&unescaped, data_type, UTC)
}

pub const UTC: Clock = Clock { now_us: 0, zone: Zone::UTC };

fn pg_type(name: &str) -> Type {
    match t::type_named(name) {
        Some(row) => Type::of(row.oid),
        None => t::parse_type(name).unwrap_or(Type::of(t::TEXT)),
    }
}

/// The rows of a system relation, in the order of its columns.
fn rows_of(context: &SystemContext, relation: &'static system::Relation) -> crate::error::Result<Vec<Row>> {
    let converted = |error| super::converted(error, "");
    let fixed = fixed_rows(relation).map_err(converted)?;
    let types: Vec<Type> = relation.columns.iter().map(|column| pg_type(column.type_name)).collect();
    let mut rows = fixed.map_or_else(Vec::new, |fixed| fixed.as_ref().clone());
    for row in system::filled(context, relation)? {
        rows.push(
            row.iter()
                .zip(&types)
                .map(|(value, data_type)| stored(value.as_ref(), data_type))
                .collect::<Result<_>>()
                .map_err(converted)?,
        );
    }
    Ok(rows)
}

/// A value as the system views keep it.
fn stored(value: Option<&Value>, data_type: &Type) -> Result<Pg> {
    let Some(value) = value else { return Ok(Pg::Null) };
    Ok(match value {
        Value::Bool(truth) => Pg::Bool(*truth),
        Value::Int(number) => match data_type.oid {
            t::TIMESTAMPTZ | t::TIMESTAMP => Pg::Timestamp(*number),
            t::INTERVAL => {
                Pg::Interval(granary_postgres::value::Interval { microseconds: *number, ..Default::default() })
            }
            t::FLOAT4 | t::FLOAT8 => Pg::Float(*number as f64),
            _ => Pg::Int(*number),
        },
        Value::Float(number) => Pg::Float(*number),
        Value::Decimal(number) => Pg::Numeric((*number).into()),
        Value::Text(text) if data_type.oid == t::REGPROC => match text.parse::<i64>() {
            Ok(number) => Pg::Int(number),
            Err(_) => {
                Pg::Int(granary_postgres::resolve::procs_named(text).next().map_or(0, |proc| i64::from(proc.oid)))
            }
        },
        Value::Text(text) if data_type.is_array() || matches!(data_type.oid, t::JSONB | t::INET) => {
            text::parse(text, data_type, UTC)?
        }
        Value::Text(text) => Pg::Text(Arc::clone(text)),
        Value::Bytes(bytes) => Pg::Bytes(Arc::clone(bytes)),
        Value::List(items) => {
            let element = data_type.element().unwrap_or(Type::of(t::TEXT));
            let items = items.iter().map(|item| stored(item.as_ref(), &element)).collect::<Result<Vec<_>>>()?;
            if matches!(data_type.oid, t::INT2VECTOR | t::OIDVECTOR) { Pg::vector(items) } else { Pg::array(items) }
        }
    })
}

impl World for CatalogWorld {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Arc<Relation>> {
        let reference = match schema {
            Some(schema) => datafusion::common::TableReference::partial(schema, name),
            None => datafusion::common::TableReference::bare(name),
        };
        let own = system::named(&self.context.scope.search_path, &reference)?;
        let columns = own
            .columns
            .iter()
            .map(|column| Column { name: column.name.to_owned(), data_type: pg_type(column.type_name) });
        Some(Arc::new(Relation {
            oid: u32::try_from(own.oid).unwrap_or(0),
            schema: own.schema.to_owned(),
            name: own.name.to_owned(),
            columns: columns.collect(),
            key: own.columns.iter().position(|column| column.name == "oid").into_iter().collect(),
            view: system::view_text(own),
        }))
    }

    fn rows(&self, relation: &Relation) -> Result<Arc<Vec<Row>>> {
        let mut known = self.rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(rows) = known.get(&relation.oid) {
            return Ok(Arc::clone(rows));
        }
        let own = system::relation(&relation.schema, &relation.name)
            .ok_or_else(|| Error::new("XX000", "a relation that is not there any more"))?;
        let rows = Arc::new(rows_of(&self.context, own).map_err(|error| Error::new("XX000", error.to_string()))?);
        known.insert(relation.oid, Arc::clone(&rows));
        Ok(rows)
    }

    fn function(&self, proc: &Proc) -> Option<Function> {
        let context = Arc::clone(&self.context);
        let name = proc.name;
        match name {
            "set_config" => {
                let changes = Arc::clone(&self.changes);
                return Some(Function::new(name, move |_, values| {
                    let (Some(setting), Some(is_local)) = (values[0].as_text(), values[2].as_bool()) else {
                        return Err(Error::new("22004", "SET requires parameter name"));
                    };
                    let value = values[1].as_text().unwrap_or_default();
                    let change = SettingChange { name: setting.to_owned(), value: value.to_owned(), is_local };
                    changes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(change);
                    Ok(Pg::text(value))
                }));
            }
            "to_regclass" | "to_regtype" | "to_regnamespace" | "to_regrole" | "to_regproc" | "to_regprocedure"
            | "to_regcollation" => {
                let oid = proc.result;
                return Some(Function::new(name, move |context, values| {
                    let spelled = values[0].as_text().unwrap_or_default();
                    match casts::reg_number(context.world, spelled, oid) {
                        Err(error) if matches!(error.sqlstate, "42P01" | "42704" | "3F000" | "42883" | "42725") => {
                            Ok(Pg::Null)
                        }
                        found => found,
                    }
                }));
            }
            _ => {}
        }
        let result = Type::of(proc.result);
        let call = session::body(name)?;
        Some(Function::new(name, move |_, values| {
            let arguments: Vec<Option<Value>> = values.iter().map(argument).collect();
            let found = call(&context, &arguments).map_err(failed)?;
            stored(found.as_ref(), &result)
        }))
    }

    fn number_of(&self, kind: NameKind, name: &str) -> Result<Option<u32>> {
        let number = |found: Option<i64>| found.and_then(|number| u32::try_from(number).ok());
        let snapshot = &self.context.scope.snapshot;
        Ok(match kind {
            NameKind::Relation => number(session::class_oid(&self.context, name)),
            NameKind::Schema => number(session::schema_oid(&self.context, session::parse_name(name).table())),
            NameKind::Role => {
                number(snapshot.role(session::parse_name(name).table()).map(|role| names::oid_of(role.header.id)))
            }
        })
    }

    fn name_of(&self, kind: NameKind, number: u32) -> Option<String> {
        let object = || names::object_of(&self.context.scope.snapshot, i64::from(number));
        match kind {
            NameKind::Relation => session::class_name_of(&self.context, i64::from(number)),
            NameKind::Schema => {
                let own = session::schema_name_of(&self.context, i64::from(number));
                own.or_else(|| {
                    object()
                        .and_then(Object::downcast::<Schema>)
                        .map(|schema| text::quote_identifier(&schema.header.name))
                })
            }
            NameKind::Role => {
                object().and_then(Object::downcast::<Role>).map(|role| text::quote_identifier(&role.header.name))
            }
        }
    }

    fn user(&self) -> String {
        self.context.facts.user.clone()
    }

    fn session_user(&self) -> String {
        self.context.facts.user.clone()
    }

    fn database(&self) -> String {
        self.context.facts.database.clone()
    }

    fn current_schema(&self) -> Option<String> {
        session::own_schemas(&self.context).into_iter().next()
    }

    fn clock(&self) -> Clock {
        Clock { now_us: self.context.now_us, zone: self.context.facts.zone }
    }

    fn check_stopped(&self) -> Result<()> {
        if self.stop.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_cancelled() {
            return Err(Error::new("57014", "canceling statement due to user request"));
        }
        Ok(())
    }
}

fn failed(error: crate::error::Error) -> Error {
    Error::new(error.kind().sqlstate(), error.to_string())
}

fn argument(value: &Pg) -> Option<Value> {
    Some(match value {
        Pg::Bool(truth) => Value::Bool(*truth),
        Pg::Int(number) | Pg::Timestamp(number) => Value::Int(*number),
        Pg::Float(number) => Value::Float(*number),
        Pg::Text(text) => Value::Text(Arc::clone(text)),
        Pg::Array(array) => Value::List(array.items.iter().map(argument).collect()),
        _ => return None,
    })
}
