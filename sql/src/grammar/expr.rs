//! Expressions. Operators bind as in PostgreSQL; comparisons and their like do not chain.

use sqlparser::tokenizer::Token;

use super::keywords::{is_column_name, is_function_name, is_only_column_name};
use super::query::Held;
use super::{Check, Reader, Stop, is_string};

// How tightly operators bind.
const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const IS: u8 = 4;
const COMPARISON: u8 = 5;
const LIKE: u8 = 6;
const OPERATOR: u8 = 7;
const SUM: u8 = 8;
const PRODUCT: u8 = 9;
const POWER: u8 = 10;
const TIME_ZONE: u8 = 11;
const COLLATE: u8 = 12;
const SIGN: u8 = 13;
const CAST: u8 = 14;

/// What comes behind an operand.
enum Infix {
    /// an operand on the right, or ANY and ALL with parentheses
    Operator,
    Word(&'static str),
    Cast,
}

impl Reader<'_> {
    pub(super) fn expr(&mut self) -> Check {
        self.operation(0, false)
    }

    /// An expression of operators that bind at least so. A plain one has no logic and no pattern matching.
    fn operation(&mut self, least: u8, is_plain: bool) -> Check {
        self.deeper(|reader| reader.operation_inner(least, is_plain))
    }

    fn operation_inner(&mut self, least: u8, is_plain: bool) -> Check {
        let mut held = Held::Other;
        if self.sees("not") && !is_plain {
            self.at += 1;
            self.operation(NOT, is_plain)?;
        } else if self.is(&Token::Plus) || self.is(&Token::Minus) {
            self.at += 1;
            self.operation(SIGN, is_plain)?;
        } else if self.take_operator()? {
            self.operation(OPERATOR + 1, is_plain)?;
        } else if self.sees("default") && !is_plain {
            self.at += 1;
        } else {
            held = self.operand()?;
        }
        // what has been read ends in an operand of an operator that does not chain
        let mut unchained = 0;
        loop {
            let is_row_before = std::mem::replace(&mut held, Held::Other) == Held::Row;
            let Some((binds, infix)) = self.infix(is_plain, is_row_before) else { return Ok(()) };
            if binds < least {
                return Ok(());
            }
            if binds == unchained {
                return self.wrong();
            }
            unchained = 0;
            match infix {
                Infix::Cast => {
                    self.at += 1;
                    self.type_name()?;
                }
                Infix::Operator => {
                    let is_any = self.take_infix_operator()?;
                    if is_any && !is_plain && self.take_quantifier()? {
                        continue;
                    }
                    self.operation(binds + 1, is_plain)?;
                    if binds == COMPARISON {
                        unchained = COMPARISON;
                    }
                }
                Infix::Word(word) => {
                    if self.word_infix(word, binds, is_plain)? {
                        unchained = binds;
                    }
                }
            }
        }
    }

    fn infix(&self, is_plain: bool, is_row_before: bool) -> Option<(u8, Infix)> {
        let binds = match self.peek()? {
            Token::DoubleColon => return Some((CAST, Infix::Cast)),
            Token::Caret => POWER,
            Token::Mul | Token::Div | Token::Mod => PRODUCT,
            Token::Plus | Token::Minus => SUM,
            Token::Lt | Token::Gt | Token::Eq | Token::LtEq | Token::GtEq | Token::Neq => COMPARISON,
            Token::Word(word) if word.quote_style.is_none() => {
                return self.infix_word(&word.value.to_ascii_lowercase(), is_plain, is_row_before);
            }
            token if is_operator(token) => OPERATOR,
            _ => return None,
        };
        Some((binds, Infix::Operator))
    }

    fn infix_word(&self, word: &str, is_plain: bool, is_row_before: bool) -> Option<(u8, Infix)> {
        let found = |binds, word| Some((binds, Infix::Word(word)));
        match word {
            "operator" if self.is_nth(1, &Token::LParen) => Some((OPERATOR, Infix::Operator)),
            "collate" => found(COLLATE, "collate"),
            "is" => {
                let is_negated = usize::from(self.sees_nth(1, "not"));
                if is_plain && !["distinct", "document"].iter().any(|word| self.sees_nth(1 + is_negated, word)) {
                    return None;
                }
                found(IS, "is")
            }
            _ if is_plain => None,
            "at" if self.sees_nth(1, "time") => found(TIME_ZONE, "at"),
            "and" => found(AND, "and"),
            "or" => found(OR, "or"),
            "isnull" | "notnull" => found(IS, "isnull"),
            "overlaps" if is_row_before => found(LIKE, "overlaps"),
            // SUBSTRING has a SIMILAR of its own
            "similar" if !self.sees_nth(1, "to") => None,
            "between" | "in" | "like" | "ilike" | "similar" => found(LIKE, "like"),
            "not" => {
                let next = ["between", "in", "like", "ilike", "similar"];
                next.iter().any(|word| self.sees_nth(1, word)).then_some((LIKE, Infix::Word("like")))
            }
            _ => None,
        }
    }

