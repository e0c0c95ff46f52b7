//! WITH, SELECT, VALUES, set operations, and what may stand behind them.

use sqlparser::tokenizer::Token;

use super::keywords::{is_bare_label, is_column_name};
use super::{Check, Reader};

/// What parentheses held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Query,
    Row,
    /// an expression, or a joined table
    Other,
}

impl Reader<'_> {
    pub(super) fn begins_query(&self) -> bool {
        self.begins_query_nth(0)
    }

    pub(super) fn begins_query_nth(&self, nth: usize) -> bool {
        ["select", "values", "with", "table"].iter().any(|word| self.sees_nth(nth, word))
    }

    pub(super) fn query(&mut self) -> Check {
        self.deeper(|reader| {
            if reader.sees("with") {
                reader.with()?;
            }
            reader.term()?;
            reader.rest_of_query()
        })
    }

    /// Whether what comes next makes a query in parentheses a part of a larger one.
    pub(super) fn goes_on_as_query(&self) -> bool {
        self.sees_any(&["union", "intersect", "except", "order", "limit", "offset", "fetch", "for"])
    }

    /// Behind the first term.
    pub(super) fn rest_of_query(&mut self) -> Check {
        while self.sees_any(&["union", "intersect", "except"]) {
            self.at += 1;
            let _ = self.take("all") || self.take("distinct");
            self.term()?;
        }
        if self.sees("order") {
            self.order_by()?;
        }
        self.limits_and_locks()
    }

    fn term(&mut self) -> Check {
        if self.is(&Token::LParen) {
            return self.query_in_parens();
        }
        if self.take("select") {
            return self.select();
        }
        if self.take("table") {
            return self.relation();
        }
        self.expect("values")?;
        self.list(|reader| reader.parenthesized(|reader| reader.expr()))
    }

    pub(super) fn query_in_parens(&mut self) -> Check {
        self.deeper(|reader| {
            reader.expect_sign(&Token::LParen)?;
            reader.query()?;
            reader.expect_sign(&Token::RParen)
        })
    }

    fn select(&mut self) -> Check {
        let mut needs_targets = false;
        if self.take("distinct") {
            needs_targets = true;
            if self.take("on") {
                self.parenthesized(|reader| reader.expr())?;
            }
        } else {
            self.take("all");
        }
        let ends = self.peek().is_none()
            || self.is(&Token::RParen)
            || self.sees_any(&["into", "from", "where", "group", "having", "window"])
            || self.goes_on_as_query();
        if needs_targets || !ends {
            self.list(Self::target)?;
        }
        if self.take("into") {
            let _ = self.take("local") || self.take("global");
            let _ = self.take("temporary") || self.take("temp") || self.take("unlogged");
            self.take("table");
            self.qualified_name()?;
        }
        if self.take("from") {
            self.tables()?;
        }
        if self.take("where") {
            self.expr()?;
        }
        if self.take("group") {
            self.expect("by")?;
            let _ = self.take("all") || self.take("distinct");
            self.list(Self::group_item)?;
        }
        if self.take("having") {
            self.expr()?;
        }
        if self.take("window") {
            self.list(|reader| {
                reader.column_name()?;
                reader.expect("as")?;
                reader.window_in_parens()
            })?;
        }
        Ok(())
    }

    pub(super) fn target(&mut self) -> Check {
        if self.take_sign(&Token::Mul) {
            return Ok(());
        }
        self.expr()?;
        if self.take("as") {
            return self.any_name();
        }
        if self.is_name(0, is_bare_label) {
            self.at += 1;
        }
        Ok(())
    }

    fn group_item(&mut self) -> Check {
        self.deeper(|reader| {
            if reader.is(&Token::LParen) && reader.is_nth(1, &Token::RParen) {
                reader.at += 2;
                return Ok(());
            }
            if reader.sees("grouping") && reader.sees_nth(1, "sets") {
                reader.at += 2;
                return reader.parenthesized(Self::group_item);
            }
            reader.expr()
        })
    }

    pub(super) fn order_by(&mut self) -> Check {
        self.expect("order")?;
        self.expect("by")?;
        self.list(|reader| {
            reader.expr()?;
            if reader.take("using") {
                reader.operator_of_order()?;
            } else {
                let _ = reader.take("asc") || reader.take("desc");
            }
            reader.nulls()
        })
    }

    pub(super) fn nulls(&mut self) -> Check {
        if self.sees("nulls") && (self.sees_nth(1, "first") || self.sees_nth(1, "last")) {
            self.at += 2;
        }
        Ok(())
    }

    fn limits_and_locks(&mut self) -> Check {
        let (mut has_limit, mut has_offset, mut has_locks) = (false, false, false);
        loop {
            if self.sees("limit") && !has_limit {
                self.at += 1;
                has_limit = true;
                if !self.take("all") {
                    self.expr()?;
                }
            } else if self.sees("fetch") && !has_limit {
                self.at += 1;
                has_limit = true;
                self.fetch()?;
            } else if self.sees("offset") && !has_offset {
                self.at += 1;
                has_offset = true;
                self.expr()?;
                let _ = self.take("row") || self.take("rows");
            } else if self.sees("for") && !has_locks {
                has_locks = true;
                self.locks()?;
            } else {
                return Ok(());
            }
        }
    }

    fn fetch(&mut self) -> Check {
        if !self.take("first") {
            self.expect("next")?;
        }
        if !self.take("row") && !self.take("rows") {
            if self.is(&Token::Plus) || self.is(&Token::Minus) {
                self.at += 1;
                match self.peek() {
                    Some(Token::Number(..)) => self.at += 1,
                    _ => return self.wrong(),
                }
            } else {
                self.value()?;
            }
            if !self.take("row") {
                self.expect("rows")?;
            }
        }
        if self.take("with") {
            return self.expect("ties");
        }
        self.expect("only")
    }

    fn locks(&mut self) -> Check {
        while self.take("for") {
            if self.take("read") {
                self.expect("only")?;
                return Ok(());
            }
            if self.take("no") {
                self.expect("key")?;
                self.expect("update")?;
            } else {
                let is_share = self.take("key") || !self.take("update");
                if is_share {
                    self.expect("share")?;
                }
            }
            if self.take("of") {
                self.list(Self::qualified_name)?;
            }
            if self.take("skip") {
                self.expect("locked")?;
            } else {
                self.take("nowait");
            }
        }
        Ok(())
    }

    pub(super) fn with(&mut self) -> Check {
        self.expect("with")?;
        self.take("recursive");
        self.list(|reader| {
            reader.column_name()?;
            if reader.is(&Token::LParen) {
                reader.parenthesized(Self::column_name)?;
            }
            reader.expect("as")?;
            if reader.take("not") {
                reader.expect("materialized")?;
            } else {
                reader.take("materialized");
            }
            reader.expect_sign(&Token::LParen)?;
            reader.statement()?;
            reader.expect_sign(&Token::RParen)?;
            if reader.take("search") {
                if !reader.take("depth") {
                    reader.expect("breadth")?;
                }
                reader.expect("first")?;
                reader.expect("by")?;
                reader.list(Self::column_name)?;
                reader.expect("set")?;
                reader.column_name()?;
            }
            if reader.take("cycle") {
                reader.list(Self::column_name)?;
                reader.expect("set")?;
                reader.column_name()?;
                if reader.take("to") {
                    reader.constant()?;
                    reader.expect("default")?;
                    reader.constant()?;
                }
                reader.expect("using")?;
                reader.column_name()?;
            }
            Ok(())
        })
    }

    /// `(…)` behind OVER or `WINDOW w AS`
    pub(super) fn window_in_parens(&mut self) -> Check {
        self.expect_sign(&Token::LParen)?;
        // these words begin clauses rather than being names of windows
        let begins_clause = self.sees_any(&["partition", "range", "rows", "groups"]);
        if !begins_clause && self.is_name(0, is_column_name) {
            self.at += 1;
        }
        if self.take("partition") {
            self.expect("by")?;
            self.list(|reader| reader.expr())?;
        }
        if self.sees("order") {
            self.order_by()?;
        }
        if self.take("range") || self.take("rows") || self.take("groups") {
            if self.take("between") {
                self.frame_bound()?;
                self.expect("and")?;
            }
            self.frame_bound()?;
            if self.take("exclude") {
                if self.take("current") {
                    self.expect("row")?;
                } else if self.take("no") {
                    self.expect("others")?;
                } else if !self.take("group") {
                    self.expect("ties")?;
                }
            }
        }
        self.expect_sign(&Token::RParen)
    }

    fn frame_bound(&mut self) -> Check {
        if self.sees("current") && self.sees_nth(1, "row") {
            self.at += 2;
            return Ok(());
        }
        let is_unbounded = self.sees("unbounded") && (self.sees_nth(1, "preceding") || self.sees_nth(1, "following"));
        if is_unbounded {
            self.at += 1;
        } else {
            self.expr()?;
        }
        if self.take("preceding") {
            return Ok(());
        }
        self.expect("following")
    }
}
