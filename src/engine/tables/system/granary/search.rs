//! Whatever one may look for, in one list: objects, and the features of those that have some.

use std::collections::HashMap;

use granary_catalog::{Feature, Header, HistoryFilter, Object, ObjectId, Version};

use super::super::names::{columns, type_name};
use super::{Rows, SystemContext, row};
use crate::engine::relation::Interface;
use crate::error::Result;

pub fn search(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let mut times = HashMap::new();
    for object in context.objects() {
        let Some(found) = Found::of(context, object)? else { continue };
        let changed_at = time_of(context, &mut times, object.header().changed)?;
        found.add(context, rows, changed_at);
        let features: &[Feature] = match object {
            Object::FeatureView(view) => &view.features,
            Object::FeatureTable(table) => &table.features,
            Object::RealtimeView(view) => &view.features,
            _ => &[],
        };
        for feature in features {
            found.add_feature(context, rows, feature, changed_at);
        }
    }
    Ok(())
}

/// When a version of the catalog was made; None if the history does not say so.
fn time_of(
    context: &SystemContext,
    known: &mut HashMap<Version, Option<i64>>,
    version: Version,
) -> Result<Option<i64>> {
    if let Some(time) = known.get(&version) {
        return Ok(*time);
    }
    let only = HistoryFilter {
        after: Version(version.0.saturating_sub(1)),
        until: version,
        limit: 1,
        ..HistoryFilter::default()
    };
    let time = context.catalog.history(&only)?.first().map(|entry| entry.author.at_us);
    known.insert(version, time);
    Ok(time)
}

struct Found<'a> {
    header: &'a Header,
    kind: &'static str,
    entities: Vec<String>,
    keys: Vec<String>,
    /// names of columns, arguments and the like
    parts: Vec<String>,
}

impl Found<'_> {
    /// None for what nobody looks for.
    fn of<'a>(context: &SystemContext, object: &'a Object) -> Result<Option<Found<'a>>> {
        let snapshot = &context.scope.snapshot;
        let named = |ids: &[ObjectId]| context.names_of(ids);
        let (entities, keys) = match object {
            Object::Entity(entity) => (Vec::new(), super::column_names(&entity.join_keys)),
            Object::FeatureView(view) => (named(&view.entities), super::column_names(&view.join_keys)),
            Object::FeatureTable(table) => (named(&table.entities), super::column_names(&table.join_keys)),
            Object::RealtimeView(view) => (Vec::new(), super::column_names(&view.join_keys)),
            Object::FeatureService(_) => (Vec::new(), super::column_names(&Interface::of(snapshot, object)?.keys)),
            Object::Source(_)
            | Object::Stream(_)
            | Object::Dataset(_)
            | Object::Table(_)
            | Object::View(_)
            | Object::Function(_)
            | Object::Sink(_)
            | Object::Expectation(_)
            | Object::Alert(_)
            | Object::Test(_) => (Vec::new(), Vec::new()),
            // what holds others, or stands behind them
            Object::Workspace(_)
            | Object::Schema(_)
            | Object::Role(_)
            | Object::ApiKey(_)
            | Object::Secret(_)
            | Object::Sequence(_) => return Ok(None),
        };
        if object.id().is_temporary() {
            return Ok(None);
        }
        let parts = match object {
            Object::Function(function) => function.arguments.iter().filter_map(|each| each.name.clone()).collect(),
            other => columns(snapshot, other).into_iter().map(|column| column.name).collect(),
        };
        let kind = match object {
            Object::Table(table) if table.materialized.is_some() => "materialized view",
            other => other.kind().as_str(),
        };
        Ok(Some(Found { header: object.header(), kind, entities, keys, parts }))
    }

    fn add(&self, context: &SystemContext, rows: &mut Rows, changed_at: Option<i64>) {
        let header = self.header;
        let description = header.comment.as_deref();
        let text = self.text(&[self.kind, &header.name], description, &self.parts);
        row!(rows,
            kind: self.kind,
            schema: context.schema_of(header),
            name: &header.name,
            entities: self.entities.clone(),
            keys: self.keys.clone(),
            owner: &header.owner,
            tags: self.tags(),
            description: description,
            changed_at: changed_at,
            text: text,
        );
    }

    /// Owner and tags of a feature are its view's.
    fn add_feature(&self, context: &SystemContext, rows: &mut Rows, feature: &Feature, changed_at: Option<i64>) {
        let header = self.header;
        let description = feature.comment.as_deref();
        let text = self.text(&["feature", &feature.name, &header.name], description, &[]);
        row!(rows,
            kind: "feature",
            schema: context.schema_of(header),
            name: &feature.name,
            parent: &header.name,
            type: type_name(&feature.data_type),
            entities: self.entities.clone(),
            keys: self.keys.clone(),
            owner: &header.owner,
            tags: self.tags(),
            description: description,
            changed_at: changed_at,
            text: text,
        );
    }

    fn tags(&self) -> String {
        serde_json::json!(self.header.tags).to_string()
    }

    /// All that is said of it, in one text.
    fn text(&self, names: &[&str], description: Option<&str>, parts: &[String]) -> String {
        let names = names.iter().map(|name| (*name).to_owned());
        let tags = self.header.tags.iter().map(|(name, value)| format!("{name}:{value}"));
        let more = self.entities.iter().chain(&self.keys).chain(parts).cloned();
        let said: Vec<String> = names
            .chain(description.map(str::to_owned))
            .chain([self.header.owner.clone()])
            .chain(tags)
            .chain(more)
            .collect();
        said.join(" ")
    }
}
