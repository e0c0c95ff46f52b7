//! The names of output columns, as PostgreSQL gives them.

use sqlparser::ast::{self, DataType, Expr, SelectItem, SetExpr};

use super::fold;

const UNNAMED: &str = "?column?";

/// The label of an expression without AS.
pub fn label_of(expr: &Expr) -> String {
    figure(expr).1.unwrap_or_else(|| UNNAMED.to_owned())
}

/// A name and how good it is: 2 for one that says something, 1 for a type or a keyword, 0 for none.
fn figure(expr: &Expr) -> (u8, Option<String>) {
    let good = |name: String| (2, Some(name));
    let fixed = |name: &str| (2, Some(name.to_owned()));
    match expr {
        Expr::Identifier(ident) => good(fold(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map_or((0, None), |ident| good(fold(ident))),
        // the grammar's own
        Expr::Function(function) if function.name.to_string().contains(' ') => (0, None),
        Expr::BinaryOp { op: ast::BinaryOperator::Overlaps, .. } => fixed("overlaps"),
        Expr::Function(function) => match function.name.0.last() {
            Some(ast::ObjectNamePart::Identifier(ident)) => good(fold(ident)),
            _ => (0, None),
        },
        Expr::Cast { expr, data_type, .. } => match figure(expr) {
            named @ (2, _) => named,
            _ => (1, Some(type_label(data_type))),
        },
        Expr::TypedString(typed) => (1, Some(type_label(&typed.data_type))),
        Expr::Interval(_) => (1, Some("interval".to_owned())),
        Expr::Case { else_result, .. } => match else_result.as_deref().map(figure) {
            Some(named @ (2, _)) => named,
            _ => (1, Some("case".to_owned())),
        },
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::Extract { .. } => fixed("extract"),
        Expr::Position { .. } => fixed("position"),
        Expr::Substring { shorthand, .. } => fixed(if *shorthand { "substr" } else { "substring" }),
        Expr::Overlay { .. } => fixed("overlay"),
        Expr::Ceil { .. } => fixed("ceil"),
        Expr::Floor { .. } => fixed("floor"),
        Expr::Trim { trim_where, .. } => fixed(match trim_where {
            Some(ast::TrimWhereField::Leading) => "ltrim",
            Some(ast::TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        Expr::AtTimeZone { .. } => fixed("timezone"),
        Expr::Exists { .. } => fixed("exists"),
        Expr::Array(_) => fixed("array"),
        Expr::Tuple(_) => fixed("row"),
        Expr::Subquery(query) => first_label(&query.body),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                ast::AccessExpr::Dot(field) => Some(figure(field)),
                ast::AccessExpr::Subscript(_) => None,
            });
            field.unwrap_or_else(|| figure(root))
        }
        _ => (0, None),
    }
}

fn first_label(body: &SetExpr) -> (u8, Option<String>) {
    match body {
        SetExpr::Select(select) => match select.projection.first() {
            Some(SelectItem::UnnamedExpr(expr)) => figure(expr),
            Some(SelectItem::ExprWithAlias { alias, .. }) => (2, Some(fold(alias))),
            _ => (0, None),
        },
        SetExpr::SetOperation { left, .. } => first_label(left),
        SetExpr::Query(query) => first_label(&query.body),
        SetExpr::Values(_) => (2, Some("column1".to_owned())),
        _ => (0, None),
    }
}

/// The name of a type in `pg_type`, without its arguments; that of the items for an array.
fn type_label(data_type: &DataType) -> String {
    let spelled = data_type.to_string();
    let item = spelled.trim_end_matches("[]");
    match crate::types::parse_type(item) {
        Ok(found) => found.row().map_or_else(String::new, |row| row.name.clone()),
        Err(_) => item.to_lowercase(),
    }
}
