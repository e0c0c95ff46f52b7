//! The lineage of an object of each kind.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::common::{DFSchema, TableReference};
use futures::FutureExt;
use granary_catalog::{
    Column, Dataset, FeatureDefinition, FeatureService, FeatureView, Object, ObjectId, RealtimeView, Sink, Snapshot,
    Source, SourceDefinition, Stream,
};

use super::walk::{Output, is_interpreted, used, walk, walk_expr};
use super::{Edge, Influences, Lineage, Origin, Transformation};
use crate::engine::LogicalPlan;
use crate::engine::query::QueryPlanner;
use crate::engine::relation::{BoundView, Interface, RealtimeQuery};
use crate::engine::rows::argument_expr;
use crate::engine::settled::Purpose;
use crate::error::{Error, Result};

/// What the names in an object's definition may mean.
pub fn references(object: &Object) -> Vec<ObjectId> {
    match object {
        Object::Dataset(dataset) => dataset.newest.inputs.iter().map(|input| input.id).collect(),
        other => other.depends_on(),
    }
}

pub fn lineage(planner: &QueryPlanner, object: &Object) -> Lineage {
    match edges(planner, object) {
        Ok(edges) => Lineage { edges: edges.made(), error: None },
        Err(error) => Lineage { edges: of_objects(&planner.scope.snapshot, object), error: Some(error.to_string()) },
    }
}

/// Edges by column, each once.
#[derive(Default)]
struct Edges(Vec<(String, Influences)>);

impl Edges {
    fn add(&mut self, column: &str, influences: Influences) {
        match self.0.iter_mut().find(|(known, _)| known == column) {
            Some((_, all)) => all.extend(influences),
            None => self.0.push((column.to_owned(), influences)),
        }
    }

    /// The column is this one of another object, as it is.
    fn same(&mut self, column: &str, of: ObjectId, own: &str) {
        self.add(column, Influences::from([(Origin::Column(of, own.to_owned()), Transformation::Identity)]));
    }

    fn made(self) -> Vec<Edge> {
        let of_column = |(column, influences): (String, Influences)| {
            influences.into_iter().map(move |(from, how)| Edge { from, column: Some(column.clone()), how })
        };
        self.0.into_iter().flat_map(of_column).collect()
    }
}

/// Where columns cannot be told: the objects that a definition names.
fn of_objects(snapshot: &Snapshot, object: &Object) -> Vec<Edge> {
    let edge = |from| Edge { from, column: None, how: Transformation::Unknown };
    if let Object::Dataset(dataset) = object {
        let relations = dataset.newest.inputs.iter().filter(|input| input.kind.is_relation());
        let named = relations.map(|input| Origin::Object {
            kind: input.kind,
            schema: input.schema.clone(),
            name: input.name.clone(),
        });
        return named.map(edge).collect();
    }
    let read = object.depends_on().into_iter().filter_map(|id| snapshot.get(id));
    let named = read.filter(|read| read.kind().is_relation()).map(|read| Origin::Object {
        kind: read.kind(),
        schema: snapshot.schema_of(read).map_or_else(String::new, |schema| schema.header.name.clone()),
        name: read.name().to_owned(),
    });
    named.map(edge).collect()
}

fn edges(planner: &QueryPlanner, object: &Object) -> Result<Edges> {
    match object {
        Object::Source(source) => of_source(planner, source),
        Object::Stream(stream) => Ok(of_stream(planner, stream)),
        Object::FeatureView(view) => of_feature_view(planner, view),
        Object::RealtimeView(view) => of_realtime_view(planner, view),
        Object::FeatureService(service) => of_service(planner, service),
        Object::Dataset(dataset) => of_dataset(planner, dataset),
        Object::View(view) => {
            let plan = settled(&planner.outlined(view.depends_on.clone()), &view.query)?;
            of_query(&plan, &view.columns)
        }
        Object::Table(table) => match &table.materialized {
            Some(materialized) => {
                let plan = settled(&planner.outlined(materialized.depends_on.clone()), &materialized.query)?;
                of_query(&plan, &table.columns)
            }
            None => Ok(Edges::default()),
        },
        Object::Sink(sink) => of_sink(planner, sink),
        // what users write, and what has no columns of its own
        Object::FeatureTable(_)
        | Object::Workspace(_)
        | Object::Schema(_)
        | Object::Entity(_)
        | Object::Role(_)
        | Object::Secret(_)
        | Object::ApiKey(_)
        | Object::Function(_)
        | Object::Sequence(_)
        | Object::Test(_)
        | Object::Expectation(_)
        | Object::Alert(_) => Ok(Edges::default()),
    }
}

