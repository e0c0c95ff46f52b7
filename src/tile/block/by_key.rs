//! Windows with a secondary key: the items of each run are put in the order of their keys once, and every key is a run
//! of its own, asked at those times only at which it has items in the window.

use std::ops::Range;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};

use super::codes::{Codes, NO_CODE};
use super::kernel::{KernelInput, Kernels};
use super::output::{list_of, take_rows};
use super::ranges::{Edges, Ranges, Sliding};
use super::{ItemBlock, Run, features_by_partial, functions_of, index};
use crate::error::Result;
use crate::tile::{Bounds, OutputColumn, ViewPlan, Window};

/// The items of a block in the order of (run, key), without those whose key is NULL.
struct KeyedItems {
    keys: Codes,
    anchors: Vec<i64>,
    /// one for each run and key; their asked times are those of a window, see [`Asked`]
    runs: Vec<Run>,
    /// by `runs`: which run of the block it is from, and its key's code
    origins: Vec<(usize, u32)>,
}

/// What one window asks of the keys: each time at which a key has items, by run and key.
struct Asked {
    runs: Vec<Run>,
    /// by place: the block's asked time, and the key's code
    rows: Vec<u32>,
    codes: Vec<u32>,
    start: Vec<u32>,
    end: Vec<u32>,
    edges_us: Vec<i64>,
}

/// By output column; notes which asked times have an item in some window.
pub(super) fn features(
    plan: &ViewPlan,
    items: &ItemBlock<'_>,
    anchors: &[i64],
    secondary: &ArrayRef,
    edges: &Edges<'_>,
    present: &mut [bool],
) -> Result<Vec<Option<ArrayRef>>> {
    let (keyed, order) = KeyedItems::new(edges.asked.runs, anchors, secondary)?;
    let order = UInt32Array::from(order);
    let take_all = |columns: &Vec<ArrayRef>| columns.iter().map(|column| take_rows(column, &order)).collect();
    let columns = items.columns.iter().map(take_all).collect::<Result<Vec<Vec<ArrayRef>>>>()?;
    let times: Vec<i64> = order.values().iter().map(|item| items.times[*item as usize]).collect();
    let input = KernelInput { form: items.form, times: &times, runs: &keyed.runs };
    let mut kernels = Kernels::new(plan, &input, &columns)?;
    let output = plan.output_columns();
    let mut answers: Vec<Option<ArrayRef>> = vec![None; output.len()];
    let mut answer = |column: OutputColumn, values: ArrayRef| {
        if let Some(place) = output.iter().position(|output| *output == column) {
            answers[place] = Some(values);
        }
    };
    for window in plan.windows() {
        edges.note_present(anchors, &window, present);
        let asked = keyed.asked(edges, &window);
        let lists = asked.lists(edges);
        let keys = take_rows(&keyed.keys.dictionary, &UInt32Array::from(asked.codes))?;
        answer(OutputColumn::Keys { window }, lists.of(&keys)?);
        let ranges = Ranges {
            runs: &asked.runs,
            start: asked.start,
            end: asked.end,
            after_start: None,
            timing: edges.timing,
            edges_us: &asked.edges_us,
            span: window.span(),
        };
        for (partial, features) in features_by_partial(plan, &window) {
            let values = kernels.values(plan, partial, &functions_of(plan, &features), &ranges)?;
            for (feature, values) in features.iter().zip(values) {
                answer(OutputColumn::Feature { index: *feature }, lists.of(&values)?);
            }
        }
    }
    Ok(answers)
}

impl KeyedItems {
    /// Also gives which items of the block they are, in this order.
    fn new(runs: &[Run], anchors: &[i64], secondary: &ArrayRef) -> Result<(KeyedItems, Vec<u32>)> {
        let keys = Codes::of(secondary)?;
        let mut order: Vec<u32> = Vec::with_capacity(anchors.len());
        let (mut of_keys, mut origins) = (Vec::new(), Vec::new());
        for (number, run) in runs.iter().enumerate() {
            let code_of = |item: &u32| keys.codes[*item as usize];
            let first = order.len();
            order.extend((index(run.items.start)..index(run.items.end)).filter(|item| code_of(item) != NO_CODE));
            // stable: the items of a key stay in the order of time
            order[first..].sort_by_key(code_of);
            let mut start = first;
            for items in order[first..].chunk_by(|a, b| code_of(a) == code_of(b)) {
                of_keys.push(Run { asked: 0..0, items: start..start + items.len() });
                origins.push((number, code_of(&items[0])));
                start += items.len();
            }
        }
        let anchors = order.iter().map(|item| anchors[*item as usize]).collect();
        Ok((KeyedItems { keys, anchors, runs: of_keys, origins }, order))
    }

