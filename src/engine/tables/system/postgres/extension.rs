//! What PostgreSQL has no statements for is in an extension, so that its programs leave it alone: pg_dump knows that
//! whoever restores has its members already.

use granary_catalog::Object;

use super::super::rows::{Rows, row};
use super::names::{EXTENSION_OID, FIRST_ROLE_OID, GRANARY_OID, oid_of};
use super::server::FOREIGN_SERVER;
use super::{SystemContext, relations};
use crate::error::Result;

/// `pg_extension`, and the catalogs that its members are in.
const EXTENSION: i64 = 3079;
const CLASS: i64 = 1259;
const SCHEMA: i64 = 2615;
const SERVER: i64 = 1417;

pub fn pg_extension(_: &SystemContext, rows: &mut Rows) -> Result<()> {
    row!(rows,
        oid: EXTENSION_OID,
        extname: "granary",
        extowner: FIRST_ROLE_OID,
        extnamespace: GRANARY_OID,
        extversion: env!("CARGO_PKG_VERSION"),
    );
    Ok(())
}

/// The rows of `pg_depend` that say what belongs to it.
pub fn members(context: &SystemContext, rows: &mut Rows) {
    let views = relations().iter().filter(|relation| relation.schema == "granary");
    let views = views.map(|relation| (CLASS, relation.oid));
    let objects = context.relations().filter(|(object, _)| is_member(object));
    let objects = objects.map(|(object, _)| (CLASS, oid_of(object.id())));
    for (class, number) in [(SCHEMA, GRANARY_OID), (SERVER, FOREIGN_SERVER)].into_iter().chain(views).chain(objects) {
        row!(rows, classid: class, objid: number, refclassid: EXTENSION, refobjid: EXTENSION_OID, deptype: "e");
    }
}

fn is_member(object: &Object) -> bool {
    !matches!(object, Object::Table(_) | Object::View(_) | Object::Sequence(_))
}
