//! Queries over tables as PostgreSQL means them: `granary_postgres` settles names, types, operators and functions, and what
//! comes of it becomes a plan of DataFusion (`lower`), with functions of ours where DataFusion has no equal (`call`,
//! `aggregate`). What cannot be a plan runs in memory (`interpreted`).
//!
//! Queries that read feature views and their like, which have a meaning of their own, are not settled here.

mod aggregate;
mod call;
mod carry;
mod columns;
mod interpreted;
mod lists;
mod lower;
mod world;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::TableReference;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, TableSource};
use granary_catalog::{Object, ObjectKind};
use granary_postgres::functions::casts;
use granary_postgres::plan::{Body, Query, Source};
use granary_postgres::types::{self as t, Type};
use granary_postgres::{Analyzed, Column, Value as Pg, World, resolve};
use sqlparser::ast::{self, ObjectNamePart, Visit, Visitor};

use super::catalog_query::converted;
use super::catalog_query::world::CatalogWorld;
use super::query::{Labels, QueryPlanner, QueryReads, is_built_in, table_reference};
use super::tables::system::{self, names};
use crate::access::Readable;
use crate::error::Result;
use crate::row::text_of;

pub(in crate::engine) use interpreted::Interpreted;
pub use lists::{rows_with_lists, with_lists};
use lower::{Lower, Lowered, Lowering, Stop};
use world::{FIRST_UNKNOWN, Known, SettledWorld};

/// What the columns of a plan are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// a client, or a query around it: exact
    Answer,
    /// a table: in types that it can have
    Store,
}

/// A query as a plan.
pub struct Settled {
    pub plan: LogicalPlan,
    /// names of its columns, and where they come from
    pub labels: Labels,
    /// in which type values of `$1`, `$2`, … are taken, and the OIDs of theirs
    pub parameters: Vec<(DataType, u32)>,
}

impl QueryPlanner {
    /// None: the query reads, or calls, what only the engine knows. `declared`: OIDs of types of parameters.
    pub async fn settled(
        &self,
        query: &ast::Query,
        declared: &[u32],
        (text, purpose): (&str, Purpose),
    ) -> Result<Option<Settled>> {
        let Some((world, limited)) = self.settled_world(query).await? else { return Ok(None) };
        let analyzed = granary_postgres::analyze(query, &types_of(declared), world.as_ref() as &dyn World)
            .map_err(|error| converted(error, text))?;
        self.check_limited(&analyzed, &limited)?;
        let finish = |lower: &Lower<'_>, plan, columns| lower.outputs(plan, columns, &analyzed.query, purpose);
        let plan = self.plan_of(&world, &analyzed, text, &finish).await?;
        let parameters = analyzed.parameters.iter().map(lower::parameter_type).collect();
        let labels = Labels::of_outputs(analyzed.query.columns.iter().map(|column| {
            let told =
                (column.relation != 0 && column.relation < FIRST_UNKNOWN).then_some((column.relation, column.number));
            (column.name.clone(), told, column.data_type.modifier)
        }));
        Ok(Some(Settled { plan, labels, parameters }))
    }

    /// Rows that are assigned to these columns, or to the first of them, in the types that a table keeps them in. None:
    /// as for [`QueryPlanner::settled`].
    pub async fn settled_rows(
        &self,
        query: &ast::Query,
        columns: &[granary_catalog::Column],
        declared: &[u32],
        text: &str,
    ) -> Result<Option<LogicalPlan>> {
        self.settled_as(query, (&assigned(columns), false), declared, text).await
    }

    /// The same behind so many columns, and before so many others, which stay as they are.
    pub async fn settled_change(
        &self,
        query: &ast::Query,
        (n_before, columns, n_behind): (usize, &[granary_catalog::Column], usize),
        declared: &[u32],
        text: &str,
    ) -> Result<Option<LogicalPlan>> {
        let mut wanted = vec![Assigned::as_it_is(); n_before];
        wanted.extend(assigned(columns));
        wanted.resize_with(n_before + columns.len() + n_behind, Assigned::as_it_is);
        self.settled_as(query, (&wanted, n_before > 0), declared, text).await
    }