/// Nothing of an outline is waited for.
fn now<T>(planning: impl Future<Output = Result<T>>) -> Result<T> {
    let planned = Box::pin(planning).now_or_never();
    planned.unwrap_or_else(|| Err(Error::internal("planning over outlines waits for something")))
}

/// The query of a view or table, planned as such queries are. Where that leaves it to be carried out in memory, the same
/// query as other queries are planned says more, if it can be.
fn settled(planner: &QueryPlanner, sql: &str) -> Result<LogicalPlan> {
    match now(planner.settled_text(sql, Purpose::Store))? {
        Some(plan) if is_interpreted(&plan)? => Ok(now(planner.plan_query_text(sql)).unwrap_or(plan)),
        Some(plan) => Ok(plan),
        None => now(planner.plan_query_text(sql)),
    }
}

/// Of the columns that a query fills, in its order.
fn of_query(plan: &LogicalPlan, columns: &[Column]) -> Result<Edges> {
    let Output { columns: found, rows, .. } = walk(plan)?;
    let mut edges = Edges::default();
    for (column, mut influences) in columns.iter().zip(found) {
        influences.extend(rows.iter().cloned());
        edges.add(&column.name, influences);
    }
    Ok(edges)
}

fn of_source(planner: &QueryPlanner, source: &Source) -> Result<Edges> {
    let SourceDefinition::Query { sql } = &source.definition else { return Ok(Edges::default()) };
    let plan = now(planner.outlined(source.depends_on.clone()).plan_query_text(sql))?;
    of_query(&plan, &source.columns)
}

/// The rows of the past are those of the mirror.
fn of_stream(planner: &QueryPlanner, stream: &Stream) -> Edges {
    let mut edges = Edges::default();
    let mirror = stream.backfill.and_then(|backfill| planner.scope.snapshot.get_as::<Source>(backfill.source));
    let Some(mirror) = mirror else { return edges };
    for column in &stream.columns {
        if mirror.columns.iter().any(|own| own.name == column.name) {
            edges.same(&column.name, mirror.header.id, &column.name);
        }
    }
    edges
}

fn of_feature_view(planner: &QueryPlanner, view: &FeatureView) -> Result<Edges> {
    let planner = planner.outlined(view.depends_on.clone());
    let plan = now(planner.plan_query_text(&view.query))?;
    let query = walk(&plan)?;
    let of = |name: &str| query.named(name).cloned().unwrap_or_default();
    let mut edges = Edges::default();
    // which row is whose, and when it counts, decides every feature
    let mut rows = query.rows.clone();
    for key in view.join_keys.iter().chain(&view.secondary_key) {
        rows.extend(used(&of(&key.name), Transformation::GroupBy));
    }
    let by_time = if view.kind.has_aggregates() { Transformation::Window } else { Transformation::Sort };
    rows.extend(used(&of(&view.timestamp), by_time));
    rows.extend(view.known_at.iter().flat_map(|known_at| used(&of(known_at), Transformation::Filter)));
    let own = view.join_keys.iter().map(|key| key.name.as_str()).chain([view.timestamp.as_str()]);
    for name in own.collect::<BTreeSet<&str>>() {
        edges.add(name, of(name).into_iter().chain(query.rows.iter().cloned()).collect());
    }
    let bound = BoundView::of_feature_view(view)?;
    for field in bound.output.fields().iter().skip(view.join_keys.len()) {
        let mut all = rows.clone();
        match view.feature(field.name()).map(|feature| &feature.definition) {
            Some(FeatureDefinition::Attribute { column }) => all.extend(of(column)),
            Some(FeatureDefinition::Aggregate { inputs, filter, .. }) => {
                for sql in inputs {
                    let argument = walk_expr(&argument_expr(&planner, sql, plan.schema())?, &query)?;
                    all.extend(used(&argument, Transformation::Aggregation));
                }
                if let Some(sql) = filter {
                    let condition = walk_expr(&argument_expr(&planner, sql, plan.schema())?, &query)?;
                    all.extend(used(&condition, Transformation::Filter));
                }
            }
            Some(FeatureDefinition::Expression { .. }) => {
                return Err(Error::internal("a stored view has a computed feature"));
            }
            // the keys of AGGREGATE BY in a window
            None => {
                let secondary = view.secondary_key.iter().map(|key| of(&key.name));
                all.extend(secondary.flat_map(|key| used(&key, Transformation::Aggregation)));
            }
        }
        edges.add(field.name(), all);
    }
    Ok(edges)
}

