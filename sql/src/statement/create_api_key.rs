//! `CREATE API KEY [name] FOR role`: a key that acts as a role; it is shown once.

use std::fmt::{self, Display};

use sqlparser::ast::Ident;

use crate::clause::{Clause, Clauses, Printed};
use crate::cursor::{Cursor, Result};
use crate::head::parse_modes;
use crate::option::Options;

#[derive(Debug, Clone, PartialEq)]
pub struct CreateApiKey {
    pub if_not_exists: bool,
    pub name: Option<Ident>,
    pub role: Ident,
    pub options: Options,
    pub comment: Option<String>,
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateApiKey> {
    if cursor.sees(&["create", "or"]) {
        cursor.advance();
        return Err(cursor.expected("API KEY").with_hint("drop the key and create another"));
    }
    let (_, if_not_exists) = parse_modes(cursor)?;
    let name = if cursor.sees(&["for"]) { None } else { Some(cursor.name()?) };
    if !cursor.take(&["for"]) {
        return Err(cursor.expected("FOR").with_hint("type CREATE API KEY FOR role"));
    }
    let role = cursor.any_name("a role's name")?;
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &[Clause::With, Clause::Comment])?;
    let Clauses { options, comment, .. } = clauses;
    Ok(CreateApiKey { if_not_exists, name, role, options, comment })
}

impl Display for CreateApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let if_not_exists = if self.if_not_exists { "IF NOT EXISTS " } else { "" };
        let name = self.name.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
        let head = format!("CREATE API KEY {if_not_exists}{name}FOR {}", self.role);
        Printed::new(head).options(&self.options).comment(&self.comment).write(formatter)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("create api key for App", "CREATE API KEY FOR app");
        check("CREATE API KEY ci FOR app COMMENT 'x'", "CREATE API KEY ci FOR app\n  COMMENT 'x'");
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE API KEY ci", "syntax error at end of input", 18);
        check_error("CREATE OR REPLACE API KEY ci FOR app", "syntax error at or near \"OR\"", 8);
    }
}
