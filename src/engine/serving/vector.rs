//! A feature vector as of now: the views that it is made of are looked up by key in one state of the online store, and
//! the expressions of realtime views, compiled once, are evaluated on top.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::datasource::TableProvider;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;

use super::ValueRows;
use crate::engine::leading_edge::Moment;
use crate::engine::point_in_time::{Cell, Found, Lookup, StoredRows, replace_columns};
use crate::engine::relation::{CompositeRelation, FeatureRelation, Interface, Place, time_type};
use crate::error::{Error, Result};
use crate::online::OnlineReader;
use crate::row::{Key, Value, array_of, values_of};
use crate::trace;

/// So many rows' keys are looked for together: what is found of them fits into a processor's nearest cache.
const ROWS_AT_ONCE: usize = 128;

/// What is asked for: the values of the keys and of the request columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AskedRow {
    pub keys: Vec<Option<Value>>,
    pub request: Vec<Option<Value>>,
}

/// See the module. A value of it has a number, its slot: first come the keys, then the request columns and the time,
/// then the columns that are read, then those that are computed.
#[derive(Debug)]
pub struct Vector {
    n_keys: usize,
    n_request: usize,
    reads: Vec<Read>,
    /// by slot behind the time's, which read and which column of it
    columns_of_reads: Vec<(usize, usize)>,
    steps: Vec<Step>,
    /// by column that is asked for, its slot
    outputs: Vec<usize>,
    /// The same, in runs of slots that may stand together in the bytes of a row.
    runs: Vec<Range<usize>>,
    /// by slot
    types: Vec<DataType>,
    /// by slot, how many outputs and steps need it
    uses: Vec<usize>,
}

/// The values of one slot, by row.
type Values = Vec<Option<Value>>;

/// Columns of a view, in neighbouring slots.
#[derive(Debug)]
struct Read {
    lookup: Lookup,
    /// for each key of the view, which of the vector's it is
    keys: Vec<usize>,
}

impl Read {
    /// By row, its key in the view.
    fn keys_of(&self, asked: &[AskedRow]) -> Vec<Option<Key>> {
        asked.iter().map(|row| self.lookup.key(&|key| row.keys[self.keys[key]].as_ref())).collect()
    }
}

/// What the store has for one row that is asked for, by read.
#[derive(Debug, Default)]
struct FoundRows {
    rows: Vec<Found>,
    stored: StoredRows,
}

/// Expressions over earlier slots, in slots of their own.
#[derive(Debug)]
struct Step {
    inputs: Vec<usize>,
    schema: SchemaRef,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
}

impl Vector {
    /// Some columns of a view; `None` if its rows are not in the online store.
    pub fn of_view(relation: &FeatureRelation, columns: &[usize]) -> Result<Option<Vector>> {
        let mut slots = Slots::of(relation.view.key_types(), Vec::new());
        let n_keys = relation.view.keys.len();
        let Some(read) = slots.read(0, relation, columns.iter().copied().collect(), (0..n_keys).collect()) else {
            return Ok(None);
        };
        let places: Vec<Place> = columns.iter().map(|column| Place::Read { read: 0, column: *column }).collect();
        slots.vector(vec![read], Vec::new(), &places).map(Some)
    }

    /// Some places of a relation; `None` if some view's rows are not in the online store.
    pub fn of_places(relation: &CompositeRelation, places: &[Place], state: &SessionState) -> Result<Option<Vector>> {
        let Interface { keys, request, .. } = &relation.interface;
        let types =
            |columns: &[granary_catalog::Column]| columns.iter().map(|column| column.data_type.clone()).collect();
        let mut slots = Slots::of(types(keys), types(request));
        let needed = relation.needed_for(places);
        let (mut reads, mut steps) = (Vec::new(), Vec::new());
        for (number, columns) in needed.reads {
            let keyed = &relation.reads[number];
            match slots.read(number, &keyed.relation, columns, keyed.keys.clone()) {
                Some(read) => reads.push(read),
                None => return Ok(None),
            }
        }
        for (number, outputs) in needed.steps {
            let step = &relation.steps[number];
            let exprs: Vec<&Expr> = outputs.iter().map(|output| &step.exprs[*output]).collect();
            let compiled = Step::of(&exprs, &step.inputs, &slots, state)?;
            for (output, data_type) in outputs.into_iter().zip(compiled.types()?) {
                slots.add(Place::Computed { step: number, output }, data_type);
            }
            steps.push(compiled);
        }
        slots.vector(reads, steps, places).map(Some)
    }