    /// Whether it ends in an operand of an operator that does not chain.
    fn word_infix(&mut self, word: &str, binds: u8, is_plain: bool) -> Check<bool> {
        match word {
            "and" | "or" => {
                self.at += 1;
                self.operation(binds + 1, is_plain)?;
                Ok(false)
            }
            "collate" => {
                self.at += 1;
                self.qualified_any_name()?;
                Ok(false)
            }
            "at" => {
                self.at += 2;
                self.expect("zone")?;
                self.operation(TIME_ZONE + 1, is_plain)?;
                Ok(false)
            }
            "isnull" => {
                self.at += 1;
                Ok(false)
            }
            "overlaps" => {
                self.at += 1;
                self.operand().map(|_| false)
            }
            "is" => self.is_test(is_plain),
            _ => self.pattern(),
        }
    }

    fn is_test(&mut self, is_plain: bool) -> Check<bool> {
        self.at += 1;
        self.take("not");
        if self.take("distinct") {
            self.expect("from")?;
            self.operation(IS + 1, is_plain)?;
            return Ok(true);
        }
        for form in ["nfc", "nfd", "nfkc", "nfkd"] {
            if self.sees(form) && self.sees_nth(1, "normalized") {
                self.at += 1;
            }
        }
        let ends = ["null", "true", "false", "unknown", "normalized", "document"];
        if ends.iter().any(|end| self.take(end)) {
            return Ok(false);
        }
        self.wrong()
    }

    /// `[NOT] LIKE …`, `BETWEEN …`, `IN …`.
    fn pattern(&mut self) -> Check<bool> {
        self.take("not");
        if self.take("in") {
            if self.is(&Token::LParen) && self.begins_query_nth(1) {
                self.query_in_parens()?;
            } else {
                self.expect_sign(&Token::LParen)?;
                self.list(Self::expr)?;
                self.expect_sign(&Token::RParen)?;
            }
            return Ok(false);
        }
        if self.take("between") {
            let _ = self.take("symmetric") || self.take("asymmetric");
            self.operation(0, true)?;
            self.expect("and")?;
            self.operation(LIKE + 1, false)?;
            return Ok(true);
        }
        if self.take("similar") {
            self.expect("to")?;
        } else {
            self.at += 1;
            if self.take_quantifier()? {
                return Ok(false);
            }
        }
        self.operation(LIKE + 1, false)?;
        if self.take("escape") {
            self.operation(LIKE + 1, false)?;
        }
        Ok(true)
    }

    /// `ANY (…)`, if it comes next.
    fn take_quantifier(&mut self) -> Check<bool> {
        let is_one = self.sees_any(&["any", "some", "all"]);
        if is_one {
            self.at += 1;
            if !self.is(&Token::LParen) {
                return self.wrong();
            }
            self.operand()?;
        }
        Ok(is_one)
    }

    /// An operator before its operand, if it comes next.
    fn take_operator(&mut self) -> Check<bool> {
        if self.sees("operator") && self.is_nth(1, &Token::LParen) {
            self.qualified_operator()?;
            return Ok(true);
        }
        let is_one = self.peek().is_some_and(is_operator);
        self.at += usize::from(is_one);
        Ok(is_one)
    }

    /// Whether ANY and ALL may follow.
    fn take_infix_operator(&mut self) -> Check<bool> {
        if self.sees("operator") {
            self.qualified_operator()?;
        } else {
            self.at += 1;
        }
        Ok(true)
    }

    /// `OPERATOR(schema.name)`
    fn qualified_operator(&mut self) -> Check {
        self.at += 1;
        self.expect_sign(&Token::LParen)?;
        self.operator_name()?;
        self.expect_sign(&Token::RParen)
    }

    fn operator_name(&mut self) -> Check {
        while self.is_name(0, is_column_name) {
            self.at += 1;
            self.expect_sign(&Token::Period)?;
        }
        match self.peek() {
            Some(token) if is_any_operator(token) => self.at += 1,
            _ => return self.wrong(),
        }
        // sqlparser cuts some in two
        while self.peek().is_some_and(is_any_operator) {
            self.at += 1;
        }
        Ok(())
    }

