//! Types.

use sqlparser::tokenizer::Token;

use super::keywords::is_function_name;
use super::{Check, Reader};

impl Reader<'_> {
    /// `[SETOF] type [array bounds]`
    pub(super) fn type_name(&mut self) -> Check {
        self.take("setof");
        self.simple_type()?;
        if self.take("array") {
            if self.take_sign(&Token::LBracket) {
                self.whole_number()?;
                self.expect_sign(&Token::RBracket)?;
            }
            return Ok(());
        }
        while self.take_sign(&Token::LBracket) {
            if !self.is(&Token::RBracket) {
                self.whole_number()?;
            }
            self.expect_sign(&Token::RBracket)?;
        }
        Ok(())
    }

    fn simple_type(&mut self) -> Check {
        if self.own_type()? {
            return Ok(());
        }
        self.expect_name(is_function_name)?;
        while self.take_sign(&Token::Period) {
            self.any_name()?;
        }
        self.modifiers()
    }

    fn modifiers(&mut self) -> Check {
        if self.is(&Token::LParen) {
            self.parenthesized(|reader| reader.expr())?;
        }
        Ok(())
    }

    /// A type that the grammar knows by its words.
    pub(super) fn own_type(&mut self) -> Check<bool> {
        let Some(word) = self.word() else { return Ok(false) };
        match word.as_str() {
            "int" | "integer" | "smallint" | "bigint" | "real" | "boolean" => self.at += 1,
            "float" => {
                self.at += 1;
                if self.take_sign(&Token::LParen) {
                    self.whole_number()?;
                    self.expect_sign(&Token::RParen)?;
                }
            }
            "double" if self.sees_nth(1, "precision") => self.at += 2,
            "decimal" | "dec" | "numeric" => {
                self.at += 1;
                self.modifiers()?;
            }
            "bit" => {
                self.at += 1;
                self.take("varying");
                self.modifiers()?;
            }
            "national" if !self.sees_nth(1, "character") && !self.sees_nth(1, "char") => return Ok(false),
            "character" | "char" | "nchar" | "varchar" | "national" => {
                self.at += 1;
                if word == "national" && !self.take("character") {
                    self.expect("char")?;
                }
                if word != "varchar" {
                    self.take("varying");
                }
                if self.take_sign(&Token::LParen) {
                    self.whole_number()?;
                    self.expect_sign(&Token::RParen)?;
                }
            }
            "time" | "timestamp" => {
                self.at += 1;
                if self.take_sign(&Token::LParen) {
                    self.whole_number()?;
                    self.expect_sign(&Token::RParen)?;
                }
                let is_said = (self.sees("with") || self.sees("without")) && self.sees_nth(1, "time");
                if is_said {
                    self.at += 2;
                    self.expect("zone")?;
                }
            }
            "interval" => {
                self.at += 1;
                if self.take_sign(&Token::LParen) {
                    self.whole_number()?;
                    self.expect_sign(&Token::RParen)?;
                } else {
                    self.interval_fields()?;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `DAY TO SECOND(3)` and the like.
    pub(super) fn interval_fields(&mut self) -> Check {
        let Some(word) = self.word() else { return Ok(()) };
        let ends: &[&str] = match word.as_str() {
            "year" => &["month"],
            "day" => &["hour", "minute", "second"],
            "hour" => &["minute", "second"],
            "minute" => &["second"],
            "month" | "second" => &[],
            _ => return Ok(()),
        };
        self.at += 1;
        let mut last = word;
        // granary's own FROM interval TO time ends the interval
        if !ends.is_empty() && self.sees("to") {
            self.at += 1;
            match self.word().filter(|end| ends.contains(&end.as_str())) {
                Some(end) => last = end,
                None => return self.wrong(),
            }
            self.at += 1;
        }
        if last == "second" && self.take_sign(&Token::LParen) {
            self.whole_number()?;
            self.expect_sign(&Token::RParen)?;
        }
        Ok(())
    }
}
