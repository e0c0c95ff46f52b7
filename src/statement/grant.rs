//! `GRANT privileges ON objects TO roles` and `REVOKE`.

use std::collections::BTreeSet;

use granary_catalog::{Change, Grant, NameSpace, Object, ObjectId, ObjectKind, Privilege};
use granary_sql::name::fold;
use granary_sql::{Signature, SqlText};
use sqlparser::ast::{self, Ident, ObjectName};

use super::context::StatementContext;
use super::function;
use crate::access::grants_of;
use crate::engine::{columns_of_relation, is_system_schema, table_reference};
use crate::error::{Error, Kind, Result};

const OF_RELATIONS: &[Privilege] = &[Privilege::Select, Privilege::Insert, Privilege::Update, Privilege::Delete];
const OF_FUNCTIONS: &[Privilege] = &[Privilege::Execute];
const OF_SCHEMAS: &[Privilege] = &[Privilege::Usage, Privilege::Create];
const OF_WORKSPACES: &[Privilege] = &[Privilege::Create, Privilege::Connect];

pub fn grant(context: &mut StatementContext, grant: &ast::Grant) -> Result<()> {
    if grant.with_grant_option {
        return Err(Error::not_supported("GRANT … WITH GRANT OPTION")
            .with_hint("owners of an object and of its workspace may grant"));
    }
    context.check_grantor(grant.granted_by.as_ref())?;
    let changed = Changed { privileges: &grant.privileges, objects: &grant.objects, grantees: &grant.grantees };
    changed.apply(context, "GRANT", |grants, grant| {
        grants.insert(grant);
    })
}

pub fn revoke(context: &mut StatementContext, revoke: &ast::Revoke) -> Result<()> {
    context.check_grantor(revoke.granted_by.as_ref())?;
    let changed = Changed { privileges: &revoke.privileges, objects: &revoke.objects, grantees: &revoke.grantees };
    changed.apply(context, "REVOKE", |grants, taken| {
        // a right that is taken from a relation is taken from its columns, too
        grants.retain(|grant| {
            let same = grant.grantee == taken.grantee && grant.privilege == taken.privilege;
            !(same && (taken.column.is_none() || grant.column == taken.column))
        });
    })
}

/// Leaves the object's grants as `change` makes them out of those in force.
pub fn change_grants(
    context: &mut StatementContext,
    id: ObjectId,
    in_force: Vec<Grant>,
    change: impl FnOnce(&mut BTreeSet<Grant>),
) {
    let earlier =
        context.changes.iter().rposition(|change| matches!(change, Change::SetGrants { id: of, .. } if *of == id));
    let in_force = match earlier.map(|at| context.changes.remove(at)) {
        Some(Change::SetGrants { grants, .. }) => grants.unwrap_or_default(),
        _ => in_force,
    };
    let mut grants: BTreeSet<Grant> = in_force.into_iter().collect();
    change(&mut grants);
    context.changes.push(Change::SetGrants { id, grants: Some(grants.into_iter().collect()) });
}

/// What a GRANT or REVOKE is about.
struct Changed<'a> {
    privileges: &'a ast::Privileges,
    objects: &'a Option<ast::GrantObjects>,
    grantees: &'a [ast::Grantee],
}

