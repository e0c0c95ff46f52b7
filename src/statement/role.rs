//! `CREATE ROLE`, `ALTER ROLE`, `DROP ROLE`, and who is a member of which: `GRANT role TO role`.

use granary_catalog::{Change, Header, Home, Object, ObjectId, PredefinedRole, Privilege, Role, SealedText};
use granary_sql::name::{canonical, fold};
use granary_sql::statement::{GrantRole, RevokeRole};
use sqlparser::ast::{self, Ident, ObjectName};

use super::context::StatementContext;
use super::grant::change_grants;
use crate::access::{grants_of, make_verifier, memberships, parse_verifier};
use crate::error::{Error, Kind, Result};

pub fn create(context: &mut StatementContext, create: &ast::CreateRole) -> Result<()> {
    context.scope.access().check_superuser("permission denied to create role", "CREATE ROLE")?;
    let [name] = create.names.as_slice() else {
        return Err(Error::new(Kind::Syntax, "CREATE ROLE makes one role at a time"));
    };
    let name = role_name(context, name)?;
    check_reserved(&name)?;
    if create.if_not_exists && context.snapshot().role(&name).is_some() {
        context.notices.push(Error::new(Kind::DuplicateObject, format!("role \"{name}\" already exists, skipping")));
        return Ok(());
    }
    for (members, what) in [(&create.role, "ROLE"), (&create.user, "USER"), (&create.admin, "ADMIN")] {
        if !members.is_empty() {
            return Err(Error::not_supported(format!("CREATE ROLE … {what}")).with_hint("GRANT the new role to them"));
        }
    }
    let mut role = Role::new(Header::new(context.snapshot().next_id(), Home::Server, &name, &name));
    let switches = [
        create.superuser.map(ast::RoleOption::SuperUser),
        create.create_db.map(ast::RoleOption::CreateDB),
        create.create_role.map(ast::RoleOption::CreateRole),
        create.inherit.map(ast::RoleOption::Inherit),
        create.login.map(ast::RoleOption::Login),
        create.replication.map(ast::RoleOption::Replication),
        create.bypassrls.map(ast::RoleOption::BypassRLS),
        create.connection_limit.clone().map(ast::RoleOption::ConnectionLimit),
        create.password.clone().map(ast::RoleOption::Password),
        create.valid_until.clone().map(ast::RoleOption::ValidUntil),
    ];
    for option in switches.into_iter().flatten() {
        set(context, &mut role, &option)?;
    }
    role.header.statement = statement_of(&role);
    let id = role.header.id;
    context.changes.push(Change::put(role));
    let groups: Vec<&Ident> = create.in_role.iter().chain(&create.in_group).collect();
    for group in groups {
        let group = named(context, group)?;
        give(context, &group, id, false)?;
    }
    Ok(())
}

pub fn alter(context: &mut StatementContext, name: &Ident, operation: &ast::AlterRoleOperation) -> Result<()> {
    let Named::Role(id) = named(context, name)? else {
        return Err(reserved(&fold(name)));
    };
    let mut role = role_of(context, id)?;
    match operation {
        ast::AlterRoleOperation::WithOptions { options } => {
            let own_password =
                role.header.name == context.role && options.iter().all(|o| matches!(o, ast::RoleOption::Password(_)));
            let of_superusers = |option: &ast::RoleOption| matches!(option, ast::RoleOption::SuperUser(_));
            if role.superuser && !own_password || options.iter().any(of_superusers) {
                let message = "must be superuser to alter superuser roles or change superuser attribute";
                context.scope.access().check_superuser(message, "ALTER ROLE")?;
            } else if !own_password {
                context.scope.access().check_superuser("permission denied", "ALTER ROLE")?;
            }
            let could_administer = role.superuser && role.login;
            for option in options {
                set(context, &mut role, option)?;
            }
            let can_administer = role.superuser && role.login;
            if could_administer && !can_administer && !has_other_superuser(context, id) {
                let message = format!("role \"{}\" is the last superuser", role.header.name);
                return Err(Error::new(Kind::ObjectNotInPrerequisiteState, message)
                    .with_hint("make another one first: ALTER ROLE name SUPERUSER"));
            }
            role.header.statement = statement_of(&role);
            context.changes.push(Change::put(role));
            Ok(())
        }
        ast::AlterRoleOperation::RenameRole { role_name } => {
            context.scope.access().check_superuser("permission denied to rename role", "ALTER ROLE")?;
            let to = fold(role_name);
            check_reserved(&to)?;
            if role.header.name == context.role {
                return Err(Error::new(Kind::FeatureNotSupported, "session user cannot be renamed"));
            }
            role.header.name = to;
            role.header.statement = statement_of(&role);
            context.changes.push(Change::put(role));
            Ok(())
        }
        other => {
            let what = other.to_string();
            let first = what.split_whitespace().next().unwrap_or_default();
            Err(Error::not_supported(format!("ALTER ROLE … {first}")))
        }
    }
}

