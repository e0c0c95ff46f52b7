//! Makes the statements that PostgreSQL's clients ask its catalogs plannable by DataFusion: qualified functions and
//! operators, `reg…` casts, arrays written as text, and subqueries that DataFusion cannot turn into joins.
//!
//! A statement that names any relation outside of `pg_catalog` and `information_schema` only loses the qualifier
//! `pg_catalog.` of its functions, which says nothing. So a user's query means what it says.
//!
//! Most of what clients ask in these ways is about things that a feature warehouse does not have, such as triggers
//! and policies. A SELECT over a relation that is always empty is answered without looking at what it computes.

use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType as ArrowType;
use sqlparser::ast::{
    self, BinaryOperator, DataType, Expr, FunctionArguments, JoinOperator, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SetExpr, Statement, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::labels::label_of;
use super::table_reference;
use crate::engine::tables::system::{self, Relation};

/// Rewrites in place.
pub fn rewrite(statement: &mut Statement, search_path: &[String]) {
    let _ = statement.visit(&mut Unqualify);
    let mut relations = Relations { search_path, system: 0, other: 0, ctes: Vec::new() };
    let _ = Visit::visit(&*statement, &mut relations);
    if relations.other > 0 {
        return;
    }
    if relations.system == 0 && !is_about_catalog(statement) {
        return;
    }
    let mut rewriter = Rewriter { search_path };
    if let Statement::Query(query) = statement {
        show_names(&mut query.body);
    }
    let _ = statement.visit(&mut rewriter);
}

/// Whether a query without relations uses what only the catalog knows.
fn is_about_catalog(statement: &Statement) -> bool {
    let text = statement.to_string().to_lowercase();
    ["::reg", "::pg_catalog", "::oid", " as reg", " as pg_catalog", " as oid", "current_schema"]
        .iter()
        .any(|word| text.contains(word))
}

/// Counts the relations of a statement by where they stand.
struct Relations<'a> {
    search_path: &'a [String],
    system: usize,
    other: usize,
    ctes: Vec<String>,
}

impl Visitor for Relations<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.ctes.push(cte.alias.name.value.to_lowercase());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        if relation_of(self.search_path, name).is_some() {
            self.system += 1;
        } else if !self.ctes.contains(&name.to_string().to_lowercase()) {
            self.other += 1;
        }
        ControlFlow::Continue(())
    }
}

fn relation_of(search_path: &[String], name: &ObjectName) -> Option<&'static Relation> {
    system::named(search_path, &table_reference(name)?).filter(|relation| relation.schema != "granary")
}

/// Takes `pg_catalog.` from functions.
struct Unqualify;

impl VisitorMut for Unqualify {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            unqualify(&mut function.name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } = factor {
            unqualify(name);
        }
        ControlFlow::Continue(())
    }
}

fn unqualify(name: &mut ObjectName) {
    if let [ObjectNamePart::Identifier(schema), _] = name.0.as_slice()
        && schema.value.eq_ignore_ascii_case("pg_catalog")
    {
        name.0.remove(0);
    }
}

/// An output column of a `reg…` type shows names.
fn show_names(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for item in &mut select.projection {
                let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { continue };
                if let Some(shown) = name_of_reg(expr) {
                    *expr = shown;
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            show_names(left);
            show_names(right);
        }
        SetExpr::Query(query) => show_names(&mut query.body),
        _ => {}
    }
}

/// `x::regclass` as text: the call of a function on the OID.
fn name_of_reg(expr: &Expr) -> Option<Expr> {
    let Expr::Cast { expr: inner, data_type, .. } = expr else { return None };
    let function = match custom_name(data_type)?.as_str() {
        "regclass" => "regclass_name",
        "regtype" => "regtype_name",
        "regnamespace" => "regnamespace_name",
        _ => return None,
    };
    let oid = if is_text(inner) { expr.to_string() } else { inner.to_string() };
    parse(&format!("{function}({oid})"))
}

fn is_text(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => {
            matches!(value.value, ast::Value::SingleQuotedString(_) | ast::Value::Placeholder(_))
        }
        Expr::Cast { data_type, .. } => matches!(data_type, DataType::Text | DataType::Varchar(_)),
        _ => false,
    }
}

