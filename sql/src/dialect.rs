//! PostgreSQL's dialect for sqlparser, plus `FOR SYSTEM_TIME`, plus guards against texts that would exhaust stack or time.
//! Every method that `PostgreSqlDialect` overrides is passed on to it; a missing one would silently lose syntax.

mod infix;
mod prefix;

use std::any::TypeId;
use std::cell::Cell;

use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    Interval, ObjectName, Statement,
};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use crate::grammar::keywords;
use crate::source::is_word;

pub use infix::SYMMETRIC;
pub use prefix::PREFIX_OPERATOR;

/// Operators that may hang on one another to the left, as in `a + b + c`.
/// The tree of such a chain is as deep as it is long, and later stages walk it recursively.
pub(crate) const MAX_CHAIN: usize = 500;

#[derive(Debug)]
pub(crate) struct GranaryDialect {
    postgres: PostgreSqlDialect,
    /// Whether the text has `FOR SYSTEM_TIME`: only then may sqlparser look for table versions,
    /// since it would take aliases named AT, BEFORE or CHANGES for one.
    versioning: bool,
    /// How many more expressions may be begun. sqlparser goes back and tries again where a
    /// text is ambiguous; nested, that doubles with every level.
    budget: Cell<u64>,
}

impl GranaryDialect {
    pub(crate) fn new(versioning: bool, tokens: usize) -> GranaryDialect {
        let budget = 20_000 + 20 * tokens as u64;
        GranaryDialect { postgres: PostgreSqlDialect {}, versioning, budget: Cell::new(budget) }
    }

    /// True when parsing was cut short; whatever error came of it is not the real one.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.budget.get() == 0
    }
}

/// How deep the left side of an operator chain is, counted up to `MAX_CHAIN`.
fn left_depth(mut expression: &Expr) -> usize {
    let mut depth = 0;
    while depth < MAX_CHAIN {
        expression = match expression {
            Expr::BinaryOp { left, .. } | Expr::AnyOp { left, .. } | Expr::AllOp { left, .. } => left,
            Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner)
            | Expr::IsDistinctFrom(inner, _)
            | Expr::IsNotDistinctFrom(inner, _) => inner,
            Expr::Cast { expr, .. }
            | Expr::Like { expr, .. }
            | Expr::ILike { expr, .. }
            | Expr::SimilarTo { expr, .. }
            | Expr::RLike { expr, .. }
            | Expr::Between { expr, .. }
            | Expr::InList { expr, .. }
            | Expr::InSubquery { expr, .. }
            | Expr::InUnnest { expr, .. }
            | Expr::Collate { expr, .. }
            | Expr::IsNormalized { expr, .. }
            | Expr::UnaryOp { expr, .. }
            | Expr::AtTimeZone { timestamp: expr, .. } => expr,
            _ => return depth,
        };
        depth += 1;
    }
    depth
}

/// `INTERVAL '7 days' TO`: sqlparser would read the fields of `INTERVAL '1-2' YEAR TO MONTH`, though there is no first
/// field; here TO ends the interval, as in `FROM now() - interval '7 days' TO now()`.
fn is_interval_before_to(parser: &Parser) -> bool {
    let [interval, text, to] = parser.peek_tokens_ref();
    is_word(&interval.token, "interval")
        && matches!(text.token, Token::SingleQuotedString(_))
        && is_word(&to.token, "to")
}

fn parse_bare_interval(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.advance_token();
    Ok(Expr::Interval(Interval {
        value: Box::new(Expr::Value(parser.parse_value()?)),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    }))
}

/// Whether `IS [NOT] DISTINCT FROM` comes next, and if so whether with NOT.
fn distinct_from(parser: &Parser) -> Option<bool> {
    let tokens: [_; 4] = parser.peek_tokens_ref();
    let is = |index: usize, word| is_word(&tokens[index].token, word);
    if !is(0, "is") {
        return None;
    }
    let negated = is(1, "not");
    let at = usize::from(negated);
    (is(at + 1, "distinct") && is(at + 2, "from")).then_some(negated)
}

/// sqlparser would take all that follows for the right side: `a IS DISTINCT FROM b OR c` as `a IS DISTINCT FROM (b OR c)`.
fn parse_distinct_from(parser: &mut Parser, left: &Expr, precedence: u8, negated: bool) -> Result<Expr, ParserError> {
    for _ in 0..3 + usize::from(negated) {
        parser.advance_token();
    }
    let (left, right) = (Box::new(left.clone()), Box::new(parser.parse_subexpr(precedence)?));
    Ok(if negated { Expr::IsNotDistinctFrom(left, right) } else { Expr::IsDistinctFrom(left, right) })
}

