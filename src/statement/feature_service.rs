//! `CREATE FEATURE SERVICE`: which features of which views, under which names and keys.

use granary_catalog::{Change, FeatureService, ObjectKind, ServiceMember};
use granary_sql::Options;
use granary_sql::name::fold;
use granary_sql::statement::{self as sql, CreateFeatureService};

use super::context::{NewObject, StatementContext, check_options};
use super::feature_view::cache_age;
use crate::engine::{Interface, table_reference};
use crate::error::{Error, Kind, Result};

pub const OPTIONS: [&str; 2] = ["cache", "log_sample"];

pub fn create(context: &mut StatementContext, create: &CreateFeatureService) -> Result<()> {
    check_options(&create.options, &OPTIONS)?;
    let mut interface = Interface::default();
    let mut members: Vec<ServiceMember> = Vec::with_capacity(create.members.len());
    for typed in &create.members {
        let member = member(context, typed)?;
        if members.iter().any(|other| other.alias == member.alias) {
            let error =
                Error::new(Kind::DuplicateColumn, format!("member \"{}\" specified more than once", member.alias))
                    .with_hint(format!("name it: {} AS other", typed.view));
            return Err(context.at(&typed.view, error));
        }
        interface.add_member(context.snapshot(), &member).map_err(|error| context.at(&typed.view, error))?;
        members.push(member);
    }
    interface.check_names().map_err(|error| context.at(&create.name, error))?;
    let header = context.new_header(NewObject {
        kind: ObjectKind::FeatureService,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: CreateFeatureService { or_replace: false, if_not_exists: false, ..create.clone() }.to_string(),
    })?;
    if let Some(header) = header {
        if let Some(existing) = context.snapshot().get(header.id) {
            context.check_replaced_interface(existing, &interface)?;
        }
        context.changes.push(Change::put(FeatureService {
            header,
            members,
            cache_us: cache_age(&create.options)?,
            log_sample: log_sample(&create.options)?,
        }));
    }
    Ok(())
}

/// Names looked up; whether the view has such features and keys is not checked here.
fn member(context: &StatementContext, typed: &sql::ServiceMember) -> Result<ServiceMember> {
    let found = match table_reference(&typed.view) {
        Some(reference) => context.scope.relation(&reference)?,
        None => None,
    };
    let object = found.ok_or_else(|| {
        let error = Error::new(
            Kind::UndefinedTable,
            format!("relation \"{}\" does not exist", granary_sql::name::shown(&typed.view)),
        );
        context.at(&typed.view, error)
    })?;
    if !matches!(object.kind(), ObjectKind::FeatureView | ObjectKind::FeatureTable | ObjectKind::RealtimeView) {
        let message = format!("a feature service cannot have the {} \"{}\"", object.kind().as_str(), object.name());
        let error = Error::new(Kind::WrongObjectType, message)
            .with_hint("its members are feature views, feature tables and realtime feature views");
        return Err(context.at(&typed.view, error));
    }
    let mut keys: Vec<(String, String)> = Vec::with_capacity(typed.keys.len());
    for rename in &typed.keys {
        let key = fold(&rename.key);
        if keys.iter().any(|(known, _)| *known == key) {
            let error = Error::new(Kind::DuplicateColumn, format!("join key \"{key}\" is renamed more than once"));
            return Err(context.at_ident(&rename.key, error));
        }
        keys.push((key, fold(&rename.column)));
    }
    let alias = typed.alias.as_ref().map_or_else(|| object.name().to_owned(), fold);
    let features = typed.features.as_ref().map(|features| features.iter().map(fold).collect());
    Ok(ServiceMember { view: object.id(), alias, features, keys })
}

fn log_sample(options: &Options) -> Result<Option<f64>> {
    match options.number("log_sample")? {
        Some(share) if !(0.0..=1.0).contains(&share) => {
            Err(Error::new(Kind::InvalidParameterValue, "log_sample must be from 0 to 1"))
        }
        share => Ok(share),
    }
}
