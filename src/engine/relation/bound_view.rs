//! A feature view with everything resolved that reading and materializing it needs. Pure data, made from the
//! catalog's object alone, so that stored features can be read when their source is gone.

use std::hash::Hasher;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use granary_catalog::{Column, ColumnGroup, Feature, FeatureTable, FeatureView, LeadingEdge, ObjectId, ViewKind};
use serde_json::json;
use twox_hash::XxHash64;

use super::columns::{BoundColumns, bind, bind_attributes, default_storage};

use crate::error::Result;
use crate::online::SpanPlan;
use crate::tile::{OutputColumn, Timing, ViewPlan, Window, item_levels, useful_levels, window_label};

/// The event time in stored rows and tiles is always this type.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// How the names of views' stored rows begin.
const VIEW: &str = "view-";

/// The view or feature table whose stored rows have, or had, that name.
pub fn view_of_table(name: &str) -> Option<ObjectId> {
    name.strip_prefix(VIEW)?.split_once('-')?.0.parse().ok().map(ObjectId)
}

/// Where the arrival order of a row is kept, to break ties of its time.
pub const ARRIVAL: &str = "_arrival";
/// When a row was known, in views with `known_at`.
pub const KNOWN_AT: &str = "_known_at";
/// The start of a tile.
pub const TILE: &str = "_tile_start";

/// Ends the name of the offline table of a joined view's rows of events.
const JOINED: &str = "-events";

/// Whether a name in the offline store is one that [`BoundView::events_table`] gives.
pub fn is_of_joined_view(table: &str) -> bool {
    table.starts_with("view-") && table.ends_with(JOINED)
}

/// One column that the rows of a view carry beside keys and time.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    pub name: String,
    pub sql: InputSql,
    pub data_type: DataType,
    /// Whether the query still gives it; if not, it is NULL in rows that are made now.
    pub is_live: bool,
    /// The group of columns that it is stored in; of tiles, which have states, in none.
    pub group: Option<u64>,
}

/// How an input comes out of the view's query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum InputSql {
    Column(String),
    /// `sql`, where `filter` holds, else NULL; of `counted` inputs only whether they are NULL matters
    Argument {
        sql: Option<String>,
        filter: Option<String>,
        counted: bool,
    },
}

/// Which columns a view's rows have in the offline store and on their way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowLayout {
    /// a row per event: keys, [secondary key], time, arrival, inputs
    Events,
    /// a row per key and tile: keys, [secondary key], tile start, states
    Tiles,
}

/// A tile says nothing of when its rows were known.
pub fn stored_layout(kind: ViewKind, known_at: Option<&str>) -> RowLayout {
    match kind {
        _ if known_at.is_some() => RowLayout::Events,
        ViewKind::BatchAggregates | ViewKind::StreamTiled => RowLayout::Tiles,
        ViewKind::BatchAttributes | ViewKind::StreamAttributes | ViewKind::StreamContinuous => RowLayout::Events,
    }
}

/// A feature view or feature table, resolved.
#[derive(Debug, Clone)]
pub struct BoundView {
    pub id: u64,
    /// of everything that decides what rows are stored, and in which columns: rows stored under another fingerprint
    /// are not this view's. Of several groups of columns, that of the first
    pub storage: u64,
    pub name: String,
    pub keys: Vec<Column>,
    pub timestamp: String,
    pub plan: ViewPlan,
    pub secondary: Option<Column>,
    pub inputs: Vec<Input>,
    /// for every partial of the plan, the inputs it takes
    pub partial_inputs: Vec<Vec<usize>>,
    /// the state columns of every partial in a tile
    pub partial_names: Vec<String>,
    /// of every partial in a tile, the group of columns that it is stored in; `None`: it is so no more
    pub partial_groups: Vec<Option<u64>>,
    /// for every attribute, its input
    pub attribute_inputs: Vec<usize>,
    /// the tables that its rows are stored in: one, but for a view that was given features while it had rows
    pub groups: Vec<ColumnGroup>,
    /// keys, then features as declared
    pub output: SchemaRef,
    /// the query over sources; None for a feature table
    pub query: Option<String>,
    pub unfiltered: bool,
    /// the column of the query that says since when a row is known; rows are not seen before
    pub known_at: Option<String>,
    pub buckets: u32,
    pub depends_on: Vec<ObjectId>,
    /// of a stream view: whether its rows of events are stored as they come, since other relations decide them, too
    pub joins: bool,
    /// of a stream view
    pub leading_edge: LeadingEdge,
}