/// The comparison of `a OPERATOR(pg_catalog.=) ANY (…)`, if that comes next.
fn qualified_comparison(parser: &Parser) -> Option<BinaryOperator> {
    let [operator, open, schema, dot, name, close, quantifier] = parser.peek_tokens_ref();
    let is_one = is_word(&operator.token, "operator")
        && open.token == Token::LParen
        && is_word(&schema.token, "pg_catalog")
        && dot.token == Token::Period
        && close.token == Token::RParen
        && ["any", "some", "all"].iter().any(|word| is_word(&quantifier.token, word));
    is_one.then_some(())?;
    comparison(&name.token)
}

/// The operator that a token is before ANY.
fn comparison(token: &Token) -> Option<BinaryOperator> {
    Some(match token {
        Token::Eq => BinaryOperator::Eq,
        Token::Neq => BinaryOperator::NotEq,
        Token::Lt => BinaryOperator::Lt,
        Token::Gt => BinaryOperator::Gt,
        Token::LtEq => BinaryOperator::LtEq,
        Token::GtEq => BinaryOperator::GtEq,
        Token::Tilde => BinaryOperator::PGRegexMatch,
        Token::TildeAsterisk => BinaryOperator::PGRegexIMatch,
        Token::DoubleTilde => BinaryOperator::PGLikeMatch,
        _ => return None,
    })
}

/// sqlparser knows ANY and ALL behind plain operators only; pg_dump says the schema of all.
fn parse_quantified(parser: &mut Parser, left: &Expr, compare_op: BinaryOperator) -> Result<Expr, ParserError> {
    for _ in 0..6 {
        parser.advance_token();
    }
    parse_quantifier(parser, left, compare_op)
}

/// `ANY (…)` behind an operator.
fn parse_quantifier(parser: &mut Parser, left: &Expr, compare_op: BinaryOperator) -> Result<Expr, ParserError> {
    let is_all = is_word(&parser.next_token().token, "all");
    let [_, first] = parser.peek_tokens_ref();
    let is_query = ["select", "with", "values", "table"].iter().any(|word| is_word(&first.token, word));
    let right = if is_query {
        // the query alone: what follows is no part of the right side

        parser.parse_prefix()?
    } else {
        parser.expect_token(&Token::LParen)?;
        let right = parser.parse_expr()?;
        parser.expect_token(&Token::RParen)?;
        right
    };
    let (left, right) = (Box::new(left.clone()), Box::new(right));
    Ok(match is_all {
        true => Expr::AllOp { left, compare_op, right },
        false => Expr::AnyOp { left, compare_op, right, is_some: false },
    })
}

/// How tightly operators of a kind bind.
fn binding(precedence: Precedence) -> u8 {
    PostgreSqlDialect {}.prec_value(precedence)
}

/// A keyword in lower case.
fn spelled(keyword: Keyword) -> String {
    format!("{keyword:?}").to_ascii_lowercase()
}

