//! `CREATE TEST`: kept as it is said; `granary.test` runs it.

use granary_catalog::{Change, ObjectKind, Test};
use granary_sql::statement::CreateTest;

use super::context::{NewObject, StatementContext, check_options};
use crate::error::Result;

pub fn create(context: &mut StatementContext, create: &CreateTest) -> Result<()> {
    check_options(&create.options, &[])?;
    let anew = CreateTest { or_replace: false, if_not_exists: false, ..create.clone() };
    let header = context.new_header(NewObject {
        kind: ObjectKind::Test,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: anew.to_string(),
    })?;
    context.changes.extend(header.map(|header| Change::put(Test { header })));
    Ok(())
}
