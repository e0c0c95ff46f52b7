//! What a job says of the rows that it writes: their profile, taken as they pass, and what expectations make of it.
//!
//! The profile is complete when the last row has passed, which is before the offline commit. So it is kept, and expectations
//! are asked, in between: a run that is held leaves nothing behind but its figures. A profile counts for others once the
//! ledger says that its job has succeeded.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};
use granary_catalog::{Expectation, FeatureView, Job, JobId, JobState, ObjectId, OnFailure};

use super::expectation::{Runs, evaluate};
use super::run::{Materialization, run_blocking};
use crate::engine::{BoundView, QueryPlanner, RowLayout, SendableRecordBatchStream, inspected, profiled_columns};
use crate::error::{Error, Kind, Result};
use crate::monitor::{ColumnFigures, MonitorStore, Profiled, Profiler, RowsProfile, RunRecord};
use crate::offline::BatchStream;
use crate::warehouse::Warehouse;

/// Pieces of a profile are as wide as the schedule, and at least so.
const LEAST_PIECE_US: i64 = 86_400_000_000;

/// Watches the rows of one job.
pub struct Watch {
    warehouse: Arc<Warehouse>,
    planner: QueryPlanner,
    view: Arc<BoundView>,
    job: JobId,
    range: (i64, i64),
    columns: Vec<Profiled>,
    expectations: Vec<Arc<granary_catalog::Object>>,
    profiler: Arc<Mutex<Profiler>>,
}

impl Watch {
    /// `None` if the view's runs are not to be profiled: also of a view with several groups of columns, whose rows pass
    /// piece by piece. Errors: 0A000 if such a view has an expectation that may hold its runs.
    pub fn of(
        warehouse: &Arc<Warehouse>,
        planner: &QueryPlanner,
        work: &Materialization,
        job: &Job,
    ) -> Result<Option<Watch>> {
        // the rows that pass have its columns, in its order
        let mut groups = work.view.by_group();
        let n_groups = groups.len();
        let view = match groups.pop() {
            Some(only) if n_groups == 1 => Arc::new(only),
            _ => Arc::clone(&work.view),
        };
        // as they are now: the job may have waited
        let snapshot = warehouse.catalog.snapshot();
        let Some(defined) = snapshot.get_as::<FeatureView>(ObjectId(view.id)) else { return Ok(None) };
        let expectations = snapshot.dependents(defined.header.id);
        let expectations: Vec<_> =
            expectations.into_iter().filter(|object| of_view(object, view.id).is_some()).cloned().collect();
        if !defined.quality && expectations.is_empty() {
            return Ok(None);
        }
        if n_groups > 1 {
            let holds = |object: &&Arc<granary_catalog::Object>| {
                of_view(object, view.id).is_some_and(|expectation| expectation.on_failure == OnFailure::Hold)
            };
            return match expectations.iter().find(holds) {
                None => Ok(None),
                Some(holding) => {
                    let what = format!(
                        "expectation \"{}\", which may hold runs, of a view with several groups of columns",
                        holding.name()
                    );
                    let hint = format!("OPTIMIZE FEATURE VIEW {} makes one of them", view.name);
                    Err(Error::not_supported(what).with_hint(hint))
                }
            };
        }
        let schema = view.row_schema(RowLayout::Events);
        let place = |name: &str| schema.index_of(name).ok();
        let keys = view.keys.iter().filter_map(|key| place(&key.name)).collect();
        let columns = profiled_columns(&view);
        let width_us = view.plan.timing.schedule_us.max(LEAST_PIECE_US);
        let profiler = Profiler::new(keys, place(&view.timestamp), columns.clone(), width_us);
        Ok(Some(Watch {
            warehouse: Arc::clone(warehouse),
            planner: planner.clone(),
            job: job.id,
            range: (work.range.start_us, work.range.end_us),
            columns,
            expectations,
            profiler: Arc::new(Mutex::new(profiler)),
            view,
        }))
    }