    async fn settled_as(
        &self,
        query: &ast::Query,
        (columns, is_update): (&[Assigned], bool),
        declared: &[u32],
        text: &str,
    ) -> Result<Option<LogicalPlan>> {
        let Some((world, limited)) = self.settled_world(query).await? else { return Ok(None) };
        if !columns.iter().filter_map(|column| column.kept_as.as_ref()).all(is_carried) {
            return Ok(None);
        }
        let (names, types): (Vec<String>, Vec<Type>) =
            columns.iter().map(|column| (column.name.clone(), column.data_type.clone())).unzip();
        let declared = types_of(declared);
        let analyzed = granary_postgres::analyze_rows(query, (&names, &types), &declared, world.as_ref() as &dyn World)
            .map_err(|error| converted(error, text))?;
        self.check_limited(&analyzed, &limited)?;
        if is_update {
            check_update(&analyzed.query)?;
        }
        let wanted: Vec<Option<DataType>> = columns.iter().map(|column| column.kept_as.clone()).collect();
        let finish = |lower: &Lower<'_>, plan, columns| lower.stored(plan, columns, &analyzed.query, &wanted);
        self.plan_of(&world, &analyzed, text, &finish).await.map(Some)
    }

    /// A query of the statement's own making, if `check` has nothing against what it reads. Its columns are called `0`, `1`, …
    pub(super) async fn settled_under(
        &self,
        query: &ast::Query,
        check: &(dyn Fn(&QueryReads) -> Result<()> + Sync),
    ) -> Result<Option<LogicalPlan>> {
        let Some((world, analyzed)) = self.analyzed_under(query, "").await? else { return Ok(None) };
        check(&self.reads_of(&analyzed.query))?;
        let wanted = vec![None; analyzed.query.columns.len()];
        let finish = |lower: &Lower<'_>, plan, columns| lower.stored(plan, columns, &analyzed.query, &wanted);
        self.plan_of(&world, &analyzed, "", &finish).await.map(Some)
    }

    /// What such a query reads.
    pub(super) async fn settled_reads(&self, query: &ast::Query, text: &str) -> Result<Option<QueryReads>> {
        let analyzed = self.analyzed_under(query, text).await?;
        Ok(analyzed.map(|(_, analyzed)| self.reads_of(&analyzed.query)))
    }

    async fn analyzed_under(&self, query: &ast::Query, text: &str) -> Result<Option<(Arc<SettledWorld>, Analyzed)>> {
        let Some((world, limited)) = self.settled_world(query).await? else { return Ok(None) };
        let ast::SetExpr::Select(select) = query.body.as_ref() else { return Ok(None) };
        let columns = vec![Assigned::as_it_is(); select.projection.len()];
        let (names, types): (Vec<String>, Vec<Type>) =
            columns.into_iter().map(|column| (column.name, column.data_type)).unzip();
        let analyzed = granary_postgres::analyze_rows(query, (&names, &types), &[], world.as_ref() as &dyn World)
            .map_err(|error| converted(error, text))?;
        self.check_limited(&analyzed, &limited)?;
        Ok(Some((world, analyzed)))
    }

    /// The columns that a query reads, of relations of the catalog and of one that it was given.
    fn reads_of(&self, query: &Query) -> QueryReads {
        let mut reads = QueryReads::default();
        query.walk(&mut |query| {
            let Body::Select(select) = &query.body else { return };
            let Some(from) = &select.from else { return };
            from.scans(&mut |scan| {
                let Source::Relation(relation) = &scan.source else { return };
                let columns = scan.slots.iter().map(|(column, _)| relation.columns[*column].name.clone());
                if relation.oid >= FIRST_UNKNOWN {
                    reads.own.extend(columns);
                } else if let Some(object) = names::object_of(&self.scope.snapshot, i64::from(relation.oid)) {
                    reads.others.entry(object.id()).or_default().extend(columns);
                }
            });
        });
        reads
    }

    fn check_limited(&self, analyzed: &Analyzed, limited: &[(Arc<Object>, u32)]) -> Result<()> {
        for (object, number) in limited {
            let columns = columns_read(&analyzed.query, *number);
            self.scope.check_select(object, columns.iter().map(String::as_str))?;
        }
        Ok(())
    }

