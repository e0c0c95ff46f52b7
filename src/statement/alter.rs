//! `ALTER … SET | RESET | RENAME TO | OWNER TO | PAUSE | RESUME` of feature objects.

use std::collections::BTreeMap;

use granary_catalog::{Change, Object, ObjectKind};
use granary_sql::declaration;
use granary_sql::name::fold;
use granary_sql::statement::{
    Alter, AlterAction, CreateFeatureService, CreateFeatureTable, CreateFeatureView, CreateFunction,
    CreateRealtimeFeatureView, CreateSource, CreateStream,
};
use granary_sql::{OptionEntry, OptionValue, Options, Statement};
use sqlparser::ast;

use super::context::{COMMON_OPTIONS, StatementContext, check_options};
use super::workspace::kind_of;
use super::{alert, feature_service, feature_table, feature_view, function, source, stream};
use crate::error::{Error, Kind, Result};

pub async fn alter(context: &mut StatementContext, alter: &Alter) -> Result<()> {
    let kind = kind_of(alter.kind);
    let found = match kind {
        ObjectKind::Function => function::find(context, &alter.name, alter.signature.as_ref()),
        kind => context.find(kind, &alter.name),
    };
    let is_undefined = |kind| matches!(kind, Kind::UndefinedTable | Kind::UndefinedObject | Kind::UndefinedFunction);
    let object = match found {
        Ok(object) => object,
        Err(error) if alter.if_exists && is_undefined(error.kind()) => {
            context.notices.push(Error::new(error.kind(), format!("{}, skipping", error.message())));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    match &alter.action {
        AlterAction::RenameTo(name) => rename(context, &object, &fold(name)),
        AlterAction::OwnerTo(owner) => {
            let owner = context.role_named(owner);
            change_owner(context, &object, owner)
        }
        AlterAction::Pause => pause(context, &object, true),
        AlterAction::Resume => pause(context, &object, false),
        AlterAction::Set(options) => {
            if let (ObjectKind::Stream | ObjectKind::FeatureView | ObjectKind::Alert, [only]) =
                (kind, options.entries.as_slice())
                && only.name == stream::PAUSED
            {
                let paused = options.bool(stream::PAUSED)?.unwrap_or(false);
                pause(context, &object, paused)
            } else if options.entries.iter().all(|entry| COMMON_OPTIONS.contains(&entry.name.as_str())) {
                set_common(context, &object, options)
            } else {
                redefine(context, &object, |own| merge(own, options)).await
            }
        }
        AlterAction::Reset(names) => {
            let names: Vec<String> = names.iter().map(fold).collect();
            if matches!(kind, ObjectKind::Stream | ObjectKind::FeatureView | ObjectKind::Alert)
                && names == [stream::PAUSED]
            {
                return pause(context, &object, false);
            }
            reset(context, &object, &names).await
        }
    }
}

fn pause(context: &mut StatementContext, object: &Object, paused: bool) -> Result<()> {
    let own = own_statement(object)?;
    match object.kind() {
        ObjectKind::FeatureView => feature_view::pause(context, object, own, paused),
        ObjectKind::Alert => alert::pause(context, object, own, paused),
        _ => stream::pause(context, object, own, paused),
    }
}

/// The new owner, if that is all that an ALTER TABLE or ALTER VIEW is about.
pub fn new_owner(context: &StatementContext, alter: &ast::AlterTable) -> Option<String> {
    match alter.operations.as_slice() {
        [ast::AlterTableOperation::OwnerTo { new_owner: ast::Owner::Ident(owner) }] => Some(fold(owner)),
        [ast::AlterTableOperation::OwnerTo { .. }] => Some(context.role.clone()),
        _ => None,
    }
}

/// `ALTER TABLE … OWNER TO`: as in PostgreSQL, of whatever relation has the name.
pub fn relation_owner(context: &mut StatementContext, alter: &ast::AlterTable, owner: String) -> Result<()> {
    let reference = crate::engine::table_reference(&alter.name);
    let found = match &reference {
        Some(reference) => context.scope.relation(reference)?.cloned(),
        None => None,
    };
    match found {
        Some(object) => change_owner(context, &object, owner),
        None => {
            let message = format!("relation \"{}\" does not exist", granary_sql::name::shown(&alter.name));
            if alter.if_exists {
                context.notices.push(Error::new(Kind::UndefinedTable, format!("{message}, skipping")));
                return Ok(());
            }
            Err(context.at(&alter.name, Error::new(Kind::UndefinedTable, message)))
        }
    }
}

/// Options that only objects of this kind have.
fn own_options(kind: ObjectKind) -> &'static [&'static str] {
    match kind {
        ObjectKind::Source => &source::OPTIONS,
        ObjectKind::FeatureView => &feature_view::OPTIONS,
        ObjectKind::FeatureTable => &feature_table::OPTIONS,
        ObjectKind::FeatureService => &feature_service::OPTIONS,
        ObjectKind::Alert => &alert::OPTIONS,
        _ => &[],
    }
}

/// Gives options their defaults; those that every object has are parts of its header.
async fn reset(context: &mut StatementContext, object: &Object, names: &[String]) -> Result<()> {
    let asked =
        names.iter().map(|name| OptionEntry { name: name.clone(), value: OptionValue::Bool(false), position: None });
    check_options(&Options { entries: asked.collect() }, own_options(object.kind()))?;
    let forget = |own: &mut Options| own.entries.retain(|entry| !names.contains(&entry.name));
    if names.iter().all(|name| COMMON_OPTIONS.contains(&name.as_str())) {
        reword(context, object, |statement| options_of(statement).into_iter().for_each(forget))?;
    } else {
        redefine(context, object, forget).await?;
    }
    let id = object.id();
    context.changes.extend(names.iter().filter_map(|name| match name.as_str() {
        "owner" => Some(Change::SetOwner { id, owner: context.role.clone() }),
        "tags" => Some(Change::SetTags { id, tags: BTreeMap::new() }),
        "description" => Some(Change::SetComment { id, comment: None }),
        "prevent_destroy" => Some(Change::SetPreventDestroy { id, prevent_destroy: false }),
        _ => None,
    }));
    Ok(())
}

fn change_owner(context: &mut StatementContext, object: &Object, owner: String) -> Result<()> {
    set_owner(context, object, &owner)?;
    if matches!(object, Object::Table(_) | Object::View(_)) {
        return Ok(());
    }
    reword(context, object, |statement| {
        if let Some(entry) = own_option(statement, "owner") {
            entry.value = OptionValue::String(owner);
        }
    })
}

fn set_owner(context: &mut StatementContext, object: &Object, owner: &str) -> Result<()> {
    if context.snapshot().role(owner).is_none() {
        return Err(Error::new(Kind::UndefinedObject, format!("role \"{owner}\" does not exist")));
    }
    context.changes.push(Change::SetOwner { id: object.id(), owner: owner.to_owned() });
    Ok(())
}

fn set_common(context: &mut StatementContext, object: &Object, options: &Options) -> Result<()> {
    let id = object.id();
    if let Some(owner) = options.string("owner")? {
        set_owner(context, object, &owner)?;
    }
    if let Some(tags) = options.pairs("tags")? {
        context.changes.push(Change::SetTags { id, tags: tags.into_iter().collect::<BTreeMap<_, _>>() });
    }
    if let Some(comment) = options.string("description")? {
        context.changes.push(Change::SetComment { id, comment: Some(comment) });
    }
    if let Some(prevent_destroy) = options.bool("prevent_destroy")? {
        context.changes.push(Change::SetPreventDestroy { id, prevent_destroy });
    }
    reword(context, object, |statement| {
        if let Some(own) = options_of(statement) {
            merge(own, options);
        }
    })
}

fn merge(own: &mut Options, options: &Options) {
    for entry in &options.entries {
        own.entries.retain(|known| known.name != entry.name);
        own.entries.push(entry.clone());
    }
}

/// Reads the object's own statement, changes its options, and makes it again under the same id.
async fn redefine(context: &mut StatementContext, object: &Object, change: impl FnOnce(&mut Options)) -> Result<()> {
    if object.kind() == ObjectKind::Stream {
        // what it is read with stands nowhere in full
        let message = "of a stream only the options that every object has are set together, and \"paused\" alone";
        return Err(Error::new(Kind::InvalidParameterValue, message).with_hint("type CREATE OR REPLACE STREAM …"));
    }
    let mut statement = own_statement(object)?;
    let options = options_of(&mut statement)
        .ok_or_else(|| Error::not_supported(format!("ALTER {} … SET", object.kind().as_str().to_uppercase())))?;
    change(options);
    match &mut statement {
        Statement::CreateFeatureView(CreateFeatureView { or_replace, if_not_exists, .. })
        | Statement::CreateSource(CreateSource { or_replace, if_not_exists, .. })
        | Statement::CreateStream(CreateStream { or_replace, if_not_exists, .. })
        | Statement::CreateFeatureTable(CreateFeatureTable { or_replace, if_not_exists, .. })
        | Statement::CreateRealtimeFeatureView(CreateRealtimeFeatureView { or_replace, if_not_exists, .. })
        | Statement::CreateFunction(CreateFunction { or_replace, if_not_exists, .. })
        | Statement::CreateFeatureService(CreateFeatureService { or_replace, if_not_exists, .. }) => {
            (*or_replace, *if_not_exists) = (true, false);
        }
        _ => return Err(Error::not_supported(format!("ALTER {} … SET", object.kind().as_str().to_uppercase()))),
    }
    Box::pin(super::execute::define(context, &statement)).await
}

/// The statement that an object is defined by.
pub fn own_statement(object: &Object) -> Result<Statement> {
    let parsed = granary_sql::parse(&object.header().statement)?;
    let only = parsed.into_iter().next().map(|parsed| parsed.statement);
    only.ok_or_else(|| Error::internal(format!("{} has no statement", object.name())))
}

fn options_of(statement: &mut Statement) -> Option<&mut Options> {
    match statement {
        Statement::CreateEntity(create) => Some(&mut create.options),
        Statement::CreateSource(create) => Some(&mut create.options),
        Statement::CreateStream(create) => Some(&mut create.options),
        Statement::CreateSink(create) => Some(&mut create.options),
        Statement::CreateExpectation(create) => Some(&mut create.options),
        Statement::CreateAlert(create) => Some(&mut create.options),
        Statement::CreateFeatureView(create) => Some(&mut create.options),
        Statement::CreateFeatureTable(create) => Some(&mut create.options),
        Statement::CreateFeatureService(create) => Some(&mut create.options),
        Statement::CreateDataset(create) => Some(&mut create.options),
        Statement::CreateRealtimeFeatureView(create) => Some(&mut create.options),
        Statement::CreateWorkspace(create) => Some(&mut create.options),
        Statement::CreateApiKey(create) => Some(&mut create.options),
        Statement::CreateFunction(create) => Some(&mut create.options),
        Statement::CreateTest(create) => Some(&mut create.options),
        _ => None,
    }
}

fn own_option<'a>(statement: &'a mut Statement, name: &str) -> Option<&'a mut OptionEntry> {
    options_of(statement)?.entries.iter_mut().find(|entry| entry.name == name)
}

