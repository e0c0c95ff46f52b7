//! From the rows of one key to the values of the columns that a query wants, by the rules of `tile`.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::relation::{BoundView, KNOWN_AT, RowLayout};
use crate::error::{Error, Result};
use crate::row::{Reader, Value};
use crate::tile::{
    AggregateItems, AskedBlock, BlockAnswers, ItemBlock, Order, Partial, PartialSpec, ViewPlan, change_times,
    empty_row, evaluate_aggregates, evaluate_attributes, evaluate_block,
};

/// One column of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wanted {
    /// the asked key, by its place among the join keys
    Key(usize),
    /// a feature, by its place in the view's output behind the keys
    Feature(usize),
    EffectiveTime,
    Status,
    /// the asked time
    AsOf,
    /// of a history: from when on, and until when, the row is the answer
    ValidFrom,
    ValidTo,
}

pub const PRESENT: &str = "PRESENT";
pub const MISSING: &str = "MISSING_DATA";

/// What `_status` says.
pub fn status(is_present: bool) -> &'static str {
    if is_present { PRESENT } else { MISSING }
}

/// The rows of one key, as the evaluators read them.
#[derive(Debug)]
pub enum KeyRows {
    Aggregates(AggregateItems),
    Attributes {
        /// event times, ascending; ties in order of arrival
        times: Vec<i64>,
        /// by attribute wanted, then by row
        values: Vec<Vec<Option<Value>>>,
    },
}

/// Answers for one view and one list of wanted columns.
#[derive(Debug)]
pub struct Answerer {
    view: Arc<BoundView>,
    wanted: Vec<Wanted>,
    /// the view's plan with only the features needed
    plan: ViewPlan,
    /// for each partial of `plan`, its number in the view's plan
    partials: Vec<usize>,
    /// for each attribute of `plan`, the view's input that it is
    attributes: Vec<usize>,
    /// for every wanted feature, its place in what the evaluators give
    places: Vec<Option<usize>>,
}

/// The keys and times of a run of rows that ask for the same key.
#[derive(Debug)]
pub struct Asked<'a> {
    pub keys: &'a [Option<Value>],
    pub times: &'a [Option<i64>],
}

impl Answerer {
    pub fn new(view: &Arc<BoundView>, wanted: &[Wanted]) -> Answerer {
        // Whether a key is known depends on all windows, not only on those of the features asked for.
        let about_data = |wanted: &Wanted| matches!(wanted, Wanted::Status | Wanted::EffectiveTime);
        let all = view.kind().has_aggregates() && wanted.iter().any(about_data);
        let n_features = view.output.fields().len() - view.keys.len();
        let features: Vec<usize> = if all { (0..n_features).collect() } else { features_of(wanted) };
        let mut answerer = Answerer {
            view: Arc::clone(view),
            wanted: wanted.to_vec(),
            plan: view.plan.clone(),
            partials: (0..view.plan.partials.len()).collect(),
            attributes: Vec::new(),
            places: Vec::new(),
        };
        if view.kind().has_aggregates() {
            answerer.prune_aggregates(&features);
        } else {
            answerer.plan.attributes = features.iter().map(|&index| view.plan.attributes[index].clone()).collect();
            answerer.attributes = features.iter().map(|&index| view.attribute_inputs[index]).collect();
            let mut next = 0..;
            answerer.places = wanted
                .iter()
                .map(|wanted| matches!(wanted, Wanted::Feature(_)).then(|| next.next()).flatten())
                .collect();
        }
        answerer
    }

    fn prune_aggregates(&mut self, outputs: &[usize]) {
        let columns = self.view.plan.output_columns();
        let wanted: Vec<_> = outputs.iter().map(|&index| columns[index]).collect();
        // A keys array stands before a feature of its window, so one feature of that window must stay.
        let keep = |index: &usize| {
            let feature = &self.view.plan.features[*index];
            wanted.iter().any(|column| match column {
                crate::tile::OutputColumn::Feature { index: wanted } => wanted == index,
                crate::tile::OutputColumn::Keys { window } => *window == feature.window,
            })
        };
        let kept: Vec<usize> = (0..self.view.plan.features.len()).filter(keep).collect();
        (self.plan, self.partials) = self.view.plan.with_features(kept.iter().copied());
        let pruned = self.plan.output_columns();
        let place = |column: &crate::tile::OutputColumn| {
            pruned.iter().position(|candidate| match (candidate, column) {
                (
                    crate::tile::OutputColumn::Feature { index: new },
                    crate::tile::OutputColumn::Feature { index: old },
                ) => kept[*new] == *old,
                (a, b) => a == b,
            })
        };
        self.places = self
            .wanted
            .iter()
            .map(|wanted| match wanted {
                Wanted::Feature(index) => place(&columns[*index]),
                _ => None,
            })
            .collect();
    }