    /// Behind `ORDER BY x USING`.
    pub(super) fn operator_of_order(&mut self) -> Check {
        if self.sees("operator") {
            return self.qualified_operator();
        }
        match self.peek() {
            Some(token) if is_any_operator(token) => {
                self.at += 1;
                Ok(())
            }
            _ => self.wrong(),
        }
    }

    fn qualified_any_name(&mut self) -> Check {
        self.column_name()?;
        while self.take_sign(&Token::Period) {
            self.any_name()?;
        }
        Ok(())
    }

    /// Something without operators around it.
    fn operand(&mut self) -> Check<Held> {
        let Some(token) = self.peek() else { return self.wrong() };
        match token {
            Token::LParen => {
                let held = self.parens()?;
                if held != Held::Row {
                    self.indirection()?;
                }
                return Ok(held);
            }
            Token::Placeholder(_) => {
                self.at += 1;
                self.indirection()?;
            }
            Token::Word(word) => {
                let has_quotes = word.quote_style.is_some();
                let word = word.value.to_ascii_lowercase();
                return if has_quotes { self.named() } else { self.word_operand(&word) };
            }
            _ => self.value()?,
        }
        Ok(Held::Other)
    }

    /// A constant, or anything else that has no operators: `c_expr`.
    pub(super) fn value(&mut self) -> Check {
        match self.peek() {
            Some(Token::Number(..) | Token::SingleQuotedByteStringLiteral(_) | Token::HexStringLiteral(_)) => {
                self.at += 1
            }
            Some(token) if is_string(token) => self.at += 1,
            Some(Token::LParen | Token::Placeholder(_) | Token::Word(_)) => {
                self.operand()?;
            }
            _ => return self.wrong(),
        }
        Ok(())
    }

    /// A constant that may have a type's name before it.
    pub(super) fn constant(&mut self) -> Check {
        self.value()
    }

    fn word_operand(&mut self, word: &str) -> Check<Held> {
        match word {
            "true" | "false" | "null" => self.at += 1,
            "case" => self.case()?,
            "exists" if self.is_nth(1, &Token::LParen) => {
                self.at += 1;
                self.query_in_parens()?;
            }
            "array" => {
                self.at += 1;
                if self.is(&Token::LParen) {
                    self.query_in_parens()?;
                } else {
                    self.array_items()?;
                }
            }
            "row" if self.is_nth(1, &Token::LParen) => {
                self.at += 2;
                if !self.is(&Token::RParen) {
                    self.list(Self::expr)?;
                }
                self.expect_sign(&Token::RParen)?;
                return Ok(Held::Row);
            }
            "grouping" if self.is_nth(1, &Token::LParen) => {
                self.at += 1;
                self.parenthesized(Self::expr)?;
            }
            "unique" => return Err(Stop::Unknown),
            _ if word.starts_with("xml") && is_only_column_name(word) => return Err(Stop::Unknown),
            _ if self.grammar_function(word)? => {}
            _ => return self.named(),
        }
        Ok(Held::Other)
    }

    fn array_items(&mut self) -> Check {
        self.deeper(|reader| {
            reader.expect_sign(&Token::LBracket)?;
            if reader.is(&Token::LBracket) {
                reader.list(Self::array_items)?;
            } else if !reader.is(&Token::RBracket) {
                reader.list(Self::expr)?;
            }
            reader.expect_sign(&Token::RBracket)
        })
    }

    fn case(&mut self) -> Check {
        self.at += 1;
        if !self.sees("when") {
            self.expr()?;
        }
        self.expect("when")?;
        loop {
            self.expr()?;
            self.expect("then")?;
            self.expr()?;
            if !self.take("when") {
                break;
            }
        }
        if self.take("else") {
            self.expr()?;
        }
        self.expect("end")
    }

    /// A function in FROM.
    pub(super) fn function(&mut self) -> Check {
        let Some(word) = self.word() else { return self.named().map(|_| ()) };
        if self.grammar_function(&word)? {
            return Ok(());
        }
        self.function_name()?;
        if !self.is(&Token::LParen) {
            return self.wrong();
        }
        self.call()
    }

    fn function_name(&mut self) -> Check {
        let suits = if self.is_nth(1, &Token::Period) { is_column_name } else { is_function_name };
        self.expect_name(suits)?;
        while self.take_sign(&Token::Period) {
            self.any_name()?;
        }
        Ok(())
    }

