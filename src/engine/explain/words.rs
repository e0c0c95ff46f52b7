//! What PostgreSQL calls DataFusion's operators and what is said of them.
//!
//! An operator says its properties in the tree form of its display text, a line `name=value` each. What is listed here
//! gets the words of PostgreSQL; everything else keeps its own.

use std::fmt;

use datafusion::datasource::physical_plan::ParquetSource;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::{LexOrdering, Partitioning, PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, InputOrderMode};

use super::tree::Property;

pub const FILTER: &str = "Filter";

/// DataFusion's operator, PostgreSQL's word.
const OPERATORS: [(&str, &str); 32] = [
    ("AggregateExec", "Aggregate"),
    ("BoundedWindowAggExec", "WindowAgg"),
    ("CoalesceBatchesExec", "Collect Batches"),
    ("CoalescePartitionsExec", "Gather"),
    ("CooperativeExec", "Yield"),
    ("CrossJoinExec", "Nested Loop"),
    ("DataSinkExec", "Write"),
    ("DataSourceExec", "Scan"),
    ("EmptyExec", "Result"),
    ("FilterExec", "Filter"),
    ("GlobalLimitExec", "Limit"),
    ("HashJoinExec", "Hash Join"),
    ("InterleaveExec", "Append"),
    ("LazyMemoryExec", "Function Scan"),
    ("LocalLimitExec", "Limit"),
    ("MergedExec", "Merge Columns"),
    ("NestedLoopJoinExec", "Nested Loop"),
    ("OnlineLookupExec", "Online Lookup"),
    ("PartialSortExec", "Incremental Sort"),
    ("PlaceholderRowExec", "Result"),
    ("ProjectionExec", "Projection"),
    ("RecursiveQueryExec", "Recursive Union"),
    ("RepartitionExec", "Redistribute"),
    ("ScalarSubqueryExec", "Init Plans"),
    ("SortExec", "Sort"),
    ("SortMergeJoinExec", "Merge Join"),
    ("SortPreservingMergeExec", "Gather Merge"),
    ("UnionExec", "Append"),
    ("UnnestExec", "ProjectSet"),
    ("WindowAggExec", "WindowAgg"),
    ("WorkTableExec", "WorkTable Scan"),
    ("PointInTimeExec", "Point-in-Time Join"),
];

/// The operators of this house, all of whose metrics are shown.
const OURS: [&str; 2] = ["OnlineLookupExec", "PointInTimeExec"];

/// The name of a property in an operator's display text, and its word. No word: it is said otherwise.
const PROPERTIES: [(&str, Option<&str>); 14] = [
    ("aggr", Some("Aggregates")),
    ("bytes", None),
    ("expr", None),
    ("fetch", Some("Limit")),
    ("files", None),
    ("filter", Some("Join Filter")),
    ("format", None),
    ("group_by", Some("Group Key")),
    ("join_type", None),
    ("limit", Some("Limit")),
    ("mode", None),
    ("rows", None),
    ("select_list", Some("Windows")),
    ("skip", Some("Offset")),
];

/// An operator in words.
#[derive(Debug)]
pub struct Described {
    pub kind: String,
    pub properties: Vec<(String, Property)>,
}

pub fn describe(plan: &dyn ExecutionPlan) -> Described {
    let kind = match (plan.downcast_ref::<AggregateExec>(), plan.downcast_ref::<HashJoinExec>()) {
        (Some(aggregate), _) => aggregate_kind(aggregate),
        (_, Some(join)) => join_kind("Hash", &format!("{:?}", join.join_type())),
        _ => {
            // such as SortExec(TopK)
            let name = plan.name().split('(').next().unwrap_or_default();
            let known = OPERATORS.iter().find(|(operator, _)| *operator == name);
            known.map_or_else(|| name.to_owned(), |(_, word)| (*word).to_owned())
        }
    };
    Described { kind, properties: properties(plan) }
}

/// Whether all of an operator's metrics are shown.
pub fn is_ours(plan: &dyn ExecutionPlan) -> bool {
    OURS.contains(&plan.name())
}

pub fn is_filter(plan: &dyn ExecutionPlan) -> bool {
    plan.name() == "FilterExec"
}

/// Whether the operator does nothing to rows that a reader would miss.
pub fn only_passes_on(plan: &dyn ExecutionPlan) -> bool {
    match plan.name() {
        "CooperativeExec" | "CoalesceBatchesExec" => true,
        "ProjectionExec" => plan
            .downcast_ref::<ProjectionExec>()
            .is_some_and(|projection| projection.expr().iter().all(|projected| projected.expr.children().is_empty())),
        _ => false,
    }
}

fn aggregate_kind(aggregate: &AggregateExec) -> String {
    let part = match aggregate.mode() {
        AggregateMode::Partial => "Partial ",
        AggregateMode::Final | AggregateMode::FinalPartitioned | AggregateMode::PartialReduce => "Finalize ",
        AggregateMode::Single | AggregateMode::SinglePartitioned => "",
    };
    let how = match aggregate.input_order_mode() {
        _ if aggregate.group_expr().is_empty() => "Aggregate",
        InputOrderMode::Sorted => "GroupAggregate",
        InputOrderMode::Linear | InputOrderMode::PartiallySorted(_) => "HashAggregate",
    };
    format!("{part}{how}")
}

/// `Hash Left Join` of `LeftSemi` is `Hash Left Semi Join`.
fn join_kind(how: &str, join_type: &str) -> String {
    let mut words = String::from(how);
    for character in join_type.chars() {
        if character.is_uppercase() {
            words.push(' ');
        }
        words.push(character);
    }
    let words = words.replace(" Inner", "");
    format!("{words} Join")
}