/// Says a comment in the object's own statement, instead of what was said there.
pub fn reword_comment(context: &mut StatementContext, object: &Object, comment: Option<&String>) -> Result<()> {
    reword(context, object, |statement| {
        if let Some(options) = options_of(statement) {
            options.entries.retain(|entry| entry.name != "description");
        }
        declaration::say_comment(statement, comment.cloned());
    })
}

/// Says in a feature view's own statement what a feature is about.
pub fn reword_feature(
    context: &mut StatementContext,
    view: &Object,
    name: &str,
    comment: Option<&String>,
) -> Result<()> {
    reword(context, view, |statement| {
        let Statement::CreateFeatureView(CreateFeatureView { features: Some(features), .. }) = statement else {
            return;
        };
        if let Some(feature) = features.iter_mut().find(|feature| fold(&feature.alias) == name) {
            feature.comment = comment.cloned();
        }
    })
}

fn reword(context: &mut StatementContext, object: &Object, change: impl FnOnce(&mut Statement)) -> Result<()> {
    if object.header().statement.is_empty() {
        return Ok(());
    }
    let mut statement = own_statement(object)?;
    change(&mut statement);
    context.changes.push(Change::Reword { id: object.id(), statement: statement.to_string(), query: None });
    Ok(())
}

fn rename(context: &mut StatementContext, object: &Object, to: &str) -> Result<()> {
    // Stored queries name what they read: renaming under them would leave them reading nothing.
    let readers: Vec<String> = context
        .snapshot()
        .dependents(object.id())
        .into_iter()
        .filter(|dependent| {
            dependent.kind().is_relation()
                || matches!(
                    dependent.kind(),
                    ObjectKind::Function | ObjectKind::Sink | ObjectKind::Expectation | ObjectKind::Alert
                )
        })
        .map(|dependent| format!("{} \"{}\"", dependent.kind().as_str(), dependent.name()))
        .collect();
    if !readers.is_empty() && object.kind() != ObjectKind::Entity {
        return Err(Error::new(
            Kind::DependentObjectsStillExist,
            format!(
                "cannot rename {} \"{}\" because other objects read it by name",
                object.kind().as_str(),
                object.name()
            ),
        )
        .with_detail(format!("These read it: {}.", readers.join(", ")))
        .with_hint("drop them first, or make a new object under the new name"));
    }
    context.changes.push(Change::Rename { id: object.id(), to: to.to_owned() });
    let name = sqlparser::ast::ObjectName::from(vec![granary_sql::name::canonical(
        &sqlparser::ast::Ident::with_quote('"', to),
    )]);
    reword(context, object, |statement| declaration::rename(statement, name))
}
