//! The columns that a view's rows have beside keys and times: which its features need, in which order they are stored,
//! and which feature reads which.

use std::collections::HashSet;

use datafusion::arrow::datatypes::DataType;
use granary_catalog::{
    AggregateFunction, Column, ColumnGroup, Feature, FeatureDefinition, FeatureView, StoredColumn, StoredValue,
    ViewStorage,
};
use serde_json::json;

use super::bound_view::{Input, InputSql, RowLayout, storage_fingerprint, stored_layout};
use crate::error::{Error, Result};
use crate::tile::{FeatureInput, PartialSpec, Timing, ViewPlan};

/// See the module. The fields are those of a bound view.
pub struct BoundColumns {
    pub plan: ViewPlan,
    pub inputs: Vec<Input>,
    pub partial_inputs: Vec<Vec<usize>>,
    pub partial_names: Vec<String>,
    pub partial_groups: Vec<Option<u64>>,
    pub attribute_inputs: Vec<usize>,
}

/// How the rows of a view are stored that was not defined anew over them: in one table, whose name comes from all that
/// decides its rows and columns.
pub fn default_storage(view: &FeatureView) -> Result<ViewStorage> {
    let mut stored = json!({
        "kind": view.kind,
        "query": view.query,
        "keys": view.join_keys,
        "timestamp": view.timestamp,
        "secondary": view.secondary_key,
        "interval": view.aggregation_interval_us,
        "unfiltered": view.unfiltered,
        "buckets": view.buckets,
        "inputs": stored_inputs(&view.features),
    });
    if let Some(known_at) = &view.known_at {
        stored["known_at"] = json!(known_at);
    }
    let columns = needed_columns(view)?.into_iter();
    Ok(ViewStorage {
        groups: vec![ColumnGroup { number: 0, fingerprint: storage_fingerprint(&stored) }],
        next_group: 1,
        columns: columns.map(|value| StoredColumn { value, group: Some(0), dropped: false }).collect(),
        kept_by_owner: false,
    })
}

/// What the features make the view store: functions over inputs, each once; not their names and windows.
fn stored_inputs(features: &[Feature]) -> Vec<serde_json::Value> {
    let mut inputs = Vec::new();
    for feature in features {
        let input = match &feature.definition {
            FeatureDefinition::Attribute { column } => json!({ "column": column, "type": feature.data_type }),
            FeatureDefinition::Expression { sql } => json!({ "expression": sql, "type": feature.data_type }),
            FeatureDefinition::Aggregate { function, inputs, input_types, filter, .. } => {
                json!({ "function": function, "inputs": inputs, "types": input_types, "filter": filter })
            }
        };
        if !inputs.contains(&input) {
            inputs.push(input);
        }
    }
    inputs
}

/// The values that a view's features are made of, each once, in their order.
pub fn needed_columns(view: &FeatureView) -> Result<Vec<StoredValue>> {
    let (mut all, mut known) = (Vec::new(), Vec::new());
    for value in needed_by_feature(view)?.into_iter().flatten() {
        let form = Form::of(&value)?;
        if !known.contains(&form) {
            known.push(form);
            all.push(value);
        }
    }
    Ok(all)
}

/// The same of every feature.
pub fn needed_by_feature(view: &FeatureView) -> Result<Vec<Vec<StoredValue>>> {
    let layout = stored_layout(view.kind, view.known_at.as_deref());
    view.features.iter().map(|feature| needed_by(feature, layout)).collect()
}

fn needed_by(feature: &Feature, layout: RowLayout) -> Result<Vec<StoredValue>> {
    Ok(match (&feature.definition, layout) {
        (FeatureDefinition::Expression { .. }, _) => return Err(computed(feature)),
        (FeatureDefinition::Attribute { column }, _) => {
            vec![StoredValue::Column { column: column.clone(), data_type: feature.data_type.clone() }]
        }
        (FeatureDefinition::Aggregate { function, inputs, input_types, filter, .. }, RowLayout::Tiles) => {
            vec![StoredValue::State {
                function: function.clone(),
                inputs: inputs.clone(),
                input_types: input_types.clone(),
                filter: filter.clone(),
            }]
        }
        (FeatureDefinition::Aggregate { function, inputs, input_types, filter, .. }, RowLayout::Events) => {
            let arguments = arguments(function, inputs, input_types, filter.as_deref())?;
            arguments.into_iter().map(|(sql, data_type)| argument(sql, data_type)).collect()
        }
    })
}

