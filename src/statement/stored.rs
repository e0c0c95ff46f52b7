//! What has rows in the offline store, by its name: feature views, feature tables and ordinary tables.

use granary_catalog::{FeatureTable, FeatureView, Home, Object, ObjectKind, Table};
use granary_sql::statement::StoredKind;
use sqlparser::ast::ObjectName;

use super::context::StatementContext;
use crate::engine::{BoundView, table_id, table_reference};
use crate::error::{Error, Kind, Result};
use crate::warehouse::Warehouse;

/// One of them, and its tables in the offline store: the first has its rows and need not exist yet, others those of events
/// that a joined view has made, and spans folded from rows.
pub struct Stored {
    pub label: String,
    pub tables: Vec<String>,
}

pub fn find(context: &StatementContext, kind: Option<StoredKind>, name: &ObjectName) -> Result<Stored> {
    let object = match kind {
        Some(StoredKind::FeatureView) => context.find(ObjectKind::FeatureView, name)?,
        Some(StoredKind::FeatureTable) => context.find(ObjectKind::FeatureTable, name)?,
        Some(StoredKind::Table) => context.find(ObjectKind::Table, name)?,
        None => {
            let reference = table_reference(name);
            let found = match &reference {
                Some(reference) => context.scope.relation(reference)?.cloned(),
                None => None,
            };
            found.ok_or_else(|| {
                let error = Error::new(Kind::UndefinedTable, format!("relation \"{name}\" does not exist"));
                context.at(name, error)
            })?
        }
    };
    stored(context, &object)?.ok_or_else(|| {
        let message = format!("{} \"{}\" has no stored rows", object.kind().as_str(), object.name());
        context.at(name, Error::new(Kind::WrongObjectType, message))
    })
}

/// All of the workspace.
pub fn all(context: &StatementContext) -> Result<Vec<Stored>> {
    let here = context.scope.workspace;
    let is_here = |object: &&std::sync::Arc<Object>| matches!(object.header().home, Home::Schema { workspace, .. } if workspace == here);
    context.snapshot().objects().filter(is_here).filter_map(|object| stored(context, object).transpose()).collect()
}

fn stored(context: &StatementContext, object: &Object) -> Result<Option<Stored>> {
    stored_of(&context.warehouse, object)
}

/// None of what has no stored rows.
pub fn stored_of(warehouse: &Warehouse, object: &Object) -> Result<Option<Stored>> {
    let tables = if let Some(view) = object.downcast::<FeatureView>() {
        let view = BoundView::of_feature_view(view)?;
        let of_events = view.joins.then(|| view.events_table());
        warehouse.tables_of_rows(&view)?.into_iter().chain(of_events).collect()
    } else if let Some(table) = object.downcast::<FeatureTable>() {
        vec![BoundView::of_feature_table(table)?.offline_table()]
    } else if let Some(table) = object.downcast::<Table>() {
        vec![table_id(table)]
    } else {
        return Ok(None);
    };
    Ok(Some(Stored { label: format!("{} \"{}\"", object.kind().as_str(), object.name()), tables }))
}