pub fn drop(context: &mut StatementContext, names: &[ObjectName], if_exists: bool) -> Result<()> {
    context.scope.access().check_superuser("permission denied to drop role", "DROP ROLE")?;
    for name in names {
        let name = role_name(context, name)?;
        if predefined(&name).is_some() {
            return Err(reserved(&name));
        }
        let Some(role) = context.snapshot().role(&name).cloned() else {
            let message = format!("role \"{name}\" does not exist");
            if if_exists {
                context.notices.push(Error::new(Kind::UndefinedObject, format!("{message}, skipping")));
                continue;
            }
            return Err(Error::new(Kind::UndefinedObject, message));
        };
        if name == context.role {
            return Err(Error::new(Kind::ObjectInUse, "current user cannot be dropped"));
        }
        let needed = what_needs(context, &role);
        if !needed.is_empty() {
            let message = format!("role \"{name}\" cannot be dropped because some objects depend on it");
            return Err(Error::new(Kind::DependentObjectsStillExist, message)
                .with_detail(needed.join("\n"))
                .with_hint("ALTER … OWNER TO another role, REVOKE what was granted, DROP API KEY"));
        }
        context.changes.push(Change::Drop { id: role.header.id, cascade: false });
    }
    Ok(())
}

/// What keeps a role from being dropped, a line each.
fn what_needs(context: &StatementContext, role: &Role) -> Vec<String> {
    let mut lines = Vec::new();
    for object in context.snapshot().objects().filter(|object| object.id() != role.header.id) {
        let kind = object.kind().as_str();
        let name = object.name();
        if let Object::ApiKey(key) = object.as_ref()
            && key.role == role.header.id
        {
            lines.push(format!("API key {name}"));
        } else if object.header().owner == role.header.name {
            lines.push(format!("owner of {kind} {name}"));
        }
        if object.header().grants_to(role.header.id) {
            lines.push(format!("privileges for {kind} {name}"));
        }
        lines.extend(super::policy::targets(object, role));
    }
    lines
}

pub fn grant(context: &mut StatementContext, grant: &GrantRole) -> Result<()> {
    context.check_grantor(grant.granted_by.as_ref())?;
    each(context, &grant.roles, &grant.members, |context, role, member| give(context, role, member, grant.admin_option))
}

pub fn revoke(context: &mut StatementContext, revoke: &RevokeRole) -> Result<()> {
    context.check_grantor(revoke.granted_by.as_ref())?;
    each(context, &revoke.roles, &revoke.members, |context, role, member| {
        take(context, role, member, revoke.admin_option_only)
    })
}

fn each(
    context: &mut StatementContext,
    roles: &[Ident],
    members: &[Ident],
    change: impl Fn(&mut StatementContext, &Named, ObjectId) -> Result<()>,
) -> Result<()> {
    for role in roles {
        let role = named(context, role)?;
        for member in members {
            match named(context, member)? {
                Named::Role(id) => change(context, &role, id)?,
                Named::Server(_) | Named::Workspace(_) => return Err(reserved(&fold(member))),
            }
        }
    }
    Ok(())
}

/// What a role's name means.
enum Named {
    Role(ObjectId),
    /// one that is always there
    Server(PredefinedRole),
    /// one that every workspace has: the connection's is meant
    Workspace(Privilege),
}

fn named(context: &StatementContext, ident: &Ident) -> Result<Named> {
    let name = context.role_named(ident);
    if let Some(named) = predefined(&name) {
        return Ok(named);
    }
    // also one that this very statement makes
    let made = context.changes.iter().find_map(|change| match change {
        Change::Put(Object::Role(role)) if role.header.name == name => Some(role.header.id),
        _ => None,
    });
    let known = made.or_else(|| context.snapshot().role(&name).map(|role| role.header.id));
    known.map(Named::Role).ok_or_else(|| {
        let error = Error::new(Kind::UndefinedObject, format!("role \"{name}\" does not exist"));
        context.at_ident(ident, error)
    })
}

/// The role of that name, which must be none of those that are always there.
pub fn id_of(context: &StatementContext, ident: &Ident) -> Result<ObjectId> {
    match named(context, ident)? {
        Named::Role(id) => Ok(id),
        Named::Server(_) | Named::Workspace(_) => {
            Err(Error::not_supported(format!("a policy for the predefined role \"{}\"", fold(ident))))
        }
    }
}

