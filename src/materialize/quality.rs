//! What a job says of the rows that it writes: their profile, taken as they pass, and what expectations make of it.
//!
//! The profile is complete when the last row has passed, which is before the offline commit. So it is kept, and expectations
//! are asked, in between: a run that is held leaves nothing behind but its figures. A profile counts for others once the
//! ledger says that its job has succeeded.
//!
//! Of several groups of columns each passes by itself: the figures of a run are those of the columns that it writes, and
//! expectations that name others are not asked.

use std::sync::{Arc, Mutex, PoisonError};

use granary_catalog::{Expectation, FeatureView, Interval, Job, JobId, Object, ObjectId, OnFailure};

use super::expectation::{Runs, evaluate};
use super::fill::Fill;
use super::run::Materialization;
use crate::engine::{QueryPlanner, RowLayout, SendableRecordBatchStream, inspected, profiled_columns};
use crate::error::{Error, Kind, Result};
use crate::monitor::{
    ColumnFigures, ExpectationResult, MonitorStore, Profiled, Profiler, RowsProfile, RunRecord, Shape,
};
use crate::priority::blocking;
use crate::warehouse::Warehouse;

/// Pieces of a profile are as wide as the schedule, and at least so.
const LEAST_PIECE_US: i64 = 86_400_000_000;

/// Watches the rows of one job.
pub struct Watch {
    warehouse: Arc<Warehouse>,
    planner: QueryPlanner,
    view_id: u64,
    view_name: String,
    job: JobId,
    range: Interval,
    /// those that runs of the view have
    columns: Vec<Profiled>,
    expectations: Vec<Arc<Object>>,
    /// for each fill of the job
    shapes: Vec<Shape>,
    /// columns that are not written for all of the range, with what they are written for
    partly: Vec<(String, Vec<(i64, i64)>)>,
    profiler: Arc<Mutex<Profiler>>,
}

impl Watch {
    /// `None` if the view's runs are not to be profiled, or nothing is written.
    pub fn of(
        warehouse: &Arc<Warehouse>,
        planner: &QueryPlanner,
        (work, fills): (&Materialization, &[Fill]),
        job: &Job,
    ) -> Option<Watch> {
        let view = &work.view;
        // as they are now: the job may have waited
        let snapshot = warehouse.catalog.snapshot();
        let defined = snapshot.get_as::<FeatureView>(ObjectId(view.id))?;
        let expectations = snapshot.dependents(defined.header.id);
        let expectations: Vec<_> =
            expectations.into_iter().filter(|object| of_view(object, view.id).is_some()).cloned().collect();
        if !defined.quality && expectations.is_empty() {
            return None;
        }
        let range = Interval::new(work.range.start_us, work.range.end_us);
        // each group has the same rows
        let counting = fills.iter().position(|fill| fill.parts == [range]).unwrap_or(0);
        let mut shapes: Vec<Shape> = Vec::new();
        let mut partly = Vec::new();
        for (number, fill) in fills.iter().enumerate() {
            let schema = fill.view.row_schema(RowLayout::Events);
            let place = |name: &str| schema.index_of(name).ok();
            let mut columns = profiled_columns(&fill.view);
            // an argument that functions of two groups have
            columns
                .retain(|column| shapes.iter().flat_map(|shape| &shape.columns).all(|known| known.name != column.name));
            if fill.parts != [range] {
                let parts: Vec<(i64, i64)> = fill.parts.iter().map(|part| (part.start_us, part.end_us)).collect();
                partly.extend(columns.iter().map(|column| (column.name.clone(), parts.clone())));
            }
            let keys = view.keys.iter().filter_map(|key| place(&key.name)).collect();
            shapes.push(Shape { keys, time: place(&view.timestamp), columns, counts: number == counting });
        }
        let first = shapes.first()?.clone();
        let width_us = view.plan.timing.schedule_us.max(LEAST_PIECE_US);
        Some(Watch {
            warehouse: Arc::clone(warehouse),
            planner: planner.clone(),
            view_id: view.id,
            view_name: view.name.clone(),
            job: job.id,
            range,
            columns: profiled_columns(view),
            expectations,
            profiler: Arc::new(Mutex::new(Profiler::new(first, width_us))),
            shapes,
            partly,
        })
    }

    /// The rows of a fill, looked at as they pass.
    pub fn over(watch: Option<&Watch>, fill: usize, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let Some(watch) = watch else { return rows };
        let profiler = Arc::clone(&watch.profiler);
        profiler.lock().unwrap_or_else(PoisonError::into_inner).go_on_with(watch.shapes[fill].clone());
        inspected(rows, move |batch| profiler.lock().unwrap_or_else(PoisonError::into_inner).add(batch))
    }

