//! `CREATE EXPECTATION name ON view CHECK (…)`: what runs of a feature view must be like.

use std::fmt::{self, Display};

use sqlparser::ast::{Expr, ObjectName};
use sqlparser::tokenizer::Token;

use crate::clause::{Clause, Clauses, Printed, unexpected};
use crate::cursor::{Cursor, Result};
use crate::head::{Head, parse_head, print_head};
use crate::object_kind::ObjectKind;
use crate::option::Options;
use crate::text::SqlText;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Warning,
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    Warn,
    Hold,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateExpectation {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    pub view: ObjectName,
    /// over the figures of a run
    pub check: SqlText<Expr>,
    pub severity: Option<Severity>,
    pub on_failure: Option<OnFailure>,
    pub options: Options,
    pub comment: Option<String>,
}

impl Severity {
    /// As it is typed.
    pub fn words(self) -> &'static str {
        match self {
            Severity::Warning => "WARNING",
            Severity::Error => "ERROR",
        }
    }
}

impl OnFailure {
    /// As it is typed.
    pub fn words(self) -> &'static str {
        match self {
            OnFailure::Warn => "WARN",
            OnFailure::Hold => "HOLD",
        }
    }
}

const CLAUSES: [Clause; 2] = [Clause::With, Clause::Comment];

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateExpectation> {
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    cursor.expect(&["on"])?;
    let view = cursor.object_name()?;
    cursor.expect(&["check"])?;
    cursor.expect_symbol(&Token::LParen)?;
    let check = cursor.expression()?;
    cursor.expect_symbol(&Token::RParen)?;
    let severity = match cursor.take(&["severity"]) {
        true if cursor.take(&["warning"]) => Some(Severity::Warning),
        true if cursor.take(&["error"]) => Some(Severity::Error),
        true => return Err(cursor.expected("WARNING or ERROR")),
        false => None,
    };
    let on_failure = match cursor.take(&["on", "failure"]) {
        true if cursor.take(&["warn"]) => Some(OnFailure::Warn),
        true if cursor.take(&["hold"]) => Some(OnFailure::Hold),
        true => return Err(cursor.expected("WARN or HOLD")),
        false => None,
    };
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &CLAUSES)?;
    if !cursor.at_end() {
        return Err(unexpected(cursor, &CLAUSES, "end of statement"));
    }
    let Clauses { options, comment, .. } = clauses;
    Ok(CreateExpectation { or_replace, if_not_exists, name, view, check, severity, on_failure, options, comment })
}

impl Display for CreateExpectation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = print_head(ObjectKind::Expectation, self.or_replace, self.if_not_exists, &self.name);
        let mut printed = Printed::new(head);
        printed.line(format!("ON {}", self.view));
        printed.line(format!("CHECK ({})", self.check));
        if let Some(severity) = self.severity {
            printed.line(format!("SEVERITY {}", severity.words()));
        }
        if let Some(on_failure) = self.on_failure {
            printed.line(format!("ON FAILURE {}", on_failure.words()));
        }
        printed.options(&self.options).comment(&self.comment).write(formatter)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check(
            "create or replace expectation E on public.V check (null_share(amount) < 0.01 and rows() > 0) severity error \
             on failure hold comment 'x' with (owner = 'me')",
            "CREATE OR REPLACE EXPECTATION e\n  ON public.v\n  CHECK (null_share(amount) < 0.01 and rows() > 0)\n  \
             SEVERITY ERROR\n  ON FAILURE HOLD\n  WITH (owner = 'me')\n  COMMENT 'x'",
        );
        check(
            "CREATE EXPECTATION IF NOT EXISTS e ON v CHECK ((quantile(\"A\", 0.5) BETWEEN 1 AND 2)) SEVERITY WARNING ON FAILURE WARN",
            "CREATE EXPECTATION IF NOT EXISTS e\n  ON v\n  CHECK ((quantile(\"A\", 0.5) BETWEEN 1 AND 2))\n  SEVERITY WARNING\n  \
             ON FAILURE WARN",
        );
        check("DROP EXPECTATION IF EXISTS e", "DROP EXPECTATION IF EXISTS e");
        check("SHOW CREATE EXPECTATION e", "SHOW CREATE EXPECTATION e");
        check("COMMENT ON EXPECTATION e IS 'x'", "COMMENT ON EXPECTATION e IS 'x'");
        check("ALTER EXPECTATION e RENAME TO f", "ALTER EXPECTATION e RENAME TO f");
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE EXPECTATION e CHECK (true)", "syntax error at or near \"CHECK\"", 22);
        check_error("CREATE EXPECTATION e ON v CHECK true", "syntax error at or near \"true\"", 33);
        check_error("CREATE EXPECTATION e ON v CHECK (true) SEVERITY bad", "syntax error at or near \"bad\"", 49);
        check_error("CREATE EXPECTATION e ON v CHECK (true) ON FAILURE drop", "syntax error at or near \"drop\"", 51);
    }
}
