//! `CREATE EXPECTATION`: what runs of a feature view must be like.

use granary_catalog::{Change, Expectation, FeatureView, ObjectKind, OnFailure, Severity};
use granary_sql::statement::{self, CreateExpectation};

use super::context::{NewObject, StatementContext, check_options};
use crate::engine::{BoundView, profiled_columns};
use crate::error::{Error, Result};
use crate::materialize::Condition;

pub fn create(context: &mut StatementContext, create: &CreateExpectation) -> Result<()> {
    check_options(&create.options, &[])?;
    let object = context.find(ObjectKind::FeatureView, &create.view)?;
    let view: &FeatureView = object.downcast().ok_or_else(|| Error::internal("a feature view is not one"))?;
    let columns = profiled_columns(&BoundView::of_feature_view(view)?);
    let checked = Condition::of(&create.check.text, &columns).and_then(|condition| condition.check(&context.planner()));
    // positions are those of the condition alone
    checked.map_err(|error| context.at(&create.check.ast, error.without_position()))?;
    let view = view.header.id;
    let anew = CreateExpectation { or_replace: false, if_not_exists: false, ..create.clone() };
    let header = context.new_header(NewObject {
        kind: ObjectKind::Expectation,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: anew.to_string(),
    })?;
    let Some(header) = header else { return Ok(()) };
    let severity = match create.severity {
        Some(statement::Severity::Error) => Severity::Error,
        Some(statement::Severity::Warning) | None => Severity::Warning,
    };
    let on_failure = match create.on_failure {
        Some(statement::OnFailure::Hold) => OnFailure::Hold,
        Some(statement::OnFailure::Warn) | None => OnFailure::Warn,
    };
    let check = create.check.text.clone();
    context.changes.push(Change::put(Expectation { header, view, check, severity, on_failure }));
    Ok(())
}
