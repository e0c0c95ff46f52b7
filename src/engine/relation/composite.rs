//! A feature service or a realtime view as a table of DataFusion: the views behind it read as one relation.
//!
//! A query binds its keys, its request columns and its time. Bound, it is a plan over the spine: point-in-time joins
//! with its views (one for all that are bound by the same keys), and projections with the expressions of realtime
//! views on top. It has no operator of its own.

mod parts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{Column, ScalarValue, TableReference};
use datafusion::datasource::{MemTable, TableProvider, TableType, provider_as_source};
use datafusion::error::Result as DataFusionResult;
use datafusion::functions::core::expr_fn::least;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, lit, when};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use granary_catalog::Object;

use super::bindings::{Bindings, binding, null_binding};
use super::bound_view::time_type;
use super::interface::Interface;
use super::table::ReadMode;
use super::{EFFECTIVE_TIME, STATUS};
use crate::engine::into_datafusion;
use crate::engine::point_in_time::{
    MAX_CONSTANT_KEYS, MISSING, PRESENT, RelationRead, columns_of, read_over, replace_columns,
};
use crate::engine::query::QueryPlanner;
use crate::error::{Error, Kind, Result};
use parts::Parts;
pub use parts::{KeyedRead, Place, Step};

/// One feature service or realtime view in one statement.
#[derive(Debug)]
pub struct CompositeRelation {
    pub name: String,
    pub interface: Interface,
    mode: ReadMode,
    /// wall time of the statement, microseconds
    now_us: i64,
    pub reads: Vec<KeyedRead>,
    pub steps: Vec<Step>,
    schema: SchemaRef,
    /// by column of the schema
    pub places: Vec<Place>,
}

impl CompositeRelation {
    /// `mode` is not a history. `object`: a feature service or a realtime view.
    pub async fn new(
        planner: &QueryPlanner,
        object: &Object,
        mode: ReadMode,
        system_columns: bool,
    ) -> Result<CompositeRelation> {
        let interface = Interface::of(&planner.scope.snapshot, object)?;
        let mut parts = Parts::new(planner, &interface, &mode, system_columns);
        let features = match object {
            Object::FeatureService(service) => parts.service(service).await?,
            Object::RealtimeView(view) => parts.realtime_view(view).await?,
            other => return Err(Error::internal(format!("a {} is not composite", other.kind().as_str()))),
        };
        let Parts { reads, steps, .. } = parts;
        let keys = (0..interface.keys.len()).map(Place::Key);
        let request = (0..interface.request.len()).map(Place::Request);
        let mut places: Vec<Place> = keys.chain(request).chain(features).collect();
        let columns = interface.clone().into_columns();
        let mut fields: Vec<Field> =
            columns.into_iter().map(|column| Field::new(column.name, column.data_type, true)).collect();
        if system_columns {
            fields.push(Field::new(EFFECTIVE_TIME, time_type(), true));
            fields.push(Field::new(STATUS, DataType::Utf8, true));
            places.extend([Place::EffectiveTime, Place::Status]);
        }
        if let ReadMode::AsOf { column } = &mode {
            fields.push(Field::new(column, time_type(), true));
            places.push(Place::Time);
        }
        let schema = Arc::new(Schema::new(fields));
        let name = object.name().to_owned();
        Ok(CompositeRelation { name, interface, mode, now_us: planner.now_us, reads, steps, schema, places })
    }

    /// The hidden column of the time, if the query must bind one.
    pub fn as_of_column(&self) -> Option<&str> {
        match &self.mode {
            ReadMode::AsOf { column } => Some(column),
            ReadMode::Now | ReadMode::History { .. } => None,
        }
    }

    /// What a query binds: keys, request columns, the time.
    pub fn bindable_columns(&self) -> impl Iterator<Item = &str> {
        self.asked_columns().map(|column| column.name.as_str()).chain(self.as_of_column())
    }

    fn asked_columns(&self) -> impl Iterator<Item = &granary_catalog::Column> {
        self.interface.keys.iter().chain(&self.interface.request)
    }