/// The last word of a type that only PostgreSQL has.
fn custom_name(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Custom(name, _) => match name.0.last()? {
            ObjectNamePart::Identifier(ident) => Some(ident.value.to_lowercase()),
            ObjectNamePart::Function(_) => None,
        },
        DataType::Regclass => Some("regclass".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(text).ok()?.parse_expr().ok()
}

fn literal(text: &str) -> Expr {
    parse(text).expect("a literal of ours")
}

struct Rewriter<'a> {
    search_path: &'a [String],
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if self.empty_set(&mut query.body) {
            query.order_by = None;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let replaced = match expr {
            // text of a reg type: the name, not the number
            Expr::Cast { expr: inner, data_type, .. }
                if matches!(data_type, DataType::Text | DataType::Varchar(_))
                    || custom_name(data_type).is_some_and(|name| name == "text" || name == "name") =>
            {
                name_of_reg(inner)
            }
            Expr::Subquery(query) if self.is_empty_query(query) => Some(literal("NULL")),
            Expr::Exists { subquery, negated } if self.is_empty_query(subquery) => {
                Some(literal(if *negated { "true" } else { "false" }))
            }
            Expr::InSubquery { subquery, negated, .. } if self.is_empty_query(subquery) => {
                Some(literal(if *negated { "true" } else { "false" }))
            }
            Expr::Function(function) => match &function.args {
                FunctionArguments::Subquery(query) => Some(self.array_of(query)),
                _ => None,
            },
            Expr::Value(value) => match &value.value {
                ast::Value::EscapedStringLiteral(text) => {
                    Some(Expr::Value(ast::Value::SingleQuotedString(text.clone()).into()))
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(replaced) = replaced {
            *expr = replaced;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let replaced = match expr {
            Expr::Collate { expr, .. } => Some(expr.as_ref().clone()),
            Expr::BinaryOp { op, .. } => {
                if let BinaryOperator::PGCustomBinaryOperator(words) = op
                    && let Some(known) = words.last().and_then(|word| operator(word))
                {
                    *op = known;
                }
                None
            }
            Expr::Identifier(ident)
                if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("current_schema") =>
            {
                parse("current_schema()")
            }
            Expr::Cast { expr: inner, data_type, .. } => cast(inner, data_type),
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => membership(left, right, false),
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => membership(left, right, true),
            Expr::Subquery(query) => {
                first_of(query);
                None
            }
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
                if let Some(escape) = escape_char.take()
                    && let Some(plain) = parse(&format!("replace({pattern}, {escape}, '\\')"))
                {
                    **pattern = plain;
                }
                None
            }
            Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("coalesce") => {
                // An empty array written as text, which only says that there is nothing.
                let text = expr.to_string();
                text.strip_suffix(", '{}')").and_then(|rest| parse(rest.split_once('(')?.1))
            }
            _ => None,
        };
        if let Some(replaced) = replaced {
            *expr = replaced;
        }
        ControlFlow::Continue(())
    }
}

fn operator(word: &str) -> Option<BinaryOperator> {
    Some(match word {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        ">" => BinaryOperator::Gt,
        "<=" => BinaryOperator::LtEq,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "||" => BinaryOperator::StringConcat,
        _ => return None,
    })
}

/// A cast to a type that DataFusion lacks.
fn cast(inner: &Expr, data_type: &DataType) -> Option<Expr> {
    if let DataType::Array(ast::ArrayElemTypeDef::SquareBracket(item, _)) = data_type {
        if let Some(items) = array_literal(inner) {
            let items: Vec<String> =
                items
                    .iter()
                    .map(|item| {
                        if item.parse::<f64>().is_ok() {
                            item.clone()
                        } else {
                            format!("'{}'", item.replace('\'', "''"))
                        }
                    })
                    .collect();
            return parse(&format!("ARRAY[{}]", items.join(", ")));
        }
        return custom_name(item).map(|_| inner.clone());
    }
    let name = custom_name(data_type)?;
    match name.as_str() {
        "oid" | "xid" | "cid" => match inner {
            Expr::Function(function) if function.name.to_string().ends_with("_oid") => Some(inner.clone()),
            _ => parse(&format!("CAST({inner} AS BIGINT)")),
        },
        "regclass" | "regtype" | "regnamespace" if is_text(inner) => parse(&format!("{name}_oid({inner})")),
        "int2" => parse(&format!("CAST({inner} AS SMALLINT)")),
        "int4" => parse(&format!("CAST({inner} AS INT)")),
        "int8" => parse(&format!("CAST({inner} AS BIGINT)")),
        "text" | "name" | "char" | "varchar" | "cstring" | "sql_identifier" | "character_data" | "yes_or_no" => {
            parse(&format!("CAST({inner} AS VARCHAR)"))
        }
        _ => Some(inner.clone()),
    }
}

/// The items of `'{a,b}'`.
fn array_literal(expr: &Expr) -> Option<Vec<String>> {
    let Expr::Value(value) = expr else { return None };
    let ast::Value::SingleQuotedString(text) = &value.value else { return None };
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inner.trim().is_empty() {
        return Some(Vec::new());
    }
    Some(inner.split(',').map(|item| item.trim().trim_matches('"').to_owned()).collect())
}

/// `left = ANY (right)`, or with `negated` `left <> ALL (right)`.
fn membership(left: &Expr, right: &Expr, negated: bool) -> Option<Expr> {
    let not = if negated { "NOT " } else { "" };
    let right = match right {
        Expr::Nested(inner) => inner.as_ref(),
        other => other,
    };
    if let Some(items) = array_literal(right) {
        if items.is_empty() {
            return parse(if negated { "true" } else { "false" });
        }
        let items: Vec<String> = items.iter().map(|item| format!("'{}'", item.replace('\'', "''"))).collect();
        return parse(&format!("{left} {not}IN ({})", items.join(", ")));
    }
    match right {
        Expr::Array(array) if array.elem.is_empty() => parse(if negated { "true" } else { "false" }),
        Expr::Array(array) => {
            let items: Vec<String> = array.elem.iter().map(ToString::to_string).collect();
            parse(&format!("{left} {not}IN ({})", items.join(", ")))
        }
        Expr::Subquery(query) => parse(&format!("{left} {not}IN ({query})")),
        _ => parse(&format!("{not}array_has({right}, {left})")),
    }
}

const AGGREGATES: [&str; 10] =
    ["count", "max", "min", "sum", "avg", "array_agg", "string_agg", "bool_or", "bool_and", "first_value"];

fn is_aggregate(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function) if AGGREGATES.contains(&function.name.to_string().to_lowercase().as_str()))
}

/// A scalar subquery that may stand on the outer row is an aggregate for DataFusion: the first of its values.
fn first_of(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    if select.from.is_empty() {
        return;
    }
    let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] = select.projection.as_mut_slice()
    else {
        return;
    };
    if is_aggregate(expr) {
        return;
    }
    if let Some(first) = parse(&format!("first_value({expr})")) {
        *expr = first;
        query.order_by = None;
        query.limit_clause = None;
    }
}