    /// What a query sees, and the relations of which only columns may be read. None: it reads, or calls, what only the
    /// engine knows.
    async fn settled_world(&self, query: &ast::Query) -> Result<Option<(Arc<SettledWorld>, Vec<(Arc<Object>, u32)>)>> {
        let mut found = Found { planner: self, relations: Vec::new(), ctes: Vec::new() };
        if query.visit(&mut found).is_break() {
            return Ok(None);
        }
        let mut known = HashMap::new();
        let mut limited = Vec::new();
        for reference in std::mem::take(&mut found.relations) {
            let key = (reference.schema().map(str::to_owned), reference.table().to_owned());
            if known.contains_key(&key) {
                continue;
            }
            // what there is not is told with its place
            if self.given_relation(&reference).is_none() && matches!(self.scope.read_relation(&reference), Ok(None)) {
                continue;
            }
            let Some((object, one)) = Box::pin(self.known(&reference, known.len())).await? else { return Ok(None) };
            if let Some(object) = object
                && self.scope.access().readable(&object)? == Readable::SomeColumns
            {
                limited.push((object, one.relation.oid));
            }
            known.insert(key, one);
        }
        let world = SettledWorld::new(CatalogWorld::new(self.system_context()), known);
        Ok(Some((Arc::new(world), limited)))
    }