fn computed(feature: &Feature) -> Error {
    Error::internal(format!("feature \"{}\" is computed, not stored", feature.name))
}

fn argument(sql: InputSql, data_type: DataType) -> StoredValue {
    match sql {
        InputSql::Column(column) => StoredValue::Column { column, data_type },
        InputSql::Argument { sql, filter, counted } => StoredValue::Argument { sql, filter, counted, data_type },
    }
}

/// What an aggregate reads of each row.
fn arguments(
    function: &AggregateFunction,
    inputs: &[String],
    types: &[DataType],
    filter: Option<&str>,
) -> Result<Vec<(InputSql, DataType)>> {
    let filter = filter.map(str::to_owned);
    if matches!(function, AggregateFunction::Count) {
        let sql = InputSql::Argument { sql: inputs.first().cloned(), filter, counted: true };
        return Ok(vec![(sql, DataType::Boolean)]);
    }
    if inputs.len() != types.len() {
        return Err(Error::internal("a feature's arguments and their types differ in number"));
    }
    let argument = |(sql, data_type): (&String, &DataType)| {
        let sql = InputSql::Argument { sql: Some(sql.clone()), filter: filter.clone(), counted: false };
        (sql, data_type.clone())
    };
    Ok(inputs.iter().zip(types).map(argument).collect())
}

/// How a value is stored: functions may share a state.
#[derive(Debug, PartialEq)]
pub enum Form {
    State(PartialSpec, Vec<(InputSql, DataType)>),
    Value(StoredValue),
}

impl Form {
    pub fn of(value: &StoredValue) -> Result<Form> {
        match value {
            StoredValue::State { .. } => state_of(value).map(|(spec, inputs)| Form::State(spec, inputs)),
            other => Ok(Form::Value(other.clone())),
        }
    }
}

/// The state that a value is, and what it reads.
fn state_of(value: &StoredValue) -> Result<(PartialSpec, Vec<(InputSql, DataType)>)> {
    let StoredValue::State { function, inputs, input_types, filter } = value else {
        return Err(Error::internal("a stored column is no state"));
    };
    let arguments = arguments(function, inputs, input_types, filter.as_deref())?;
    let types: Vec<DataType> = arguments.iter().map(|(_, data_type)| data_type.clone()).collect();
    Ok((PartialSpec::new(function, &types)?, arguments))
}

/// The plan of a view's features over `columns`, as they are stored.
pub fn bind(timing: Timing, view: &FeatureView, columns: &[StoredColumn]) -> Result<BoundColumns> {
    let mut inputs = Inputs::of(view);
    if !view.kind.has_aggregates() {
        for column in columns {
            inputs.add_stored(column);
        }
        let place = |feature: &Feature| match needed_by(feature, RowLayout::Events)?.pop() {
            Some(value) => inputs.stored_place(&value),
            None => Err(computed(feature)),
        };
        let attribute_inputs = view.features.iter().map(place).collect::<Result<Vec<_>>>()?;
        let types = view.features.iter().map(|feature| feature.data_type.clone()).collect();
        let plan = ViewPlan::for_attributes(timing, types);
        return Ok(BoundColumns { attribute_inputs, ..BoundColumns::without_states(plan, inputs.inputs) });
    }
    match stored_layout(view.kind, view.known_at.as_deref()) {
        RowLayout::Events => {
            for column in columns {
                inputs.add_stored(column);
            }
            let (plan, partial_inputs) = inputs.plan(timing, view)?;
            let functions = (0..plan.partials.len()).map(|partial| {
                let user = plan.features.iter().find(|feature| feature.partial == partial);
                user.map_or("state", |feature| feature.function.name())
            });
            let partial_names = name_partials(functions, &partial_inputs, &inputs.inputs);
            let partial_groups = vec![None; plan.partials.len()];
            let inputs = inputs.inputs;
            Ok(BoundColumns {
                plan,
                inputs,
                partial_inputs,
                partial_names,
                partial_groups,
                attribute_inputs: Vec::new(),
            })
        }
        RowLayout::Tiles => inputs.bind_states(timing, view, columns),
    }
}