    /// A call with words of its own, if it comes next.
    pub(super) fn grammar_function(&mut self, word: &str) -> Check<bool> {
        match word {
            "cast" if !self.is_nth(1, &Token::LParen) => {
                self.at += 1;
                return self.wrong();
            }
            "current_date" | "current_role" | "current_user" | "session_user" | "user" | "current_catalog" => {
                self.at += 1;
                return Ok(true);
            }
            "current_schema" if !self.is_nth(1, &Token::LParen) => {
                self.at += 1;
                return Ok(true);
            }
            "current_time" | "current_timestamp" | "localtime" | "localtimestamp" => {
                self.at += 1;
                if self.take_sign(&Token::LParen) {
                    self.whole_number()?;
                    self.expect_sign(&Token::RParen)?;
                }
                return Ok(true);
            }
            "collation" if self.sees_nth(1, "for") => self.at += 1,
            _ if !self.is_nth(1, &Token::LParen) => return Ok(false),
            _ => {}
        }
        let start = self.at;
        self.at += 2;
        match word {
            "collation" => self.expr()?,
            "cast" | "treat" => {
                self.expr()?;
                self.expect("as")?;
                self.type_name()?;
            }
            "coalesce" | "greatest" | "least" => self.list(Self::expr)?,
            "nullif" => {
                self.expr()?;
                self.expect_sign(&Token::Comma)?;
                self.expr()?;
            }
            "extract" => {
                if self.peek().is_some_and(is_string) {
                    self.at += 1;
                } else {
                    self.any_name()?;
                }
                self.expect("from")?;
                self.expr()?;
            }
            "normalize" => {
                self.expr()?;
                if self.take_sign(&Token::Comma) && !["nfc", "nfd", "nfkc", "nfkd"].iter().any(|form| self.take(form)) {
                    return self.wrong();
                }
            }
            "position" => {
                self.operation(0, true)?;
                self.expect("in")?;
                self.operation(0, true)?;
            }
            "trim" => {
                let _ = self.take("both") || self.take("leading") || self.take("trailing");
                if self.take("from") {
                    self.list(Self::expr)?;
                } else {
                    self.expr()?;
                    if self.take("from") {
                        self.list(Self::expr)?;
                    } else {
                        while self.take_sign(&Token::Comma) {
                            self.expr()?;
                        }
                    }
                }
            }
            "overlay" | "substring" if self.is(&Token::RParen) => {}
            "overlay" => {
                self.argument()?;
                if self.take("placing") {
                    self.expr()?;
                    self.expect("from")?;
                    self.expr()?;
                    if self.take("for") {
                        self.expr()?;
                    }
                } else {
                    self.more_arguments()?;
                }
            }
            "substring" => {
                self.argument()?;
                if self.take("similar") {
                    self.expr()?;
                    self.expect("escape")?;
                    self.expr()?;
                } else if self.take("from") {
                    self.expr()?;
                    if self.take("for") {
                        self.expr()?;
                    }
                } else if self.take("for") {
                    self.expr()?;
                    if self.take("from") {
                        self.expr()?;
                    }
                } else {
                    self.more_arguments()?;
                }
            }
            _ => {
                self.at = start;
                return Ok(false);
            }
        }
        self.expect_sign(&Token::RParen)?;
        Ok(true)
    }

    fn more_arguments(&mut self) -> Check {
        while self.take_sign(&Token::Comma) {
            self.argument()?;
        }
        Ok(())
    }

    /// A column, a call, or a type with a constant.
    fn named(&mut self) -> Check<Held> {
        let start = self.at;
        // types with names of their own, if a constant follows
        if let Some(word) = self.word()
            && (is_only_column_name(&word) || word == "double")
        {
            let is_typed = self.own_type()?;
            if is_typed && self.peek().is_some_and(is_string) {
                self.at += 1;
                if word == "interval" {
                    self.interval_fields()?;
                }
                return Ok(Held::Other);
            }
            let behind = self.at;
            if is_typed && behind > start + 1 {
                // `numeric(1)` can only be a type
                return self.wrong();
            }
            self.at = start;
        }
        let is_column = self.is_name(0, is_column_name);
        if !is_column && !self.is_name(0, is_function_name) {
            return self.wrong();
        }
        let may_call = self.is_name(0, is_function_name) || self.is_nth(1, &Token::Period);
        self.at += 1;
        let mut is_plain = true;
        if is_column {
            is_plain = self.indirection()?;
        }
        if may_call && is_plain && self.is(&Token::LParen) {
            self.call()?;
            if self.peek().is_some_and(is_string) {
                self.at += 1;
            }
            return Ok(Held::Other);
        }
        if is_plain && may_call && self.peek().is_some_and(is_string) {
            self.at += 1;
            return Ok(Held::Other);
        }
        if !is_column {
            return self.wrong();
        }
        Ok(Held::Other)
    }