    /// The plan of a settled query, which `finish` gives its columns.
    async fn plan_of(
        &self,
        world: &Arc<SettledWorld>,
        analyzed: &Analyzed,
        text: &str,
        finish: &(dyn Fn(&Lower<'_>, LogicalPlan, Vec<Lowered>) -> Lowering<LogicalPlan> + Sync),
    ) -> Result<LogicalPlan> {
        let context = self.system_context();
        let values = self
            .parameter_values
            .iter()
            .zip(&analyzed.parameters)
            .map(|((own, value), data_type)| match value {
                Some(value) => casts::parameter(world.as_ref(), &text_of(value, own), data_type),
                None => Ok(Pg::Null),
            })
            .collect::<granary_postgres::Result<Vec<_>>>()
            .map_err(|error| converted(error, text))?;
        let query = Arc::clone(&analyzed.query);
        let state = self.state();
        let mut lower = Lower::new(world, &state, context.clone(), (&values, self.parameter_types()));
        let lowered = match lower.query(&query) {
            Ok((plan, columns)) if !lower.may_be_refused || self.can_run(&plan).await => finish(&lower, plan, columns),
            Ok(_) => Err(Stop::NoEqual("a subquery that DataFusion does not plan")),
            Err(stop) => Err(stop),
        };
        let reason = match lowered {
            Ok(plan) => return Ok(plan),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::NoEqual(reason)) => reason,
        };
        tracing::debug!(reason, "a query runs in memory");
        let provider = interpreted::Interpreted::new(query, world, context, values.clone());
        let source = provider_as_source(Arc::new(provider));
        let plan = LogicalPlanBuilder::scan("rows", source, None)?.build()?;
        let columns = lower::columns_of(&plan);
        finish(&lower, plan, columns).map_err(|stop| match stop {
            Stop::Failed(error) => error,
            Stop::NoEqual(what) => crate::error::Error::not_supported(what),
        })
    }

    /// Whether DataFusion finds a way to carry out a plan: of subqueries it knows not all.
    async fn can_run(&self, plan: &LogicalPlan) -> bool {
        let state = self.state();
        match state.optimize(plan) {
            Ok(optimized) => state.query_planner().create_physical_plan(&optimized, &state).await.is_ok(),
            Err(_) => false,
        }
    }

    /// A relation that can be read as it is; None for all others.
    async fn known(&self, reference: &TableReference, number: usize) -> Result<Option<(Option<Arc<Object>>, Known)>> {
        let unknown = FIRST_UNKNOWN + u32::try_from(number).unwrap_or(0);
        if let Some(given) = self.given_relation(reference) {
            let source = provider_as_source(Arc::clone(&given.rows));
            let schema = source.schema();
            if schema.fields().iter().any(|field| !is_carried(field.data_type())) {
                return Ok(None);
            }
            let column = |field: &FieldRef| {
                let declared = given.columns.iter().find(|column| column.name == *field.name());
                Column { name: field.name().clone(), data_type: type_of(field, declared) }
            };
            let columns = schema.fields().iter().map(column).collect();
            let relation = world::relation(unknown, ("", reference.table()), columns, Vec::new());
            return Ok(Some((None, Known { relation, source })));
        }
        let Some(object) = self.scope.relation(reference).ok().flatten().cloned() else { return Ok(None) };
        let source: Arc<dyn TableSource> = match object.as_ref() {
            Object::View(view) if !self.is_outlined() => {
                match Box::pin(self.nested_view(view)?.settled_text(&view.query, Purpose::Answer)).await? {
                    Some(plan) => provider_as_source(Arc::new(ViewTable::new(plan, None))),
                    None => provider_as_source(self.provider(&object).await?),
                }
            }
            _ => provider_as_source(self.provider(&object).await?),
        };
        let own = names::columns(&self.scope.snapshot, &object);
        let columns: Vec<Column> = source
            .schema()
            .fields()
            .iter()
            .map(|field| {
                let declared = own.iter().find(|column| column.name == *field.name());
                Column { name: field.name().clone(), data_type: type_of(field, declared) }
            })
            .collect();
        if source.schema().fields().iter().any(|field| !is_carried(field.data_type())) {
            return Ok(None);
        }
        let number = u32::try_from(names::oid_of(object.id())).unwrap_or(unknown);
        let schema = self.scope.schema_name_of(&object);
        let key = match object.as_ref() {
            Object::Table(table) => primary_key(table, &columns),
            _ => Vec::new(),
        };
        let relation = world::relation(number, (&schema, object.name()), columns, key);
        Ok(Some((Some(object), Known { relation, source })))
    }

    /// The same of a stored query, with its columns under their names.
    pub async fn settled_text(&self, sql: &str, purpose: Purpose) -> Result<Option<LogicalPlan>> {
        let mut parsed = granary_sql::parse(sql)?;
        let (Some(granary_sql::Parsed { statement: granary_sql::Statement::Query(query), .. }), true) =
            (parsed.pop(), parsed.is_empty())
        else {
            return Ok(None);
        };
        let Some(settled) = self.settled(&query.ast, &[], (sql, purpose)).await? else { return Ok(None) };
        Ok(Some(super::query::named(settled.plan, &settled.labels)?))
    }
}

/// Places of the columns of a table's primary key.
fn primary_key(table: &granary_catalog::Table, columns: &[Column]) -> Vec<usize> {
    let key = table.constraints.iter().find_map(|constraint| match &constraint.kind {
        granary_catalog::ConstraintKind::PrimaryKey { columns } => Some(columns.as_slice()),
        _ => None,
    });
    let place = |name: &String| columns.iter().position(|column| column.name == *name);
    key.and_then(|key| key.iter().map(place).collect()).unwrap_or_default()
}

/// What a row is updated to comes of it alone.
fn check_update(query: &Query) -> Result<()> {
    let Body::Select(select) = &query.body else { return Ok(()) };
    let refused = [
        (!select.sets.is_empty(), "0A000", "set-returning functions are"),
        (!select.windows.is_empty(), "42P20", "window functions are"),
        (select.grouping.is_some(), "42803", "aggregate functions are"),
    ];
    match refused.into_iter().find(|(is_there, ..)| *is_there) {
        Some((_, sqlstate, what)) => {
            let error = granary_postgres::Error::new(sqlstate, format!("{what} not allowed in UPDATE"));
            Err(converted(error, ""))
        }
        None => Ok(()),
    }
}

/// What an expression is assigned to.
#[derive(Debug, Clone)]
struct Assigned {
    name: String,
    data_type: Type,
    /// None: it stays as it is
    kept_as: Option<DataType>,
}

impl Assigned {
    fn as_it_is() -> Assigned {
        Assigned { name: String::new(), data_type: Type::of(t::UNKNOWN), kept_as: None }
    }
}

fn assigned(columns: &[granary_catalog::Column]) -> Vec<Assigned> {
    let assigned = |column: &granary_catalog::Column| {
        let field = Field::new(&column.name, column.data_type.clone(), true);
        let data_type = type_of(&field, Some(column));
        Assigned { name: column.name.clone(), data_type, kept_as: Some(column.data_type.clone()) }
    };
    columns.iter().map(assigned).collect()
}

/// The types of parameters that are said; none by 0 and `unknown`.
pub(super) fn types_of(oids: &[u32]) -> Vec<Option<Type>> {
    oids.iter().map(|oid| (*oid != 0 && *oid != t::UNKNOWN).then(|| Type::of(*oid))).collect()
}

/// The names of columns of a relation that the query names anywhere.
fn columns_read(query: &Query, number: u32) -> Vec<String> {
    let mut names = Vec::new();
    query.walk(&mut |query| {
        if let Body::Select(select) = &query.body
            && let Some(from) = &select.from
        {
            from.scans(&mut |scan| {
                if let Source::Relation(relation) = &scan.source
                    && relation.oid == number
                {
                    names.extend(scan.slots.iter().map(|(column, _)| relation.columns[*column].name.clone()));
                }
            });
        }
    });
    names
}

/// The type of a column: as it was declared, or as its field says.
fn type_of(field: &Field, declared: Option<&granary_catalog::Column>) -> Type {
    let own = || match declared {
        Some(column) if column.data_type == *field.data_type() || column.declared.is_some() => {
            names::column_type(column)
        }
        _ => names::type_of(field.data_type()),
    };
    let named = field.metadata().get("pg.type").and_then(|name| t::type_named(name.trim_matches('"')));
    let (oid, modifier) = match named {
        Some(row) => {
            (i64::from(row.oid), field.metadata().get("pg.modifier").and_then(|text| text.parse().ok()).unwrap_or(-1))
        }
        None => own(),
    };
    let modifier = if *field.data_type() == carry::ANY_NUMERIC { -1 } else { i32::try_from(modifier).unwrap_or(-1) };
    Type::with_modifier(u32::try_from(oid).unwrap_or(t::TEXT), modifier)
}

/// The OID of the type of a parameter whose values are taken in an Arrow type; 0 where that does not say it.
pub fn parameter_oid(data_type: &DataType) -> u32 {
    if *data_type == super::catalog_query::PRINTED {
        return 0;
    }
    u32::try_from(names::type_of(data_type).0).unwrap_or(0)
}

/// Whether values of an Arrow type are values of one of PostgreSQL's.
fn is_carried(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(_)
        | DataType::Map(..)
        | DataType::Union(..)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..)
        | DataType::Decimal256(..)
        | DataType::RunEndEncoded(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => false,
        DataType::List(item) => !matches!(item.data_type(), DataType::List(_)) && is_carried(item.data_type()),
        DataType::Dictionary(_, value) => is_carried(value),
        _ => true,
    }
}

