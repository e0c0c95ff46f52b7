//! `CREATE ENTITY name (column type, …)`: a thing that features describe, by its join keys.

use std::fmt::{self, Display};

use sqlparser::ast::ObjectName;

use crate::clause::{Clause, Clauses, Printed, unexpected};
use crate::column::{Column, parse_columns};
use crate::cursor::{Cursor, Result};
use crate::head::{Head, parse_head, print_head};
use crate::object_kind::ObjectKind;
use crate::option::{Options, join};

#[derive(Debug, Clone, PartialEq)]
pub struct CreateEntity {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    /// The join keys.
    pub columns: Vec<Column>,
    pub options: Options,
    pub comment: Option<String>,
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateEntity> {
    const ALLOWED: [Clause; 2] = [Clause::With, Clause::Comment];
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    if cursor.at_end() {
        let hint = format!("type CREATE ENTITY {name} (user_id text)");
        return Err(cursor.expected("the entity's join keys").with_hint(hint));
    }
    let columns = parse_columns(cursor)?;
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &ALLOWED)?;
    if !cursor.at_end() {
        return Err(unexpected(cursor, &ALLOWED, "end of statement"));
    }
    let Clauses { options, comment, .. } = clauses;
    Ok(CreateEntity { or_replace, if_not_exists, name, columns, options, comment })
}

impl Display for CreateEntity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = print_head(ObjectKind::Entity, self.or_replace, self.if_not_exists, &self.name);
        let head = format!("{head} ({})", join(&self.columns));
        Printed::new(head).options(&self.options).comment(&self.comment).write(formatter)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("create entity Customer (User_ID TEXT)", "CREATE ENTITY customer (user_id TEXT)");
        check(
            "CREATE OR REPLACE ENTITY prod.public.\"Route\" (carrier text, \"Origin\" varchar(3)) COMMENT 'a''b' WITH (owner = me)",
            "CREATE OR REPLACE ENTITY prod.public.\"Route\" (carrier text, \"Origin\" varchar(3))\n  WITH (owner = me)\n  COMMENT 'a''b'",
        );
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE ENTITY c", "syntax error at end of input", 16);
        check_error("CREATE ENTITY c (a text, a int)", "column \"a\" specified more than once", 26);
        check_error("CREATE ENTITY c (a text) TIMESTAMP ts", "syntax error at or near \"TIMESTAMP\"", 26);
    }
}
