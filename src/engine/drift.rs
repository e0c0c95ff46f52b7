//! `granary.drift(…)` and `granary.dataset_drift(…)`: how far features are apart in two periods, or between a dataset and what is
//! served now. Of periods there are the profiles of their runs; datasets and the online store are read.

use std::fmt;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::datasource::TableProvider;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::TryStreamExt;
use granary_catalog::{FeatureView, Interval, IntervalSet, JobId, Object, StoreKind};
use granary_sql::timestamp::format_timestamp;

use super::error::into_datafusion;
use super::plans::run;
use super::profiled::profiled_columns;
use super::query::QueryPlanner;
use super::relation::BoundView;
use super::relation::Interface;
use crate::error::{Error, Kind, Result};
use crate::monitor::{Class, ColumnProfile, Piece, Profiled, Profiler, drift};
use crate::row::{Value, array_of};

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let float = |name: &str| Field::new(name, DataType::Float64, true);
    let count = |name: &str| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![
        Field::new("feature", DataType::Utf8, true),
        count("baseline_rows"),
        count("current_rows"),
        float("baseline_null_share"),
        float("current_null_share"),
        float("baseline_mean"),
        float("current_mean"),
        float("psi"),
        float("js_distance"),
        float("ks"),
        float("share_change"),
    ]))
});

/// What two profiles are of.
#[derive(Clone)]
pub enum Compared {
    /// the rows that runs of a view have written, of two periods
    Periods { view: Arc<FeatureView>, baseline: Interval, current: Interval },
    /// the rows of a dataset, and what a feature relation has as of now
    Served { dataset: String, served: String, features: Vec<String> },
}

/// Computed when it is read.
pub fn drift_table(planner: &QueryPlanner, compared: Compared) -> Result<Arc<dyn TableProvider>> {
    let part = Arc::new(DriftPart { planner: planner.clone(), compared });
    Ok(Arc::new(StreamingTable::try_new(Arc::clone(&SCHEMA), vec![part])?))
}

/// The features of a relation that may be asked for all of its keys.
pub fn served_features(planner: &QueryPlanner, object: &Object) -> Result<Vec<String>> {
    let interface = Interface::of(&planner.scope.snapshot, object)?;
    if let Some(request) = interface.request.first() {
        let message =
            format!("the drift of \"{}\", which asks for \"{}\" with each request,", object.name(), request.name);
        return Err(Error::not_supported(message));
    }
    Ok(interface.features.into_iter().map(|feature| feature.name).collect())
}

struct DriftPart {
    planner: QueryPlanner,
    compared: Compared,
}

impl fmt::Debug for DriftPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DriftPart")
    }
}

impl PartitionStream for DriftPart {
    fn schema(&self) -> &SchemaRef {
        &SCHEMA
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (planner, compared) = (self.planner.clone(), self.compared.clone());
        let batch = async move { compare(&planner, &compared).await.map_err(into_datafusion) };
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&SCHEMA), futures::stream::once(batch)))
    }
}

async fn compare(planner: &QueryPlanner, compared: &Compared) -> Result<RecordBatch> {
    match compared {
        Compared::Periods { view, baseline, current } => {
            let (baseline, current) = (period(planner, view, *baseline)?, period(planner, view, *current)?);
            rows(&baseline, &current)
        }
        Compared::Served { dataset, served, features } => {
            let baseline = profile(planner, &format!("SELECT * FROM {dataset}"), features).await?;
            let current = profile(planner, &format!("SELECT * FROM {served}"), features).await?;
            rows(&baseline, &current)
        }
    }
}

/// A column, by its name.
type Named = (String, ColumnProfile);

/// One row for each column that both have.
fn rows(baseline: &[Named], current: &[Named]) -> Result<RecordBatch> {
    let mut columns: Vec<Vec<Option<Value>>> = vec![Vec::new(); SCHEMA.fields().len()];
    for (name, now) in current {
        let Some((_, base)) = baseline.iter().find(|(known, _)| known == name) else { continue };
        let found = drift(base, now);
        let count = |column: &ColumnProfile| Some(Value::Int(column.rows.cast_signed()));
        let null_share =
            |column: &ColumnProfile| (column.rows > 0).then(|| Value::Float(column.nulls as f64 / column.rows as f64));
        let mean = |column: &ColumnProfile| column.numbers().and_then(|numbers| numbers.mean()).map(Value::Float);
        let cells = [
            Some(Value::Text(name.as_str().into())),
            count(base),
            count(now),
            null_share(base),
            null_share(now),
            mean(base),
            mean(now),
            found.map(|drift| Value::Float(drift.psi)),
            found.map(|drift| Value::Float(drift.js)),
            found.and_then(|drift| drift.ks).map(Value::Float),
            found.and_then(|drift| drift.share_change).map(Value::Float),
        ];
        columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
    }
    let arrays = columns
        .iter()
        .zip(SCHEMA.fields())
        .map(|(values, field)| array_of(field.data_type(), values.iter().map(Option::as_ref)));
    RecordBatch::try_new(Arc::clone(&SCHEMA), arrays.collect::<Result<Vec<_>>>()?)
        .map_err(|error| Error::internal("rows of drift").with_source(error))
}

