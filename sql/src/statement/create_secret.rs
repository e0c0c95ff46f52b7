//! `CREATE SECRET name AS 'value'`: something that sources name as `secret:name` instead of showing it.

use std::fmt::{self, Debug, Display};

use sqlparser::ast::ObjectName;

use crate::clause::{Clause, Clauses, Printed};
use crate::cursor::{Cursor, Result};
use crate::head::{Head, parse_head, print_head};
use crate::name::quote_literal;
use crate::object_kind::ObjectKind;
use crate::option::Options;

/// Its debug print, unlike its SQL, does not show the value.
#[derive(Clone, PartialEq)]
pub struct CreateSecret {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    pub value: String,
    pub options: Options,
    pub comment: Option<String>,
}

impl Debug for CreateSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.to_string();
        formatter.debug_struct("CreateSecret").field("name", &name).finish_non_exhaustive()
    }
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateSecret> {
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    if !cursor.take(&["as"]) {
        let hint = format!("type CREATE SECRET {name} AS 'value'");
        return Err(cursor.expected("AS").with_hint(hint));
    }
    let value = cursor.string("the secret in quotes")?;
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &[Clause::With, Clause::Comment])?;
    let Clauses { options, comment, .. } = clauses;
    Ok(CreateSecret { or_replace, if_not_exists, name, value, options, comment })
}

impl Display for CreateSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = print_head(ObjectKind::Secret, self.or_replace, self.if_not_exists, &self.name);
        let head = format!("{head} AS {}", quote_literal(&self.value));
        Printed::new(head).options(&self.options).comment(&self.comment).write(formatter)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("create secret if not exists s as 'it''s'", "CREATE SECRET IF NOT EXISTS s AS 'it''s'");
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE SECRET s 'x'", "syntax error at or near \"'x'\"", 17);
        check_error("CREATE SECRET s AS x", "syntax error at or near \"x\"", 20);
    }

    #[test]
    fn debug_print_hides_the_value() {
        let parsed = crate::parse("CREATE SECRET s AS 'hush'").unwrap();
        assert!(!format!("{:?}", parsed[0].statement).contains("hush"));
    }
}
