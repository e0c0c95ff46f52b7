//! `granary.downstream('object.column')` and `granary.upstream(…)`: whatever is made of something, and whatever something is
//! made of, over any number of objects.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::{MemTable, TableProvider};
use granary_catalog::{Object, ObjectId};

use super::{Origin, Transformation, lineage_of};
use crate::engine::query::QueryPlanner;
use crate::error::{Error, Result};
use crate::row::{Value, array_of};

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        text("kind"),
        text("schema"),
        text("object"),
        text("column"),
        Field::new("distance", DataType::Int64, true),
        text("type"),
        Field::new("path", DataType::new_list(DataType::Utf8, true), true),
    ]))
});

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// what is made of it
    Downstream,
    /// what it is made of
    Upstream,
}

/// Where to begin: an object, or one column of it.
#[derive(Debug, Clone)]
pub struct Start {
    pub object: ObjectId,
    pub column: Option<String>,
}

/// An object as its kind, schema and name: it may be gone, or a system view.
type Place = (String, String, String);

/// A column; `None` stands for one that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    place: Arc<Place>,
    column: Option<Arc<str>>,
}

/// One step.
struct Step {
    to: Node,
    is_direct: bool,
}

/// All steps that there are, by where they begin.
#[derive(Default)]
struct Graph {
    steps: HashMap<Node, Vec<Step>>,
    /// by object, its nodes that steps begin at
    nodes: HashMap<Arc<Place>, Vec<Node>>,
}

impl Graph {
    fn add(&mut self, from: Node, to: Node, how: Transformation) {
        let steps = self.steps.entry(from.clone()).or_default();
        if steps.is_empty() {
            self.nodes.entry(Arc::clone(&from.place)).or_default().push(from);
        }
        steps.push(Step { to, is_direct: how.is_direct() });
    }

    /// The steps from a node: an unknown column may be any of its object, and any may be it.
    fn from<'g>(&'g self, node: &'g Node) -> impl Iterator<Item = &'g Step> {
        let nodes = self.nodes.get(&node.place).into_iter().flatten();
        let is_it = |known: &&Node| node.column.is_none() || known.column.is_none() || known.column == node.column;
        nodes.filter(is_it).filter_map(|known| self.steps.get(known)).flatten()
    }
}

/// The rows: nearest first.
pub fn reach_table(planner: &QueryPlanner, start: &Start, direction: Direction) -> Result<Arc<dyn TableProvider>> {
    let workspace = planner.scope.workspace;
    let objects = planner.scope.snapshot.objects().filter(|object| object.home().workspace() == Some(workspace));
    let mut places: HashMap<ObjectId, Arc<Place>> = HashMap::new();
    let mut graph = Graph::default();
    let node = |place: Arc<Place>, column: Option<&str>| Node { place, column: column.map(Arc::from) };
    for object in objects {
        for edge in &lineage_of(planner, object).edges {
            let to = Arc::clone(places.entry(object.id()).or_insert_with(|| Arc::new(place_of(planner, object))));
            let from = match &edge.from {
                Origin::Column(id, column) => {
                    let Some(source) = planner.scope.snapshot.get(*id) else { continue };
                    let place = places.entry(*id).or_insert_with(|| Arc::new(place_of(planner, source)));
                    node(Arc::clone(place), Some(column))
                }
                Origin::Object { kind, schema, name } => {
                    node(Arc::new((kind.as_str().to_owned(), schema.clone(), name.clone())), None)
                }
                Origin::System(schema, name, column) => {
                    let place = ("system view".to_owned(), (*schema).to_owned(), (*name).to_owned());
                    node(Arc::new(place), Some(column))
                }
                Origin::Unnamed(_) => continue,
            };
            let to = node(to, edge.column.as_deref());
            match direction {
                Direction::Downstream => graph.add(from, to, edge.how),
                Direction::Upstream => graph.add(to, from, edge.how),
            }
        }
    }
    let object = planner.scope.snapshot.get(start.object).ok_or_else(|| Error::internal("an object is gone"))?;
    let begin = node(Arc::new(place_of(planner, object)), start.column.as_deref());
    rows(&graph, &begin)
}

fn place_of(planner: &QueryPlanner, object: &Object) -> Place {
    (object.kind().as_str().to_owned(), planner.scope.schema_name_of(object), object.name().to_owned())
}