    /// The names of those that are looked up.
    pub fn views(&self) -> impl Iterator<Item = &str> {
        self.reads.iter().map(|read| read.lookup.view_name())
    }

    /// Whether some view has to be looked through for keys, of which only those that are bound are known.
    pub fn scans(&self, is_bound: impl Fn(usize) -> bool) -> bool {
        self.reads.iter().any(|read| read.keys.first().is_some_and(|leading| !is_bound(*leading)))
    }

    fn reader(&self) -> Result<Option<OnlineReader>> {
        self.reads.first().map(|read| read.lookup.reader()).transpose()
    }

    /// A row for every one that is asked for, all out of one state of the store.
    pub fn rows(&self, asked: &[AskedRow], moment: Moment) -> Result<ValueRows> {
        if !self.steps.is_empty() {
            return Ok(ValueRows::of_columns(&self.columns(asked, moment)?, asked.len()));
        }
        let mut rows = ValueRows::new(self.outputs.len(), asked.len());
        self.each(asked, moment, |row, found| {
            for run in &self.runs {
                if let Some(stored) = self.stored(run, found)? {
                    rows.bytes.extend_from_slice(stored);
                    continue;
                }
                for slot in run.clone() {
                    self.cell(slot, row, found, moment.now_us)?.put(&mut rows.bytes);
                }
            }
            Ok(())
        })?;
        Ok(rows)
    }

