//! Queries that read nothing but the catalogs, or nothing at all: answered by `granary_postgres`, which means with them
//! what PostgreSQL means. Every other query is DataFusion's.

pub(in crate::engine) mod arrays;
pub(in crate::engine) mod world;

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use granary_postgres::datetime::{Clock, Zone};
use granary_postgres::functions::casts;
use granary_postgres::plan::{Body, FromCall, Source};
use granary_postgres::types::{self as t, Type};
use granary_postgres::{Analyzed, resolve, send, text};
use sqlparser::ast::{self, ObjectNamePart, Visit, Visitor};
use sqlparser::tokenizer::Location;
use tokio_util::sync::CancellationToken;

use super::error::placed;
use super::query::{QueryPlanner, is_built_in, table_reference};
use super::settled::types_of;
use super::tables::system;
use crate::error::{Error, Kind, Result};
use crate::row::{Value, text_of};

use world::CatalogWorld;
pub use world::SettingChange;

/// The type in which values of parameters are taken that only catalog queries know the types of: as they are printed.
pub const PRINTED: DataType = DataType::Utf8View;

/// A value in the binary format as its type prints it. Errors: 22P03, 42883.
pub fn printed_value(bytes: &[u8], oid: u32) -> Result<String> {
    let data_type = Type::of(oid);
    let value = send::receive(bytes, &data_type).map_err(|error| converted(error, ""))?;
    Ok(text::format(&value, &data_type, world::UTC).unwrap_or_default())
}

/// Refuses a text that is no value of a type. What depends on the catalogs is looked at when it is used.
pub fn check_printed(printed: &str, oid: u32, zone: Zone) -> Result<()> {
    if t::REG_TYPES.contains(&oid) || oid == t::RECORD || oid == t::UNKNOWN || oid == 0 {
        return Ok(());
    }
    let clock = Clock { now_us: 0, zone };
    match text::parse(printed, &Type::of(oid), clock) {
        Err(error) if error.sqlstate.starts_with("22") => Err(converted(error, "")),
        _ => Ok(()),
    }
}

/// Texts, or arrays of them, as a type of PostgreSQL prints them. Errors: 22P02 for the first that is none of it.
pub fn as_declared(values: &ArrayRef, declared: &str) -> Result<ArrayRef> {
    if let Some(texts) = values.as_string_opt::<i32>() {
        return Ok(Arc::new(texts_as_declared(texts, declared)?));
    }
    let lists = values.as_list_opt::<i32>();
    let (Some(lists), Some(item)) = (lists, declared.strip_prefix('_')) else { return Ok(Arc::clone(values)) };
    let DataType::List(field) = lists.data_type() else { return Ok(Arc::clone(values)) };
    let items = as_declared(lists.values(), item)?;
    let lists = ListArray::try_new(Arc::clone(field), lists.offsets().clone(), items, lists.nulls().cloned());
    Ok(Arc::new(lists.map_err(|error| Error::internal("an array of texts").with_source(error))?))
}

fn texts_as_declared(texts: &StringArray, declared: &str) -> Result<StringArray> {
    let Some(row) = t::type_named(declared).filter(|row| !matches!(row.oid, t::VARCHAR | t::BPCHAR | t::TEXT)) else {
        return Ok(texts.clone());
    };
    let data_type = Type::of(row.oid);
    let printed = |text: Option<&str>| -> granary_postgres::Result<Option<String>> {
        let Some(text) = text else { return Ok(None) };
        Ok(text::format(&text::parse(text, &data_type, world::UTC)?, &data_type, world::UTC))
    };
    texts.iter().map(printed).collect::<granary_postgres::Result<StringArray>>().map_err(|error| converted(error, ""))
}

/// The OID of a type as SQL spells it. Errors: 42704.
pub fn type_number(spelled: &str) -> Result<u32> {
    t::parse_type(spelled).map(|found| found.oid).map_err(|error| converted(error, ""))
}

/// A printed value in the binary format.
pub fn sent_value(printed: &str, oid: u32, out: &mut Vec<u8>) -> Result<()> {
    let data_type = Type::of(oid);
    let sent = match oid {
        t::RECORD => Err(granary_postgres::Error::new("42883", "no binary output function available for type record")),
        _ => text::parse(printed, &data_type, world::UTC).and_then(|value| send::send(&value, &data_type, out)),
    };
    sent.map_err(|error| converted(error, ""))
}

