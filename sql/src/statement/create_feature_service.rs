//! `CREATE FEATURE SERVICE name AS view, …`: the features of several views as one relation.

use std::fmt::{self, Display};

use sqlparser::ast::{Ident, ObjectName};
use sqlparser::tokenizer::Token;

use crate::clause::{Clause, Clauses, Printed, unexpected};
use crate::cursor::{Cursor, Result};
use crate::error::{ParseError, ParseErrorKind};
use crate::head::{Head, parse_head, print_head};
use crate::object_kind::ObjectKind;
use crate::option::{Options, join};

/// `KEYS (key = column)`: the view's join key under the service's name for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRename {
    pub key: Ident,
    pub column: Ident,
}

impl Display for KeyRename {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} = {}", self.key, self.column)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceMember {
    pub view: ObjectName,
    /// Without a list, all of the view's features.
    pub features: Option<Vec<Ident>>,
    pub alias: Option<Ident>,
    pub keys: Vec<KeyRename>,
}

impl Display for ServiceMember {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.view)?;
        if let Some(features) = &self.features {
            write!(formatter, " ({})", join(features))?;
        }
        if let Some(alias) = &self.alias {
            write!(formatter, " AS {alias}")?;
        }
        if !self.keys.is_empty() {
            write!(formatter, " KEYS ({})", join(&self.keys))?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateFeatureService {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    /// At least one.
    pub members: Vec<ServiceMember>,
    pub options: Options,
    pub comment: Option<String>,
}

const CLAUSES: [Clause; 2] = [Clause::With, Clause::Comment];

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateFeatureService> {
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &CLAUSES)?;
    if !cursor.take(&["as"]) {
        let hint = format!("type CREATE FEATURE SERVICE {name} AS view, other_view (feature)");
        return Err(unexpected(cursor, &CLAUSES, "AS").or_hint(hint));
    }
    let members = parse_members(cursor)?;
    clauses.parse(cursor, &CLAUSES)?;
    if !cursor.at_end() {
        let error = cursor.expected("\",\", AS, KEYS, WITH, COMMENT or end of statement");
        return Err(error.with_hint("a member is: view [(feature, …)] [AS name] [KEYS (key = column, …)]"));
    }
    let Clauses { options, comment, .. } = clauses;
    Ok(CreateFeatureService { or_replace, if_not_exists, name, members, options, comment })
}

/// `member, …`; no name twice, since features are told apart by it.
fn parse_members(cursor: &mut Cursor) -> Result<Vec<ServiceMember>> {
    let members = cursor.list(|cursor| Ok((cursor.position(), parse_member(cursor)?)))?;
    let name = |member: &ServiceMember| member.alias.as_ref().map_or_else(|| member.view.to_string(), Ident::to_string);
    for (index, (position, member)) in members.iter().enumerate() {
        if members[..index].iter().any(|(_, earlier)| name(earlier) == name(member)) {
            let message = format!("member \"{}\" specified more than once", name(member));
            let error = ParseError::new(ParseErrorKind::DuplicateColumn, message).at(*position);
            return Err(error.with_hint(format!("name it: {} AS other", member.view)));
        }
    }
    Ok(members.into_iter().map(|(_, member)| member).collect())
}

fn parse_member(cursor: &mut Cursor) -> Result<ServiceMember> {
    let view = cursor.object_name()?;
    let features = if *cursor.peek() == Token::LParen { Some(cursor.parenthesized(Cursor::name)?) } else { None };
    let alias = if cursor.take(&["as"]) { Some(cursor.name()?) } else { None };
    let keys = if cursor.take(&["keys"]) { cursor.parenthesized(parse_key)? } else { Vec::new() };
    Ok(ServiceMember { view, features, alias, keys })
}

fn parse_key(cursor: &mut Cursor) -> Result<KeyRename> {
    let key = cursor.name()?;
    cursor.expect_symbol(&Token::Eq)?;
    Ok(KeyRename { key, column: cursor.name()? })
}

impl Display for CreateFeatureService {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = print_head(ObjectKind::FeatureService, self.or_replace, self.if_not_exists, &self.name);
        let members: Vec<String> = self.members.iter().map(ServiceMember::to_string).collect();
        let mut printed = Printed::new(format!("{head} AS\n  {}", members.join(",\n  ")));
        printed.options(&self.options).comment(&self.comment).write(formatter)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check(
            "CREATE FEATURE SERVICE s WITH (cache = '60 s', log_sample = 0.1) AS a (x, Y), a AS b KEYS (id = other_id), s.c",
            "CREATE FEATURE SERVICE s AS\n  a (x, y),\n  a AS b KEYS (id = other_id),\n  s.c\n  WITH (cache = '60 s', log_sample = 0.1)",
        );
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE FEATURE SERVICE s AS a, a", "member \"a\" specified more than once", 32);
        check_error("CREATE FEATURE SERVICE s AS SELECT 1", "syntax error at or near \"SELECT\"", 29);
        check_error("CREATE FEATURE SERVICE s AS a b", "syntax error at or near \"b\"", 31);
    }
}