impl BoundView {
    pub fn of_feature_view(view: &FeatureView) -> Result<BoundView> {
        let timing = timing_of(view);
        let storage = match &view.storage {
            Some(storage) => storage.clone(),
            None => default_storage(view)?,
        };
        let BoundColumns { plan, inputs, partial_inputs, partial_names, partial_groups, attribute_inputs } =
            bind(timing, view, &storage.columns)?;
        let output = output_schema(&view.join_keys, view.secondary_key.as_ref(), &view.features, &plan);
        Ok(BoundView {
            id: view.header.id.0,
            storage: storage.groups.first().map_or(0, |group| group.fingerprint),
            name: view.header.name.clone(),
            keys: view.join_keys.clone(),
            timestamp: view.timestamp.clone(),
            secondary: view.secondary_key.clone(),
            plan,
            inputs,
            partial_inputs,
            partial_names,
            partial_groups,
            attribute_inputs,
            groups: storage.groups,
            output,
            query: Some(view.query.clone()),
            unfiltered: view.unfiltered,
            known_at: view.known_at.clone(),
            buckets: view.buckets,
            depends_on: view.depends_on.clone(),
            joins: view.joins,
            leading_edge: view.leading_edge,
        })
    }

    pub fn of_feature_table(table: &FeatureTable) -> Result<BoundView> {
        let timing = Timing {
            kind: ViewKind::StreamAttributes,
            interval_us: 0,
            schedule_us: 0,
            delay_us: 0,
            start_us: table.start_us,
            lifetime_start_us: None,
            ttl_us: table.ttl_us,
            compaction: false,
        };
        let BoundColumns { plan, inputs, attribute_inputs, .. } = bind_attributes(timing, &table.features)?;
        let output = output_schema(&table.join_keys, None, &table.features, &plan);
        let storage = storage_fingerprint(&json!({
            "columns": table.columns,
            "keys": table.join_keys,
            "timestamp": table.timestamp,
            "buckets": table.buckets,
        }));
        Ok(BoundView {
            id: table.header.id.0,
            storage,
            name: table.header.name.clone(),
            keys: table.join_keys.clone(),
            timestamp: table.timestamp.clone(),
            plan,
            secondary: None,
            inputs,
            partial_inputs: Vec::new(),
            partial_names: Vec::new(),
            partial_groups: Vec::new(),
            attribute_inputs,
            groups: vec![ColumnGroup { number: 0, fingerprint: storage }],
            output,
            query: None,
            unfiltered: false,
            known_at: None,
            buckets: table.buckets,
            depends_on: Vec::new(),
            joins: false,
            leading_edge: LeadingEdge::WallClock,
        })
    }

    pub fn kind(&self) -> ViewKind {
        self.plan.timing.kind
    }

    pub fn key_types(&self) -> Vec<DataType> {
        self.keys.iter().map(|key| key.data_type.clone()).collect()
    }

    /// The layout in the offline store.
    pub fn stored_layout(&self) -> RowLayout {
        stored_layout(self.kind(), self.known_at.as_deref())
    }

    /// Whether the online store keeps items; else the newest row of each key is enough. Of a feature table it is not:
    /// rows may be written before their time has come.
    pub fn is_kept_as_items(&self) -> bool {
        self.kind().has_aggregates() || self.known_at.is_some() || self.is_feature_table()
    }

    /// Whether users write its rows.
    pub fn is_feature_table(&self) -> bool {
        self.query.is_none()
    }

    /// The name of the time column in a layout.
    pub fn time_column(&self, layout: RowLayout) -> &str {
        match layout {
            RowLayout::Events => &self.timestamp,
            RowLayout::Tiles => TILE,
        }
    }

    /// The columns of the rows in a layout.
    pub fn row_schema(&self, layout: RowLayout) -> SchemaRef {
        let mut fields: Vec<Field> =
            self.keys.iter().map(|key| Field::new(&key.name, key.data_type.clone(), false)).collect();
        if let Some(secondary) = &self.secondary {
            fields.push(Field::new(&secondary.name, secondary.data_type.clone(), true));
        }
        fields.push(Field::new(self.time_column(layout), time_type(), false));
        match layout {
            RowLayout::Events => {
                fields.push(Field::new(ARRIVAL, DataType::Int64, false));
                if self.known_at.is_some() {
                    fields.push(Field::new(KNOWN_AT, time_type(), false));
                }
                fields.extend(self.inputs.iter().map(|input| Field::new(&input.name, input.data_type.clone(), true)));
            }
            RowLayout::Tiles => {
                for (spec, name) in self.plan.partials.iter().zip(&self.partial_names) {
                    fields.extend(spec.state_fields(name));
                }
            }
        }
        Arc::new(Schema::new(fields))
    }