    /// The type of a column that can be bound; None for every other.
    pub fn bindable_type(&self, name: &str) -> Option<DataType> {
        if self.as_of_column() == Some(name) {
            return Some(time_type());
        }
        self.asked_columns().find(|column| column.name == name).map(|column| column.data_type.clone())
    }

    /// What filters bind to constants; a request may be asked with NULL.
    pub fn constants(&self, filters: &[Expr]) -> Bindings {
        let asked_type = |name: &str| self.bindable_type(name).filter(|_| self.as_of_column() != Some(name));
        Bindings::of(filters, |name| self.bindable_type(name)).with_nulls(filters, asked_type)
    }

    /// Whether there are rows without asking for keys: those of the keys that exist.
    pub fn has_rows_of_its_own(&self) -> bool {
        let all: BTreeSet<usize> = (0..self.interface.keys.len()).collect();
        let has_all = |read: &KeyedRead| read.keys.iter().copied().collect::<BTreeSet<_>>() == all;
        !self.reads.is_empty() && self.reads.iter().all(has_all)
    }

    /// A plan with one row for every row of `spine`, whose columns are among its own, and over it what each of `columns`
    /// is. `bindings` are over the spine, one for each of `bindable_columns`, in the types of those.
    pub fn join(
        &self,
        spine: LogicalPlan,
        bindings: &[Expr],
        columns: &[usize],
    ) -> DataFusionResult<(LogicalPlan, Vec<Expr>)> {
        let n_keys = self.interface.keys.len();
        let n_asked = n_keys + self.interface.request.len();
        let needed = self.needed(columns);
        let mut values: HashMap<Place, Expr> = HashMap::new();
        values.extend(bindings[..n_keys].iter().cloned().enumerate().map(|(index, expr)| (Place::Key(index), expr)));
        let request = bindings[n_keys..n_asked].iter().cloned().enumerate();
        values.extend(request.map(|(index, expr)| (Place::Request(index), expr)));
        values.insert(Place::Time, bindings.get(n_asked).cloned().unwrap_or_else(|| self.now()));
        let mut plan = spine;
        for (read, columns) in &needed.reads {
            let KeyedRead { relation, keys } = &self.reads[*read];
            let mut bound: Vec<Expr> = keys.iter().map(|key| bindings[*key].clone()).collect();
            bound.extend(bindings.get(n_asked).cloned());
            let fields = relation.schema();
            let asked = RelationRead { relation: Arc::clone(relation), columns: columns.iter().copied().collect() };
            let (joined, qualifier) = read_over(plan, asked, bound)?;
            plan = joined;
            for column in columns {
                let name = fields.field(*column).name();
                let value = Expr::Column(Column::new(Some(qualifier.clone()), name));
                values.insert(Place::Read { read: *read, column: *column }, value);
            }
        }
        for (step, outputs) in &needed.steps {
            let mut exprs = columns_of(plan.schema());
            let by_column: HashMap<Column, Expr> = self.steps[*step]
                .inputs
                .iter()
                .filter_map(|(column, place)| Some((column.clone(), values.get(place)?.clone())))
                .collect();
            let qualifier = TableReference::bare(format!("_computed_{step}"));
            for output in outputs {
                let name = format!("_{output}");
                let expr = replace_columns(&self.steps[*step].exprs[*output], &by_column)?;
                exprs.push(expr.alias_qualified(Some(qualifier.clone()), &name));
                let value = Expr::Column(Column::new(Some(qualifier.clone()), name));
                values.insert(Place::Computed { step: *step, output: *output }, value);
            }
            plan = LogicalPlanBuilder::from(plan).project(exprs)?.build()?;
        }
        let value = |column: &usize| match self.places[*column] {
            Place::EffectiveTime => Ok(self.effective_time(&values)),
            Place::Status => self.status(&values),
            place => values.get(&place).cloned().ok_or_else(|| into_datafusion(Error::internal("a feature is lost"))),
        };
        let outputs = columns.iter().map(value).collect::<DataFusionResult<_>>()?;
        Ok((plan, outputs))
    }