fn of_realtime_view(planner: &QueryPlanner, view: &RealtimeView) -> Result<Edges> {
    let planner = planner.outlined(view.depends_on.clone());
    let query = RealtimeQuery::parse(&view.query)?;
    let snapshot = &planner.scope.snapshot;
    let mut edges = Edges::default();
    let mut interfaces = Vec::with_capacity(query.inputs.len());
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    let mut add = |relation: &str, column: &Column, influences: Influences| {
        let field = Arc::new(Field::new(&column.name, column.data_type.clone(), true));
        fields.push((Some(TableReference::bare(relation)), field));
        columns.push(influences);
    };
    let is = |of: ObjectId, column: &str| {
        Influences::from([(Origin::Column(of, column.to_owned()), Transformation::Identity)])
    };
    for (input, id) in query.inputs.iter().zip(&view.depends_on) {
        let object = snapshot.get(*id).ok_or_else(|| Error::internal("what a relation is made of is gone"))?;
        let interface = Interface::of(snapshot, object)?;
        for key in &interface.keys {
            edges.same(&key.name, *id, &key.name);
        }
        // what an inner view asks for, the outer one does
        for asked in &interface.request {
            edges.same(&asked.name, *id, &asked.name);
        }
        for column in interface.keys.iter().chain(&interface.features) {
            add(&input.alias, column, is(*id, &column.name));
        }
        interfaces.push(interface);
    }
    let time = crate::engine::relation::request_time_column();
    for column in &view.request {
        let own = crate::engine::relation::request_column(&column.name);
        let relation = own.relation.as_ref().map_or("", |relation| relation.table());
        add(relation, column, is(view.header.id, &column.name));
    }
    if let Some(relation) = &time.relation {
        let of_time = Column::new(&time.name, crate::engine::relation::time_type(), true);
        add(relation.table(), &of_time, Influences::new());
    }
    let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
    let input = Output::new(schema, columns);
    for feature in query.plan(&planner, &interfaces, &view.request)? {
        edges.add(&feature.column.name, walk_expr(&feature.expr, &input)?);
    }
    Ok(edges)
}

fn of_service(planner: &QueryPlanner, service: &FeatureService) -> Result<Edges> {
    let snapshot = &planner.scope.snapshot;
    let mut edges = Edges::default();
    for member in &service.members {
        let object = snapshot.get(member.view).ok_or_else(|| Error::internal("a member of a service is gone"))?;
        let own = Interface::of(snapshot, object)?;
        for key in &own.keys {
            edges.same(member.service_key(&key.name), member.view, &key.name);
        }
        for asked in &own.request {
            edges.same(&asked.name, member.view, &asked.name);
        }
        for (name, feature) in own.features_of(member)? {
            edges.same(&name, member.view, &feature);
        }
    }
    Ok(edges)
}

fn of_dataset(planner: &QueryPlanner, dataset: &Dataset) -> Result<Edges> {
    let version = &dataset.newest;
    let is_gone = |id: ObjectId| planner.scope.snapshot.get(id).is_none();
    // the name may mean another object by now
    if let Some(gone) = version.inputs.iter().find(|input| is_gone(input.id)) {
        let message = format!("{} \"{}\" is gone", gone.kind.as_str(), gone.name);
        return Err(Error::new(crate::error::Kind::UndefinedTable, message));
    }
    let read = version.inputs.iter().map(|input| input.id).collect();
    let plan = now(planner.outlined(read).plan_query_text(&version.query))?;
    of_query(&plan, &version.columns)
}

fn of_sink(planner: &QueryPlanner, sink: &Sink) -> Result<Edges> {
    let snapshot = &planner.scope.snapshot;
    let view = snapshot.get(sink.view).ok_or_else(|| Error::internal("the view of a sink is gone"))?;
    let mut edges = Edges::default();
    for column in Interface::of(snapshot, view)?.into_columns() {
        edges.same(&column.name, sink.view, &column.name);
    }
    Ok(edges)
}