    /// `.name`, `.*`, `[1]`, `[1:2]`, …: whether all of it are names.
    pub(super) fn indirection(&mut self) -> Check<bool> {
        let mut is_plain = true;
        loop {
            if self.take_sign(&Token::Period) {
                if self.take_sign(&Token::Mul) {
                    is_plain = false;
                } else {
                    self.any_name()?;
                }
            } else if self.take_sign(&Token::LBracket) {
                is_plain = false;
                if !self.is_colon() {
                    self.expr()?;
                }
                if self.is_colon() {
                    self.at += 1;
                    if !self.is(&Token::RBracket) {
                        self.expr()?;
                    }
                }
                self.expect_sign(&Token::RBracket)?;
            } else {
                return Ok(is_plain);
            }
        }
    }

    fn is_colon(&self) -> bool {
        self.is(&Token::Colon)
    }

    /// Behind a function's name.
    fn call(&mut self) -> Check {
        self.expect_sign(&Token::LParen)?;
        if self.is(&Token::Mul) && self.is_nth(1, &Token::RParen) {
            self.at += 1;
        } else if !self.is(&Token::RParen) {
            let is_all = self.take("all") || self.take("distinct");
            loop {
                let is_last = !is_all && self.take("variadic");
                self.argument()?;
                if is_last || !self.take_sign(&Token::Comma) {
                    break;
                }
            }
            if self.sees("order") {
                self.order_by()?;
            }
        }
        self.expect_sign(&Token::RParen)?;
        if self.take("within") {
            self.expect("group")?;
            self.expect_sign(&Token::LParen)?;
            self.order_by()?;
            self.expect_sign(&Token::RParen)?;
        }
        if self.sees("filter") && self.is_nth(1, &Token::LParen) {
            self.at += 2;
            self.expect("where")?;
            self.expr()?;
            self.expect_sign(&Token::RParen)?;
        }
        if self.take("over") {
            if self.is(&Token::LParen) {
                return self.window_in_parens();
            }
            return self.column_name();
        }
        Ok(())
    }

    fn argument(&mut self) -> Check {
        let is_named = matches!(self.peek_nth(1), Some(Token::Assignment | Token::RArrow));
        if is_named && self.is_name(0, is_function_name) {
            self.at += 2;
        }
        self.expr()
    }

    /// `(expression)`, `(query)` or `(a, b)`.
    fn parens(&mut self) -> Check<Held> {
        self.deeper(|reader| {
            reader.expect_sign(&Token::LParen)?;
            if reader.begins_query() {
                reader.query()?;
                reader.expect_sign(&Token::RParen)?;
                return Ok(Held::Query);
            }
            if reader.is(&Token::LParen) && reader.opens_query() {
                let start = reader.at;
                // a query in parentheses may be a part of a query, or an operand
                let held = reader.parens()?;
                if held == Held::Query && reader.goes_on_as_query() {
                    reader.rest_of_query()?;
                    reader.expect_sign(&Token::RParen)?;
                    return Ok(Held::Query);
                }
                if held == Held::Query && reader.take_sign(&Token::RParen) {
                    return Ok(Held::Query);
                }
                reader.at = start;
            }
            reader.expr()?;
            let mut held = Held::Other;
            while reader.take_sign(&Token::Comma) {
                held = Held::Row;
                reader.expr()?;
            }
            reader.expect_sign(&Token::RParen)?;
            Ok(held)
        })
    }

    /// Whether a query begins behind the parentheses that come next.
    fn opens_query(&self) -> bool {
        let depth = (0..).take_while(|nth| self.is_nth(*nth, &Token::LParen)).count();
        self.begins_query_nth(depth)
    }
}

/// An operator that has no place of its own in the order of operators.
fn is_operator(token: &Token) -> bool {
    let is_other = matches!(
        token,
        Token::Word(_)
            | Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::Placeholder(_)
            | Token::Comma
            | Token::Period
            | Token::Colon
            | Token::DoubleColon
            | Token::SemiColon
            | Token::Assignment
            | Token::RArrow
            | Token::Backslash
            | Token::LParen
            | Token::RParen
            | Token::LBracket
            | Token::RBracket
            | Token::LBrace
            | Token::RBrace
            | Token::Whitespace(_)
            | Token::EOF
    );
    !is_other && !is_string(token) && !is_ordered_operator(token)
}

/// One that has a place of its own.
fn is_ordered_operator(token: &Token) -> bool {
    matches!(
        token,
        Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::Caret
            | Token::Lt
            | Token::Gt
            | Token::Eq
            | Token::LtEq
            | Token::GtEq
            | Token::Neq
    )
}

fn is_any_operator(token: &Token) -> bool {
    is_ordered_operator(token) || is_operator(token)
}