    /// The times of a range at which the answer of a key with rows at `times` may change; `known_at`: since when those
    /// are known, in a bitemporal view.
    pub fn change_times(&self, times: &[i64], known_at: Option<&[i64]>, range: Range<i64>) -> Vec<i64> {
        change_times(&self.plan, times, known_at, range)
    }

    pub fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    /// How many columns an answer has.
    pub fn n_wanted(&self) -> usize {
        self.wanted.len()
    }

    pub fn plan(&self) -> &ViewPlan {
        &self.plan
    }

    /// The columns of the view's rows in `layout` that the answers need: keys and time first.
    pub fn row_columns(&self, layout: RowLayout) -> Vec<String> {
        let view = &self.view;
        let mut columns: Vec<String> = view.keys.iter().map(|key| key.name.clone()).collect();
        columns.push(view.time_column(layout).to_owned());
        columns.extend(view.secondary.iter().map(|key| key.name.clone()));
        columns.extend(view.known_at.as_ref().map(|_| KNOWN_AT.to_owned()));
        for column in self.item_columns(layout).into_iter().flatten() {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        columns
    }

    /// For each of the plan's partials or attributes, the columns of its rows in `layout`.
    pub fn item_columns(&self, layout: RowLayout) -> Vec<Vec<String>> {
        let view = &self.view;
        if !view.kind().has_aggregates() {
            return self.attributes.iter().map(|&attribute| vec![view.inputs[attribute].name.clone()]).collect();
        }
        let of_partial = |&partial: &usize| match layout {
            RowLayout::Events => {
                view.partial_inputs[partial].iter().map(|&input| view.inputs[input].name.clone()).collect()
            }
            RowLayout::Tiles => {
                let fields = view.plan.partials[partial].state_fields(&view.partial_names[partial]);
                fields.iter().map(|field| field.name().clone()).collect()
            }
        };
        self.partials.iter().map(of_partial).collect()
    }

    /// The features of many keys, by the evaluators' places.
    pub fn answer_block(&self, items: &ItemBlock<'_>, asked: &AskedBlock<'_>) -> Result<BlockAnswers> {
        evaluate_block(&self.plan, items, asked)
    }

    /// When what answers took effect; only where there is data.
    pub fn effective_times(&self, answers: &BlockAnswers, asked: &[i64], row_times: &[i64]) -> Vec<i64> {
        let timing = &self.plan.timing;
        match &answers.chosen {
            None => asked.iter().map(|time_us| timing.leading_edge(*time_us)).collect(),
            Some(chosen) => {
                chosen.iter().map(|row| row.map_or(0, |row| timing.effective(row_times[row as usize]))).collect()
            }
        }
    }

    /// The values of an answer that says nothing, by the evaluators' places.
    pub fn empty_answer(&self) -> Vec<Option<Value>> {
        empty_row(&self.plan)
    }

    /// For every wanted column, if it is a feature, its place in what the evaluators give.
    pub fn places(&self) -> &[Option<usize>] {
        &self.places
    }

    /// Reads one stored tile of the online store: the states that are wanted, the others are skipped.
    pub fn partials_of_payload(&self, payload: &[u8]) -> Result<Vec<Partial>> {
        let mut reader = Reader::new(payload);
        let mut states = Vec::with_capacity(self.view.plan.partials.len());
        for _ in &self.view.plan.partials {
            // what was stored before the view had a state is not known
            let length = if reader.is_empty() { 0 } else { reader.length()? };
            states.push(reader.take(length)?);
        }
        self.partials
            .iter()
            .map(|&partial| Partial::decode(&self.view.plan.partials[partial], states[partial]))
            .collect()
    }

    /// The states of no rows.
    pub fn no_partials(&self) -> Vec<Partial> {
        self.plan.partials.iter().map(PartialSpec::empty).collect()
    }

    /// Reads one stored event of the online store as states of one row.
    pub fn partials_of_event(&self, payload: &[u8], order: Order) -> Result<Vec<Partial>> {
        let values = Reader::new(payload).values()?;
        let n_inputs = values.len() - usize::from(self.view.known_at.is_some()).min(values.len());
        self.partials
            .iter()
            .map(|&partial| {
                let spec = &self.view.plan.partials[partial];
                let taken = self.view.partial_inputs[partial].iter();
                if taken.clone().any(|input| *input >= n_inputs) {
                    // stored before the view had it
                    return Ok(Partial::unknown());
                }
                let inputs: Vec<Option<Value>> = taken.map(|&input| values.get(input).cloned().flatten()).collect();
                let mut state = spec.empty();
                state.update(spec, &inputs, order)?;
                Ok(state)
            })
            .collect()
    }

    /// Rows of all attributes, ascending by time, as rows of those that are wanted.
    pub fn attribute_rows(&self, times: Vec<i64>, rows: &[Vec<Option<Value>>]) -> KeyRows {
        // behind them is since when a row is known, where that counts
        let n_behind = usize::from(self.view.known_at.is_some());
        let value = |row: &Vec<Option<Value>>, attribute: usize| {
            row.get(attribute).filter(|_| attribute + n_behind < row.len()).cloned().flatten()
        };
        let of_attribute = |&attribute: &usize| rows.iter().map(|row| value(row, attribute)).collect();
        KeyRows::Attributes { times, values: self.attributes.iter().map(of_attribute).collect() }
    }

    /// Appends the answers of one run to `out`, by wanted column. `rows` is None for an unknown or NULL key.
    pub fn answer(&self, rows: Option<&KeyRows>, asked: &Asked<'_>, out: &mut [Vec<Option<Value>>]) -> Result<()> {
        let known: Vec<i64> = asked.times.iter().filter_map(|time| *time).collect();
        let answers = self.evaluate(rows, &known)?;
        let empty = empty_row(&self.plan);
        let mut next = 0;
        for time in asked.times {
            let at = time.map(|_| {
                next += 1;
                next - 1
            });
            let present = at.filter(|&at| answers.present[at]);
            for ((wanted, place), out) in self.wanted.iter().zip(&self.places).zip(out.iter_mut()) {
                out.push(match wanted {
                    Wanted::Key(index) => asked.keys[*index].clone(),
                    Wanted::AsOf | Wanted::ValidFrom => time.map(Value::Int),
                    // Filled in by who knows the next time.
                    Wanted::ValidTo => None,
                    Wanted::EffectiveTime => present.and_then(|at| answers.effective[at]).map(Value::Int),
                    Wanted::Status => Some(Value::Text(status(present.is_some()).into())),
                    Wanted::Feature(_) => {
                        let place = place.ok_or_else(|| Error::internal("a wanted feature was not evaluated"))?;
                        match at {
                            Some(at) => answers.columns[place][at].clone(),
                            None => empty[place].clone(),
                        }
                    }
                });
            }
        }
        Ok(())
    }

    /// The number, in the view, of the input that this column wants.
    pub fn attribute(&self, column: usize) -> Result<usize> {
        let place = self.places[column].and_then(|place| self.attributes.get(place).copied());
        place.ok_or_else(|| Error::internal("a wanted feature is no attribute"))
    }

    fn evaluate(&self, rows: Option<&KeyRows>, times: &[i64]) -> Result<Answers> {
        let timing = &self.plan.timing;
        match rows {
            Some(KeyRows::Attributes { times: row_times, values }) => {
                let chosen = evaluate_attributes(&self.plan, row_times, times);
                let columns = values
                    .iter()
                    .map(|values| chosen.iter().map(|row| row.and_then(|row| values[row].clone())).collect())
                    .collect();
                let effective = chosen.iter().map(|row| row.map(|row| timing.effective(row_times[row]))).collect();
                Ok(Answers { columns, effective, present: chosen.iter().map(Option::is_some).collect() })
            }
            None if !self.view.kind().has_aggregates() => Ok(Answers {
                columns: self.attributes.iter().map(|_| vec![None; times.len()]).collect(),
                effective: vec![None; times.len()],
                present: vec![false; times.len()],
            }),
            Some(KeyRows::Aggregates(items)) => {
                let windows = self.view.plan.windows();
                let present = times
                    .iter()
                    .map(|&time| {
                        !timing.is_before_start(time)
                            && windows.iter().any(|window| {
                                let bounds = timing.bounds(window, time);
                                let from = items.times.partition_point(|&item| item < bounds.start_us);
                                items.times.get(from).is_some_and(|&item| item < bounds.end_us)
                            })
                    })
                    .collect();
                Ok(Answers {
                    columns: evaluate_aggregates(&self.plan, items, times)?,
                    effective: times.iter().map(|&time| Some(timing.leading_edge(time))).collect(),
                    present,
                })
            }
            None => Ok(Answers {
                columns: evaluate_aggregates(&self.plan, &AggregateItems::none(&self.plan), times)?,
                effective: vec![None; times.len()],
                present: vec![false; times.len()],
            }),
        }
    }
}

struct Answers {
    /// by place, then by time
    columns: Vec<Vec<Option<Value>>>,
    effective: Vec<Option<i64>>,
    present: Vec<bool>,
}

fn features_of(wanted: &[Wanted]) -> Vec<usize> {
    wanted
        .iter()
        .filter_map(|wanted| match wanted {
            Wanted::Feature(index) => Some(*index),
            _ => None,
        })
        .collect()
}