fn predefined(name: &str) -> Option<Named> {
    let server = PredefinedRole::ALL.into_iter().find(|role| role.as_str() == name).map(Named::Server);
    server.or_else(|| Privilege::WORKSPACE_ROLES.into_iter().find(|role| role.as_str() == name).map(Named::Workspace))
}

/// The role as the statement has left it so far.
fn role_of(context: &StatementContext, id: ObjectId) -> Result<Role> {
    let changed = context.changes.iter().rev().find_map(|change| match change {
        Change::Put(Object::Role(role)) if role.header.id == id => Some(role),
        _ => None,
    });
    let role = changed.or_else(|| context.snapshot().get_as::<Role>(id)).cloned();
    role.ok_or_else(|| Error::internal("a role that was found is gone"))
}

/// Makes the role anew in the changes, in place of what the statement has left of it.
fn put(context: &mut StatementContext, role: Role) {
    let id = role.header.id;
    let earlier = context.changes.iter_mut().find(|change| matches!(change, Change::Put(_)) && change.id() == id);
    match earlier {
        Some(change) => *change = Change::put(role),
        None => context.changes.push(Change::put(role)),
    }
}

fn give(context: &mut StatementContext, group: &Named, member: ObjectId, admin: bool) -> Result<()> {
    let mut role = role_of(context, member)?;
    match *group {
        Named::Role(id) => {
            let group = role_of(context, id)?;
            context.scope.access().check_admin(&group, "GRANT")?;
            let so_far = context.scope.snapshot.apply(&context.changes)?;
            if memberships(&so_far, &group).contains(&member) {
                let message = format!("role \"{}\" is a member of role \"{}\"", group.header.name, role.header.name);
                return Err(Error::new(Kind::InvalidGrantOperation, message));
            }
            if role.member_of.contains(&id) && (!admin || role.admin_of.contains(&id)) {
                let message =
                    format!("role \"{}\" is already a member of role \"{}\"", role.header.name, group.header.name);
                context.notices.push(Error::new(Kind::SuccessfulCompletion, message));
                return Ok(());
            }
            if !role.member_of.contains(&id) {
                role.member_of.push(id);
            }
            if admin {
                role.admin_of.push(id);
            }
            put(context, role);
        }
        Named::Server(predefined) => {
            check_predefined(context, predefined, admin)?;
            if !role.predefined.contains(&predefined) {
                role.predefined.push(predefined);
                put(context, role);
            }
        }
        Named::Workspace(privilege) => {
            if admin {
                return Err(Error::not_supported(format!("GRANT {privilege} … WITH ADMIN OPTION"))
                    .with_hint("every owner of the workspace may grant its predefined roles"));
            }
            change_workspace_role(context, privilege, member, true)?;
        }
    }
    Ok(())
}

fn take(context: &mut StatementContext, group: &Named, member: ObjectId, only_admin: bool) -> Result<()> {
    let mut role = role_of(context, member)?;
    match *group {
        Named::Role(id) => {
            let group = role_of(context, id)?;
            context.scope.access().check_admin(&group, "REVOKE")?;
            if !role.member_of.contains(&id) {
                let message =
                    format!("role \"{}\" is not a member of role \"{}\"", role.header.name, group.header.name);
                context.notices.push(Error::new(Kind::SuccessfulCompletion, message));
                return Ok(());
            }
            role.admin_of.retain(|known| *known != id);
            if !only_admin {
                role.member_of.retain(|known| *known != id);
            }
            put(context, role);
        }
        Named::Server(predefined) => {
            check_predefined(context, predefined, only_admin)?;
            role.predefined.retain(|known| *known != predefined);
            put(context, role);
        }
        Named::Workspace(privilege) if !only_admin => change_workspace_role(context, privilege, member, false)?,
        Named::Workspace(privilege) => {
            return Err(Error::not_supported(format!("REVOKE ADMIN OPTION FOR {privilege}")));
        }
    }
    Ok(())
}

fn check_predefined(context: &StatementContext, role: PredefinedRole, admin: bool) -> Result<()> {
    let name = role.as_str();
    if admin {
        return Err(Error::not_supported(format!("ADMIN OPTION of {name}")).with_hint("superusers grant it"));
    }
    context.scope.access().check_superuser(format!("must have admin option on role \"{name}\""), "GRANT")
}