/// The plan of features that are columns of a feature table.
pub fn bind_attributes(timing: Timing, features: &[Feature]) -> Result<BoundColumns> {
    let input = |feature: &Feature| match &feature.definition {
        FeatureDefinition::Attribute { column } => Ok(Input {
            name: column.clone(),
            sql: InputSql::Column(column.clone()),
            data_type: feature.data_type.clone(),
            is_live: true,
            group: Some(0),
        }),
        _ => Err(computed(feature)),
    };
    let inputs = features.iter().map(input).collect::<Result<Vec<_>>>()?;
    let types = features.iter().map(|feature| feature.data_type.clone()).collect();
    let attribute_inputs = (0..inputs.len()).collect();
    let plan = ViewPlan::for_attributes(timing, types);
    Ok(BoundColumns { attribute_inputs, ..BoundColumns::without_states(plan, inputs) })
}

impl BoundColumns {
    fn without_states(plan: ViewPlan, inputs: Vec<Input>) -> BoundColumns {
        BoundColumns {
            plan,
            inputs,
            partial_inputs: Vec::new(),
            partial_names: Vec::new(),
            partial_groups: Vec::new(),
            attribute_inputs: Vec::new(),
        }
    }
}

/// Collects the inputs of a view's features.
struct Inputs {
    inputs: Vec<Input>,
    names: HashSet<String>,
}

impl Inputs {
    fn of(view: &FeatureView) -> Inputs {
        let others = view.join_keys.iter().chain(&view.secondary_key).map(|column: &Column| column.name.clone());
        Inputs { inputs: Vec::new(), names: others.chain([view.timestamp.clone()]).collect() }
    }

    /// Puts a stored column behind the others; one that was dropped may be there a second time.
    fn add_stored(&mut self, column: &StoredColumn) {
        let (base, sql, data_type) = match &column.value {
            StoredValue::Column { column, data_type } => {
                (column.clone(), InputSql::Column(column.clone()), data_type.clone())
            }
            StoredValue::Argument { sql, filter, counted, data_type } => {
                let base = argument_name(sql.as_deref());
                let sql = InputSql::Argument { sql: sql.clone(), filter: filter.clone(), counted: *counted };
                (base, sql, data_type.clone())
            }
            StoredValue::State { .. } => return,
        };
        let name = unique(&mut self.names, &base);
        let is_live = !column.dropped && column.group.is_some();
        self.inputs.push(Input { name, sql, data_type, is_live, group: column.group });
    }

    /// Which of the stored columns has a value.
    fn stored_place(&self, value: &StoredValue) -> Result<usize> {
        let has = |input: &Input| input.is_live && argument(input.sql.clone(), input.data_type.clone()) == *value;
        let place = self.inputs.iter().position(has);
        place.ok_or_else(|| Error::internal("a feature needs a column that is not stored"))
    }

    /// Which input has this value; a new one, if none has.
    fn place_of(&mut self, sql: InputSql, data_type: DataType) -> usize {
        let same = |input: &Input| input.sql == sql && input.data_type == data_type;
        if let Some(known) = self.inputs.iter().position(same) {
            return known;
        }
        let base = match &sql {
            InputSql::Column(column) => column.clone(),
            InputSql::Argument { sql, .. } => argument_name(sql.as_deref()),
        };
        let name = unique(&mut self.names, &base);
        self.inputs.push(Input { name, sql, data_type, is_live: false, group: None });
        self.inputs.len() - 1
    }

