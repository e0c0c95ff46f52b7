//! Rows before they are kept: which of them do not fit what they are written to, for every reason that can be known
//! before, so that none fails later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use granary_catalog::{ConstraintKind, Snapshot};

use super::unique::row_text;
use super::{Target, parse_expression};
use crate::engine::{MadeOfCall, Passing, RowChecks, RowExpression, as_declared};
use crate::error::{Error, Kind, Result};
use crate::ingest::{Ingest, Refused, ViewCount};
use crate::metrics;
use crate::offline::BatchStream;
use crate::row::check_key_lengths;
use crate::statement::context::StatementContext;

/// Rows of a call, each with its number in it, counted from one.
pub struct CallRows {
    pub rows: RecordBatch,
    pub numbers: Vec<u64>,
}

pub type CallStream = BoxStream<'static, Result<CallRows>>;

/// Rows as they come are those of the call.
pub fn numbered(rows: BatchStream) -> CallStream {
    let mut next = 1;
    let number = move |rows: RecordBatch| {
        let first = next;
        next += rows.num_rows() as u64;
        CallRows { rows, numbers: (first..next).collect() }
    };
    rows.map_ok(number).boxed()
}

/// A row that does not fit.
#[derive(Debug)]
pub struct Fault {
    /// in the call, counted from one
    pub number: u64,
    pub refused: Refused,
}

/// So many faults are told of a call; all are counted.
pub const MOST_FAULTS: usize = 100;
/// As many numbers as a notice has.
const MOST_SHOWN: usize = 5;

/// The rows that a call leaves out, where one that does not fit shall not fail it.
#[derive(Debug, Default)]
pub struct LeftOut(Mutex<Faults>);

#[derive(Debug, Default)]
pub struct Faults {
    pub count: u64,
    /// the first ones, by number
    pub first: Vec<Fault>,
}

impl LeftOut {
    pub fn add(&self, fault: Fault) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.count += 1;
        let place = faults.first.partition_point(|known| known.number < fault.number);
        if place < MOST_FAULTS {
            faults.first.insert(place, fault);
            faults.first.truncate(MOST_FAULTS);
        }
    }

    pub fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    pub fn take(&self) -> Faults {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a client is told, if any row was left out.
    pub fn notice(&self) -> Option<Error> {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.count == 0 {
            return None;
        }
        let rows = if faults.count == 1 { "row was" } else { "rows were" };
        let shown = faults.first.iter().take(MOST_SHOWN).map(|Fault { number, refused }| {
            let of_view = refused.view.as_ref().map_or(String::new(), |view| format!(" (feature view \"{view}\")"));
            format!("Row {number}: {}{of_view}.", refused.error.message())
        });
        let mut detail = shown.collect::<Vec<_>>().join(" ");
        if faults.count > MOST_SHOWN as u64 {
            detail.push_str(" And others.");
        }
        let message = format!("{} {rows} left out", faults.count);
        Some(Error::new(Kind::SuccessfulCompletion, message).with_detail(detail))
    }
}

/// What rows of one target are held against.
pub struct Checks {
    target: Target,
    ingest: Arc<Ingest>,
    snapshot: Arc<Snapshot>,
    left_out: Option<Arc<LeftOut>>,
    /// by view
    counts: Mutex<BTreeMap<u64, ViewCount>>,
    /// of the events that fit, in their order
    made: Mutex<MadeOfCall>,
    /// of the table, by name
    conditions: Vec<(String, RowExpression)>,
    /// what policies ask of the rows
    policies: Option<RowChecks>,
    /// whether errors tell nothing of them
    hides_rows: bool,
}

impl Checks {
    pub fn new(
        context: &StatementContext,
        target: &Target,
        left_out: Option<Arc<LeftOut>>,
        passing: &[Passing],
    ) -> Result<Checks> {
        let policies = match &target.table {
            Some(table) if !passing.is_empty() => context.planner().row_checks(table, passing)?,
            _ => None,
        };
        Ok(Checks {
            policies,
            hides_rows: hides_rows(context, target),
            target: target.clone(),
            ingest: Arc::clone(&context.warehouse.ingest),
            snapshot: Arc::clone(context.snapshot()),
            left_out,
            counts: Mutex::default(),
            made: Mutex::default(),
            conditions: conditions(context, target)?,
        })
    }

    /// The rows that fit. The first one that does not is an error, unless it is left out.
    pub fn applied_to(self: &Arc<Self>, rows: CallStream) -> BatchStream {
        let checks = Arc::clone(self);
        let check = move |rows: CallRows| {
            let checks = Arc::clone(&checks);
            async move { checks.fitting(rows).await }
        };
        rows.and_then(check).boxed()
    }

    pub fn notice(&self) -> Option<Error> {
        self.left_out.as_ref()?.notice()
    }

