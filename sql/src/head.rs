//! How every CREATE of a feature object begins: `CREATE [OR REPLACE] kind [IF NOT EXISTS] name`.

use sqlparser::ast::ObjectName;

use crate::cursor::{Cursor, Result};
use crate::error::ParseErrorKind;
use crate::object_kind::ObjectKind;

pub(crate) struct Head {
    pub(crate) or_replace: bool,
    pub(crate) if_not_exists: bool,
    pub(crate) name: ObjectName,
}

/// The kind that a CREATE statement at the cursor creates, if it is one of ours.
pub(crate) fn created_kind(cursor: &Cursor) -> Option<ObjectKind> {
    let after_replace = if cursor.sees(&["create", "or", "replace"]) { 3 } else { 1 };
    ObjectKind::see(cursor, after_replace)
}

/// `CREATE [OR REPLACE] kind [IF NOT EXISTS]`: whether to replace, and whether to leave an existing one.
pub(crate) fn parse_modes(cursor: &mut Cursor) -> Result<(bool, bool)> {
    cursor.expect(&["create"])?;
    let or_replace = cursor.take(&["or", "replace"]);
    ObjectKind::take(cursor);
    let if_not_exists = cursor.sees(&["if", "not", "exists"]);
    if or_replace && if_not_exists {
        let error = cursor.error(ParseErrorKind::Syntax, "OR REPLACE and IF NOT EXISTS cannot be used together");
        return Err(error.with_hint("keep one of the two"));
    }
    if if_not_exists {
        cursor.take(&["if", "not", "exists"]);
    }
    Ok((or_replace, if_not_exists))
}

pub(crate) fn parse_head(cursor: &mut Cursor) -> Result<Head> {
    let (or_replace, if_not_exists) = parse_modes(cursor)?;
    Ok(Head { or_replace, if_not_exists, name: cursor.object_name()? })
}

pub(crate) fn print_head(kind: ObjectKind, or_replace: bool, if_not_exists: bool, name: &ObjectName) -> String {
    let or_replace = if or_replace { "OR REPLACE " } else { "" };
    let if_not_exists = if if_not_exists { "IF NOT EXISTS " } else { "" };
    format!("CREATE {or_replace}{kind} {if_not_exists}{name}")
}