    /// The plan of features over inputs that are there, and for each of its partials the inputs that it takes.
    fn plan(&mut self, timing: Timing, view: &FeatureView) -> Result<(ViewPlan, Vec<Vec<usize>>)> {
        let layout = stored_layout(view.kind, view.known_at.as_deref());
        let mut aggregates = Vec::with_capacity(view.features.len());
        for feature in &view.features {
            let FeatureDefinition::Aggregate { function, inputs, input_types, filter, window } = &feature.definition
            else {
                return Err(computed(feature));
            };
            let mut taken = Vec::new();
            for (sql, data_type) in arguments(function, inputs, input_types, filter.as_deref())? {
                let place = match layout {
                    RowLayout::Events => self.stored_place(&argument(sql, data_type.clone()))?,
                    RowLayout::Tiles => self.place_of(sql, data_type.clone()),
                };
                taken.push((place, data_type));
            }
            aggregates.push(FeatureInput { function: function.clone(), inputs: taken, window: *window });
        }
        let secondary = view.secondary_key.as_ref().map(|column| column.data_type.clone());
        ViewPlan::for_features(timing, secondary, &aggregates)
    }

    /// The same where states are stored: the plan has all of them, in their order.
    fn bind_states(mut self, timing: Timing, view: &FeatureView, columns: &[StoredColumn]) -> Result<BoundColumns> {
        let mut stored: Vec<(PartialSpec, Vec<usize>)> = Vec::new();
        let mut functions = Vec::new();
        for column in columns {
            let (spec, arguments) = state_of(&column.value)?;
            let taken: Vec<usize> =
                arguments.into_iter().map(|(sql, data_type)| self.place_of(sql, data_type)).collect();
            if !column.dropped && column.group.is_some() {
                taken.iter().for_each(|input| self.inputs[*input].is_live = true);
            }
            if let StoredValue::State { function, .. } = &column.value {
                functions.push(function.name());
            }
            stored.push((spec, taken));
        }
        let (mut plan, partial_inputs) = self.plan(timing, view)?;
        let place = |(spec, taken): (&PartialSpec, &Vec<usize>)| {
            let is_it = |(known, column): (&(PartialSpec, Vec<usize>), &StoredColumn)| {
                (&known.0, &known.1) == (spec, taken) && !column.dropped && column.group.is_some()
            };
            let place = stored.iter().zip(columns).position(is_it);
            place.ok_or_else(|| Error::internal("a feature needs a state that is not stored"))
        };
        let places = plan.partials.iter().zip(&partial_inputs).map(place).collect::<Result<Vec<_>>>()?;
        plan.features.iter_mut().for_each(|feature| feature.partial = places[feature.partial]);
        let partial_inputs: Vec<Vec<usize>> = stored.iter().map(|(_, taken)| taken.clone()).collect();
        plan.partials = stored.into_iter().map(|(spec, _)| spec).collect();
        Ok(BoundColumns {
            plan,
            partial_names: name_partials(functions.into_iter(), &partial_inputs, &self.inputs),
            inputs: self.inputs,
            partial_inputs,
            partial_groups: columns.iter().map(|column| column.group).collect(),
            attribute_inputs: Vec::new(),
        })
    }
}

fn argument_name(sql: Option<&str>) -> String {
    match sql {
        None => "_rows".to_owned(),
        Some(sql) if is_plain(sql) => format!("_{sql}"),
        Some(_) => "_argument".to_owned(),
    }
}

/// A readable, unique name for the state columns of each partial: its function and its inputs.
fn name_partials<'a>(
    functions: impl Iterator<Item = &'a str>,
    partial_inputs: &[Vec<usize>],
    inputs: &[Input],
) -> Vec<String> {
    let mut used = HashSet::new();
    let named = |(function, taken): (&str, &Vec<usize>)| {
        let names: String = taken.iter().map(|&input| inputs[input].name.as_str()).collect();
        unique(&mut used, &format!("{function}{names}"))
    };
    functions.zip(partial_inputs).map(named).collect()
}

fn is_plain(sql: &str) -> bool {
    sql.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

fn unique(used: &mut HashSet<String>, base: &str) -> String {
    let mut name = base.to_owned();
    let mut number = 1;
    while !used.insert(name.clone()) {
        number += 1;
        name = format!("{base}_{number}");
    }
    name
}
