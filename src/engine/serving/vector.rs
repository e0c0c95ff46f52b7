//! A feature vector as of now: the views that it is made of are looked up by key in one state of the online store, and
//! the expressions of realtime views, compiled once, are evaluated on top.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::datasource::TableProvider;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;

use crate::engine::point_in_time::{Lookup, replace_columns};
use crate::engine::relation::{CompositeRelation, FeatureRelation, Interface, Place, time_type};
use crate::error::{Error, Result};
use crate::online::{OnlineReader, OnlineStore};
use crate::row::{Value, array_of, values_of};

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
    /// none, if nothing is read
    store: Option<Arc<OnlineStore>>,
    n_keys: usize,
    n_request: usize,
    reads: Vec<Read>,
    steps: Vec<Step>,
    /// by column that is asked for, its slot
    outputs: Vec<usize>,
    /// by slot
    types: Vec<DataType>,
    /// by slot, how many outputs and steps need it
    uses: Vec<usize>,
}

/// The values of one slot, by row.
type Values = Vec<Option<Value>>;

/// Columns of a view, in slots from the first on.
#[derive(Debug)]
struct Read {
    lookup: Lookup,
    /// for each key of the view, which of the vector's it is
    keys: Vec<usize>,
    /// whether these are all of the vector's in their order
    has_all_keys: bool,
    n_columns: usize,
}

/// Expressions over earlier slots, in slots of their own.
#[derive(Debug)]
struct Step {
    inputs: Vec<usize>,
    schema: SchemaRef,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
}

impl Vector {
    /// `None` if the view's rows are not in the online store.
    pub fn of_view(relation: &FeatureRelation, columns: &[usize]) -> Option<Vector> {
        let schema = relation.schema();
        let fields: Vec<Field> = columns.iter().map(|column| schema.field(*column).clone()).collect();
        let lookup = Lookup::of(relation, columns, Arc::new(Schema::new(fields)))?;
        let n_keys = relation.view.keys.len();
        let mut types = relation.view.key_types();
        types.push(time_type());
        types.extend(columns.iter().map(|column| schema.field(*column).data_type().clone()));
        let outputs: Vec<usize> = (n_keys + 1..types.len()).collect();
        Some(Vector {
            store: Some(Arc::clone(lookup.store())),
            n_keys,
            n_request: 0,
            reads: vec![Read { lookup, keys: (0..n_keys).collect(), has_all_keys: true, n_columns: columns.len() }],
            steps: Vec::new(),
            uses: (0..types.len()).map(|slot| usize::from(slot > n_keys)).collect(),
            outputs,
            types,
        })
    }

    /// `columns` are places of the relation; `None` if some view's rows are not in the online store.
    pub fn of_places(relation: &CompositeRelation, places: &[Place], state: &SessionState) -> Result<Option<Vector>> {
        let Interface { keys, request, .. } = &relation.interface;
        let mut vector = Vector {
            store: None,
            n_keys: keys.len(),
            n_request: request.len(),
            reads: Vec::new(),
            steps: Vec::new(),
            outputs: Vec::new(),
            types: Vec::new(),
            uses: Vec::new(),
        };
        let needed = relation.needed_for(places);
        let mut slots = Slots { places: HashMap::new(), types: Vec::new() };
        for (index, key) in keys.iter().enumerate() {
            slots.add(Place::Key(index), key.data_type.clone());
        }
        for (index, column) in request.iter().enumerate() {
            slots.add(Place::Request(index), column.data_type.clone());
        }
        slots.add(Place::Time, time_type());
        for (number, columns) in &needed.reads {
            let keyed = &relation.reads[*number];
            let columns: Vec<usize> = columns.iter().copied().collect();
            let schema = keyed.relation.schema();
            let fields: Vec<Field> = columns.iter().map(|column| schema.field(*column).clone()).collect();
            for (column, field) in columns.iter().zip(&fields) {
                slots.add(Place::Read { read: *number, column: *column }, field.data_type().clone());
            }
            let Some(lookup) = Lookup::of(&keyed.relation, &columns, Arc::new(Schema::new(fields))) else {
                return Ok(None);
            };
            vector.store.get_or_insert_with(|| Arc::clone(lookup.store()));
            vector.reads.push(Read {
                lookup,
                has_all_keys: keyed.keys.iter().copied().eq(0..keys.len()),
                keys: keyed.keys.clone(),
                n_columns: columns.len(),
            });
        }
        for (number, outputs) in &needed.steps {
            let step = &relation.steps[*number];
            let exprs: Vec<&Expr> = outputs.iter().map(|output| &step.exprs[*output]).collect();
            let compiled = Step::of(&exprs, &step.inputs, &slots, state)?;
            for (output, data_type) in outputs.iter().zip(compiled.types()?) {
                slots.add(Place::Computed { step: *number, output: *output }, data_type);
            }
            vector.steps.push(compiled);
        }
        vector.outputs = places.iter().map(|place| slots.of(place)).collect::<Result<_>>()?;
        vector.uses = vec![0; slots.types.len()];
        for slot in vector.outputs.iter().chain(vector.steps.iter().flat_map(|step| &step.inputs)) {
            vector.uses[*slot] += 1;
        }
        vector.types = slots.types;
        Ok(Some(vector))
    }