/// A query that is settled, and can be carried out.
pub struct CatalogQuery {
    analyzed: Analyzed,
    world: CatalogWorld,
    schema: SchemaRef,
    text: String,
}

impl CatalogQuery {
    /// None if the query reads something else than the catalogs, or calls what only the engine knows, or may give rows
    /// without end out of a series, which the engine gives one after the other. `declared`: OIDs of
    /// the types of parameters, 0 where they are not known.
    pub fn of(
        planner: &QueryPlanner,
        query: &ast::Query,
        declared: &[u32],
        text: &str,
    ) -> Option<Result<CatalogQuery>> {
        if !is_answerable(query, planner) {
            return None;
        }
        let declared = types_of(declared);
        let world = CatalogWorld::new(planner.system_context());
        Some(match granary_postgres::analyze(query, &declared, &world) {
            Ok(analyzed) if is_series(&analyzed) => return None,
            Ok(analyzed) => {
                let fields: Vec<Field> = analyzed.query.columns.iter().map(arrays::field).collect();
                Ok(CatalogQuery { analyzed, world, schema: Arc::new(Schema::new(fields)), text: text.to_owned() })
            }
            Err(error) => Err(converted(error, text)),
        })
    }

    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// In which type values of the parameters are taken, and the OIDs of theirs.
    pub fn parameters(&self) -> Vec<(DataType, u32)> {
        self.analyzed.parameters.iter().map(|parameter| (PRINTED, parameter.oid)).collect()
    }

    /// The rows, and what was set on the way. Errors: `QueryCanceled` soon after `stop` is cancelled.
    pub fn run(
        &self,
        values: &[(DataType, Option<Value>)],
        stop: CancellationToken,
    ) -> Result<(RecordBatch, Vec<SettingChange>)> {
        self.world.stop_by(stop);
        let parameters = self.analyzed.parameters.iter().zip(values);
        let parameters = parameters
            .map(|(data_type, (own, value))| match value {
                Some(value) => casts::parameter(&self.world, &text_of(value, own), data_type),
                None => Ok(granary_postgres::Value::Null),
            })
            .collect::<granary_postgres::Result<Vec<_>>>()
            .map_err(|error| converted(error, &self.text))?;
        let rows = granary_postgres::execute(&self.analyzed.query, parameters, &self.world)
            .map_err(|error| converted(error, &self.text))?;
        let batch = arrays::batch(&self.schema, &self.analyzed.query.columns, &rows, &self.world)?;
        Ok((batch, self.world.take_changes()))
    }
}

/// Whether the query reads series, and no catalog.
fn is_series(analyzed: &Analyzed) -> bool {
    let (mut reads_series, mut reads_catalogs) = (false, false);
    analyzed.query.walk(&mut |query| {
        if let Body::Select(select) = &query.body
            && let Some(from) = &select.from
        {
            from.scans(&mut |scan| match &scan.source {
                Source::Relation(_) => reads_catalogs = true,
                Source::Functions { calls, .. } => {
                    reads_series |= calls.iter().any(
                        |(call, _)| matches!(call, FromCall::Set(call) if call.function.name == "generate_series"),
                    );
                }
                Source::Query(_) | Source::Cte(_) => {}
            });
        }
    });
    reads_series && !reads_catalogs
}

/// An error of that package as one of ours, placed in the statement's text.
pub fn converted(error: granary_postgres::Error, text: &str) -> Error {
    let granary_postgres::Error { sqlstate, message, detail, hint, place } = error;
    let mut made = Error::new(kind_of(sqlstate), message);
    if let Some(detail) = detail {
        made = made.with_detail(detail);
    }
    if let Some(hint) = hint {
        made = made.with_hint(hint);
    }
    match place {
        Some((line, column)) => placed(made, text, Location { line, column }),
        None => made,
    }
}

