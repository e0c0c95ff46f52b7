//! The views of schema `granary`: only what belongs to the connected workspace.

mod access;
mod alerts;
mod audit;
mod datasets;
mod definitions;
mod features;
mod jobs;
mod lineage;
mod metrics;
mod plans;
mod quality;
mod search;
mod streams;

use granary_catalog::{Header, Object};

use super::SystemContext;
use super::rows::{Rows, row};
use crate::error::{Error, Result};

pub fn fill(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    match rows.relation.name {
        "alert_deliveries" => alerts::alert_deliveries(context, rows),
        "alerts" => alerts::alerts(context, rows),
        "api_keys" => access::api_keys(context, rows),
        "applies" => plans::applies(context, rows),
        "audit_log" => audit::audit_log(context, rows),
        "dataset_inputs" => datasets::dataset_inputs(context, rows),
        "datasets" => datasets::datasets(context, rows),
        "dead_letters" => streams::dead_letters(context, rows),
        "drift_of_runs" => quality::drift_of_runs(context, rows),
        "entities" => definitions::entities(context, rows),
        "expectation_results" => quality::expectation_results(context, rows),
        "expectations" => quality::expectations(context, rows),
        "expiry" => features::expiry(context, rows),
        "feature_tables" => features::feature_tables(context, rows),
        "feature_views" => features::feature_views(context, rows),
        "features" => features::features(context, rows),
        "freshness" => features::freshness(context, rows),
        "grants" => access::grants(context, rows),
        "job_attempts" => jobs::job_attempts(context, rows),
        "job_logs" => jobs::job_logs(context, rows),
        "jobs" => jobs::jobs(context, rows),
        "lineage" => lineage::lineage(context, rows),
        "late_rows" => jobs::late_rows(context, rows),
        "materialized_ranges" => jobs::materialized_ranges(context, rows),
        "metrics" => metrics::metrics(context, rows),
        "ready" => jobs::ready(context, rows),
        "plan_changes" => plans::plan_changes(context, rows),
        "plan_files" => plans::plan_files(context, rows),
        "plans" => plans::plans(context, rows),
        "quality" => quality::quality(context, rows),
        "quality_of_runs" => quality::quality_of_runs(context, rows),
        "roles" => access::roles(context, rows),
        "search" => search::search(context, rows),
        "services" => definitions::services(context, rows),
        "settings" => {
            for setting in (context.facts.settings)() {
                row!(rows, name: setting.name, setting: setting.shown, description: setting.description);
            }
            Ok(())
        }
        "sinks" => streams::sinks(context, rows),
        "sources" => definitions::sources(context, rows),
        "stream_partitions" => streams::stream_partitions(context, rows),
        "streams" => streams::streams(context, rows),
        "tables" => definitions::tables(context, rows),
        "tests" => plans::tests(context, rows),
        "views" => definitions::views(context, rows),
        other => Err(Error::internal(format!("granary.{other} is listed but not filled"))),
    }
}

impl SystemContext {
    /// The workspace's own objects, in the order they were made.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Object> {
        let workspace = self.scope.workspace;
        let own = move |object: &&Object| object.home().workspace() == Some(workspace);
        self.scope.snapshot.objects().map(AsRef::as_ref).filter(own)
    }

    /// The name of the schema that an object lives in.
    fn schema_of(&self, header: &Header) -> String {
        let schema = header.home.schema().and_then(|schema| self.scope.snapshot.get(schema));
        schema.map_or_else(String::new, |schema| schema.name().to_owned())
    }

    fn names_of(&self, ids: &[granary_catalog::ObjectId]) -> Vec<String> {
        ids.iter().filter_map(|id| self.scope.snapshot.get(*id)).map(|object| object.name().to_owned()).collect()
    }
}

/// `row!` with what every object has in its header.
macro_rules! object_row {
    ($context:expr, $rows:expr, $header:expr, $($name:ident : $value:expr),* $(,)?) => {
        row!($rows,
            schema: $context.schema_of($header),
            name: &$header.name,
            owner: &$header.owner,
            description: $header.comment.clone(),
            $($name: $value),*
        )
    };
}
use object_row;

fn column_names(columns: &[granary_catalog::Column]) -> Vec<String> {
    columns.iter().map(|column| column.name.clone()).collect()
}
