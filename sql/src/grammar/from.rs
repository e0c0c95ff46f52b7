//! FROM: relations, queries and functions in it, and how they are joined.

use sqlparser::tokenizer::Token;

use super::keywords::{is_column_name, is_function_name};
use super::query::Held;
use super::{Check, Reader, Stop};
use crate::postgres::queries::USING_ALIAS;

impl Reader<'_> {
    pub(super) fn tables(&mut self) -> Check {
        self.list(Self::table)
    }

    /// A table with its joins.
    fn table(&mut self) -> Check {
        self.deeper(|reader| {
            reader.factor()?;
            reader.joins().map(|_| ())
        })
    }

    /// Whether there was a join.
    fn joins(&mut self) -> Check<bool> {
        let start = self.at;
        loop {
            if self.take("cross") {
                self.expect("join")?;
                self.factor()?;
            } else if self.take("natural") {
                self.join_kind()?;
                self.expect("join")?;
                self.factor()?;
            } else if self.sees_any(&["join", "inner", "left", "right", "full"]) {
                self.join_kind()?;
                self.expect("join")?;
                self.table()?;
                if self.take("on") {
                    self.expr()?;
                } else {
                    self.expect("using")?;
                    self.parenthesized(|reader| {
                        // the alias, as it prints
                        let is_alias = matches!(reader.peek(), Some(Token::Word(word)) if word.value == USING_ALIAS);
                        if is_alias { reader.qualified_name() } else { reader.column_name() }
                    })?;
                    if self.take("as") {
                        self.column_name()?;
                    }
                }
            } else {
                return Ok(self.at > start);
            }
        }
    }

    fn join_kind(&mut self) -> Check {
        if self.take("left") || self.take("right") || self.take("full") {
            self.take("outer");
        } else {
            self.take("inner");
        }
        Ok(())
    }

    fn factor(&mut self) -> Check {
        let is_lateral = self.take("lateral");
        if self.is(&Token::LParen) {
            return match self.table_in_parens()? {
                Held::Other if is_lateral => self.wrong(),
                _ => self.alias(),
            };
        }
        if self.sees("rows") && self.sees_nth(1, "from") {
            self.at += 2;
            self.parenthesized(|reader| {
                reader.function()?;
                if reader.take("as") {
                    reader.parenthesized(Self::declared_column)?;
                }
                Ok(())
            })?;
            return self.behind_function();
        }
        if self.sees("xmltable") {
            return Err(Stop::Unknown);
        }
        if !is_lateral && self.take("only") {
            self.at -= 1;
            self.relation()?;
            return self.behind_relation();
        }
        // a name with parentheses, or one of the functions that the grammar knows
        let start = self.at;
        if self.is_name(0, is_column_name) {
            let begins_call = self.begins_own_function();
            let word = self.word().unwrap_or_default();
            if begins_call && !self.grammar_function(&word)? {
                self.at += 1;
                return self.wrong();
            } else if begins_call {
                return self.behind_function();
            }
            let is_own = !is_lateral;
            if is_own {
                self.qualified_name()?;
                if !self.is(&Token::LParen) {
                    self.take_sign(&Token::Mul);
                    return self.behind_relation();
                }
                self.at = start;
            }
            self.function()?;
            return self.behind_function();
        }
        let is_value = self.sees_any(&[
            "current_date",
            "current_time",
            "current_timestamp",
            "localtime",
            "localtimestamp",
            "current_role",
            "current_user",
            "session_user",
            "user",
            "current_catalog",
            "cast",
        ]);
        if is_value || self.is_name(0, is_function_name) {
            self.function()?;
            return self.behind_function();
        }
        self.wrong()
    }

    /// A word with parentheses that names no function of anybody's.
    fn begins_own_function(&self) -> bool {
        self.is_nth(1, &Token::LParen) && !self.is_name(0, is_function_name)
    }

    /// `name`, `name *`, `ONLY name`, `ONLY (name)`
    pub(super) fn relation(&mut self) -> Check {
        if self.take("only") {
            if self.take_sign(&Token::LParen) {
                self.qualified_name()?;
                return self.expect_sign(&Token::RParen);
            }
            return self.qualified_name();
        }
        self.qualified_name()?;
        self.take_sign(&Token::Mul);
        Ok(())
    }

    fn behind_relation(&mut self) -> Check {
        // granary's own
        while self.sees("for") && self.sees_nth(1, "system_time") {
            self.at += 2;
            if self.take("as") && self.take("of") {
                self.expr()?;
                continue;
            }
            let from = self.take("from");
            if from {
                self.expr()?;
            }
            // whoever reads it says what to type
            if !from || !self.take("to") {
                return Err(Stop::Unknown);
            }
            self.expr()?;
        }
        self.alias()?;
        if self.take("tablesample") {
            self.expect_name(is_function_name)?;
            while self.take_sign(&Token::Period) {
                self.any_name()?;
            }
            self.parenthesized(|reader| reader.expr())?;
            if self.take("repeatable") {
                self.expect_sign(&Token::LParen)?;
                self.expr()?;
                self.expect_sign(&Token::RParen)?;
            }
        }
        Ok(())
    }

    /// Whether `[AS] name` is there.
    fn alias_name(&mut self) -> Check<bool> {
        if self.take("as") {
            self.column_name()?;
            return Ok(true);
        }
        let is_there = self.is_name(0, is_column_name);
        self.at += usize::from(is_there);
        Ok(is_there)
    }

    /// `[AS] name [(column, …)]`, if it is there.
    fn alias(&mut self) -> Check {
        if self.alias_name()? && self.is(&Token::LParen) {
            self.parenthesized(Self::column_name)?;
        }
        Ok(())
    }

    fn behind_function(&mut self) -> Check {
        if self.sees("with") && self.sees_nth(1, "ordinality") {
            self.at += 2;
        }
        if self.sees("as") && self.is_nth(1, &Token::LParen) {
            self.at += 1;
            return self.parenthesized(Self::declared_column);
        }
        if self.alias_name()? && self.is(&Token::LParen) {
            // types stand behind all names or none
            let is_declared = !matches!(self.peek_nth(2), Some(Token::Comma | Token::RParen) | None);
            if is_declared {
                return self.parenthesized(Self::declared_column);
            }
            self.parenthesized(Self::column_name)?;
        }
        Ok(())
    }

    fn declared_column(&mut self) -> Check {
        self.column_name()?;
        self.type_name()?;
        if self.take("collate") {
            self.qualified_name()?;
        }
        Ok(())
    }

    /// `(query)`, or `(table JOIN …)`, which `Held::Other` stands for.
    fn table_in_parens(&mut self) -> Check<Held> {
        self.deeper(|reader| {
            reader.expect_sign(&Token::LParen)?;
            if reader.begins_query() {
                reader.query()?;
                reader.expect_sign(&Token::RParen)?;
                return Ok(Held::Query);
            }
            if reader.is(&Token::LParen) {
                let held = reader.table_in_parens()?;
                if held == Held::Query && reader.goes_on_as_query() {
                    reader.rest_of_query()?;
                    reader.expect_sign(&Token::RParen)?;
                    return Ok(Held::Query);
                }
                if reader.take_sign(&Token::RParen) {
                    return Ok(held);
                }
                reader.alias()?;
                if !reader.joins()? {
                    return reader.wrong();
                }
                reader.expect_sign(&Token::RParen)?;
                return Ok(Held::Other);
            }
            reader.factor()?;
            if !reader.joins()? {
                return reader.wrong();
            }
            reader.expect_sign(&Token::RParen)?;
            Ok(Held::Other)
        })
    }
}
