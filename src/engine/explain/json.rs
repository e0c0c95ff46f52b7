//! The tree as PostgreSQL's JSON: an array of one object, with `Plan`, `Node Type` and `Plans`.

use serde_json::{Map, Value, json};

use super::Summary;
use super::text::format_word;
use super::tree::{Node, Property};

pub fn print(root: &Node, summary: Summary) -> String {
    let mut statement = Map::new();
    statement.insert("Plan".to_owned(), plan(root));
    for (label, ms) in [("Planning Time", summary.planning_ms), ("Execution Time", summary.execution_ms)] {
        if let Some(ms) = ms {
            statement.insert(label.to_owned(), json!(rounded(ms)));
        }
    }
    // `{:#}` of a value prints it over several lines
    format!("{:#}", Value::Array(vec![Value::Object(statement)]))
}

fn plan(node: &Node) -> Value {
    let mut object = Map::new();
    let mut say = |label: &str, value: Value| object.insert(label.to_owned(), value);
    let format = node.relation.as_ref().and_then(|relation| relation.format.as_deref());
    let kind = format.map_or_else(|| node.kind.clone(), |format| format!("{} {}", format_word(format), node.kind));
    say("Node Type", json!(kind));
    if let Some(name) = node.relation.as_ref().and_then(|relation| relation.name.as_ref()) {
        say("Relation Name", json!(name));
    }
    if let Some(rows) = node.estimated_rows {
        say("Plan Rows", json!(rows));
    }
    if let Some(actual) = node.actual {
        if let Some(ms) = actual.time_ms {
            say("Actual Time", json!(rounded(ms)));
        }
        say("Actual Rows", json!(actual.rows));
    }
    for (label, property) in &node.properties {
        let value = match property {
            Property::Text(text) => json!(text),
            Property::Count(number) | Property::Bytes(number) => json!(number),
            Property::Milliseconds(ms) => json!(rounded(*ms)),
        };
        say(label, value);
    }
    if !node.children.is_empty() {
        say("Plans", Value::Array(node.children.iter().map(plan).collect()));
    }
    Value::Object(object)
}

/// To microseconds, as the text has it.
fn rounded(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}