/// Kinds that others branch on; any other SQLSTATE is itself.
fn kind_of(sqlstate: &'static str) -> Kind {
    let kinds = [
        Kind::FeatureNotSupported,
        Kind::Syntax,
        Kind::UndefinedTable,
        Kind::UndefinedColumn,
        Kind::UndefinedFunction,
        Kind::QueryCanceled,
        Kind::OutOfMemory,
        Kind::StatementTooComplex,
        Kind::InsufficientPrivilege,
        Kind::Internal,
    ];
    kinds.into_iter().find(|kind| kind.sqlstate() == sqlstate).unwrap_or(Kind::Postgres(sqlstate))
}

/// The rows of a system view, in the types of its columns.
pub fn view_rows(planner: &QueryPlanner, text: &str, schema: &SchemaRef) -> Result<RecordBatch> {
    let query = granary_postgres::functions::sql::parse(text).map_err(|error| converted(error, text))?;
    let world = CatalogWorld::new(planner.system_context());
    let rows = granary_postgres::analyze(&query, &[], &world)
        .and_then(|analyzed| Ok((granary_postgres::execute(&analyzed.query, Vec::new(), &world)?, analyzed)));
    let (rows, analyzed) = rows.map_err(|error| converted(error, text))?;
    arrays::as_columns(schema, &analyzed.query.columns, &rows, &world)
}

/// Whether all relations of a query are PostgreSQL's catalogs, and all functions PostgreSQL's own.
fn is_answerable(query: &ast::Query, planner: &QueryPlanner) -> bool {
    let mut found = Found { planner, n_catalogs: 0, n_views: 0, ctes: Vec::new() };
    if query.visit(&mut found).is_break() {
        return false;
    }
    // the views of granary are read here only beside catalogs
    found.n_views == 0 || found.n_catalogs > 0
}

struct Found<'c> {
    planner: &'c QueryPlanner,
    n_catalogs: usize,
    n_views: usize,
    ctes: Vec<String>,
}

impl Visitor for Found<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.ctes.push(cte.alias.name.value.to_lowercase());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &ast::TableFactor) -> ControlFlow<()> {
        use ast::TableFactor as F;
        match factor {
            F::Table { name, args: None, version: None, .. } => {
                let Some(reference) = table_reference(name) else { return ControlFlow::Break(()) };
                if reference.schema().is_none() && self.ctes.iter().any(|cte| cte == reference.table()) {
                    return ControlFlow::Continue(());
                }
                match system::named(&self.planner.scope.search_path, &reference) {
                    // its tags are JSON, which is PostgreSQL's
                    Some(relation) if relation.schema == "granary" && relation.name != "search" => self.n_views += 1,
                    Some(_) => self.n_catalogs += 1,
                    None => return ControlFlow::Break(()),
                }
                ControlFlow::Continue(())
            }
            F::Table { name, args: Some(_), version: None, .. } | F::Function { name, .. } => self.function(name),
            F::Derived { .. } | F::UNNEST { .. } | F::NestedJoin { .. } => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        match expr {
            ast::Expr::Function(function) => self.function(&function.name),
            _ => ControlFlow::Continue(()),
        }
    }
}

impl Found<'_> {
    fn function(&self, name: &ast::ObjectName) -> ControlFlow<()> {
        // what users have defined goes first where it has the name
        if self.planner.scope.function(name).ok().flatten().is_some() {
            return ControlFlow::Break(());
        }
        let [qualifier @ .., ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
            return ControlFlow::Break(());
        };
        let is_postgresqls = |part: &ObjectNamePart| {
            matches!(part.to_string().to_lowercase().as_str(), "pg_catalog" | "information_schema")
        };
        if !qualifier.iter().all(is_postgresqls) {
            return ControlFlow::Break(());
        }
        let name = ident.value.to_lowercase();
        let is_postgresqls =
            is_grammar(&name) || resolve::procs_named(&name).next().is_some() || t::type_named(&name).is_some();
        // a function that only the engine has; all others do not exist, which is said here
        if !is_postgresqls && is_built_in(self.planner, &name) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// Functions that PostgreSQL's grammar has, not its catalog.
pub(in crate::engine) fn is_grammar(name: &str) -> bool {
    matches!(
        name,
        "coalesce"
            | "greatest"
            | "least"
            | "nullif"
            | "row"
            | "array"
            | "grouping"
            | "current_user"
            | "current_schema"
            | "current_timestamp"
            | "session_user"
            | "current_date"
    )
}