impl Changed<'_> {
    fn apply(
        &self,
        context: &mut StatementContext,
        verb: &str,
        change: impl Fn(&mut BTreeSet<Grant>, Grant),
    ) -> Result<()> {
        let grantees = self.grantees.iter().map(|grantee| grantee_of(context, grantee));
        let grantees = grantees.collect::<Result<Vec<Option<ObjectId>>>>()?;
        for id in self.objects(context)? {
            let object = context.snapshot().get(id).cloned();
            let object = object.ok_or_else(|| Error::internal("an object that was found is gone"))?;
            context.scope.access().check_grant(&object, verb)?;
            let rights = self.rights(context, &object)?;
            change_grants(context, id, grants_of(&object).to_vec(), |grants| {
                for grantee in &grantees {
                    for (privilege, column) in &rights {
                        let grant = Grant { grantee: *grantee, privilege: *privilege, column: column.clone() };
                        change(grants, grant);
                    }
                }
            });
        }
        Ok(())
    }

    /// The objects named, each once.
    fn objects(&self, context: &StatementContext) -> Result<BTreeSet<ObjectId>> {
        use ast::GrantObjects;
        let Some(objects) = self.objects else {
            return Err(Error::new(Kind::Syntax, "the statement does not say ON what"));
        };
        match objects {
            GrantObjects::Tables(names) | GrantObjects::Views(names) => {
                names.iter().map(|name| relation(context, name)).collect()
            }
            GrantObjects::Schemas(names) => {
                names.iter().map(|name| Ok(context.find(ObjectKind::Schema, name)?.id())).collect()
            }
            GrantObjects::Databases(names) => {
                names.iter().map(|name| Ok(context.find(ObjectKind::Workspace, name)?.id())).collect()
            }
            GrantObjects::Function { name, arg_types } => {
                let types = arg_types.iter().map(|given| SqlText::new(given.clone(), given.to_string())).collect();
                let signature = Some(Signature(types)).filter(|signature| !signature.0.is_empty());
                Ok(BTreeSet::from([function::find(context, name, signature.as_ref())?.id()]))
            }
            GrantObjects::AllFunctionsInSchema { schemas } => {
                let mut found = BTreeSet::new();
                for schema in schemas {
                    let schema = context.find(ObjectKind::Schema, schema)?.id();
                    let functions = context.snapshot().objects_in(NameSpace::Functions(schema));
                    found.extend(functions.map(|object| object.id()));
                }
                Ok(found)
            }
            GrantObjects::AllTablesInSchema { schemas } => {
                let mut found = BTreeSet::new();
                for schema in schemas {
                    let schema = context.find(ObjectKind::Schema, schema)?.id();
                    let relations = context.snapshot().objects_in(NameSpace::Relations(schema));
                    found.extend(relations.map(|object| object.id()));
                }
                Ok(found)
            }
            other => {
                let text = other.to_string();
                let words: Vec<&str> =
                    text.split(' ').take_while(|word| word.chars().all(char::is_uppercase)).collect();
                Err(Error::not_supported(format!("rights on {}", words.join(" "))))
            }
        }
    }

    /// The privileges, each with the column that it is for.
    fn rights(&self, context: &StatementContext, object: &Object) -> Result<Vec<(Privilege, Option<String>)>> {
        let (allowed, what) = match object.kind() {
            ObjectKind::Workspace => (OF_WORKSPACES, "database"),
            ObjectKind::Schema => (OF_SCHEMAS, "schema"),
            ObjectKind::Function => (OF_FUNCTIONS, "function"),
            _ => (OF_RELATIONS, "table"),
        };
        let actions = match self.privileges {
            ast::Privileges::All { .. } => return Ok(allowed.iter().map(|privilege| (*privilege, None)).collect()),
            ast::Privileges::Actions(actions) => actions,
        };
        let mut rights = Vec::new();
        for action in actions {
            let (privilege, columns) = privilege_of(action)?;
            if !allowed.contains(&privilege) {
                let message = format!("invalid privilege type {privilege} for {what}");
                return Err(Error::new(Kind::InvalidGrantOperation, message));
            }
            match columns {
                None => rights.push((privilege, None)),
                Some(columns) => {
                    let columns = columns.iter().map(|column| column_of(context, object, column));
                    rights.extend(columns.map(|column| Ok((privilege, Some(column?)))).collect::<Result<Vec<_>>>()?);
                }
            }
        }
        Ok(rights)
    }
}

fn privilege_of(action: &ast::Action) -> Result<(Privilege, Option<&Vec<Ident>>)> {
    Ok(match action {
        ast::Action::Select { columns } => (Privilege::Select, columns.as_ref()),
        ast::Action::Insert { columns } => (Privilege::Insert, columns.as_ref()),
        ast::Action::Update { columns } => (Privilege::Update, columns.as_ref()),
        ast::Action::Delete => (Privilege::Delete, None),
        ast::Action::Usage => (Privilege::Usage, None),
        ast::Action::Create { obj_type: None } => (Privilege::Create, None),
        ast::Action::Connect => (Privilege::Connect, None),
        ast::Action::Execute { obj_type: None } => (Privilege::Execute, None),
        other => return Err(Error::not_supported(format!("the privilege {other}"))),
    })
}

fn column_of(context: &StatementContext, object: &Object, column: &Ident) -> Result<String> {
    let name = fold(column);
    if object.kind().is_relation() && columns_of_relation(context.snapshot(), object).iter().any(|c| c.name == name) {
        return Ok(name);
    }
    let message = format!("column \"{name}\" of relation \"{}\" does not exist", object.name());
    Err(context.at_ident(column, Error::new(Kind::UndefinedColumn, message)))
}

fn relation(context: &StatementContext, name: &ObjectName) -> Result<ObjectId> {
    let reference = table_reference(name);
    let found = match &reference {
        Some(reference) if is_system_schema(reference.schema()) => {
            return Err(Error::not_supported("rights on system views").with_hint("everybody may read them"));
        }
        Some(reference) => context.scope.relation(reference)?,
        None => None,
    };
    found.map(|object| object.id()).ok_or_else(|| {
        let error = Error::new(Kind::UndefinedTable, format!("relation \"{name}\" does not exist"));
        context.at(name, error)
    })
}

/// `None` is PUBLIC.
fn grantee_of(context: &StatementContext, grantee: &ast::Grantee) -> Result<Option<ObjectId>> {
    use ast::GranteesType;
    match (&grantee.grantee_type, &grantee.name) {
        (
            GranteesType::None | GranteesType::Role | GranteesType::User | GranteesType::Group,
            Some(ast::GranteeName::ObjectName(name)),
        ) => {
            let [ast::ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
                return Err(context.at(name, Error::new(Kind::Syntax, format!("\"{name}\" is not the name of a role"))));
            };
            let name = context.role_named(ident);
            if name == "public" && ident.quote_style.is_none() {
                return Ok(None);
            }
            let role = context.snapshot().role(&name).map(|role| Some(role.header.id));
            role.ok_or_else(|| {
                let error = Error::new(Kind::UndefinedObject, format!("role \"{name}\" does not exist"));
                context.at_ident(ident, error)
            })
        }
        _ => Err(Error::new(Kind::Syntax, format!("\"{grantee}\" is not the name of a role"))),
    }
}