fn rows(graph: &Graph, begin: &Node) -> Result<Arc<dyn TableProvider>> {
    // values go along direct steps alone
    let direct: HashSet<&Node> = visit(graph, begin, true).into_iter().map(|visited| visited.node).collect();
    let mut columns: Vec<Vec<Option<Value>>> = vec![Vec::new(); SCHEMA.fields().len()];
    let text = |text: &str| Some(Value::Text(text.into()));
    let visited = visit(graph, begin, false);
    for (number, found) in visited.iter().enumerate().skip(1) {
        let mut path = Vec::new();
        let mut at = Some(number);
        while let Some(place) = at {
            path.push(shown(visited[place].node));
            at = visited[place].came_from;
        }
        let distance = i64::try_from(path.len() - 1).unwrap_or(i64::MAX);
        let (kind, schema, name) = found.node.place.as_ref();
        let cells = [
            text(kind),
            text(schema),
            text(name),
            found.node.column.as_deref().and_then(text),
            Some(Value::Int(distance)),
            text(if direct.contains(found.node) { "DIRECT" } else { "INDIRECT" }),
            Some(Value::List(path.iter().rev().map(|step| text(step)).collect())),
        ];
        columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
    }
    let arrays = columns
        .iter()
        .zip(SCHEMA.fields())
        .map(|(values, field)| array_of(field.data_type(), values.iter().map(Option::as_ref)));
    let batch = RecordBatch::try_new(Arc::clone(&SCHEMA), arrays.collect::<Result<Vec<_>>>()?)
        .map_err(|error| Error::internal("rows of a lineage").with_source(error))?;
    Ok(Arc::new(MemTable::try_new(Arc::clone(&SCHEMA), vec![vec![batch]])?))
}

fn shown(node: &Node) -> String {
    match &node.column {
        Some(column) => format!("{}.{column}", node.place.2),
        None => node.place.2.clone(),
    }
}

struct Visited<'g> {
    node: &'g Node,
    /// by its number, what led here
    came_from: Option<usize>,
}

/// Every node once, nearest first, the beginning before all.
fn visit<'g>(graph: &'g Graph, begin: &'g Node, only_direct: bool) -> Vec<Visited<'g>> {
    let mut seen = HashSet::from([begin]);
    let mut found = vec![Visited { node: begin, came_from: None }];
    let mut waiting = VecDeque::from([0]);
    while let Some(number) = waiting.pop_front() {
        for step in graph.from(found[number].node) {
            if (step.is_direct || !only_direct) && seen.insert(&step.to) {
                waiting.push_back(found.len());
                found.push(Visited { node: &step.to, came_from: Some(number) });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(object: &str, column: Option<&str>) -> Node {
        let place = ("table".to_owned(), "public".to_owned(), object.to_owned());
        Node { place: Arc::new(place), column: column.map(Arc::from) }
    }

    fn visited(graph: &Graph, begin: &Node, only_direct: bool) -> Vec<String> {
        visit(graph, begin, only_direct).into_iter().map(|visited| shown(visited.node)).collect()
    }

    #[test]
    fn every_node_once_and_the_nearest_first() {
        let mut graph = Graph::default();
        let (a, b, c, d) = (node("a", Some("x")), node("b", Some("x")), node("c", Some("x")), node("d", Some("x")));
        graph.add(a.clone(), c.clone(), Transformation::Filter);
        graph.add(a.clone(), b.clone(), Transformation::Identity);
        graph.add(b.clone(), d.clone(), Transformation::Identity);
        graph.add(c, d, Transformation::Identity);
        assert_eq!(visited(&graph, &a, false), ["a.x", "c.x", "b.x", "d.x"]);
        assert_eq!(visited(&graph, &a, true), ["a.x", "b.x", "d.x"]);
        assert_eq!(visited(&graph, &b, false), ["b.x", "d.x"]);
    }

    #[test]
    fn an_unknown_column_may_be_any() {
        let mut graph = Graph::default();
        graph.add(node("a", None), node("b", None), Transformation::Unknown);
        graph.add(node("b", Some("x")), node("c", Some("x")), Transformation::Identity);
        assert_eq!(visited(&graph, &node("a", Some("x")), false), ["a.x", "b", "c.x"]);
        // and the whole object all of its columns
        assert_eq!(visited(&graph, &node("b", None), false), ["b", "c.x"]);
    }

    #[test]
    fn circles_end() {
        let mut graph = Graph::default();
        let (a, b) = (node("a", Some("x")), node("b", Some("x")));
        graph.add(a.clone(), b.clone(), Transformation::Identity);
        graph.add(b, a.clone(), Transformation::Identity);
        assert_eq!(visited(&graph, &a, false), ["a.x", "b.x"]);
    }
}
