//! What is known of the runs of feature views, what expectations said of them, and how far they drifted. Of views whose rows may
//! be read: figures are made of these.

use std::collections::HashMap;

use granary_catalog::{Expectation, FeatureView, Job, Object, Privilege};

use super::jobs::{bounded, jobs_of};
use super::{Rows, SystemContext, object_row, row};
use crate::access::Asker;
use crate::error::Result;
use crate::monitor::{ColumnFigures, QUANTILES, RunRecord};

/// A run of a view that may be looked at, and the job, as far as the ledger has it.
struct Run<'a> {
    view: &'a FeatureView,
    record: RunRecord,
    job: Option<Job>,
}

impl Run<'_> {
    fn state(&self) -> Option<&'static str> {
        self.job.as_ref().map(|job| job.state.as_str())
    }
}

fn runs(context: &SystemContext) -> Result<Vec<Run<'_>>> {
    let asker = Asker::role(&context.facts.user);
    let access = asker.access(&context.scope.snapshot);
    let mut jobs: HashMap<u64, Job> = jobs_of(context)?.into_iter().map(|job| (job.id.0, job)).collect();
    let mut found = Vec::new();
    for object in context.objects() {
        let Object::FeatureView(view) = object else { continue };
        if access.check(object, Privilege::Select).is_err() {
            continue;
        }
        for record in context.monitor.runs(Some(view.header.id.0))? {
            let job = jobs.remove(&record.job);
            found.push(Run { view, record, job });
        }
    }
    Ok(found)
}

/// What every row about a run begins with.
macro_rules! run_row {
    ($context:expr, $rows:expr, $run:expr, $($name:ident : $value:expr),* $(,)?) => {
        row!($rows,
            schema: $context.schema_of(&$run.view.header),
            view: &$run.view.header.name,
            job: $run.record.job,
            state: $run.state(),
            range_start: bounded($run.record.start_us),
            range_end: bounded($run.record.end_us),
            $($name: $value),*
        )
    };
}

pub fn quality_of_runs(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for run in runs(context)? {
        let held = |ok: Option<bool>| run.record.results.iter().filter(|result| result.ok == ok).count();
        run_row!(context, rows, run,
            profiled_at: run.record.profiled_at_us,
            rows: run.record.rows,
            distinct_keys: run.record.keys,
            distinct_keys_exact: run.record.keys_exact,
            previous_job: run.record.previous,
            expectations: run.record.results.len(),
            failed: held(Some(false)),
        );
    }
    Ok(())
}

pub fn quality(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for run in runs(context)? {
        for column in &run.record.columns {
            add_figures(context, rows, &run, column);
        }
    }
    Ok(())
}

fn add_figures(context: &SystemContext, rows: &mut Rows, run: &Run<'_>, column: &ColumnFigures) {
    let share = |count: u64| (column.rows > 0).then(|| count as f64 / column.rows as f64);
    let quantile = |p: f64| {
        let place = QUANTILES.iter().position(|known| *known == p)?;
        column.quantiles.get(place).map(|figure| figure.0)
    };
    let (values, counts): (Vec<String>, Vec<i64>) =
        column.top.iter().map(|(value, count)| (value.clone(), count.cast_signed())).unzip();
    run_row!(context, rows, run,
        feature: &column.name,
        rows: column.rows,
        nulls: column.nulls,
        null_share: share(column.nulls),
        zeros: column.zeros,
        zero_share: column.zeros.and_then(share),
        non_finite: column.non_finite,
        distinct_values: column.distinct,
        distinct_exact: column.distinct.map(|_| column.distinct_exact),
        min: column.min,
        max: column.max,
        mean: column.mean,
        stddev: column.stddev,
        p01: quantile(0.01),
        p05: quantile(0.05),
        p25: quantile(0.25),
        p50: quantile(0.5),
        p75: quantile(0.75),
        p95: quantile(0.95),
        p99: quantile(0.99),
        min_length: column.min_length,
        max_length: column.max_length,
        mean_length: column.mean_length,
        top_values: values,
        top_counts: counts,
        top_error: column.top_error,
    );
}

pub fn drift_of_runs(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for run in runs(context)? {
        let Some(previous) = run.record.previous else { continue };
        let before = context.monitor.run(run.record.view, previous)?;
        for column in &run.record.columns {
            let was = before.as_ref().and_then(|before| before.columns.iter().find(|known| known.name == column.name));
            run_row!(context, rows, run,
                feature: &column.name,
                previous_job: previous,
                previous_rows: was.map(|was| was.rows),
                rows: column.rows,
                psi: column.drift.map(|drift| drift.psi),
                js_distance: column.drift.map(|drift| drift.js),
                ks: column.drift.and_then(|drift| drift.ks),
                share_change: column.drift.and_then(|drift| drift.share_change),
            );
        }
    }
    Ok(())
}

pub fn expectations(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::Expectation(Expectation { header, view, check, severity, on_failure }) = object else { continue };
        let view = context.scope.snapshot.get(*view);
        object_row!(context, rows, header,
            view: view.map(|view| view.name()),
            condition: check,
            severity: severity.as_str(),
            on_failure: on_failure.as_str(),
        );
    }
    Ok(())
}

pub fn expectation_results(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for run in runs(context)? {
        for result in &run.record.results {
            let (figures, values): (Vec<String>, Vec<String>) = result.figures.iter().cloned().unzip();
            run_row!(context, rows, run,
                expectation: &result.name,
                condition: &result.check,
                severity: &result.severity,
                on_failure: &result.on_failure,
                ok: result.ok,
                figures: figures,
                figure_values: values,
                error: result.error.clone(),
                checked_at: run.record.profiled_at_us,
            );
        }
    }
    Ok(())
}