fn properties(plan: &dyn ExecutionPlan) -> Vec<(String, Property)> {
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        return sort_key(sort.expr(), sort.fetch());
    }
    if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
        return sort_key(merge.expr(), merge.fetch());
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let computed = projection.expr().iter().filter(|projected| !projected.expr.children().is_empty());
        let computed: Vec<String> =
            computed.map(|projected| format!("{} AS {}", sql(projected.expr.as_ref()), projected.alias)).collect();
        let all = (!computed.is_empty()).then(|| ("Computes".to_owned(), Property::Text(computed.join(", "))));
        return all.into_iter().collect();
    }
    if let Some(repartition) = plan.downcast_ref::<RepartitionExec>() {
        let by = match repartition.partitioning() {
            Partitioning::Hash(keys, _) => {
                format!("hash of {}", keys.iter().map(|key| sql(key.as_ref())).collect::<Vec<_>>().join(", "))
            }
            Partitioning::RoundRobinBatch(_) => "turns".to_owned(),
            other => other.to_string(),
        };
        let tasks = repartition.partitioning().partition_count() as u64;
        return vec![("By".to_owned(), Property::Text(by)), ("Tasks".to_owned(), Property::Count(tasks))];
    }
    said(plan)
        .into_iter()
        .filter_map(|(name, value)| {
            let word = match PROPERTIES.iter().find(|(property, _)| *property == name) {
                Some((_, word)) => (*word)?.to_owned(),
                None if name == "on" => on_word(plan).to_owned(),
                None if name == "predicate" => filter_word(plan).to_owned(),
                None => title(&name),
            };
            let value = value.replace(&format!(" AND {NOT_YET}"), "");
            if value.is_empty() || value == "None" || value == NOT_YET {
                return None;
            }
            let property = value.parse().map_or_else(|_| Property::Text(value), Property::Count);
            Some((word, property))
        })
        .collect()
}

/// A condition that other operators say while they run.
const NOT_YET: &str = "DynamicFilter [ empty ]";

/// A scan need not test the rows that it reads: mostly it only leaves out what statistics rule out.
fn filter_word(plan: &dyn ExecutionPlan) -> &'static str {
    let scan = plan.downcast_ref::<DataSourceExec>();
    match scan.and_then(|scan| scan.downcast_to_file_source::<ParquetSource>()) {
        Some((_, source)) if !source.table_parquet_options().global.pushdown_filters => "Pruned By",
        _ => FILTER,
    }
}

/// An expression as text. Arithmetic of columns is a call of a function to DataFusion.
fn sql(expr: &dyn PhysicalExpr) -> String {
    if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>()
        && let ("+" | "-" | "*" | "/" | "%", [left, right]) = (call.name(), call.args())
    {
        return format!("{} {} {}", sql(left.as_ref()), call.name(), sql(right.as_ref()));
    }
    Written(|f: &mut fmt::Formatter<'_>| expr.fmt_sql(f)).to_string()
}

fn on_word(plan: &dyn ExecutionPlan) -> &'static str {
    match plan.name() {
        "HashJoinExec" => "Hash Cond",
        "SortMergeJoinExec" => "Merge Cond",
        _ => "Join Cond",
    }
}

fn sort_key(keys: &LexOrdering, fetch: Option<usize>) -> Vec<(String, Property)> {
    let keys: Vec<String> = keys
        .iter()
        .map(|key| {
            let expr = sql(key.expr.as_ref());
            // as PostgreSQL has it, where NULLs come last unless the order is descending
            match (key.options.descending, key.options.nulls_first) {
                (false, false) => expr,
                (false, true) => format!("{expr} NULLS FIRST"),
                (true, true) => format!("{expr} DESC"),
                (true, false) => format!("{expr} DESC NULLS LAST"),
            }
        })
        .collect();
    let mut properties = vec![("Sort Key".to_owned(), Property::Text(keys.join(", ")))];
    properties.extend(fetch.map(|fetch| ("Limit".to_owned(), Property::Count(fetch as u64))));
    properties
}

/// The lines of an operator's display text, as names and values. A line without a name goes by `Details`.
fn said(plan: &dyn ExecutionPlan) -> Vec<(String, String)> {
    let text = Written(|f: &mut fmt::Formatter<'_>| plan.fmt_as(DisplayFormatType::TreeRender, f)).to_string();
    let own_name = format!("{}: ", plan.name());
    text.lines()
        .filter(|line| !line.trim().is_empty())
        // an operator that has one text for all forms begins it with its name
        .map(|line| line.strip_prefix(&own_name).unwrap_or(line).trim())
        .map(|line| match line.split_once('=') {
            Some((name, value)) if !name.contains([' ', ':']) => (name.to_owned(), value.to_owned()),
            _ => ("details".to_owned(), line.to_owned()),
        })
        .collect()
}

/// What a function writes, as text.
struct Written<F>(F);

impl<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> fmt::Display for Written<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}

/// `rows_read` as `Rows Read`.
pub fn title(name: &str) -> String {
    let words = name.split(['_', ' ']).filter(|word| !word.is_empty()).map(|word| {
        let mut characters = word.chars();
        characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_words() {
        assert_eq!(title("rows_read"), "Rows Read");
        assert_eq!(title("on conflict"), "On Conflict");
        assert_eq!(join_kind("Hash", "Inner"), "Hash Join");
        assert_eq!(join_kind("Hash", "Left"), "Hash Left Join");
        assert_eq!(join_kind("Hash", "RightSemi"), "Hash Right Semi Join");
        let names: Vec<&str> = OPERATORS.iter().map(|(name, _)| *name).collect();
        assert!(names.iter().all(|name| names.iter().filter(|other| *other == name).count() == 1));
    }
}
