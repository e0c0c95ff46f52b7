//! `GRANT role, … TO member, …` and `REVOKE role, … FROM member, …`: who is in which role.
//! Privileges (`GRANT SELECT ON …`) are PostgreSQL's and read by sqlparser.

use std::fmt::{self, Display};

use sqlparser::ast::Ident;
use sqlparser::tokenizer::Token;

use crate::cursor::{Cursor, Result};
use crate::option::join;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRole {
    pub roles: Vec<Ident>,
    pub members: Vec<Ident>,
    /// Members may grant the roles on.
    pub admin_option: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeRole {
    pub roles: Vec<Ident>,
    pub members: Vec<Ident>,
    /// Take only the right to grant on, not the roles.
    pub admin_option_only: bool,
    pub cascade: bool,
}

/// Whether a GRANT or REVOKE at the cursor is about roles: those about privileges name an object after ON.
pub(crate) fn is_of_roles(cursor: &Cursor, end: &str) -> bool {
    let mut nth = 1;
    loop {
        let token = cursor.peek_nth(nth);
        if *token == Token::EOF || crate::source::is_word(token, "on") {
            return false;
        }
        if crate::source::is_word(token, end) {
            return nth > 1;
        }
        nth += 1;
    }
}

pub(crate) fn parse_grant(cursor: &mut Cursor) -> Result<GrantRole> {
    cursor.expect(&["grant"])?;
    let roles = cursor.list(parse_role)?;
    cursor.expect(&["to"])?;
    let members = cursor.list(parse_member)?;
    let admin_option = cursor.take(&["with", "admin", "option"]) || cursor.take(&["with", "admin", "true"]);
    skip_grantor(cursor)?;
    Ok(GrantRole { roles, members, admin_option })
}

pub(crate) fn parse_revoke(cursor: &mut Cursor) -> Result<RevokeRole> {
    cursor.expect(&["revoke"])?;
    let admin_option_only = cursor.take(&["admin", "option", "for"]);
    let roles = cursor.list(parse_role)?;
    cursor.expect(&["from"])?;
    let members = cursor.list(parse_member)?;
    skip_grantor(cursor)?;
    let cascade = cursor.take(&["cascade"]);
    if !cascade {
        cursor.take(&["restrict"]);
    }
    Ok(RevokeRole { roles, members, admin_option_only, cascade })
}

fn parse_role(cursor: &mut Cursor) -> Result<Ident> {
    let role = cursor.any_name("a role's name");
    role.map_err(|error| error.with_hint("type GRANT role TO member, or GRANT SELECT ON relation TO role"))
}

fn parse_member(cursor: &mut Cursor) -> Result<Ident> {
    cursor.take(&["group"]);
    cursor.any_name("a role's name")
}

/// `GRANTED BY role`: who it was is the one who says so.
fn skip_grantor(cursor: &mut Cursor) -> Result<()> {
    if cursor.take(&["granted", "by"]) {
        // A role, or a word such as CURRENT_USER.
        if cursor.at_end() {
            return Err(cursor.expected("a role's name"));
        }
        cursor.advance();
    }
    Ok(())
}

impl Display for GrantRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = if self.admin_option { " WITH ADMIN OPTION" } else { "" };
        write!(formatter, "GRANT {} TO {}{option}", join(&self.roles), join(&self.members))
    }
}

impl Display for RevokeRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = if self.admin_option_only { "ADMIN OPTION FOR " } else { "" };
        let cascade = if self.cascade { " CASCADE" } else { "" };
        write!(formatter, "REVOKE {option}{} FROM {}{cascade}", join(&self.roles), join(&self.members))
    }
}

#[cfg(test)]
mod tests {
    use crate::Statement;
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("grant Viewer, editor to App with admin option", "GRANT viewer, editor TO app WITH ADMIN OPTION");
        check("REVOKE ADMIN OPTION FOR a FROM b CASCADE", "REVOKE ADMIN OPTION FOR a FROM b CASCADE");
        check("REVOKE a FROM b GRANTED BY CURRENT_USER", "REVOKE a FROM b");
    }

    #[test]
    fn privileges_are_postgres() {
        for text in ["GRANT SELECT (a) ON t TO b", "REVOKE ALL ON t FROM b", "GRANT USAGE ON SCHEMA s TO b"] {
            assert!(matches!(crate::parse(text).unwrap()[0].statement, Statement::Postgres(_)), "{text}");
        }
    }

    #[test]
    fn errors_have_places() {
        check_error("GRANT a TO", "syntax error at end of input", 11);
        check_error("GRANT a b TO c", "syntax error at or near \"b\"", 9);
        check_error("REVOKE a FROM b c", "syntax error at or near \"c\"", 17);
    }
}