    fn runs_of_outputs(&self) -> Result<Vec<Range<usize>>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for slot in &self.outputs {
            let read = slot.checked_sub(self.first_read()).and_then(|place| self.columns_of_reads.get(place));
            match (runs.last_mut(), read) {
                (Some(run), Some((number, column)))
                    if run.end == *slot && *column > 0 && self.reads[*number].lookup.follows(*column)? =>
                {
                    run.end += 1;
                }
                _ => runs.push(*slot..slot + 1),
            }
        }
        Ok(runs)
    }

    /// The values of several slots as they stand together in what was found; None if they are to be taken one by one.
    fn stored<'a>(&self, run: &Range<usize>, found: &'a FoundRows) -> Result<Option<&'a [u8]>> {
        if run.len() == 1 {
            return Ok(None);
        }
        let (number, column) = self.columns_of_reads[run.start - self.first_read()];
        self.reads[number].lookup.stored(&found.rows[number], column..column + run.len(), &found.stored)
    }

    /// The slot of the first column that is read: behind the keys, the request columns and the time.
    fn first_read(&self) -> usize {
        self.n_keys + self.n_request + 1
    }

    /// The same, by column.
    pub fn columns(&self, asked: &[AskedRow], moment: Moment) -> Result<Vec<Values>> {
        let mut slots: Vec<Values> = vec![Vec::new(); self.types.len()];
        let n_given = self.types.len() - self.steps.iter().map(|step| step.exprs.len()).sum::<usize>();
        self.each(asked, moment, |row, found| {
            for slot in (0..n_given).filter(|slot| self.uses[*slot] > 0) {
                slots[slot].push(self.cell(slot, row, found, moment.now_us)?.to_value()?);
            }
            Ok(())
        })?;
        let mut next = n_given..;
        for step in &self.steps {
            let input = |slot: &usize| array_of(&self.types[*slot], slots[*slot].iter().map(Option::as_ref));
            let inputs = step.inputs.iter().map(input).collect::<Result<Vec<_>>>()?;
            for (computed, slot) in step.evaluate(inputs, asked.len())?.into_iter().zip(next.by_ref()) {
                slots[slot] = values_of(computed.as_ref())?;
            }
        }
        let column = |slot: &usize| match self.uses[*slot] {
            1 => std::mem::take(&mut slots[*slot]),
            _ => slots[*slot].clone(),
        };
        Ok(self.outputs.iter().map(column).collect())
    }

    /// Calls `with` for every row that is asked for, with what the store has for it.
    fn each(
        &self,
        asked: &[AskedRow],
        moment: Moment,
        mut with: impl FnMut(&AskedRow, &FoundRows) -> Result<()>,
    ) -> Result<()> {
        let views = || self.reads.iter().map(|read| read.lookup.view_name()).collect::<Vec<_>>().join(", ");
        let _reading = trace::store("online read", views).entered();
        let reader = self.reader()?;
        let mut found = FoundRows::default();
        for asked in asked.chunks(ROWS_AT_ONCE) {
            let keys: Vec<Vec<Option<Key>>> = self.reads.iter().map(|read| read.keys_of(asked)).collect();
            if let Some(reader) = reader.as_ref().filter(|_| asked.len() * self.reads.len() > 1) {
                let views = self.reads.iter().map(|read| read.lookup.view_of_newest_rows());
                let of_views = views.zip(&keys).filter_map(|(view, keys)| Some((view?, keys)));
                reader.warm(of_views.flat_map(|(view, keys)| keys.iter().flatten().map(move |key| (view, key))));
            }
            for (number, row) in asked.iter().enumerate() {
                found.rows.clear();
                found.stored.clear();
                for (read, keys) in self.reads.iter().zip(&keys) {
                    let Some(reader) = &reader else { return Err(Error::internal("a lookup without a store")) };
                    let key = (keys[number].as_ref(), &|key: usize| row.keys[read.keys[key]].as_ref());
                    found.rows.push(read.lookup.find(reader, key, moment, &mut found.stored)?);
                }
                with(row, &found)?;
            }
        }
        Ok(())
    }

    /// The value of a slot that is not computed.
    fn cell<'a>(&self, slot: usize, row: &'a AskedRow, found: &'a FoundRows, now_us: i64) -> Result<Cell<'a>> {
        match slot {
            key if key < self.n_keys => Ok(Cell::Value(row.keys[key].as_ref())),
            request if request < self.n_keys + self.n_request => {
                Ok(Cell::Value(row.request[request - self.n_keys].as_ref()))
            }
            time if time == self.n_keys + self.n_request => Ok(Cell::Time(Some(now_us))),
            column => {
                let (number, column) = self.columns_of_reads[column - self.first_read()];
                let read = &self.reads[number];
                let keys = |key: usize| row.keys[read.keys[key]].as_ref();
                read.lookup.cell(&found.rows[number], column, &keys, &found.stored)
            }
        }
    }

    /// The keys that any of the views has as of `now_us`, each once, of those that are `bound` to these values where it
    /// says any; one more than `limit` if there are more. Every view has all keys.
    pub fn existing_keys(&self, bound: &[Option<Value>], limit: usize, now_us: i64) -> Result<Vec<Vec<Option<Value>>>> {
        let Some(reader) = self.reader()? else { return Ok(Vec::new()) };
        let mut found: BTreeSet<Vec<Option<Value>>> = BTreeSet::new();
        for read in &self.reads {
            let own: Vec<Option<Value>> = read.keys.iter().map(|key| bound[*key].clone()).collect();
            for key in read.lookup.existing_keys(&reader, &own, now_us)? {
                let mut whole = vec![None; self.n_keys];
                read.keys.iter().zip(key?).for_each(|(place, value)| whole[*place] = value);
                found.insert(whole);
                if found.len() > limit {
                    return Ok(found.into_iter().collect());
                }
            }
        }
        Ok(found.into_iter().collect())
    }
}

/// The slots that have been given out.
struct Slots {
    n_keys: usize,
    n_request: usize,
    places: HashMap<Place, usize>,
    types: Vec<DataType>,
}

impl Slots {
    /// Those of the keys, of the request columns, and of the time.
    fn of(keys: Vec<DataType>, request: Vec<DataType>) -> Slots {
        let (n_keys, n_request) = (keys.len(), request.len());
        let mut slots = Slots { n_keys, n_request, places: HashMap::new(), types: Vec::new() };
        keys.into_iter().enumerate().for_each(|(index, data_type)| slots.add(Place::Key(index), data_type));
        request.into_iter().enumerate().for_each(|(index, data_type)| slots.add(Place::Request(index), data_type));
        slots.add(Place::Time, time_type());
        slots
    }