    fn now(&self) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(self.now_us), Some("UTC".into())))
    }

    /// What must be read and computed for some columns.
    fn needed(&self, columns: &[usize]) -> Needed {
        let places: Vec<Place> = columns.iter().map(|column| self.places[*column]).collect();
        self.needed_for(&places)
    }

    /// What must be read and computed for some values.
    pub fn needed_for(&self, places: &[Place]) -> Needed {
        let mut needed = Needed::default();
        for place in places {
            match *place {
                name @ (Place::EffectiveTime | Place::Status) => {
                    for (read, keyed) in self.reads.iter().enumerate() {
                        needed.place(self.system_column(keyed, read, name));
                    }
                }
                place => needed.place(place),
            }
        }
        // A step reads earlier ones only.
        for (number, step) in self.steps.iter().enumerate().rev() {
            let Some(outputs) = needed.steps.get(&number).cloned() else { continue };
            for output in outputs {
                for column in step.exprs[output].column_refs() {
                    if let Some(place) = step.inputs.get(column) {
                        needed.place(*place);
                    }
                }
            }
        }
        needed
    }

    /// The view's own `_effective_time` or `_status`.
    pub fn system_column(&self, read: &KeyedRead, number: usize, of: Place) -> Place {
        let n_outputs = read.relation.view.output.fields().len();
        Place::Read { read: number, column: if of == Place::EffectiveTime { n_outputs } else { n_outputs + 1 } }
    }

    /// The oldest of the views' own, as far as they have rows of their keys.
    fn effective_time(&self, values: &HashMap<Place, Expr>) -> Expr {
        let reads = self.reads.iter().enumerate();
        let times: Vec<Expr> = reads
            .filter_map(|(number, read)| values.get(&self.system_column(read, number, Place::EffectiveTime)).cloned())
            .collect();
        match times.as_slice() {
            [] => values[&Place::Time].clone(),
            [only] => only.clone(),
            _ => least(times),
        }
    }

    /// Present, if some view behind it knows its keys.
    fn status(&self, values: &HashMap<Place, Expr>) -> DataFusionResult<Expr> {
        let reads = self.reads.iter().enumerate();
        let is_present = reads
            .filter_map(|(number, read)| values.get(&self.system_column(read, number, Place::Status)).cloned())
            .map(|status| status.eq(lit(PRESENT)))
            .reduce(Expr::or);
        match is_present {
            None => Ok(lit(PRESENT)),
            Some(is_present) => when(is_present, lit(PRESENT)).otherwise(lit(MISSING)),
        }
    }

    /// The error of a relation that a query leaves open in these columns. `hint`: how to ask for all.
    fn unbound(&self, columns: &[&str], hint: String) -> Error {
        let message = match columns {
            [only] => format!("column \"{only}\" of \"{}\" is not bound by equality", self.name),
            _ => format!("columns {} of \"{}\" are not bound by equality", columns.join(", "), self.name),
        };
        Error::new(Kind::InvalidParameterValue, message)
            .with_detail("It has a row for each combination of keys and request columns that a query asks for.")
            .with_hint(format!("ask for all of them: … {hint}"))
    }

    fn unbound_by_constants(&self, columns: &[&str]) -> Error {
        let asked: Vec<String> = self.asked_columns().map(|column| format!("{} = …", column.name)).collect();
        self.unbound(columns, format!("WHERE {}", asked.join(" AND ")))
    }

    /// The error of a join that binds too little. A scan may have rows without, if there is one time for all.
    pub fn unbound_in_join(&self, open: &[&str]) -> Option<Error> {
        let has_rows = self.as_of_column().is_none() && self.interface.request.is_empty() && self.has_rows_of_its_own();
        if has_rows {
            return None;
        }
        let on: Vec<String> = self.asked_columns().map(|column| format!("f.{0} = l.{0}", column.name)).collect();
        let time = if self.as_of_column().is_some() { " FOR SYSTEM_TIME AS OF l.ts" } else { "" };
        let open: Vec<&str> = open.iter().copied().filter(|name| Some(*name) != self.as_of_column()).collect();
        if open.is_empty() {
            return Some(self.one_time());
        }
        Some(self.unbound(&open, format!("JOIN {}{time} AS f ON {}", self.name, on.join(" AND "))))
    }

    fn one_time(&self) -> Error {
        let message = format!("\"{}\" is read as of one time, or joined with a table of times", self.name);
        Error::new(Kind::InvalidParameterValue, message)
            .with_hint(format!("… JOIN {} FOR SYSTEM_TIME AS OF l.ts AS f ON …", self.name))
    }

    /// The relation where nothing but constants, or nothing at all, binds it. None: no row matches.
    fn of_constants(&self, columns: &[usize], bindings: &Bindings) -> Result<Option<LogicalPlan>> {
        let time = match self.as_of_column().map(|column| bindings.get(column).map(Vec::as_slice)) {
            None => None,
            Some(Some([])) => return Ok(None),
            Some(Some([only])) => Some(only),
            Some(_) => return Err(self.one_time()),
        };
        let unbound: Vec<&str> = self.bindable_columns().filter(|name| bindings.get(name).is_none()).collect();
        let n_keys = self.interface.keys.len();
        let is_open_key = |name: &&str| self.interface.keys.iter().any(|key| key.name == **name);
        let by_key = !unbound.is_empty();
        if by_key && !(unbound.iter().all(is_open_key) && self.has_rows_of_its_own()) {
            return Err(self.unbound_by_constants(&unbound));
        }
        if self.bindable_columns().any(|name| bindings.get(name).is_some_and(Vec::is_empty)) {
            return Ok(None);
        }
        let mut spine: Option<LogicalPlan> = None;
        let mut exprs = Vec::new();
        if by_key {
            spine = Some(self.existing_keys(bindings, time)?);
            exprs.extend(self.interface.keys.iter().map(|key| key_of_spine(&key.name)));
        }
        let mut n_rows = 1usize;
        for column in self.asked_columns().skip(if by_key { n_keys } else { 0 }) {
            let values = bindings.get(&column.name).map(Vec::as_slice).unwrap_or_default();
            if let [only] = values {
                exprs.push(lit(only.clone()));
                continue;
            }
            n_rows = n_rows.saturating_mul(values.len());
            exprs.push(Expr::Column(Column::new(Some(list_name(&column.name)), &column.name)));
            let list = list_of(&column.name, &column.data_type, values)?;
            spine = Some(match spine {
                None => list,
                Some(spine) => LogicalPlanBuilder::from(spine).cross_join(list)?.build()?,
            });
        }
        if n_rows > MAX_CONSTANT_KEYS {
            let message = format!("more than {MAX_CONSTANT_KEYS} keys are asked for");
            return Err(Error::new(Kind::ConfigurationLimitExceeded, message)
                .with_hint("put the keys into a table and join it"));
        }
        exprs.extend(time.cloned().map(lit));
        let spine = match spine {
            Some(spine) => spine,
            None => LogicalPlanBuilder::empty(true).build()?,
        };
        let (plan, values) = self.join(spine, &exprs, columns)?;
        let named = values.into_iter().zip(columns);
        let named = named.map(|(value, column)| value.alias_qualified(Some(ANSWER), self.schema.field(*column).name()));
        Ok(Some(LogicalPlanBuilder::from(plan).project(named)?.build()?))
    }

    /// The keys that any of the views has, each once.
    fn existing_keys(&self, bindings: &Bindings, time: Option<&ScalarValue>) -> Result<LogicalPlan> {
        let mut all: Option<LogicalPlan> = None;
        for KeyedRead { relation, keys } in &self.reads {
            let as_of = relation.as_of_column().zip(time);
            let filters = as_of.map(|(column, time)| Expr::Column(Column::from_name(column)).eq(lit(time.clone())));
            let own: Vec<usize> = (0..keys.len()).collect();
            let source = provider_as_source(Arc::clone(relation) as Arc<dyn TableProvider>);
            let scan = LogicalPlanBuilder::scan_with_filters(
                relation.view.name.as_str(),
                source,
                Some(own),
                filters.into_iter().collect(),
            )?;
            let mut exprs = Vec::new();
            for (number, key) in self.interface.keys.iter().enumerate() {
                let place = keys.iter().position(|known| *known == number);
                let own = place.and_then(|place| relation.view.keys.get(place));
                let own = own.ok_or_else(|| Error::internal("a view lacks a key of its service"))?;
                exprs.push(Expr::Column(Column::from_name(&own.name)).alias_qualified(Some(KEYS), &key.name));
            }
            let mut keys = scan.project(exprs)?;
            for key in &self.interface.keys {
                if let Some(values) = bindings.get(&key.name) {
                    let list = values.iter().cloned().map(lit).collect();
                    keys = keys.filter(key_of_spine(&key.name).in_list(list, false))?;
                }
            }
            let keys = keys.build()?;
            all = Some(match all {
                None => keys,
                Some(all) => LogicalPlanBuilder::from(all).union(keys)?.build()?,
            });
        }
        let all = all.ok_or_else(|| Error::internal("a service without views has no keys"))?;
        Ok(LogicalPlanBuilder::from(all).distinct()?.alias(KEYS)?.build()?)
    }
}