    /// The rows, looked at as they pass.
    pub fn over(watch: Option<&Watch>, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let Some(watch) = watch else { return rows };
        let profiler = Arc::clone(&watch.profiler);
        inspected(rows, move |batch| profiler.lock().unwrap_or_else(PoisonError::into_inner).add(batch))
    }

    /// What is to be written, ended by an error in the place of its end if the run is held.
    pub fn gate(watch: Option<Watch>, batches: BatchStream) -> BatchStream {
        let Some(watch) = watch else { return batches };
        let passed = batches.map_ok(Some);
        let end = stream::once(async move { watch.finish().await.map(|()| None) });
        passed.chain(end).try_filter_map(|batch| async { Ok(batch) }).boxed()
    }

    async fn finish(self) -> Result<()> {
        run_blocking(move || self.finish_here()).await
    }

    fn finish_here(self) -> Result<()> {
        let Watch { warehouse, planner, view, job, range: (start_us, end_us), columns, expectations, profiler } = self;
        let profiler =
            Arc::try_unwrap(profiler).map_err(|_| Error::internal("rows still pass a profiler that is done"))?;
        let profiler = profiler.into_inner().unwrap_or_else(PoisonError::into_inner);
        let profile = profiler.whole()?;
        let monitor = &warehouse.monitor;
        let before = run_before(&warehouse, view.id, start_us)?;
        let previous = match &before {
            Some(run) => profile_of_run(monitor, view.id, run.job)?,
            None => None,
        };
        let runs = Runs { this: &profile, previous: previous.as_ref() };
        let expectations = expectations.iter().filter_map(|object| of_view(object, view.id));
        let mut held = None;
        let mut results = Vec::new();
        for expectation in expectations {
            let result = evaluate(&planner, expectation, &columns, &runs);
            if result.ok == Some(false) && expectation.on_failure == OnFailure::Hold && held.is_none() {
                held = Some(results.len());
            }
            results.push(result);
        }
        let record = RunRecord {
            view: view.id,
            job: job.0,
            start_us,
            end_us,
            profiled_at_us: warehouse.clock.now_us(),
            rows: profile.rows,
            keys: profile.keys.count(),
            keys_exact: profile.keys.is_exact(),
            previous: before.map(|run| run.job),
            columns: ColumnFigures::of_rows(&profile, previous.as_ref()),
            results,
        };
        monitor.put(&record, &profiler.into_pieces(start_us, end_us))?;
        match held.and_then(|place| record.results.get(place)) {
            None => Ok(()),
            Some(result) => {
                let message = format!(
                    "the run of \"{}\" is held, since expectation \"{}\" does not hold: {}",
                    view.name, result.name, result.check
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
pub fn figures_text(result: &crate::monitor::ExpectationResult) -> String {
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

/// The run before: of those that have succeeded and end no later than this one begins, the last; of several the newest.
fn run_before(warehouse: &Warehouse, view: u64, start_us: i64) -> Result<Option<RunRecord>> {
    let mut runs = warehouse.monitor.runs(Some(view))?;
    runs.retain(|run| run.end_us <= start_us);
    runs.sort_by_key(|run| (run.end_us, run.job));
    while let Some(run) = runs.pop() {
        if has_succeeded(warehouse, run.job)? {
            return Ok(Some(run));
        }
    }
    Ok(None)
}

fn has_succeeded(warehouse: &Warehouse, job: u64) -> Result<bool> {
    Ok(warehouse.catalog.ledger().get(JobId(job)).is_ok_and(|job| job.state == JobState::Succeeded))
}

/// All pieces of a run as one. `None` if there are none.
fn profile_of_run(monitor: &MonitorStore, view: u64, job: u64) -> Result<Option<RowsProfile>> {
    let mut whole: Option<RowsProfile> = None;
    for piece in monitor.pieces(view, job)? {
        match &mut whole {
            None => whole = Some(piece.profile),
            Some(whole) => whole.merge(&piece.profile)?,
        }
    }
    Ok(whole)
}
