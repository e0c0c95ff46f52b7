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
    pub granted_by: Option<Ident>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeRole {
    pub roles: Vec<Ident>,
    pub members: Vec<Ident>,
    /// Take only the right to grant on, not the roles.
    pub admin_option_only: bool,
    pub granted_by: Option<Ident>,
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
    let granted_by = parse_grantor(cursor)?;
    Ok(GrantRole { roles, members, admin_option, granted_by })
}

pub(crate) fn parse_revoke(cursor: &mut Cursor) -> Result<RevokeRole> {
    cursor.expect(&["revoke"])?;
    let admin_option_only = cursor.take(&["admin", "option", "for"]);
    let roles = cursor.list(parse_role)?;
    cursor.expect(&["from"])?;
    let members = cursor.list(parse_member)?;
    let granted_by = parse_grantor(cursor)?;
    let cascade = cursor.take(&["cascade"]);
    if !cascade {
        cursor.take(&["restrict"]);
    }
    Ok(RevokeRole { roles, members, admin_option_only, granted_by, cascade })
}

fn parse_role(cursor: &mut Cursor) -> Result<Ident> {
    let role = cursor.any_name("a role's name");
    role.map_err(|error| error.with_hint("type GRANT role TO member, or GRANT SELECT ON relation TO role"))
}

fn parse_member(cursor: &mut Cursor) -> Result<Ident> {
    cursor.take(&["group"]);
    parse_role_or_word(cursor)
}

/// `GRANTED BY role`
fn parse_grantor(cursor: &mut Cursor) -> Result<Option<Ident>> {
    cursor.take(&["granted", "by"]).then(|| parse_role_or_word(cursor)).transpose()
}

/// A role's name, or a reserved word that stands for the session's role.
fn parse_role_or_word(cursor: &mut Cursor) -> Result<Ident> {
    cursor.name_or_word(&["current_user", "current_role", "session_user"], "a role's name")
}

/// ` GRANTED BY role`, if there is one.
fn grantor(role: Option<&Ident>) -> String {
    role.map(|role| format!(" GRANTED BY {role}")).unwrap_or_default()
}

impl Display for GrantRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = if self.admin_option { " WITH ADMIN OPTION" } else { "" };
        let grantor = grantor(self.granted_by.as_ref());
        write!(formatter, "GRANT {} TO {}{option}{grantor}", join(&self.roles), join(&self.members))
    }
}

impl Display for RevokeRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = if self.admin_option_only { "ADMIN OPTION FOR " } else { "" };
        let cascade = if self.cascade { " CASCADE" } else { "" };
        let grantor = grantor(self.granted_by.as_ref());
        write!(formatter, "REVOKE {option}{} FROM {}{grantor}{cascade}", join(&self.roles), join(&self.members))
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
        check("REVOKE a FROM current_role GRANTED BY X CASCADE", "REVOKE a FROM CURRENT_ROLE GRANTED BY x CASCADE");
        check(
            "GRANT a TO session_user, \"current_user\" granted by Current_User",
            "GRANT a TO SESSION_USER, \"current_user\" GRANTED BY CURRENT_USER",
        );
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
        check_error("GRANT a TO b GRANTED BY", "syntax error at end of input", 24);
        check_error("GRANT a TO b GRANTED BY select", "syntax error at or near \"select\"", 25);
        check_error("REVOKE a FROM b c", "syntax error at or near \"c\"", 17);
    }
}
