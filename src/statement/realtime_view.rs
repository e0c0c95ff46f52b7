//! `CREATE REALTIME FEATURE VIEW`: its expressions are planned once over what they read, for their types and errors.

use granary_catalog::{Change, Column, Feature, FeatureDefinition, Object, ObjectKind, RealtimeView};
use granary_sql::statement::CreateRealtimeFeatureView;

use super::context::{NewObject, StatementContext, check_options};
use super::select::{functions_called, shift};
use super::types;
use crate::engine::{Interface, RealtimeQuery, table_reference};
use crate::error::{Error, Kind, Result};
use crate::row::{normalize_type, type_name};

pub fn create(context: &mut StatementContext, create: &CreateRealtimeFeatureView) -> Result<()> {
    check_options(&create.options, &[])?;
    let own = types::columns(context, &create.request)?;
    let placed = |error| shift(context, &create.query, error);
    // The stored text is planned, not the tree, so that what works now works when it is read again.
    let query = RealtimeQuery::parse(&create.query.text).map_err(placed)?;
    let inputs = inputs(context, &query).map_err(placed)?;
    let called = functions_called(context, &create.query.text)?;
    let mut interface = Interface::default();
    own.iter().try_for_each(|column| interface.add_request(column))?;
    let mut interfaces = Vec::with_capacity(inputs.len());
    for object in &inputs {
        let input = Interface::of(context.snapshot(), object)?;
        interface.add_inputs_of(&input)?;
        interfaces.push(input);
    }
    let mut features = Vec::new();
    for planned in query.plan(&context.planner(), &interfaces, &interface.request).map_err(placed)? {
        let Column { name, data_type, .. } = planned.column;
        let data_type = normalize_type(&data_type)
            .ok_or_else(|| Error::not_supported(format!("feature \"{name}\" of type {}", type_name(&data_type))))?;
        interface.features.push(Column::new(&name, data_type.clone(), true));
        let definition = FeatureDefinition::Expression { sql: planned.sql };
        features.push(Feature { name, data_type, comment: None, definition });
    }
    interface.check_names().map_err(|error| context.at(&create.name, error))?;
    let header = context.new_header(NewObject {
        kind: ObjectKind::RealtimeView,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: CreateRealtimeFeatureView { or_replace: false, if_not_exists: false, ..create.clone() }.to_string(),
    })?;
    if let Some(header) = header {
        if let Some(existing) = context.snapshot().get(header.id) {
            context.check_replaced_interface(existing, &interface)?;
        }
        context.changes.push(Change::put(RealtimeView {
            header,
            join_keys: interface.keys,
            request: interface.request,
            query: create.query.text.clone(),
            features,
            // the inputs first: they stand for the FROM
            depends_on: inputs.iter().map(|object| object.id()).chain(called).collect(),
        }));
    }
    Ok(())
}

/// What stands in the FROM, in its order.
fn inputs(context: &StatementContext, query: &RealtimeQuery) -> Result<Vec<std::sync::Arc<Object>>> {
    let find = |input: &crate::engine::RealtimeInput| {
        let reference = table_reference(&input.name);
        let found = match &reference {
            Some(reference) => context.scope.relation(reference)?,
            None => None,
        };
        let object = found.ok_or_else(|| {
            let message = format!("relation \"{}\" does not exist", granary_sql::name::shown(&input.name));
            query.at(&input.name, Error::new(Kind::UndefinedTable, message))
        })?;
        match object.kind() {
            ObjectKind::FeatureView | ObjectKind::FeatureTable | ObjectKind::RealtimeView => Ok(object.clone()),
            other => {
                let message = format!("a realtime feature view cannot read the {} \"{}\"", other.as_str(), input.name);
                Err(query
                    .at(&input.name, Error::new(Kind::WrongObjectType, message))
                    .with_hint("it reads feature views, feature tables and realtime feature views"))
            }
        }
    };
    query.inputs.iter().map(find).collect()
}