    /// The name of the view's offline table.
    pub fn offline_table(&self) -> String {
        format!("{VIEW}{}-{:016x}", self.id, self.storage)
    }

    /// Files order floats otherwise than keys are ordered in memory.
    pub fn has_float_key(&self) -> bool {
        self.keys.iter().any(|key| matches!(key.data_type, DataType::Float32 | DataType::Float64))
    }

    /// The widths of the spans that are worth keeping folded beside the stored rows. None in a bitemporal view, where
    /// what a span holds depends on the asked time, and none with a float key.
    pub fn span_widths(&self) -> Vec<i64> {
        if !self.kind().has_aggregates() || self.known_at.is_some() || self.has_float_key() {
            return Vec::new();
        }
        useful_levels(&self.plan.timing, &self.plan.windows())
    }

    /// A fingerprint of the states of a span: another feature may need another one, of the same rows.
    pub fn span_form(&self) -> u64 {
        self.form_by(&self.plan.timing.levels().collect::<Vec<i64>>())
    }

    /// The same where the states are merged by spans of these widths.
    fn form_by(&self, widths_us: &[i64]) -> u64 {
        let mut hasher = XxHash64::with_seed(0);
        hasher.write(format!("{widths_us:?}\n").as_bytes());
        for (partial, name) in self.plan.partials.iter().zip(&self.partial_names) {
            hasher.write(format!("{name} {partial:?}\n").as_bytes());
        }
        hasher.finish()
    }

    /// The spans that the online store keeps beside the items, for views of events, whose windows may hold any number of
    /// them. None in a bitemporal view, where what a span holds depends on the asked time.
    pub fn item_spans(&self) -> Option<SpanPlan> {
        if !self.kind().is_stream() || !self.kind().has_aggregates() || self.known_at.is_some() {
            return None;
        }
        let widths_us = item_levels(&self.plan.timing, &self.plan.windows());
        (!widths_us.is_empty()).then(|| SpanPlan {
            form: self.form_by(&widths_us),
            partials: self.plan.partials.clone(),
            inputs: self.partial_inputs.clone(),
            has_secondary: self.secondary.is_some(),
            has_tiles: self.stored_layout() == RowLayout::Tiles,
            widths_us,
        })
    }

    /// The name of the offline table of the rows of events, if the view joins.
    pub fn events_table(&self) -> String {
        format!("{}{JOINED}", self.offline_table())
    }

    /// The name of the offline table of the spans of one width. All begin with [`BoundView::span_tables`].
    pub fn span_table(&self, width_us: i64) -> String {
        let width = Window::Last { size_us: width_us, offset_us: 0 };
        format!("{}{:016x}-{}", self.span_tables(), self.span_form(), window_label(&width))
    }

    /// How the names of the offline tables of spans begin.
    pub fn span_tables(&self) -> String {
        format!("{}-spans-", self.offline_table())
    }
}

pub fn timing_of(view: &FeatureView) -> Timing {
    Timing {
        kind: view.kind,
        interval_us: view.aggregation_interval_us.unwrap_or(0),
        schedule_us: view.schedule_us.unwrap_or(0),
        delay_us: view.data_delay_us,
        start_us: view.start_us,
        lifetime_start_us: view.lifetime_start_us,
        ttl_us: view.ttl_us,
        compaction: view.compaction,
    }
}

/// A hash that stays the same between versions and machines: JSON's objects print in the order of their keys.
pub fn storage_fingerprint(definition: &serde_json::Value) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(definition.to_string().as_bytes());
    hasher.finish()
}

fn output_schema(keys: &[Column], secondary: Option<&Column>, features: &[Feature], plan: &ViewPlan) -> SchemaRef {
    let mut fields: Vec<Field> = keys.iter().map(|key| Field::new(&key.name, key.data_type.clone(), true)).collect();
    if plan.features.is_empty() {
        fields.extend(features.iter().map(|feature| Field::new(&feature.name, feature.data_type.clone(), true)));
        return Arc::new(Schema::new(fields));
    }
    for column in plan.output_columns() {
        match (column, secondary) {
            (OutputColumn::Feature { index }, _) => {
                fields.push(Field::new(&features[index].name, plan.features[index].data_type.clone(), true));
            }
            (OutputColumn::Keys { window }, Some(secondary)) => {
                let name = format!("{}_keys_{}", secondary.name, window_label(&window));
                fields.push(Field::new(name, DataType::new_list(secondary.data_type.clone(), true), true));
            }
            (OutputColumn::Keys { .. }, None) => {}
        }
    }
    Arc::new(Schema::new(fields))
}