    fn add(&mut self, place: Place, data_type: DataType) {
        self.places.insert(place, self.types.len());
        self.types.push(data_type);
    }

    /// Adds columns of the view with this number; `None` if its rows are not in the online store.
    fn read(
        &mut self,
        number: usize,
        relation: &FeatureRelation,
        columns: BTreeSet<usize>,
        keys: Vec<usize>,
    ) -> Option<Read> {
        let columns: Vec<usize> = columns.into_iter().collect();
        let lookup = Lookup::of(relation, &columns)?;
        let schema = relation.schema();
        for column in columns {
            self.add(Place::Read { read: number, column }, schema.field(column).data_type().clone());
        }
        Some(Read { lookup, keys })
    }

    /// The vector of these places.
    fn vector(self, reads: Vec<Read>, steps: Vec<Step>, places: &[Place]) -> Result<Vector> {
        let outputs = places.iter().map(|place| self.place(place)).collect::<Result<Vec<_>>>()?;
        let mut uses = vec![0; self.types.len()];
        for slot in outputs.iter().chain(steps.iter().flat_map(|step| &step.inputs)) {
            uses[*slot] += 1;
        }
        let columns_of_read =
            |(number, read): (usize, &Read)| (0..read.lookup.n_columns()).map(move |column| (number, column));
        let columns_of_reads: Vec<(usize, usize)> = reads.iter().enumerate().flat_map(columns_of_read).collect();
        let Slots { n_keys, n_request, types, .. } = self;
        let mut vector =
            Vector { n_keys, n_request, reads, columns_of_reads, steps, outputs, runs: Vec::new(), types, uses };
        vector.runs = vector.runs_of_outputs()?;
        Ok(vector)
    }

    fn place(&self, place: &Place) -> Result<usize> {
        self.places.get(place).copied().ok_or_else(|| Error::internal("a part of a feature vector has no place"))
    }
}

impl Step {
    /// `places` says what the columns of the expressions are.
    fn of(exprs: &[&Expr], places: &HashMap<Column, Place>, slots: &Slots, state: &SessionState) -> Result<Step> {
        let mut inputs: Vec<usize> = Vec::new();
        let mut by_column: HashMap<Column, Expr> = HashMap::new();
        for column in exprs.iter().flat_map(|expr| expr.column_refs()) {
            let Some(place) = places.get(column) else { continue };
            let slot = slots.place(place)?;
            if !inputs.contains(&slot) {
                inputs.push(slot);
            }
            by_column.insert(column.clone(), Expr::Column(Column::from_name(format!("_{slot}"))));
        }
        let field = |slot: &usize| Field::new(format!("_{slot}"), slots.types[*slot].clone(), true);
        let fields: Vec<Field> = inputs.iter().map(field).collect();
        let qualified = fields.iter().map(|field| (None::<TableReference>, Arc::new(field.clone()))).collect();
        let planned = DFSchema::new_with_metadata(qualified, HashMap::new())?;
        let compile = |expr: &&Expr| {
            let expr = replace_columns(expr, &by_column)?;
            Ok(state.create_physical_expr(expr, &planned)?)
        };
        let exprs = exprs.iter().map(compile).collect::<Result<_>>()?;
        Ok(Step { inputs, schema: Arc::new(Schema::new(fields)), exprs })
    }

    fn types(&self) -> Result<Vec<DataType>> {
        self.exprs.iter().map(|expr| Ok(expr.data_type(&self.schema)?)).collect()
    }

    fn evaluate(&self, inputs: Vec<ArrayRef>, rows: usize) -> Result<Vec<ArrayRef>> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), inputs, &options)
            .map_err(|error| Error::internal("the inputs of a realtime view do not fit").with_source(error))?;
        self.exprs.iter().map(|expr| Ok(expr.evaluate(&batch)?.into_array(rows)?)).collect()
    }
}
