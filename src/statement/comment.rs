//! `COMMENT ON`.

use granary_catalog::{Change, Object, ObjectKind};
use granary_sql::name::fold;
use granary_sql::statement::{CommentOn, CommentTarget};

use super::alter::{reword_comment, reword_feature};
use super::context::StatementContext;
use super::workspace::kind_of;
use super::{function, policy};
use crate::engine::is_system_schema;
use crate::error::{Error, Kind, Result};

pub fn comment(context: &mut StatementContext, comment: &CommentOn) -> Result<()> {
    match &comment.target {
        CommentTarget::Object { kind: granary_sql::ObjectKind::Function, name, signature } => {
            let function = function::find(context, name, signature.as_ref())?;
            set_on(context, &function, comment.comment.clone())
        }
        CommentTarget::Object { kind, name, .. } => set(context, kind_of(*kind), name, comment.comment.clone()),
        CommentTarget::Postgres { kind, name } => {
            let kind = match kind.to_ascii_lowercase().as_str() {
                "table" => ObjectKind::Table,
                "view" => ObjectKind::View,
                "schema" => ObjectKind::Schema,
                "database" => ObjectKind::Workspace,
                "role" => ObjectKind::Role,
                other => return Err(Error::not_supported(format!("COMMENT ON {}", other.to_uppercase()))),
            };
            set(context, kind, name, comment.comment.clone())
        }
        CommentTarget::Column { relation, column } => column_comment(context, relation, column, &comment.comment),
        CommentTarget::OnRelation { kind: "POLICY", name, relation } => {
            policy::comment(context, (name, relation), comment.comment.as_ref())
        }
        CommentTarget::OnRelation { .. } => Err(Error::not_supported("this COMMENT ON")),
    }
}

fn set(
    context: &mut StatementContext,
    kind: ObjectKind,
    name: &sqlparser::ast::ObjectName,
    comment: Option<String>,
) -> Result<()> {
    if let Some(schema) = context.qualified(name)?.schema {
        let named = context.scope.schema_named(&schema);
        if context.snapshot().schema(context.scope.workspace, &named).is_none() && !is_system_schema(Some(&named)) {
            return Err(Error::new(Kind::InvalidSchemaName, format!("schema \"{schema}\" does not exist")));
        }
    }
    let object = context.find(kind, name)?;
    set_on(context, &object, comment)
}

fn set_on(context: &mut StatementContext, object: &Object, comment: Option<String>) -> Result<()> {
    reword_comment(context, object, comment.as_ref())?;
    context.changes.push(Change::SetComment { id: object.id(), comment });
    Ok(())
}

fn column_comment(
    context: &mut StatementContext,
    relation: &sqlparser::ast::ObjectName,
    column: &sqlparser::ast::Ident,
    comment: &Option<String>,
) -> Result<()> {
    let reference = crate::engine::table_reference(relation);
    let object = match &reference {
        Some(reference) => context.scope.relation(reference)?.cloned(),
        None => None,
    };
    let object = object.ok_or_else(|| {
        let error = Error::new(
            Kind::UndefinedTable,
            format!("relation \"{}\" does not exist", granary_sql::name::shown(relation)),
        );
        context.at(relation, error)
    })?;
    let name = fold(column);
    let Object::FeatureView(view) = object.as_ref() else {
        return column_of_its_own(context, &object, column, comment.as_ref());
    };
    let mut view = view.clone();
    let feature = view.features.iter_mut().find(|feature| feature.name == name).ok_or_else(|| {
        let message = format!("column \"{name}\" of relation \"{}\" does not exist", object.name());
        context.at_ident(column, Error::new(Kind::UndefinedColumn, message))
    })?;
    feature.comment.clone_from(comment);
    context.changes.push(Change::put(view));
    reword_feature(context, &object, &name, comment.as_ref())
}

/// Of a relation that keeps its columns itself.
fn column_of_its_own(
    context: &mut StatementContext,
    object: &Object,
    column: &sqlparser::ast::Ident,
    comment: Option<&String>,
) -> Result<()> {
    let name = fold(column);
    let mut changed = object.clone();
    let columns = match &mut changed {
        Object::Table(table) => &mut table.columns,
        Object::View(view) => &mut view.columns,
        Object::Source(source) => &mut source.columns,
        Object::Stream(stream) => &mut stream.columns,
        Object::FeatureTable(table) => &mut table.columns,
        _ => return Err(Error::not_supported(format!("COMMENT ON COLUMN of a {}", object.kind().as_str()))),
    };
    let found = columns.iter_mut().find(|column| column.name == name).ok_or_else(|| {
        let message = format!("column \"{name}\" of relation \"{}\" does not exist", object.name());
        context.at_ident(column, Error::new(Kind::UndefinedColumn, message))
    })?;
    found.comment = comment.cloned();
    context.changes.push(Change::put(changed));
    Ok(())
}