    /// All rows have passed: keeps their profile. Errors: `CheckViolation` if the run is held.
    pub async fn finish(self) -> Result<()> {
        blocking(move || self.finish_here()).await
    }

    fn finish_here(self) -> Result<()> {
        let profiler =
            Arc::try_unwrap(self.profiler).map_err(|_| Error::internal("rows still pass a profiler that is done"))?;
        let profiler = profiler.into_inner().unwrap_or_else(PoisonError::into_inner);
        let profile = profiler.whole()?;
        let Interval { start_us, end_us } = self.range;
        let (before, previous) = run_before(&self.warehouse, self.view_id, start_us)?.unzip();
        let runs = Runs { this: &profile, previous: previous.as_ref() };
        let expectations = self.expectations.iter().filter_map(|object| of_view(object, self.view_id));
        let results = expectations.filter_map(|asked| evaluate(&self.planner, asked, &self.columns, &runs));
        let results = results.collect();
        let mut columns = ColumnFigures::of_rows(&profile, previous.as_ref());
        for (name, parts) in self.partly {
            if let Some(column) = columns.iter_mut().find(|column| column.name == name) {
                column.parts = parts;
            }
        }
        let record = RunRecord {
            view: self.view_id,
            job: self.job.0,
            start_us,
            end_us,
            profiled_at_us: self.warehouse.clock.now_us(),
            rows: profile.rows,
            keys: profile.keys.count(),
            keys_exact: profile.keys.is_exact(),
            previous: before,
            columns,
            results,
        };
        self.warehouse.monitor.put(&record, &profiler.into_pieces(start_us, end_us))?;
        let holds = |result: &&ExpectationResult| result.on_failure == OnFailure::Hold.as_str();
        match record.results.iter().filter(holds).find(|result| result.ok == Some(false)) {
            None => Ok(()),
            Some(result) => {
                let message = format!(
                    "the run of \"{}\" is held, since expectation \"{}\" does not hold: {}",
                    self.view_name, result.name, result.check
                );
                let error = Error::new(Kind::CheckViolation, message).with_detail(figures_text(result));
                Err(error.with_hint(
                    "granary.quality has the figures of the run, granary.expectation_results what was made of them",
                ))
            }
        }
    }
}

/// The figures that a result was made of, or why there are none.
pub fn figures_text(result: &ExpectationResult) -> String {
    match &result.error {
        Some(error) => format!("It cannot be evaluated: {error}."),
        None => {
            let figures: Vec<String> =
                result.figures.iter().map(|(figure, value)| format!("{figure} = {value}")).collect();
            format!("{}.", figures.join(", "))
        }
    }
}

fn of_view(object: &granary_catalog::Object, view: u64) -> Option<&Expectation> {
    object.downcast::<Expectation>().filter(|expectation| expectation.view == ObjectId(view))
}

/// The run before, and its profile: of those that have succeeded and end no later than this one begins, the last; of
/// several the newest. Columns that it has not written are those of other runs of its range, as a new feature was filled
/// by itself.
fn run_before(warehouse: &Warehouse, view: u64, start_us: i64) -> Result<Option<(u64, RowsProfile)>> {
    let mut runs = warehouse.monitor.runs(Some(view))?;
    runs.retain(|run| run.end_us <= start_us);
    runs.sort_by_key(|run| (run.end_us, run.job));
    let mut last: Option<(RunRecord, RowsProfile)> = None;
    while let Some(run) = runs.pop() {
        if last.as_ref().is_some_and(|(last, _)| last.end_us != run.end_us) {
            break;
        }
        if !warehouse.catalog.ledger().has_succeeded(JobId(run.job)) {
            continue;
        }
        match &mut last {
            None => {
                let profile = profile_of_run(&warehouse.monitor, &run)?;
                last = Some((run, profile));
            }
            Some((last, profile)) if last.start_us == run.start_us => {
                let others = profile_of_run(&warehouse.monitor, &run)?.columns;
                let is_new = |(name, _): &(String, _)| profile.column(name).is_none();
                let new: Vec<_> = others.into_iter().filter(is_new).collect();
                profile.columns.extend(new);
            }
            Some(_) => {}
        }
    }
    Ok(last.map(|(run, profile)| (run.job, profile)))
}

/// All pieces of a run as one.
fn profile_of_run(monitor: &MonitorStore, run: &RunRecord) -> Result<RowsProfile> {
    let mut whole = RowsProfile::default();
    for piece in monitor.pieces(run.view, run.job)? {
        whole.merge(&piece.profile)?;
    }
    Ok(whole)
}
