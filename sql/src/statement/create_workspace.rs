//! `CREATE WORKSPACE name [LIVE | DEVELOPMENT]`, or `CREATE DATABASE name`, which is a live one.

use std::fmt::{self, Display};

use sqlparser::ast::ObjectName;
use sqlparser::tokenizer::Token;

use crate::clause::{Clause, Clauses, Printed};
use crate::cursor::{Cursor, Result};
use crate::error::ParseErrorKind;
use crate::head::{parse_modes, print_head};
use crate::object_kind::ObjectKind;
use crate::option::{OptionEntry, OptionValue, Options};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkspaceMode {
    /// Materializes and serves.
    Live,
    /// Computes on demand, never materializes.
    Development,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateWorkspace {
    pub or_replace: bool,
    pub if_not_exists: bool,
    /// One part.
    pub name: ObjectName,
    pub mode: WorkspaceMode,
    /// Those of CREATE DATABASE (owner, template, encoding, …) are here too.
    pub options: Options,
    pub comment: Option<String>,
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateWorkspace> {
    let is_database = cursor.sees(&["create", "database"]) || cursor.sees(&["create", "or", "replace", "database"]);
    let (or_replace, if_not_exists) = parse_modes(cursor)?;
    let name = ObjectName::from(vec![cursor.name()?]);
    let (mut mode, mut clauses) = (WorkspaceMode::Live, Clauses::default());
    if is_database {
        clauses.options = parse_database_options(cursor)?;
    } else {
        if cursor.take(&["development"]) {
            mode = WorkspaceMode::Development;
        } else {
            cursor.take(&["live"]);
        }
        clauses.parse(cursor, &[Clause::With, Clause::Comment])?;
        if !cursor.at_end() {
            return Err(cursor.expected("LIVE, DEVELOPMENT, WITH, COMMENT or end of statement"));
        }
    }
    let Clauses { options, comment, .. } = clauses;
    Ok(CreateWorkspace { or_replace, if_not_exists, name, mode, options, comment })
}

/// PostgreSQL's `[WITH] OWNER [=] name ENCODING [=] 'utf8' …`
fn parse_database_options(cursor: &mut Cursor) -> Result<Options> {
    const KNOWN: [&str; 16] = [
        "owner",
        "template",
        "encoding",
        "strategy",
        "locale",
        "lc_collate",
        "lc_ctype",
        "builtin_locale",
        "icu_locale",
        "icu_rules",
        "locale_provider",
        "collation_version",
        "tablespace",
        "allow_connections",
        "is_template",
        "oid",
    ];
    cursor.take(&["with"]);
    let mut options = Options::default();
    while !cursor.at_end() {
        let position = Some(cursor.position());
        let name = if cursor.take(&["connection", "limit"]) {
            "connection_limit".to_string()
        } else if let Some(known) = KNOWN.into_iter().find(|known| cursor.sees(&[known])) {
            cursor.advance();
            known.to_string()
        } else {
            return Err(cursor.expected("an option of CREATE DATABASE, such as OWNER, or end of statement"));
        };
        if options.get(&name).is_some() {
            let message = format!("option \"{name}\" is given more than once");
            return Err(cursor.error(ParseErrorKind::Syntax, message).with_hint(format!("keep one {name}")));
        }
        cursor.take_symbol(&Token::Eq);
        let value = if let Some(text) = cursor.take_string() {
            OptionValue::String(text)
        } else if let Some(number) = cursor.take_number() {
            OptionValue::Number(number)
        } else if cursor.take(&["default"]) {
            OptionValue::Ident("default".to_string())
        } else {
            OptionValue::Ident(cursor.name()?.value)
        };
        options.entries.push(OptionEntry { name, value, position });
    }
    Ok(options)
}

impl Display for CreateWorkspace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = print_head(ObjectKind::Workspace, self.or_replace, self.if_not_exists, &self.name);
        let mode = match self.mode {
            WorkspaceMode::Live => "LIVE",
            WorkspaceMode::Development => "DEVELOPMENT",
        };
        Printed::new(format!("{head} {mode}")).options(&self.options).comment(&self.comment).write(formatter)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("CREATE WORKSPACE dev DEVELOPMENT", "CREATE WORKSPACE dev DEVELOPMENT");
        check("CREATE DATABASE IF NOT EXISTS prod", "CREATE WORKSPACE IF NOT EXISTS prod LIVE");
        check(
            "CREATE DATABASE d OWNER = me ENCODING 'UTF8' TEMPLATE template0 CONNECTION LIMIT -1",
            "CREATE WORKSPACE d LIVE\n  WITH (owner = me, encoding = 'UTF8', template = template0, connection_limit = -1)",
        );
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE WORKSPACE dev DEVELOP", "syntax error at or near \"DEVELOP\"", 22);
        check_error("CREATE WORKSPACE a.b", "syntax error at or near \".\"", 19);
    }
}