/// A predefined role is a right on the connection's workspace.
fn change_workspace_role(
    context: &mut StatementContext,
    privilege: Privilege,
    member: ObjectId,
    given: bool,
) -> Result<()> {
    let id = context.scope.workspace;
    let workspace = context.snapshot().get(id).cloned();
    let workspace = workspace.ok_or_else(|| Error::internal("the connection's workspace is gone"))?;
    context.scope.access().check_grant(&workspace, if given { "GRANT" } else { "REVOKE" })?;
    let grant = granary_catalog::Grant { grantee: Some(member), privilege, column: None };
    change_grants(context, id, grants_of(&workspace).to_vec(), |grants| {
        if given {
            grants.insert(grant);
        } else {
            grants.remove(&grant);
        }
    });
    Ok(())
}

/// Sets one option. What differs from PostgreSQL's default and does not exist here is refused.
fn set(context: &mut StatementContext, role: &mut Role, option: &ast::RoleOption) -> Result<()> {
    use ast::RoleOption;
    let unlimited = |expr: &ast::Expr, text: &str| expr.to_string().trim_matches('\'').eq_ignore_ascii_case(text);
    match option {
        RoleOption::SuperUser(superuser) => role.superuser = *superuser,
        RoleOption::Login(login) => role.login = *login,
        RoleOption::BypassRLS(bypass_rls) => role.bypass_rls = *bypass_rls,
        RoleOption::Password(ast::Password::NullPassword) => role.scram_verifier = None,
        RoleOption::Password(ast::Password::Password(expr)) => role.scram_verifier = verifier(context, expr)?,
        RoleOption::CreateDB(false)
        | RoleOption::CreateRole(false)
        | RoleOption::Replication(false)
        | RoleOption::Inherit(true) => {}
        RoleOption::ConnectionLimit(limit) if unlimited(limit, "-1") => {}
        RoleOption::ValidUntil(until) if unlimited(until, "infinity") => {}
        other => {
            let text = other.to_string();
            let words: Vec<&str> = text.split(' ').take_while(|word| word.chars().all(char::is_uppercase)).collect();
            return Err(Error::not_supported(format!("the role option {}", words.join(" "))));
        }
    }
    Ok(())
}

/// What is kept of a password: its verifier, or the one that was given in its place.
fn verifier(context: &mut StatementContext, password: &ast::Expr) -> Result<Option<SealedText>> {
    let text = match password {
        ast::Expr::Value(value) => value.value.clone().into_string(),
        _ => None,
    };
    let Some(text) = text else { return Err(Error::new(Kind::Syntax, "the password is not a text in quotes")) };
    if text.is_empty() {
        let message = "empty string is not a valid password, clearing password";
        context.notices.push(Error::new(Kind::SuccessfulCompletion, message));
        return Ok(None);
    }
    if parse_verifier(&text).is_some() {
        return Ok(Some(SealedText::new(text)));
    }
    let is_md5 = text.len() == 35
        && text.starts_with("md5")
        && text[3..].bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if is_md5 {
        return Err(Error::not_supported("a password that is hashed with MD5").with_hint("give the password itself"));
    }
    Ok(Some(SealedText::new(make_verifier(&text)?)))
}

/// What makes the role anew, but for its password.
fn statement_of(role: &Role) -> String {
    let name = canonical(&Ident::with_quote('"', &role.header.name));
    let superuser = if role.superuser { " SUPERUSER" } else { "" };
    let login = if role.login { " LOGIN" } else { "" };
    let bypass_rls = if role.bypass_rls { " BYPASSRLS" } else { "" };
    format!("CREATE ROLE {name}{superuser}{login}{bypass_rls}")
}

fn role_name(context: &StatementContext, name: &ObjectName) -> Result<String> {
    match name.0.as_slice() {
        [ast::ObjectNamePart::Identifier(ident)] => Ok(fold(ident)),
        _ => Err(context.at(name, Error::new(Kind::Syntax, format!("\"{name}\" is not the name of a role")))),
    }
}

fn check_reserved(name: &str) -> Result<()> {
    let is_word = matches!(name, "public" | "none");
    if is_word || name.starts_with("pg_") || predefined(name).is_some() { Err(reserved(name)) } else { Ok(()) }
}

fn reserved(name: &str) -> Error {
    let error = Error::new(Kind::ReservedName, format!("role name \"{name}\" is reserved"));
    match name.starts_with("pg_") {
        true => error.with_detail("Role names starting with \"pg_\" are reserved."),
        false => error,
    }
}

fn has_other_superuser(context: &StatementContext, id: ObjectId) -> bool {
    context.snapshot().all::<Role>().into_iter().any(|role| role.superuser && role.login && role.header.id != id)
}
