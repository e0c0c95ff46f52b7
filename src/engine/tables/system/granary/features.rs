//! Feature views, feature tables, and the features of both.

use granary_catalog::{Feature, FeatureDefinition, Header, Object, StoreKind, Trigger, ViewKind};

use super::super::names::type_name;
use super::{Rows, SystemContext, column_names, object_row, row};
use crate::engine::freshness::Freshness;
use crate::error::Result;
use crate::tile::window_label;

pub fn feature_views(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let ledger = context.catalog.ledger();
    for object in context.objects() {
        let Object::FeatureView(view) = object else { continue };
        let groups = view.group_numbers();
        let ranges = |store| ledger.ranges_of_all(view.header.id, &groups, store);
        let until = |store| ranges(store).iter().last().map(|range| range.end_us);
        object_row!(context, rows, &view.header,
            kind: kind_name(view.kind),
            entities: context.names_of(&view.entities),
            keys: column_names(&view.join_keys),
            timestamp: &view.timestamp,
            schedule: view.schedule_us,
            aggregation_interval: view.aggregation_interval_us,
            data_delay: view.data_delay_us,
            start: view.start_us,
            lifetime_start: view.lifetime_start_us,
            ttl: view.ttl_us,
            online: view.online,
            offline: view.offline,
            trigger: trigger_name(view.trigger),
            materialized_offline_until: until(StoreKind::Offline),
            materialized_online_until: until(StoreKind::Online),
            features: view.features.len(),
            revision: view.header.revision,
            cache: view.cache_us,
            paused: view.paused,
            max_backfill_interval: view.max_backfill_interval_us,
            max_attempts: view.max_attempts,
        );
    }
    Ok(())
}

fn kind_name(kind: ViewKind) -> &'static str {
    match kind {
        ViewKind::BatchAttributes => "batch",
        ViewKind::BatchAggregates => "batch aggregates",
        ViewKind::StreamAttributes => "stream",
        ViewKind::StreamTiled => "stream tiled",
        ViewKind::StreamContinuous => "stream continuous",
    }
}

fn trigger_name(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Scheduled => "scheduled",
        Trigger::Manual => "manual",
        Trigger::None => "none",
    }
}

/// Up to when each view knows what has happened, and how long ago that is.
pub fn freshness(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::FeatureView(view) = object else { continue };
        let stream = context.scope.snapshot.stream_among(&view.depends_on);
        let known = Freshness::of(view, stream, context.catalog.ledger(), &context.tails);
        let is_live = context.scope.is_live();
        let is_stale = known.is_stale(view, context.now_us).filter(|_| is_live);
        row!(rows,
            schema: context.schema_of(&view.header),
            view: &view.header.name,
            kind: kind_name(view.kind),
            freshness: known.age_us(context.now_us),
            freshness_seconds: known.age_us(context.now_us).map(|age_us| age_us as f64 / 1e6),
            stream: known.stream,
            newest_event: known.newest_event_us,
            newest_arrival: known.newest_arrival_us,
            materialized_until: known.materialized_until_us,
            expected_freshness: view.expected_freshness_us,
            is_stale: is_stale,
        );
    }
    Ok(())
}

pub fn feature_tables(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::FeatureTable(table) = object else { continue };
        object_row!(context, rows, &table.header,
            entities: context.names_of(&table.entities),
            keys: column_names(&table.join_keys),
            timestamp: &table.timestamp,
            start: table.start_us,
            ttl: table.ttl_us,
            online: table.online,
            offline: table.offline,
        );
    }
    Ok(())
}

pub fn features(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        match object {
            Object::FeatureView(view) => features_of(context, &view.header, &view.features, rows),
            Object::FeatureTable(table) => features_of(context, &table.header, &table.features, rows),
            Object::RealtimeView(view) => features_of(context, &view.header, &view.features, rows),
            _ => {}
        }
    }
    Ok(())
}

fn features_of(context: &SystemContext, header: &Header, features: &[Feature], rows: &mut Rows) {
    for (position, feature) in features.iter().enumerate() {
        let (function, window, expression, filter) = match &feature.definition {
            FeatureDefinition::Attribute { column: expression } | FeatureDefinition::Expression { sql: expression } => {
                (None, None, expression.clone(), None)
            }
            FeatureDefinition::Aggregate { function, inputs, filter, window, .. } => {
                (Some(function.name()), Some(window_label(window)), inputs.join(", "), filter.clone())
            }
        };
        row!(rows,
            schema: context.schema_of(header),
            view: &header.name,
            name: &feature.name,
            position: position + 1,
            type: type_name(&feature.data_type),
            function: function,
            window: window,
            expression: expression,
            filter: filter,
            description: feature.comment.clone(),
        );
    }
}

/// What has gone out of the online store since the server started, because no answer can see it any more.
pub fn expiry(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Some(record) = context.facts.expiry.of(object.id()) else { continue };
        row!(rows,
            schema: context.schema_of(object.header()),
            view: object.name(),
            last_run_at: record.last.at_us,
            expired_before: record.last.before_us,
            rows_removed: record.last.rows,
            rows_removed_in_total: record.rows_total,
            runs: record.runs,
        );
    }
    Ok(())
}