impl Rewriter<'_> {
    /// `ARRAY(SELECT …)`.
    fn array_of(&self, query: &Query) -> Expr {
        let text = query.to_string();
        // Nobody has column privileges or storage options here.
        let never = ["attacl IS NOT NULL", "reloptions", "pg_options_to_table"];
        let is_empty = self.is_empty_query(query) || never.iter().any(|words| text.contains(words));
        if is_empty {
            return literal("empty_text_array()");
        }
        let mut query = query.clone();
        if let SetExpr::Select(select) = query.body.as_mut()
            && let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] =
                select.projection.as_mut_slice()
            && let Some(collected) = parse(&format!("array_agg({expr})"))
        {
            *expr = collected;
            query.order_by = None;
        }
        Expr::Subquery(Box::new(query))
    }

    fn is_empty_query(&self, query: &Query) -> bool {
        self.is_empty_set(&query.body)
    }

    fn is_empty_set(&self, body: &SetExpr) -> bool {
        match body {
            SetExpr::Select(select) => self.is_empty_select(select),
            SetExpr::Query(query) => self.is_empty_query(query),
            SetExpr::SetOperation { left, right, .. } => self.is_empty_set(left) && self.is_empty_set(right),
            _ => false,
        }
    }

    /// Whether a relation that is always empty is joined in such a way that there can be no rows.
    fn is_empty_select(&self, select: &Select) -> bool {
        let aggregates = select.projection.iter().any(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => is_aggregate(expr),
            _ => false,
        });
        let is_grouped = matches!(&select.group_by, ast::GroupByExpr::Expressions(keys, _) if !keys.is_empty());
        if aggregates && !is_grouped {
            return false;
        }
        select.from.iter().any(|from| {
            let must_match = |join: &ast::Join| {
                let is_inner = matches!(
                    join.join_operator,
                    JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
                );
                is_inner && self.is_empty_factor(&join.relation)
            };
            let keeps_left = !from.joins.iter().any(|join| {
                matches!(
                    join.join_operator,
                    JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
                )
            });
            keeps_left && (self.is_empty_factor(&from.relation) || from.joins.iter().any(must_match))
        })
    }

    fn is_empty_factor(&self, factor: &TableFactor) -> bool {
        match factor {
            TableFactor::Table { name, args: None, .. } => {
                relation_of(self.search_path, name).is_some_and(system::always_empty)
            }
            TableFactor::Derived { subquery, .. } => self.is_empty_query(subquery),
            _ => false,
        }
    }

    /// Replaces SELECTs that give no rows by ones with the same columns that say so.
    fn empty_set(&self, body: &mut SetExpr) -> bool {
        match body {
            SetExpr::Select(select) => {
                let can_list = select
                    .projection
                    .iter()
                    .all(|item| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }));
                let is_empty = can_list && self.is_empty_select(select);
                if is_empty {
                    self.empty_select(select);
                }
                is_empty
            }
            SetExpr::SetOperation { left, right, .. } => {
                let (left, right) = (self.empty_set(left), self.empty_set(right));
                left && right
            }
            _ => false,
        }
    }

    fn empty_select(&self, select: &mut Select) {
        let names: Vec<&'static Relation> = select
            .from
            .iter()
            .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)))
            .filter_map(|factor| match factor {
                TableFactor::Table { name, .. } => relation_of(self.search_path, name),
                _ => None,
            })
            .collect();
        let items: Vec<String> = select
            .projection
            .iter()
            .filter_map(|item| match item {
                SelectItem::UnnamedExpr(expr) => Some((expr, label_of(expr))),
                SelectItem::ExprWithAlias { expr, alias } => Some((expr, alias.value.clone())),
                _ => None,
            })
            .map(|(expr, label)| format!("CAST(NULL AS {}) AS \"{}\"", type_of(expr, &names), label.replace('"', "")))
            .collect();
        let text = format!("SELECT {} WHERE false", items.join(", "));
        let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_query());
        if let Ok(query) = parsed
            && let SetExpr::Select(empty) = *query.body
        {
            *select = *empty;
        }
    }
}