/// A name that no user has for a function, and that prints and is read again.
fn marked(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

fn call(name: Vec<Ident>, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    Expr::Function(Function {
        name: ObjectName::from(name),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

impl Dialect for GranaryDialect {
    /// sqlparser asks "is this PostgreSQL?" in many places.
    fn dialect(&self) -> TypeId {
        self.postgres.dialect()
    }

    fn supports_table_versioning(&self) -> bool {
        self.versioning
    }

    /// `'a'` newline `'b'` is one string in PostgreSQL and in the standard.
    fn supports_string_literal_concatenation_with_newline(&self) -> bool {
        true
    }

    fn is_table_alias(&self, keyword: &Keyword, _parser: &mut Parser) -> bool {
        // SET ends the name of what is updated
        *keyword != Keyword::SET && keywords::is_column_name(&spelled(*keyword))
    }

    fn is_column_alias(&self, keyword: &Keyword, _parser: &mut Parser) -> bool {
        keywords::is_bare_label(&spelled(*keyword))
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let left = self.budget.get().saturating_sub(1);
        self.budget.set(left);
        if left == 0 {
            return Some(Err(ParserError::RecursionLimitExceeded));
        }
        if is_interval_before_to(parser) {
            return Some(parse_bare_interval(parser));
        }
        prefix::parse(parser).or_else(|| self.postgres.parse_prefix(parser))
    }

    fn parse_infix(&self, parser: &mut Parser, expression: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        if left_depth(expression) >= MAX_CHAIN {
            return Some(Err(ParserError::RecursionLimitExceeded));
        }
        if let Some(negated) = distinct_from(parser) {
            return Some(parse_distinct_from(parser, expression, precedence, negated));
        }
        if let Some(operator) = qualified_comparison(parser) {
            return Some(parse_quantified(parser, expression, operator));
        }
        infix::parse(parser, expression).or_else(|| self.postgres.parse_infix(parser, expression, precedence))
    }

    fn parse_statement(&self, parser: &mut Parser) -> Option<Result<Statement, ParserError>> {
        self.postgres.parse_statement(parser)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        let own = match &parser.peek_token_ref().token {
            Token::Word(word) => {
                let word = if word.quote_style.is_some() { "" } else { word.value.as_str() };
                infix::precedence_of_word(parser, &word.to_ascii_lowercase())
            }
            Token::DoubleEq | Token::DoubleExclamationMark => Some(self.prec_value(Precedence::PgOther)),
            _ => None,
        };
        own.map(Ok).or_else(|| self.postgres.get_next_precedence(parser))
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        self.postgres.prec_value(precedence)
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.postgres.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, character: char) -> bool {
        self.postgres.is_delimited_identifier_start(character)
    }

    fn is_identifier_start(&self, character: char) -> bool {
        self.postgres.is_identifier_start(character)
    }

    fn is_identifier_part(&self, character: char) -> bool {
        self.postgres.is_identifier_part(character)
    }

    fn is_custom_operator_part(&self, character: char) -> bool {
        self.postgres.is_custom_operator_part(character)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        self.postgres.is_reserved_for_identifier(keyword)
    }

    fn supports_unicode_string_literal(&self) -> bool {
        self.postgres.supports_unicode_string_literal()
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        self.postgres.supports_filter_during_aggregation()
    }

    fn supports_group_by_expr(&self) -> bool {
        self.postgres.supports_group_by_expr()
    }

    fn allow_extract_custom(&self) -> bool {
        self.postgres.allow_extract_custom()
    }

    fn allow_extract_single_quotes(&self) -> bool {
        self.postgres.allow_extract_single_quotes()
    }

    fn supports_create_index_with_clause(&self) -> bool {
        self.postgres.supports_create_index_with_clause()
    }

    fn supports_explain_with_utility_options(&self) -> bool {
        self.postgres.supports_explain_with_utility_options()
    }

    fn supports_listen_notify(&self) -> bool {
        self.postgres.supports_listen_notify()
    }

    fn supports_factorial_operator(&self) -> bool {
        self.postgres.supports_factorial_operator()
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        self.postgres.supports_bitwise_shift_operators()
    }

    fn supports_comment_on(&self) -> bool {
        self.postgres.supports_comment_on()
    }

    fn supports_load_extension(&self) -> bool {
        self.postgres.supports_load_extension()
    }

    fn supports_named_fn_args_with_colon_operator(&self) -> bool {
        self.postgres.supports_named_fn_args_with_colon_operator()
    }

    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        self.postgres.supports_named_fn_args_with_expr_name()
    }

    fn supports_empty_projections(&self) -> bool {
        self.postgres.supports_empty_projections()
    }

    fn supports_nested_comments(&self) -> bool {
        self.postgres.supports_nested_comments()
    }

    fn supports_string_escape_constant(&self) -> bool {
        self.postgres.supports_string_escape_constant()
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        self.postgres.supports_numeric_literal_underscores()
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        self.postgres.supports_array_typedef_with_brackets()
    }

    fn supports_geometric_types(&self) -> bool {
        self.postgres.supports_geometric_types()
    }

    fn supports_set_names(&self) -> bool {
        self.postgres.supports_set_names()
    }

    fn supports_alter_column_type_using(&self) -> bool {
        self.postgres.supports_alter_column_type_using()
    }

    fn supports_notnull_operator(&self) -> bool {
        self.postgres.supports_notnull_operator()
    }

    fn supports_interval_options(&self) -> bool {
        self.postgres.supports_interval_options()
    }

    fn supports_insert_table_alias(&self) -> bool {
        self.postgres.supports_insert_table_alias()
    }

    fn supports_create_table_like_parenthesized(&self) -> bool {
        self.postgres.supports_create_table_like_parenthesized()
    }

    fn supports_select_wildcard_with_alias(&self) -> bool {
        self.postgres.supports_select_wildcard_with_alias()
    }

    fn supports_comma_separated_trim(&self) -> bool {
        self.postgres.supports_comma_separated_trim()
    }

    fn supports_xml_expressions(&self) -> bool {
        self.postgres.supports_xml_expressions()
    }

    fn supports_comment_optimizer_hint(&self) -> bool {
        self.postgres.supports_comment_optimizer_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(dialect: &dyn Dialect, text: &str) -> Result<Vec<Statement>, ParserError> {
        Parser::parse_sql(dialect, text)
    }

    /// One text for each method that `PostgreSqlDialect` overrides and that a text can show.
    #[test]
    fn nothing_of_postgres_is_lost() {
        for text in [
            "SELECT \"a\", größe, a$1 FROM _t",
            "SELECT U&'\\0041', E'\\n', 1_000",
            "SELECT a <-> b, a <=> b, a <@ b, |/ 4, @ 1, a # b, a << 2, ~ 1",
            "SELECT a COLLATE \"C\", a[1], a -> 'b' ->> 'c', a NOTNULL, interval",
            "SELECT sum(a) FILTER (WHERE b) FROM t GROUP BY ROLLUP (a), GROUPING SETS ((a), ())",
            "SELECT EXTRACT('epoch' FROM a), EXTRACT(custom FROM a), trim('a', 'b'), json_object('a': 1)",
            "CREATE INDEX i ON t (a) WITH (fillfactor = 70)",
            "EXPLAIN (ANALYZE, FORMAT JSON) SELECT 1",
            "LISTEN a",
            "NOTIFY a, 'b'",
            "COMMENT ON TABLE t IS 'x'",
            "LOAD 'x'",
            "SELECT FROM t",
            "SELECT /* a /* b */ c */ 1",
            "CREATE TABLE t (a int[], b box, c interval day to second(3))",
            "SET NAMES 'utf8'",
            "ALTER TABLE t ALTER COLUMN a TYPE int USING a::int",
            "INSERT INTO t AS x VALUES (1)",
            "CREATE TABLE t (LIKE u)",
            "SELECT * AS x FROM t",
            "SELECT xml '<a/>'",
            "SELECT /*+ hint */ 1",
        ] {
            let ours = parse(&GranaryDialect::new(true, 100), text);
            assert!(ours.is_ok(), "{text}: {ours:?}");
            assert_eq!(ours, parse(&PostgreSqlDialect {}, text), "{text}");
        }
    }

    #[test]
    fn distinct_from_ends_before_or() {
        for text in ["SELECT a IS DISTINCT FROM b OR c", "SELECT a is not distinct from b + 1 AND c"] {
            let parsed = parse(&GranaryDialect::new(false, 100), text).expect("parses");
            let Statement::Query(query) = &parsed[0] else { panic!("a query") };
            let expression = query.body.as_select().and_then(|select| match &select.projection[0] {
                sqlparser::ast::SelectItem::UnnamedExpr(expression) => Some(expression),
                _ => None,
            });
            let Some(Expr::BinaryOp { left, .. }) = expression else { panic!("{text}: {expression:?}") };
            assert!(matches!(**left, Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..)), "{text}");
        }
    }

    #[test]
    fn qualified_operators_take_any() {
        for (qualified, plain) in [
            ("SELECT a OPERATOR(pg_catalog.=) ANY (array[1, 2]) AND b", "SELECT a = ANY (array[1, 2]) AND b"),
            ("SELECT a OPERATOR(pg_catalog.<>) ALL (SELECT 1)", "SELECT a <> ALL (SELECT 1)"),
        ] {
            let dialect = GranaryDialect::new(false, 100);
            assert_eq!(
                format!("{:?}", parse(&dialect, qualified).map(|found| found[0].to_string())),
                format!("{:?}", parse(&dialect, plain).map(|found| found[0].to_string()))
            );
        }
    }

    #[test]
    fn an_interval_ends_before_to() {
        let text = "SELECT * FROM v FOR SYSTEM_TIME FROM now() - interval '7 days' TO now()";
        assert!(crate::parse(text).is_ok());
        assert!(crate::parse("SELECT interval '1-2' YEAR TO MONTH").is_ok());
    }
}