/// The relation of the keys that exist.
const KEYS: &str = "_keys";
/// The relation of the answers to constants.
const ANSWER: &str = "_answer";

fn key_of_spine(name: &str) -> Expr {
    Expr::Column(Column::new(Some(KEYS), name))
}

fn list_name(column: &str) -> String {
    format!("_list_{column}")
}

/// The values that one column is asked for, as a relation.
fn list_of(column: &str, data_type: &DataType, values: &[ScalarValue]) -> Result<LogicalPlan> {
    let schema = Arc::new(Schema::new(vec![Field::new(column, data_type.clone(), true)]));
    let array = ScalarValue::iter_to_array(values.iter().cloned())?;
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![array])
        .map_err(|error| Error::internal("constants do not make a batch").with_source(error))?;
    let table = MemTable::try_new(schema, vec![vec![batch]])?;
    Ok(LogicalPlanBuilder::scan(list_name(column), provider_as_source(Arc::new(table)), None)?.build()?)
}

/// What is left of `column = NULL`.
fn is_never_true(filter: &Expr) -> bool {
    matches!(filter, Expr::Literal(ScalarValue::Null | ScalarValue::Boolean(None | Some(false)), _))
}

/// Columns of views by their number, and outputs of steps by theirs.
#[derive(Debug, Default)]
pub struct Needed {
    pub reads: BTreeMap<usize, BTreeSet<usize>>,
    pub steps: BTreeMap<usize, BTreeSet<usize>>,
}

impl Needed {
    fn place(&mut self, place: Place) {
        match place {
            Place::Read { read, column } => {
                self.reads.entry(read).or_default().insert(column);
            }
            Place::Computed { step, output } => {
                self.steps.entry(step).or_default().insert(output);
            }
            Place::Key(_) | Place::Request(_) | Place::Time | Place::EffectiveTime | Place::Status => {}
        }
    }
}

#[async_trait]
impl TableProvider for CompositeRelation {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        let of_type = |name: &str| self.bindable_type(name);
        let binds = |filter: &&Expr| {
            let is_binding = binding(filter, &of_type).is_some() || null_binding(filter, &of_type).is_some();
            if is_binding || is_never_true(filter) {
                TableProviderFilterPushDown::Inexact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        };
        Ok(filters.iter().map(binds).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let columns: Vec<usize> = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.places.len()).collect(),
        };
        let plan = match filters.iter().any(is_never_true) {
            true => None,
            false => self.of_constants(&columns, &self.constants(filters)).map_err(into_datafusion)?,
        };
        match plan {
            Some(plan) => state.create_physical_plan(&plan).await,
            None => Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(&columns)?)))),
        }
    }
}