/// The SQL type of an expression whose value nobody will see.
fn type_of(expr: &Expr, relations: &[&'static Relation]) -> &'static str {
    let column = match expr {
        Expr::Identifier(ident) => ident,
        Expr::CompoundIdentifier(idents) => match idents.last() {
            Some(ident) => ident,
            None => return "VARCHAR",
        },
        Expr::BinaryOp { op, .. } => {
            use BinaryOperator as Op;
            let compares = matches!(op, Op::Eq | Op::NotEq | Op::Lt | Op::Gt | Op::LtEq | Op::GtEq | Op::And | Op::Or);
            return if compares { "BOOLEAN" } else { "VARCHAR" };
        }
        Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::AnyOp { .. } | Expr::Exists { .. } => return "BOOLEAN",
        Expr::Cast { data_type, .. } if custom_name(data_type).is_some_and(|name| name == "oid") => return "BIGINT",
        Expr::Value(value) => {
            return match value.value {
                ast::Value::Boolean(_) => "BOOLEAN",
                ast::Value::Number(..) => "INT",
                _ => "VARCHAR",
            };
        }
        _ => return "VARCHAR",
    };
    let field = relations.iter().find_map(|relation| relation.arrow.field_with_name(&column.value).ok());
    match field.map(|field| field.data_type()) {
        Some(ArrowType::Boolean) => "BOOLEAN",
        Some(ArrowType::Int16) => "SMALLINT",
        Some(ArrowType::Int32) => "INT",
        Some(ArrowType::Int64) => "BIGINT",
        Some(ArrowType::Float32) => "REAL",
        _ => "VARCHAR",
    }
}