    /// Counts the events that a stream has refused, or the one that failed the call.
    pub fn count_refused(&self, error: Option<&Error>) {
        let Some(stream) = &self.target.stream else { return };
        let left_out = self.left_out.as_ref().map_or(0, |left_out| left_out.count());
        let refused = left_out + u64::from(error.is_some_and(is_of_row));
        let workspace = stream.header.home.workspace().and_then(|id| self.snapshot.get(id));
        if let Some(workspace) = workspace.filter(|_| refused > 0) {
            metrics::ingested(workspace.name(), &stream.header.name, 0, refused);
        }
    }

    /// Tells the statement how many rows of each view it has.
    pub fn keep_counts(&self, context: &mut StatementContext) {
        let counts = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        context.view_counts.extend(counts.into_values());
    }

    /// What joined views have made of the events that fit.
    pub fn take_made(&self) -> MadeOfCall {
        std::mem::take(&mut self.made.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn fitting(&self, CallRows { rows, numbers }: CallRows) -> Result<RecordBatch> {
        let error = match self.whole(&rows).await {
            Ok(rows) => return Ok(rows),
            Err(refused) if !is_of_row(&refused.error) => return Err(refused.error),
            Err(refused) => refused,
        };
        let mut sifted = Sifted::default();
        self.sift(&rows, 0, &mut sifted).await?;
        let Some(left_out) = &self.left_out else {
            let first = sifted.faults.into_iter().next();
            // a row that fits by itself and not with others: the place is not known
            let (place, refused) = first.map_or((None, error), |(place, refused)| (Some(place), refused));
            return Err(self.refusal(refused, place.map(|place| numbers[place])));
        };
        for (place, refused) in sifted.faults {
            left_out.add(Fault { number: numbers[place], refused });
        }
        let schema = self.target.schema();
        concat_batches(&schema, &sifted.fitting).map_err(|error| Error::internal("rows do not join").with_source(error))
    }

    /// Divides rows, by halves, into those that fit and those that do not; without leaving out, up to the first that
    /// does not. `first` is the place of the first one.
    fn sift<'a>(&'a self, rows: &'a RecordBatch, first: usize, sifted: &'a mut Sifted) -> BoxFuture<'a, Result<()>> {
        async move {
            match self.whole(rows).await {
                Ok(fitting) => sifted.fitting.push(fitting),
                Err(refused) if !is_of_row(&refused.error) => return Err(refused.error),
                Err(refused) if rows.num_rows() == 1 => sifted.faults.push((first, refused)),
                Err(_) => {
                    let half = rows.num_rows() / 2;
                    self.sift(&rows.slice(0, half), first, sifted).await?;
                    if self.left_out.is_some() || sifted.faults.is_empty() {
                        self.sift(&rows.slice(half, rows.num_rows() - half), first + half, sifted).await?;
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn refusal(&self, refused: Refused, number: Option<u64>) -> Error {
        let (Some(_), Some(number)) = (&self.target.stream, number) else { return refused.error };
        let detail = match &refused.view {
            Some(view) => format!("Event {number} does not fit feature view \"{view}\". None is stored."),
            None if refused.error.kind() == Kind::NotNullViolation => {
                format!("Event {number} has no time. None is stored.")
            }
            None => format!("Event {number} does not fit. None is stored."),
        };
        refused.error.with_detail(detail)
    }

    /// Refuses rows for which a CHECK is false.
    fn check_conditions(&self, rows: &RecordBatch) -> Result<()> {
        for (name, condition) in &self.conditions {
            let named = RecordBatch::try_new(self.target.nullable_schema(), rows.columns().to_vec())?;
            let holds = condition.values(&named)?;
            let holds = holds.as_boolean();
            let Some(row) = (0..holds.len()).find(|row| holds.is_valid(*row) && !holds.value(*row)) else { continue };
            let table = &self.target.name;
            let message = format!("new row for relation \"{table}\" violates check constraint \"{name}\"");
            let error = Error::new(Kind::CheckViolation, message).of_constraint(table, name);
            let detail = || format!("Failing row contains ({}).", row_text(&self.target.columns, rows, row));
            return Err(if self.hides_rows { error } else { error.with_detail(detail()) });
        }
        Ok(())
    }

    /// The rows as they are kept, if all of them fit.
    async fn whole(&self, rows: &RecordBatch) -> Result<RecordBatch, Refused> {
        let schema = self.target.schema_name(&self.snapshot);
        let named = |refused: Refused| Refused { error: refused.error.in_schema(schema), ..refused };
        self.kept(rows).await.map_err(named)
    }

    async fn kept(&self, rows: &RecordBatch) -> Result<RecordBatch, Refused> {
        let target = &self.target;
        if let Some(policies) = &self.policies {
            // as they would be stored, and before anything is told of them
            let rows = fit_declared(target, fit_lengths(target, rows.clone())?)?;
            policies.check(&rows).await?;
        }
        check_nulls(target, rows, self.hides_rows)?;
        check_keys(target, rows)?;
        let rows = fit_declared(target, fit_lengths(target, rows.clone())?)?;
        self.check_conditions(&rows)?;
        if let Some(stream) = &target.stream {
            let (of_views, made) = self.ingest.check(&self.snapshot, stream, &rows).await?;
            self.made.lock().unwrap_or_else(PoisonError::into_inner).add(made);
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            for count in of_views {
                let known = counts.entry(count.view.id).or_insert_with(|| ViewCount { rows: 0, ..count.clone() });
                known.rows += count.rows;
            }
        }
        Ok(rows)
    }
}

/// The CHECK constraints of an ordinary table.
fn conditions(context: &StatementContext, target: &Target) -> Result<Vec<(String, RowExpression)>> {
    let constraints = target.table.iter().flat_map(|table| &table.constraints);
    let mut conditions = Vec::new();
    for constraint in constraints {
        let ConstraintKind::Check { text } = &constraint.kind else { continue };
        let columns = target.nullable_schema();
        let expr = parse_expression(text)?;
        let condition =
            RowExpression::of(&context.planner(), expr, (&target.name, &columns), Some(&DataType::Boolean))?;
        conditions.push((constraint.name.clone(), condition));
    }
    Ok(conditions)
}

#[derive(Default)]
struct Sifted {
    fitting: Vec<RecordBatch>,
    faults: Vec<(usize, Refused)>,
}

/// Whether it is the fault of a row, and not of the statement, the server or its disk.
fn is_of_row(error: &Error) -> bool {
    ["22", "23"].iter().any(|class| error.sqlstate().starts_with(class)) || error.kind() == Kind::DatatypeMismatch
}

/// Refuses texts that are none of the type that their column was declared as; gives the others as that type prints them.
fn fit_declared(target: &Target, batch: RecordBatch) -> Result<RecordBatch> {
    if target.columns.iter().all(|column| column.declared.is_none()) {
        return Ok(batch);
    }
    let mut columns = batch.columns().to_vec();
    for (column, array) in target.columns.iter().zip(&mut columns) {
        let Some(declared) = &column.declared else { continue };
        *array = as_declared(array, declared)?;
    }
    RecordBatch::try_new(batch.schema(), columns).map_err(|error| Error::internal("rows of texts").with_source(error))
}

/// Refuses texts that are too long for their columns. Blanks at the end do not count: they are cut, and of a `char(n)`
/// none is kept.
fn fit_lengths(table: &Target, batch: RecordBatch) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    if columns.is_empty() {
        return if batch.num_rows() == 0 { Ok(batch) } else { Err(Error::not_supported("rows without columns")) };
    }
    for (column, array) in table.columns.iter().zip(&mut columns) {
        let (Some(max_length), Some(texts)) = (column.max_length, array.as_string_opt::<i32>()) else { continue };
        let is_padded = column.declared.as_deref() == Some(PADDED);
        let end_of = |text: &str| usize::try_from(max_length).ok().and_then(|end| text.char_indices().nth(end));
        let is_other =
            |text: Option<&str>| text.is_some_and(|text| end_of(text).is_some() || is_padded && text.ends_with(' '));
        if !texts.iter().any(is_other) {
            continue;
        }
        let fit = |text: Option<&str>| {
            let Some(text) = text else { return Ok(None) };
            let trimmed = text.trim_end_matches(' ');
            match end_of(text) {
                None if is_padded => Ok(Some(trimmed.to_owned())),
                None => Ok(Some(text.to_owned())),
                Some((end, _)) if trimmed.len() <= end => {
                    Ok(Some(if is_padded { trimmed.to_owned() } else { text[..end].to_owned() }))
                }
                Some(_) => {
                    let name = if is_padded { "character" } else { "character varying" };
                    Err(Error::new(Kind::StringTooLong, format!("value too long for type {name}({max_length})")))
                }
            }
        };
        *array = Arc::new(texts.iter().map(fit).collect::<Result<StringArray>>()?);
    }
    RecordBatch::try_new(batch.schema(), columns)
        .map_err(|error| Error::internal("rows cut to length").with_source(error))
}

/// PostgreSQL's name of `char(n)`.
const PADDED: &str = "bpchar";

/// Whether policies hold for the session, so that errors must not tell of rows.
pub fn hides_rows(context: &StatementContext, target: &Target) -> bool {
    target.table.as_ref().is_some_and(|table| context.planner().is_policed(table))
}

fn check_nulls(table: &Target, batch: &RecordBatch, hides_rows: bool) -> Result<()> {
    let has_null =
        |(column, values): &(&granary_catalog::Column, &ArrayRef)| !column.nullable && values.null_count() > 0;
    match table.columns.iter().zip(batch.columns()).find(has_null) {
        Some((column, values)) => {
            let error = table.null_in(column);
            let row = (0..batch.num_rows()).find(|row| values.is_null(*row)).unwrap_or(0);
            let detail = || format!("Failing row contains ({}).", row_text(&table.columns, batch, row));
            Err(if table.table.is_some() && !hides_rows { error.with_detail(detail()) } else { error })
        }
        None => Ok(()),
    }
}

/// Refuses join keys that the online store cannot take: once the rows are in the offline one it would be too late.
fn check_keys(table: &Target, batch: &RecordBatch) -> Result<()> {
    check_key_lengths(&table.join_keys.iter().map(|place| batch.column(*place)).collect::<Vec<_>>())
}