/// The profile of a query's rows, of those of its columns that are among `features`.
async fn profile(planner: &QueryPlanner, sql: &str, features: &[String]) -> Result<Vec<Named>> {
    let plan = Box::pin(planner.plan_query_text(sql)).await?;
    let mut batches = run(&planner.state(), &plan).await?;
    let fields = batches.schema();
    let of = |name: &String| {
        let index = fields.index_of(name).ok()?;
        Some(Profiled { name: name.clone(), index, class: Class::of(fields.field(index).data_type()) })
    };
    let mut profiler = Profiler::timeless(features.iter().filter_map(of).collect());
    while let Some(batch) = batches.try_next().await? {
        profiler.add(&batch)?;
    }
    Ok(profiler.whole()?.columns)
}

/// The profile of all rows that runs have written of a period: of each time and column those of the newest run that wrote
/// it.
fn period(planner: &QueryPlanner, view: &FeatureView, period: Interval) -> Result<Vec<Named>> {
    let ledger = planner.catalog.ledger();
    let name = &view.header.name;
    let refresh = |gap: Interval, overwrite: &str| {
        let (from, to) = (format_timestamp(gap.start_us), format_timestamp(gap.end_us));
        (
            format!("from {from} to {to}"),
            format!("REFRESH FEATURE VIEW {} FROM '{from}' TO '{to}'{overwrite}", granary_sql::name::quote(name)),
        )
    };
    // of all groups of columns: the first may be gone since others took its place
    let bound = BoundView::of_feature_view(view)?;
    if let Some(gap) =
        ledger.ranges_of_all(view.header.id, &bound.group_numbers(), StoreKind::Offline).first_gap(&period)
    {
        let (stretch, hint) = refresh(gap, "");
        let message = format!("feature view \"{name}\" is not materialized {stretch}");
        return Err(Error::new(Kind::ObjectNotInPrerequisiteState, message).with_hint(hint));
    }
    let mut columns: Vec<ColumnOfPeriod> = profiled_columns(&bound).into_iter().map(ColumnOfPeriod::new).collect();
    let mut runs = planner.monitor.runs(Some(view.header.id.0))?;
    runs.sort_by_key(|run| std::cmp::Reverse(run.job));
    for run in runs {
        let range = Interval::new(run.start_us, run.end_us);
        if !ledger.has_succeeded(JobId(run.job)) || range.intersection(&period).is_none_or(|part| part.is_empty()) {
            continue;
        }
        let pieces = planner.monitor.pieces(view.header.id.0, run.job)?;
        for column in &mut columns {
            let Some(figures) = run.columns.iter().find(|figures| figures.name == column.name) else { continue };
            let written: IntervalSet = match figures.parts.as_slice() {
                [] => [range].into_iter().collect(),
                parts => parts.iter().map(|part| Interval::new(part.0, part.1)).collect(),
            };
            column.add(name, &written, &pieces, period)?;
        }
    }
    let missing = columns.iter().find_map(|column| Some((&column.name, column.seen.first_gap(&period)?)));
    if let Some((column, gap)) = missing {
        let (stretch, hint) = refresh(gap, " OVERWRITE");
        let message = format!("no profile is kept of \"{column}\" of feature view \"{name}\" {stretch}");
        return Err(Error::new(Kind::ObjectNotInPrerequisiteState, message).with_hint(hint));
    }
    Ok(columns.into_iter().map(|column| (column.name, column.profile)).collect())
}

/// A column, put together from newest run to oldest.
struct ColumnOfPeriod {
    name: String,
    profile: ColumnProfile,
    /// what runs so far have written
    seen: IntervalSet,
}

impl ColumnOfPeriod {
    fn new(column: Profiled) -> ColumnOfPeriod {
        let profile = ColumnProfile::new(column.class);
        ColumnOfPeriod { name: column.name, profile, seen: IntervalSet::default() }
    }

    /// Takes what an older run has written of a period, where no newer one has.
    fn add(&mut self, view: &str, written: &IntervalSet, pieces: &[Piece], period: Interval) -> Result<()> {
        for piece in pieces {
            let Some(profile) = piece.profile.column(&self.name) else { continue };
            let whole = Interval::new(piece.start_us, piece.end_us);
            let of_column = written.intersection(&whole);
            let wanted = of_column.intersection(&period);
            if wanted.is_empty() {
                continue;
            }
            if wanted != of_column {
                return Err(cut(view, whole, "the period is a part of it"));
            }
            if of_column.iter().all(|part| self.seen.first_overlap(&part).is_none()) {
                let named = |error: Error| Error::new(error.kind(), format!("\"{}\": {}", self.name, error.message()));
                self.profile.merge(profile).map_err(named)?;
            } else if of_column.iter().any(|part| self.seen.first_gap(&part).is_some()) {
                return Err(cut(view, whole, "a newer run has written a part of it again"));
            }
        }
        self.seen.extend(written.iter());
        Ok(())
    }
}

fn cut(view: &str, piece: Interval, why: &str) -> Error {
    let (from, to) = (format_timestamp(piece.start_us), format_timestamp(piece.end_us));
    let message = format!("the profile of feature view \"{view}\" from {from} to {to} cannot be divided: {why}");
    Error::new(Kind::ObjectNotInPrerequisiteState, message)
        .with_hint("name periods of whole profiles, or REFRESH … OVERWRITE that stretch of time in one run")
}