struct Found<'p> {
    planner: &'p QueryPlanner,
    relations: Vec<TableReference>,
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
                self.relation(reference)
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
    fn relation(&mut self, reference: TableReference) -> ControlFlow<()> {
        let planner = self.planner;
        if planner.given(&reference).is_some() {
            self.relations.push(reference);
            return ControlFlow::Continue(());
        }
        if reference.catalog().is_some() {
            return ControlFlow::Break(());
        }
        match system::named(&planner.scope.search_path, &reference) {
            Some(relation) if relation.schema == "granary" => return ControlFlow::Break(()),
            Some(_) => return ControlFlow::Continue(()),
            None if system::is_system_schema(reference.schema()) => return ControlFlow::Break(()),
            None => {}
        }
        let Ok(Some(object)) = planner.scope.relation(&reference) else { return ControlFlow::Break(()) };
        let is_plain = matches!(
            object.kind(),
            ObjectKind::Table | ObjectKind::View | ObjectKind::Source | ObjectKind::Stream | ObjectKind::Dataset
        );
        if !is_plain {
            return ControlFlow::Break(());
        }
        self.relations.push(reference);
        ControlFlow::Continue(())
    }

    fn function(&self, name: &ast::ObjectName) -> ControlFlow<()> {
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
        let is_known = resolve::procs_named(&name).next().is_some() || t::type_named(&name).is_some();
        // what only the engine has
        if !is_known && is_built_in(self.planner, &name) && !super::catalog_query::is_grammar(&name) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
