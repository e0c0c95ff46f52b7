//! `CREATE FEATURE TABLE`: what it declares. Its rows are written like those of other tables.

use granary_catalog::{Change, Feature, FeatureDefinition, FeatureTable, Object, ObjectKind};
use granary_sql::name::fold;
use granary_sql::statement::CreateFeatureTable;

use super::context::{NewObject, StatementContext, check_options};
use super::{feature_view, types};
use crate::engine::{BoundView, Interface, check_time_type};
use crate::error::{Error, Kind, Result};

pub const OPTIONS: [&str; 5] = ["ttl", "start", "online", "offline", "buckets"];

pub fn create(context: &mut StatementContext, create: &CreateFeatureTable) -> Result<()> {
    check_options(&create.options, &OPTIONS)?;
    let columns = types::columns(context, &create.columns)?;
    let (entities, join_keys) = feature_view::join_keys(context, &create.entities)?;
    for key in &join_keys {
        match columns.iter().find(|column| column.name == key.name) {
            Some(column) if column.data_type == key.data_type => {}
            Some(column) => return Err(feature_view::key_type_error(key, &column.data_type)),
            None => {
                return Err(Error::new(
                    Kind::UndefinedColumn,
                    format!("the feature table has no column \"{}\", a join key of its entity", key.name),
                ));
            }
        }
    }
    let timestamp = fold(&create.timestamp);
    match columns.iter().find(|column| column.name == timestamp) {
        None => {
            let error = Error::new(Kind::UndefinedColumn, format!("the feature table has no column \"{timestamp}\""));
            return Err(context.at_ident(&create.timestamp, error));
        }
        Some(column) => check_time_type(&timestamp, &column.data_type, "the feature table")
            .map_err(|error| context.at_ident(&create.timestamp, error))?,
    }
    let features: Vec<Feature> = columns
        .iter()
        .filter(|column| column.name != timestamp && !join_keys.iter().any(|key| key.name == column.name))
        .map(|column| Feature {
            name: column.name.clone(),
            data_type: column.data_type.clone(),
            comment: None,
            definition: FeatureDefinition::Attribute { column: column.name.clone() },
        })
        .collect();
    if features.is_empty() {
        return Err(Error::new(Kind::InvalidObjectDefinition, "a feature table needs a column besides keys and time"));
    }
    let header = context.new_header(NewObject {
        kind: ObjectKind::FeatureTable,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: CreateFeatureTable { or_replace: false, if_not_exists: false, ..create.clone() }.to_string(),
    })?;
    let options = &create.options;
    if let Some(header) = header {
        let table = FeatureTable {
            header,
            columns,
            entities,
            join_keys,
            timestamp,
            features,
            start_us: options.timestamp_us("start")?,
            ttl_us: feature_view::positive_interval(options, "ttl")?,
            online: options.bool("online")?.unwrap_or(true),
            offline: options.bool("offline")?.unwrap_or(true),
            buckets: feature_view::buckets(options)?,
        };
        if let Some(existing) = context.snapshot().get(table.header.id) {
            check_offline(existing, &table)?;
            context.check_replaced_interface(existing, &Interface::of_view(&BoundView::of_feature_table(&table)?))?;
        }
        context.changes.push(Change::put(table));
    }
    Ok(())
}

/// Rows that were written without an offline store are not there: it would answer for the past as if they never were.
fn check_offline(existing: &Object, table: &FeatureTable) -> Result<()> {
    let Some(existing) = existing.downcast::<FeatureTable>() else { return Ok(()) };
    let storage = |table: &FeatureTable| BoundView::of_feature_table(table).map(|view| view.storage);
    if existing.offline || !table.offline || storage(existing)? != storage(table)? {
        return Ok(());
    }
    let message = format!("offline = true for feature table \"{}\", which was made without", table.header.name);
    Err(Error::not_supported(message).with_hint("make a new feature table, and write its rows to that"))
}
