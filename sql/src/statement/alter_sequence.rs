//! `ALTER SEQUENCE [IF EXISTS] name options`. That it gets another name, owner or schema is ALTER TABLE's.

use std::fmt::{self, Display};

use sqlparser::ast::{DataType, ObjectName};

use crate::cursor::{Cursor, Result};
use crate::error::ParseErrorKind;
use crate::text::SqlText;

#[derive(Debug, Clone, PartialEq)]
pub struct AlterSequence {
    pub if_exists: bool,
    pub name: ObjectName,
    /// At least one, each kind once.
    pub changes: Vec<SequenceChange>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SequenceChange {
    As(SqlText<DataType>),
    Increment(i64),
    /// None: what the type and the direction have.
    MinValue(Option<i64>),
    MaxValue(Option<i64>),
    Start(i64),
    /// None: from its start.
    Restart(Option<i64>),
    Cache(i64),
    Cycle(bool),
    /// None: of no column.
    OwnedBy(Option<ObjectName>),
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<AlterSequence> {
    cursor.expect(&["alter", "sequence"])?;
    let if_exists = cursor.take(&["if", "exists"]);
    let name = cursor.object_name()?;
    let mut changes: Vec<SequenceChange> = Vec::new();
    while changes.is_empty() || !cursor.at_end() {
        let place = cursor.index();
        let change = parse_change(cursor)?;
        let is_same = |known: &SequenceChange| std::mem::discriminant(known) == std::mem::discriminant(&change);
        if changes.iter().any(is_same) {
            let error = cursor.error(ParseErrorKind::Syntax, "conflicting or redundant options");
            return Err(error.at(cursor.sub_from(place).position()));
        }
        changes.push(change);
    }
    Ok(AlterSequence { if_exists, name, changes })
}

fn parse_change(cursor: &mut Cursor) -> Result<SequenceChange> {
    Ok(if cursor.take(&["as"]) {
        SequenceChange::As(cursor.data_type()?)
    } else if cursor.take(&["increment"]) {
        cursor.take(&["by"]);
        SequenceChange::Increment(number(cursor)?)
    } else if cursor.take(&["no", "minvalue"]) {
        SequenceChange::MinValue(None)
    } else if cursor.take(&["minvalue"]) {
        SequenceChange::MinValue(Some(number(cursor)?))
    } else if cursor.take(&["no", "maxvalue"]) {
        SequenceChange::MaxValue(None)
    } else if cursor.take(&["maxvalue"]) {
        SequenceChange::MaxValue(Some(number(cursor)?))
    } else if cursor.take(&["start"]) {
        cursor.take(&["with"]);
        SequenceChange::Start(number(cursor)?)
    } else if cursor.take(&["restart"]) {
        let is_said = cursor.take(&["with"]);
        let value = if is_said { Some(number(cursor)?) } else { take_number(cursor)? };
        SequenceChange::Restart(value)
    } else if cursor.take(&["cache"]) {
        SequenceChange::Cache(number(cursor)?)
    } else if cursor.take(&["no", "cycle"]) {
        SequenceChange::Cycle(false)
    } else if cursor.take(&["cycle"]) {
        SequenceChange::Cycle(true)
    } else if cursor.take(&["owned", "by", "none"]) {
        SequenceChange::OwnedBy(None)
    } else if cursor.take(&["owned", "by"]) {
        SequenceChange::OwnedBy(Some(cursor.object_name()?))
    } else {
        return Err(cursor.expected("an option of a sequence"));
    })
}

fn number(cursor: &mut Cursor) -> Result<i64> {
    match take_number(cursor)? {
        Some(number) => Ok(number),
        None => Err(cursor.expected("a whole number")),
    }
}

fn take_number(cursor: &mut Cursor) -> Result<Option<i64>> {
    let place = cursor.index();
    let Some(text) = cursor.take_number() else { return Ok(None) };
    text.parse().map(Some).map_err(|_| cursor.expected_at(place, "a whole number"))
}

impl Display for AlterSequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let if_exists = if self.if_exists { "IF EXISTS " } else { "" };
        write!(formatter, "ALTER SEQUENCE {if_exists}{}", self.name)?;
        self.changes.iter().try_for_each(|change| write!(formatter, " {change}"))
    }
}

impl Display for SequenceChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SequenceChange::As(data_type) => write!(formatter, "AS {data_type}"),
            SequenceChange::Increment(value) => write!(formatter, "INCREMENT BY {value}"),
            SequenceChange::MinValue(None) => formatter.write_str("NO MINVALUE"),
            SequenceChange::MinValue(Some(value)) => write!(formatter, "MINVALUE {value}"),
            SequenceChange::MaxValue(None) => formatter.write_str("NO MAXVALUE"),
            SequenceChange::MaxValue(Some(value)) => write!(formatter, "MAXVALUE {value}"),
            SequenceChange::Start(value) => write!(formatter, "START WITH {value}"),
            SequenceChange::Restart(None) => formatter.write_str("RESTART"),
            SequenceChange::Restart(Some(value)) => write!(formatter, "RESTART WITH {value}"),
            SequenceChange::Cache(value) => write!(formatter, "CACHE {value}"),
            SequenceChange::Cycle(true) => formatter.write_str("CYCLE"),
            SequenceChange::Cycle(false) => formatter.write_str("NO CYCLE"),
            SequenceChange::OwnedBy(None) => formatter.write_str("OWNED BY NONE"),
            SequenceChange::OwnedBy(Some(column)) => write!(formatter, "OWNED BY {column}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("alter sequence s owned by t.c", "ALTER SEQUENCE s OWNED BY t.c");
        check("ALTER SEQUENCE a.s OWNED BY a.t.c", "ALTER SEQUENCE a.s OWNED BY a.t.c");
        check("ALTER SEQUENCE s OWNED BY NONE", "ALTER SEQUENCE s OWNED BY NONE");
        check("ALTER SEQUENCE IF EXISTS s RESTART", "ALTER SEQUENCE IF EXISTS s RESTART");
        check(
            "ALTER SEQUENCE s AS integer INCREMENT -2 START 9 RESTART 5 CACHE 1",
            "ALTER SEQUENCE s AS integer INCREMENT BY -2 START WITH 9 RESTART WITH 5 CACHE 1",
        );
        check("ALTER SEQUENCE s NO MINVALUE MAXVALUE 10 NO CYCLE", "ALTER SEQUENCE s NO MINVALUE MAXVALUE 10 NO CYCLE");
    }

    #[test]
    fn errors_have_places() {
        check_error("ALTER SEQUENCE s", "syntax error at end of input", 17);
        check_error("ALTER SEQUENCE s CYCLE NO CYCLE", "conflicting or redundant options", 24);
        check_error("ALTER SEQUENCE s OWNED BY", "syntax error at end of input", 26);
    }
}
