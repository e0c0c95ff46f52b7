//! Spans of time of a view's stored rows, folded into one state a key and stored beside them, so that a long window
//! need not read every row.
//!
//! A span is folded when all rows inside of it are there, so by the job that writes the last of them. What is folded
//! counts once the ledger says so; a job that changes rows takes their spans out of the ledger first. Between the two
//! nobody reads spans of these rows.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use granary_catalog::{Interval, IntervalSet, Job};
use tokio_util::sync::CancellationToken;

use super::run::keyed;
use crate::engine::{BoundView, Fold, Folded, QueryPlanner, RowLayout, StoredRows, folded, sorted_rows};
use crate::error::{Error, Result};
use crate::offline::{Write, WriteKind};
use crate::warehouse::Warehouse;

/// A span must be of so many rows on average, else it is not worth being stored.
const ROWS_OF_A_SPAN: usize = 4;
/// So many rows show whether it is.
const SAMPLED_ROWS: usize = 256 * 1024;

/// Folds what a job's range has completed, of a view with one group of columns.
pub async fn write_spans(
    warehouse: &Arc<Warehouse>,
    planner: &QueryPlanner,
    view: &Arc<BoundView>,
    job: &Job,
    range: Interval,
    cancel: &CancellationToken,
) -> Result<()> {
    let widths = view.span_widths();
    if widths.is_empty() {
        return Ok(());
    }
    let folding = warehouse.folding(view.id);
    let _one_at_a_time = folding.lock().await;
    drop_other_forms(warehouse, view, &widths).await?;
    let rows = StoredRows::open_without_spans(planner, view).await?;
    if !rows.is_in_order() {
        return Ok(());
    }
    let ledger = warehouse.catalog.ledger();
    let settled = ledger.settled(view.group_id(), job.id)?;
    let spans_of_rows = Finer { rows, layout: view.stored_layout(), width_us: 0 };
    let mut finer: Vec<Finer> = vec![spans_of_rows];
    for width_us in widths {
        let complete = settled.intersection(&range.widened_to(width_us));
        let spans: IntervalSet = complete.iter().map(|part| part.narrowed_to(width_us)).collect();
        let mut all = true;
        for span in spans.iter() {
            let known = ledger.folded(view.group_id());
            let is_folded = |finer: &&Finer| {
                let known = known.as_ref().and_then(|known| known.of_width(finer.width_us));
                finer.width_us == 0 || known.is_some_and(|known| known.first_gap(&span).is_none())
            };
            let from =
                finer.iter().rfind(is_folded).ok_or_else(|| Error::internal("a view without rows of its own"))?;
            all = fold(warehouse, view, from, width_us, span, cancel).await?;
            if !all {
                break;
            }
        }
        if all && !spans.is_empty() {
            ledger.fold((job.id, view.group_id().group), view.span_form(), width_us, &spans)?;
            warehouse.vacuum(&view.span_table(width_us)).await;
            let rows = StoredRows::open_spans(planner, view, width_us).await?;
            finer.push(Finer { rows, layout: RowLayout::Tiles, width_us });
        }
    }
    Ok(())
}

/// What longer spans may be folded from.
struct Finer {
    rows: StoredRows,
    layout: RowLayout,
    /// of its spans; 0 of the view's own rows
    width_us: i64,
}

/// Writes the spans of an interval. False, and nothing is written, if they are not worth it.
async fn fold(
    warehouse: &Warehouse,
    view: &Arc<BoundView>,
    from: &Finer,
    width_us: i64,
    interval: Interval,
    cancel: &CancellationToken,
) -> Result<bool> {
    let levels = view.plan.timing.levels();
    let widths_us = levels.filter(|level_us| from.width_us < *level_us && *level_us <= width_us).collect();
    let fold = Fold::Spans { from: from.layout, widths_us };
    let rows = sorted_rows(&warehouse.engine, &from.rows, interval.start_us..interval.end_us)?;
    let mut states = folded(view, fold, rows)?;
    let mut sample: Vec<Folded> = Vec::new();
    let (mut n_rows, mut n_states) = (0, 0);
    while n_rows < SAMPLED_ROWS {
        let Some(next) = states.try_next().await? else { break };
        n_rows += next.rows;
        n_states += next.states.num_rows();
        sample.push(next);
    }
    if n_states * ROWS_OF_A_SPAN > n_rows {
        return Ok(false);
    }
    let table = view.span_table(width_us);
    let layout = keyed(view, RowLayout::Tiles);
    warehouse.offline.create_table(&table, view.row_schema(RowLayout::Tiles), layout).await?;
    let batches = futures::stream::iter(sample.into_iter().map(Ok)).chain(states);
    let batches = batches.map_ok(|folded| folded.states).boxed();
    let kind = WriteKind::ReplaceRange { start_us: interval.start_us, end_us: interval.end_us };
    warehouse.offline.write(&table, Write::new(kind, batches).with_cancel(cancel.clone())).await?;
    Ok(true)
}

/// Spans in states of another form, which the view's features had before, are of no use any more.
async fn drop_other_forms(warehouse: &Warehouse, view: &BoundView, widths: &[i64]) -> Result<()> {
    let known: Vec<String> = widths.iter().map(|width_us| view.span_table(*width_us)).collect();
    for table in warehouse.offline.tables_beginning(&view.span_tables())? {
        if !known.contains(&table) {
            warehouse.offline.drop_table(&table).await?;
        }
    }
    Ok(())
}
