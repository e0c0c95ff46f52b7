//! What belongs to the server: databases, roles, settings, the session.

use granary_catalog::{Role, Workspace};
use granary_postgres::builtin;

use super::super::rows::{Rows, row};
use super::names::{self, PREDEFINED_ROLES, oid_of};
use super::{SystemContext, acl};
use crate::access::Asker;
use crate::error::Result;

const UTF8: i64 = 6;
const DEFAULT_TABLESPACE: i64 = 1663;

/// A database is a workspace.
pub fn pg_database(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for workspace in context.scope.snapshot.all::<Workspace>() {
        row!(rows,
            oid: oid_of(workspace.header.id),
            datname: &workspace.header.name,
            datdba: context.role_oid(&workspace.header.owner),
            datacl: context.scope.snapshot.get(workspace.header.id).and_then(|object| acl::of(&context.scope.snapshot, object)),
            encoding: UTF8,
            datlocprovider: "c",
            datallowconn: true,
            datconnlimit: -1,
            dattablespace: DEFAULT_TABLESPACE,
            datcollate: "C",
            datctype: "C",
        );
    }
    Ok(())
}

pub fn pg_authid(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for role in context.scope.snapshot.all::<Role>() {
        row!(rows,
            oid: oid_of(role.header.id),
            rolname: &role.header.name,
            rolsuper: role.superuser,
            rolinherit: true,
            rolcreaterole: role.superuser,
            rolcreatedb: role.superuser,
            rolcanlogin: role.login,
            rolreplication: role.superuser,
            rolbypassrls: role.superuser || role.bypass_rls,
            rolconnlimit: -1,
        );
    }
    for (oid, name) in PREDEFINED_ROLES {
        row!(rows,
            oid: oid,
            rolname: name,
            rolsuper: false,
            rolinherit: true,
            rolcreaterole: false,
            rolcreatedb: false,
            rolcanlogin: false,
            rolreplication: false,
            rolbypassrls: false,
            rolconnlimit: -1,
        );
    }
    Ok(())
}

pub fn pg_auth_members(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for member in context.scope.snapshot.all::<Role>() {
        for group in &member.member_of {
            row!(rows,
                roleid: oid_of(*group),
                member: oid_of(member.header.id),
                // who granted it is in the history only: PostgreSQL's first superuser stands in
                grantor: 10_i64,
                admin_option: member.admin_of.contains(group),
            );
        }
        let predefined = member.predefined.iter().map(|role| role.as_str());
        for (oid, _) in predefined.filter_map(|name| PREDEFINED_ROLES.iter().find(|(_, known)| *known == name)) {
            row!(rows, roleid: *oid, member: oid_of(member.header.id), grantor: 10_i64, admin_option: false);
        }
    }
    for part in ["pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables"] {
        if let Some((oid, _)) = PREDEFINED_ROLES.iter().find(|(_, name)| *name == part) {
            row!(rows, roleid: *oid, member: PREDEFINED_ROLES[0].0, grantor: 10_i64, admin_option: false);
        }
    }
    Ok(())
}

pub fn pg_settings(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for setting in (context.facts.settings)() {
        row!(rows,
            name: setting.name,
            setting: &setting.stored,
            unit: setting.unit,
            category: "Granary",
            short_desc: setting.description,
            context: "user",
            vartype: if setting.unit.is_some() { "integer" } else { "string" },
            source: "default",
            boot_val: &setting.stored,
            reset_val: &setting.stored,
            pending_restart: false,
        );
    }
    Ok(())
}

/// Every connected client. What others ask is shown to superusers only.
pub fn pg_stat_activity(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let asker = Asker::role(&context.facts.user);
    let access = asker.access(&context.scope.snapshot);
    for (process_id, client) in context.facts.activity.all() {
        let is_own = || context.scope.snapshot.role(&client.user).is_some_and(|role| access.is_member(role));
        let query = if access.is_unlimited() || is_own() { &*client.query } else { "<insufficient privilege>" };
        row!(rows,
            datid: oid_of(client.workspace),
            datname: &client.database,
            pid: process_id,
            usesysid: context.role_oid(&client.user),
            usename: &client.user,
            application_name: &client.application_name,
            client_addr: &client.client,
            backend_start: client.connected_us,
            query_start: client.query_start_us,
            state_change: client.state_change_us,
            state: client.state,
            query: query,
            backend_type: "client backend",
        );
    }
    Ok(())
}

/// By the bytes, which is how texts are sorted here.
pub fn pg_collation(_: &SystemContext, rows: &mut Rows) -> Result<()> {
    for (oid, name, provider) in
        [(100_i64, "default", "d"), (950, "C", "c"), (951, "POSIX", "c"), (12_341, "ucs_basic", "c")]
    {
        let is_default = name == "default";
        let locale = if name == "ucs_basic" { "C" } else { name };
        row!(rows,
            oid: oid,
            collname: name,
            collnamespace: names::PG_CATALOG_OID,
            collowner: names::FIRST_ROLE_OID,
            collprovider: provider,
            collisdeterministic: true,
            collencoding: if name == "ucs_basic" { 6 } else { -1 },
            collcollate: (!is_default).then_some(locale),
            collctype: (!is_default).then_some(locale),
        );
    }
    Ok(())
}

pub fn pg_tablespace(_: &SystemContext, rows: &mut Rows) -> Result<()> {
    let owner = names::FIRST_ROLE_OID;
    row!(rows, oid: DEFAULT_TABLESPACE, spcname: "pg_default", spcowner: owner);
    Ok(())
}

/// Sources and streams are foreign tables, and psql wants to know of which server.
pub const FOREIGN_SERVER: i64 = 14_600;

/// The rights that functions have from the beginning.
pub fn pg_init_privs(_: &SystemContext, rows: &mut Rows) -> Result<()> {
    const CLASS_OF_FUNCTIONS: i64 = 1255;
    let functions = builtin::table("pg_proc");
    let places = functions.and_then(|table| Some((table.column("oid")?, table.column("proacl")?)));
    let (Some(functions), Some((number, rights))) = (functions, places) else { return Ok(()) };
    for line in functions.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let items = fields[rights].strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let (Some(items), Ok(number)) = (items, fields[number].parse::<i64>()) else { continue };
        let items: Vec<String> = items.split(',').map(str::to_owned).collect();
        row!(rows, objoid: number, classoid: CLASS_OF_FUNCTIONS, objsubid: 0, privtype: "i", initprivs: items);
    }
    Ok(())
}

pub fn pg_foreign_server(_: &SystemContext, rows: &mut Rows) -> Result<()> {
    let owner = names::FIRST_ROLE_OID;
    row!(rows, oid: FOREIGN_SERVER, srvname: "outside", srvowner: owner);
    Ok(())
}

impl SystemContext {
    /// A role's OID; an owner need not be a role, and has none then.
    pub fn role_oid(&self, name: &str) -> i64 {
        self.scope.snapshot.role(name).map_or(10, |role| oid_of(role.header.id))
    }
}
