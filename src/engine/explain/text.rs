//! The tree as PostgreSQL's text: two blanks in, `->` before every node but the first.

use std::fmt::Write as _;

use super::Summary;
use super::tree::{Node, Property};

pub fn print(root: &Node, summary: Summary) -> Vec<String> {
    let mut lines = Vec::new();
    print_node(root, 0, &mut lines);
    lines.extend(summary.planning_ms.map(|ms| format!("Planning Time: {ms:.3} ms")));
    lines.extend(summary.execution_ms.map(|ms| format!("Execution Time: {ms:.3} ms")));
    lines
}

fn print_node(node: &Node, depth: usize, lines: &mut Vec<String>) {
    let mut line = if depth == 0 { String::new() } else { format!("{:width$}->  ", "", width = 6 * depth - 4) };
    line.push_str(&heading(node));
    lines.push(line);
    let indent = 6 * depth + 2;
    for (label, property) in &node.properties {
        lines.push(format!("{:indent$}{label}: {}", "", shown(property)));
    }
    for child in &node.children {
        print_node(child, depth + 1, lines);
    }
}

/// `Parquet Scan on tx  (rows=10) (actual time=0.120 rows=10)`
fn heading(node: &Node) -> String {
    let mut text = node.kind.clone();
    if let Some(relation) = &node.relation {
        if let Some(format) = &relation.format {
            text = format!("{} {text}", format_word(format));
        }
        if let Some(name) = &relation.name {
            // writing into a text cannot fail
            let _ = write!(text, " on {}", granary_sql::name::quote(name));
        }
    }
    let mut figures = Vec::new();
    if let Some(rows) = node.estimated_rows {
        figures.push(format!("(rows={rows})"));
    }
    if let Some(actual) = node.actual {
        let time = actual.time_ms.map_or_else(String::new, |ms| format!("time={ms:.3} "));
        figures.push(format!("(actual {time}rows={})", actual.rows));
    }
    if figures.is_empty() { text } else { format!("{text}  {}", figures.join(" ")) }
}

/// A file format at the head of a line.
pub fn format_word(format: &str) -> String {
    match format {
        "csv" | "json" => format.to_uppercase(),
        other => super::words::title(other),
    }
}

fn shown(property: &Property) -> String {
    match property {
        Property::Text(text) => text.clone(),
        Property::Count(count) => count.to_string(),
        // as PostgreSQL shows memory and disk
        Property::Bytes(bytes) => format!("{}kB", bytes.div_ceil(1024)),
        Property::Milliseconds(ms) => format!("{ms:.3} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::explain::figures::Actual;
    use crate::engine::explain::scans::Relation;

    #[test]
    fn a_tree_is_indented_as_postgresql_does_it() {
        let leaf = Node {
            kind: "Scan".to_owned(),
            relation: Some(Relation { format: Some("parquet".to_owned()), name: Some("Tx".to_owned()), files: 2 }),
            estimated_rows: Some(10),
            actual: Some(Actual { rows: 3, time_ms: Some(0.5) }),
            properties: vec![
                ("Filter".to_owned(), Property::Text("a > 1".to_owned())),
                ("Bytes Read".to_owned(), Property::Bytes(1025)),
            ],
            children: Vec::new(),
        };
        let wrap = |kind: &str, child: Node| Node {
            kind: kind.to_owned(),
            relation: None,
            estimated_rows: None,
            actual: None,
            properties: vec![("Limit".to_owned(), Property::Count(3))],
            children: vec![child],
        };
        let lines = print(&wrap("Limit", wrap("Sort", leaf)), Summary { planning_ms: Some(1.0), execution_ms: None });
        let expected = "\
Limit
  Limit: 3
  ->  Sort
        Limit: 3
        ->  Parquet Scan on \"Tx\"  (rows=10) (actual time=0.500 rows=3)
              Filter: a > 1
              Bytes Read: 2kB
Planning Time: 1.000 ms";
        assert_eq!(lines.join("\n"), expected);
    }
}
