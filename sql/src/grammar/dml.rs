//! INSERT, UPDATE and DELETE.

use sqlparser::tokenizer::Token;

use super::keywords::is_column_name;
use super::{Check, Reader};

impl Reader<'_> {
    pub(super) fn insert(&mut self) -> Check {
        self.expect("insert")?;
        self.expect("into")?;
        self.qualified_name()?;
        if self.take("as") {
            self.column_name()?;
        }
        if self.take("default") {
            self.expect("values")?;
        } else {
            let is_query = {
                let depth = (0..).take_while(|nth| self.is_nth(*nth, &Token::LParen)).count();
                self.begins_query_nth(depth)
            };
            if self.is(&Token::LParen) && !is_query {
                self.parenthesized(Self::assigned)?;
            }
            if self.take("overriding") {
                if !self.take("user") {
                    self.expect("system")?;
                }
                self.expect("value")?;
            }
            self.query()?;
        }
        if self.take("on") {
            self.conflict()?;
        }
        self.returning()
    }

    /// A column, or a part of one.
    fn assigned(&mut self) -> Check {
        self.column_name()?;
        self.indirection().map(|_| ())
    }

    fn conflict(&mut self) -> Check {
        self.expect("conflict")?;
        if self.take("on") {
            self.expect("constraint")?;
            self.column_name()?;
        } else if self.is(&Token::LParen) {
            self.parenthesized(|reader| {
                reader.expr()?;
                let _ = reader.take("asc") || reader.take("desc");
                reader.nulls()
            })?;
            if self.take("where") {
                self.expr()?;
            }
        }
        self.expect("do")?;
        if self.take("nothing") {
            return Ok(());
        }
        self.expect("update")?;
        self.expect("set")?;
        self.assignments()?;
        if self.take("where") {
            self.expr()?;
        }
        Ok(())
    }

    fn assignments(&mut self) -> Check {
        self.list(|reader| {
            if reader.is(&Token::LParen) {
                reader.parenthesized(Self::assigned)?;
            } else {
                reader.assigned()?;
            }
            reader.expect_sign(&Token::Eq)?;
            reader.expr()
        })
    }

    pub(super) fn update(&mut self) -> Check {
        self.expect("update")?;
        self.changed_relation()?;
        self.expect("set")?;
        self.assignments()?;
        if self.take("from") {
            self.tables()?;
        }
        self.condition()?;
        self.returning()
    }

    pub(super) fn delete(&mut self) -> Check {
        self.expect("delete")?;
        self.expect("from")?;
        self.changed_relation()?;
        if self.take("using") {
            self.tables()?;
        }
        self.condition()?;
        self.returning()
    }

    fn changed_relation(&mut self) -> Check {
        self.relation()?;
        if self.take("as") {
            self.column_name()?;
        } else if !self.sees("set") && self.is_name(0, is_column_name) {
            self.at += 1;
        }
        Ok(())
    }

    fn condition(&mut self) -> Check {
        if self.take("where") {
            if self.sees("current") && self.sees_nth(1, "of") {
                self.at += 2;
                return self.column_name();
            }
            self.expr()?;
        }
        Ok(())
    }

    fn returning(&mut self) -> Check {
        if self.take("returning") {
            self.list(Self::target)?;
        }
        Ok(())
    }
}