    /// The names of those that are looked up.
    pub fn views(&self) -> impl Iterator<Item = &str> {
        self.reads.iter().map(|read| read.lookup.view_name())
    }

    fn reader(&self) -> Result<Option<OnlineReader>> {
        self.store.as_ref().map(|store| store.reader()).transpose()
    }

    /// By column, a value for every row that is asked for, as of `now_us`, all out of one state of the store.
    pub fn answer(&self, asked: &[AskedRow], now_us: i64) -> Result<Vec<Values>> {
        let reader = self.reader()?;
        let mut slots = self.asked_slots(asked, now_us);
        for read in &self.reads {
            let Some(reader) = &reader else { return Err(Error::internal("a lookup without a store")) };
            let columns = match read.has_all_keys {
                true => read.lookup.columns(reader, asked.iter().map(|row| row.keys.as_slice()), now_us)?,
                false => {
                    let own = |row: &AskedRow| read.keys.iter().map(|key| row.keys[*key].clone()).collect::<Values>();
                    let own: Vec<Values> = asked.iter().map(own).collect();
                    read.lookup.columns(reader, own.iter().map(Vec::as_slice), now_us)?
                }
            };
            debug_assert_eq!(columns.len(), read.n_columns);
            slots.extend(columns);
        }
        for step in &self.steps {
            let input = |slot: &usize| array_of(&self.types[*slot], slots[*slot].iter().map(Option::as_ref));
            let inputs = step.inputs.iter().map(input).collect::<Result<Vec<_>>>()?;
            for computed in step.evaluate(inputs, asked.len())? {
                slots.push(values_of(computed.as_ref())?);
            }
        }
        let column = |slot: &usize| match self.uses[*slot] {
            1 => std::mem::take(&mut slots[*slot]),
            _ => slots[*slot].clone(),
        };
        Ok(self.outputs.iter().map(column).collect())
    }

    /// The keys, request columns and the time, as far as someone needs them.
    fn asked_slots(&self, asked: &[AskedRow], now_us: i64) -> Vec<Values> {
        let value = |slot: usize, row: &AskedRow| match slot {
            key if key < self.n_keys => row.keys[key].clone(),
            request if request < self.n_keys + self.n_request => row.request[request - self.n_keys].clone(),
            _ => Some(Value::Int(now_us)),
        };
        let slot = |slot: usize| match self.uses[slot] {
            0 => Vec::new(),
            _ => asked.iter().map(|row| value(slot, row)).collect(),
        };
        (0..self.n_keys + self.n_request + 1).map(slot).collect()
    }

    /// The keys that any of the views has as of `now_us`, each once, of those that are `bound` to these values where it
    /// says any. Every view has all keys.
    pub fn existing_keys(&self, bound: &[Option<Value>], now_us: i64) -> Result<Vec<Vec<Option<Value>>>> {
        let Some(reader) = self.reader()? else { return Ok(Vec::new()) };
        let mut found: BTreeSet<Vec<Option<Value>>> = BTreeSet::new();
        for read in &self.reads {
            let own: Vec<Option<Value>> = read.keys.iter().map(|key| bound[*key].clone()).collect();
            for key in read.lookup.existing_keys(&reader, &own, now_us)? {
                let mut whole = vec![None; self.n_keys];
                read.keys.iter().zip(key).for_each(|(place, value)| whole[*place] = value);
                found.insert(whole);
            }
        }
        Ok(found.into_iter().collect())
    }
}

/// The slots that have been given out.
struct Slots {
    places: HashMap<Place, usize>,
    types: Vec<DataType>,
}

impl Slots {
    fn add(&mut self, place: Place, data_type: DataType) {
        self.places.insert(place, self.types.len());
        self.types.push(data_type);
    }

    fn of(&self, place: &Place) -> Result<usize> {
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
            let slot = slots.of(place)?;
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
