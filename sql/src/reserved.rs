//! Reserved words where sqlparser takes them for names: `SELECT a, FROM t` is not a column called FROM.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, ObjectName, ObjectNamePart, Visit, Visitor};
use sqlparser::tokenizer::Location;

/// Words that begin or join clauses; sorted. Reserved words that may stand alone as values
/// (DEFAULT, ON, ALL, CURRENT_USER, …) are not here.
const CLAUSE_WORDS: &[&str] = &[
    "and",
    "as",
    "case",
    "create",
    "cross",
    "distinct",
    "else",
    "except",
    "fetch",
    "for",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "inner",
    "intersect",
    "into",
    "join",
    "limit",
    "natural",
    "not",
    "offset",
    "or",
    "order",
    "references",
    "returning",
    "select",
    "table",
    "then",
    "to",
    "union",
    "using",
    "when",
    "where",
    "window",
    "with",
];

/// Where a clause's word stands for a name, if anywhere; the first such place.
pub(crate) fn misplaced_word(tree: &impl Visit) -> Option<Location> {
    let mut finder = Finder { first: None };
    let _ = tree.visit(&mut finder);
    finder.first
}

struct Finder {
    first: Option<Location>,
}

impl Finder {
    fn look(&mut self, ident: &Ident) {
        let is_word = ident.quote_style.is_none()
            && CLAUSE_WORDS.binary_search(&ident.value.to_ascii_lowercase().as_str()).is_ok();
        let start = ident.span.start;
        if is_word && self.first.is_none_or(|first| start < first) {
            self.first = Some(start);
        }
    }
}

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if let Some(ident) = relation.0.first().and_then(ObjectNamePart::as_ident) {
            self.look(ident);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if let Expr::Identifier(ident) = expression {
            self.look(ident);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::tests::check_error;

    #[test]
    fn clause_words_are_sorted() {
        assert!(CLAUSE_WORDS.is_sorted());
    }

    #[test]
    fn clause_words_are_not_names() {
        check_error("SELECT a, FROM t", "syntax error at or near \"FROM\"", 11);
        check_error("SELECT a FROM WHERE b", "syntax error at or near \"WHERE\"", 15);
        check_error("SELECT a FROM t WHERE GROUP BY a", "syntax error at or near \"GROUP\"", 23);
        check_error("SELECT a FROM (SELECT b FROM) x", "syntax error at or near \")\"", 29);
        check_error("SELECT a FROM (SELECT b FROM WHERE c) x", "syntax error at or near \"WHERE\"", 30);
    }
}