    fn asked(&self, edges: &Edges<'_>, window: &Window) -> Asked {
        let open = OpenRows::new(edges, window);
        let mut asked = Asked {
            runs: Vec::with_capacity(self.runs.len()),
            rows: Vec::new(),
            codes: Vec::new(),
            start: Vec::new(),
            end: Vec::new(),
            edges_us: Vec::new(),
        };
        for (Run { items, .. }, (run, code)) in self.runs.iter().zip(&self.origins) {
            let first_asked = asked.rows.len();
            let mut sliding = Sliding::over(items);
            for place in open.that_can_see(*run, &self.anchors[items.clone()]) {
                let range = sliding.move_to(&self.anchors, open.bounds[place]);
                if range.is_empty() {
                    continue;
                }
                let row = open.rows[place];
                asked.rows.push(row);
                asked.codes.push(*code);
                asked.start.push(index(range.start));
                asked.end.push(index(range.end));
                asked.edges_us.push(edges.edges_us[row as usize]);
            }
            asked.runs.push(Run { asked: first_asked..asked.rows.len(), items: items.clone() });
        }
        asked
    }
}

/// The asked times that have a window, run by run.
struct OpenRows {
    rows: Vec<u32>,
    bounds: Vec<Bounds>,
    /// by run
    places: Vec<Range<usize>>,
}

impl OpenRows {
    fn new(edges: &Edges<'_>, window: &Window) -> OpenRows {
        let mut open = OpenRows { rows: Vec::new(), bounds: Vec::new(), places: Vec::new() };
        for run in edges.asked.runs {
            let first = open.rows.len();
            for row in run.asked.clone().filter(|row| edges.is_open[*row]) {
                open.rows.push(index(row));
                open.bounds.push(edges.timing.place(window.span(), edges.edges_us[row]));
            }
            open.places.push(first..open.rows.len());
        }
        open
    }

    /// The places of a run's times whose windows reach beyond the first of `anchors` and not beyond the last.
    fn that_can_see(&self, run: usize, anchors: &[i64]) -> Range<usize> {
        let Range { start, end } = self.places[run];
        let (Some(first), Some(last)) = (anchors.first(), anchors.last()) else { return start..start };
        let bounds = &self.bounds[start..end];
        let from = bounds.partition_point(|bounds| bounds.end_us <= *first);
        let to = bounds.partition_point(|bounds| bounds.start_us <= *last);
        start + from..start + to.max(from)
    }
}

impl Asked {
    /// How what is computed for each key becomes a list for each asked time.
    fn lists(&self, edges: &Edges<'_>) -> KeyLists {
        let mut offsets = vec![0_usize; edges.asked.len() + 1];
        for row in &self.rows {
            offsets[*row as usize + 1] += 1;
        }
        let lengths = offsets[1..].to_vec();
        for row in 0..lengths.len() {
            offsets[row + 1] += offsets[row];
        }
        // keys come in their order, so those of one time do, too
        let mut order = vec![0; self.rows.len()];
        for (place, row) in self.rows.iter().enumerate() {
            let next = &mut offsets[*row as usize];
            order[*next] = index(place);
            *next += 1;
        }
        KeyLists { order: order.into(), offsets: OffsetBuffer::from_lengths(lengths), valid: edges.after_start.clone() }
    }
}

struct KeyLists {
    order: UInt32Array,
    offsets: OffsetBuffer<i32>,
    valid: Option<NullBuffer>,
}

impl KeyLists {
    fn of(&self, values: &ArrayRef) -> Result<ArrayRef> {
        list_of(take_rows(values, &self.order)?, self.offsets.clone(), self.valid.clone())
    }
}
