//! From DataFusion's operators to the nodes that are shown: some are left out, a filter goes into the scan below it.

use datafusion::physical_plan::ExecutionPlan;

use super::ExplainOptions;
use super::figures::{self, Actual};
use super::scans::{Names, Relation};
use super::words;

/// One line of the tree, and the lines below it.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// as PostgreSQL would call it
    pub kind: String,
    pub relation: Option<Relation>,
    pub estimated_rows: Option<u64>,
    pub actual: Option<Actual>,
    pub properties: Vec<(String, Property)>,
    pub children: Vec<Node>,
}

/// What is said of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Property {
    Text(String),
    Count(u64),
    Bytes(u64),
    Milliseconds(f64),
}

/// Makes nodes of plans.
pub struct Tree<'a> {
    pub options: ExplainOptions,
    pub names: &'a Names,
}

impl Tree<'_> {
    pub fn of(&self, plan: &dyn ExecutionPlan) -> Node {
        let children = plan.children();
        if let [input] = children.as_slice()
            && !self.options.verbose
            && words::only_passes_on(plan)
        {
            return self.of(input.as_ref());
        }
        let children: Vec<Node> = children.into_iter().map(|child| self.of(child.as_ref())).collect();
        let described = words::describe(plan);
        let mut node = Node {
            kind: described.kind,
            relation: self.names.relation(plan),
            estimated_rows: if self.options.costs { figures::estimated_rows(plan) } else { None },
            actual: None,
            properties: described.properties,
            children,
        };
        if let Some(Relation { files: 1.., .. }) = &node.relation {
            let files = node.relation.as_ref().map_or(0, |relation| relation.files as u64);
            node.properties.push(("Files".to_owned(), Property::Count(files)));
        }
        if self.options.verbose {
            let columns: Vec<String> = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
            node.properties.push(("Output".to_owned(), Property::Text(columns.join(", "))));
        }
        if self.options.analyze {
            let metrics = figures::of(plan, words::is_ours(plan) || self.options.verbose);
            node.actual = metrics.actual;
            let timed = |property: &Property| self.options.timing || !matches!(property, Property::Milliseconds(_));
            node.properties.extend(metrics.properties.into_iter().filter(|(_, property)| timed(property)));
            if !self.options.timing {
                node.actual = node.actual.map(|actual| Actual { time_ms: None, ..actual });
            }
        }
        if words::is_filter(plan) && !self.options.verbose { filtered(node) } else { node }
    }
}

/// A filter right above a scan is a property of the scan, as in PostgreSQL.
fn filtered(mut filter: Node) -> Node {
    let is_scan = filter.children.first().is_some_and(|child| {
        child.children.is_empty() && !child.properties.iter().any(|(label, _)| label == words::FILTER)
    });
    if !is_scan {
        return filter;
    }
    let Some(mut scan) = filter.children.pop() else { return filter };
    let mut properties = filter.properties;
    if let (Some(after), Some(before)) = (filter.actual, scan.actual) {
        let removed = before.rows.saturating_sub(after.rows);
        properties.insert(1, (format!("Rows Removed by {}", words::FILTER), Property::Count(removed)));
        let time_ms = before.time_ms.zip(after.time_ms).map(|(before, after)| before + after);
        scan.actual = Some(Actual { rows: after.rows, time_ms });
    }
    properties.append(&mut scan.properties);
    scan.properties = properties;
    scan.estimated_rows = filter.estimated_rows;
    scan
}
