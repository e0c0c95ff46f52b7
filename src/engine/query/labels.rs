//! The names of a query's output columns, as PostgreSQL gives them (`FigureColname` in parse_target.c): `count(*)` is
//! `count`, `1` is `?column?`, and two columns may have one name. DataFusion wants every name once, so columns that
//! would clash get names of ours before planning, and their labels are put on the finished schema.
//!
//! Only the outermost query is touched: what is inside sees the names that it always saw.

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use sqlparser::ast::{self, DataType, Expr, Ident, SelectItem, SetExpr, Statement};
use std::collections::HashSet;
use std::sync::Arc;

/// No column of a user begins so.
const OURS: &str = "?column?#";

const UNNAMED: &str = "?column?";

/// The labels of one query's columns.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    items: Vec<Item>,
    /// by column, what clients are told of where it comes from
    origins: Vec<Vec<(&'static str, String)>>,
}

#[derive(Debug, Clone)]
enum Item {
    /// stands for any number of columns, which keep their names
    Wildcard,
    /// None: as DataFusion names it
    Column(Option<String>),
}

impl Labels {
    /// Takes the labels of a query's columns, and makes their names differ.
    pub fn take(statement: &mut Statement) -> Labels {
        let Statement::Query(query) = statement else { return Labels::default() };
        let ordered_by = order_names(query);
        let mut items = Vec::new();
        label_set(&mut query.body, &ordered_by, &mut items);
        Labels { items, origins: Vec::new() }
    }

    /// Of columns whose names are known: each with the relation and the number that it has there, and its modifier.
    pub fn of_outputs(columns: impl Iterator<Item = (String, Option<(u32, i16)>, i32)>) -> Labels {
        let mut labels = Labels::default();
        for (name, origin, modifier) in columns {
            labels.items.push(Item::Column(Some(name)));
            let mut told = Vec::new();
            if let Some((relation, number)) = origin {
                told.push(("pg.table_oid", relation.to_string()));
                told.push(("pg.column", number.to_string()));
            }
            told.push(("pg.modifier", modifier.to_string()));
            labels.origins.push(told);
        }
        labels
    }

    /// Metadata of the wire for each column.
    pub fn with_origins(self, origins: Vec<Vec<(&'static str, String)>>) -> Labels {
        Labels { origins, ..self }
    }

    /// The schema with the labels for names, and where columns come from.
    pub fn apply(&self, schema: &SchemaRef) -> SchemaRef {
        let named = self.named(schema);
        if self.origins.iter().all(Vec::is_empty) {
            return named;
        }
        let fields = named.fields().iter().enumerate().map(|(index, field)| {
            let own = field.metadata().clone();
            let known = self.origins.get(index).into_iter().flatten();
            let known = known.map(|(key, value)| ((*key).to_owned(), value.clone()));
            field.as_ref().clone().with_metadata(own.into_iter().chain(known).collect())
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    fn named(&self, schema: &SchemaRef) -> SchemaRef {
        if self.items.is_empty() {
            return Arc::clone(schema);
        }
        let n_fields = schema.fields().len();
        let first_wildcard = self.items.iter().position(|item| matches!(item, Item::Wildcard));
        let fields = schema.fields().iter().enumerate().map(|(index, field)| {
            let ours = field.name().strip_prefix(OURS).and_then(|number| number.parse::<usize>().ok());
            let position = match first_wildcard {
                _ if ours.is_some() => ours,
                None => Some(index),
                Some(first) if index < first => Some(index),
                Some(_) => {
                    let from_end = n_fields - index;
                    let after_wildcard =
                        self.items.iter().rev().take(from_end).all(|item| matches!(item, Item::Column(_)));
                    (after_wildcard && from_end <= self.items.len()).then(|| self.items.len() - from_end)
                }
            };
            match position.and_then(|position| self.items.get(position)) {
                Some(Item::Column(Some(label))) if label != field.name() => {
                    Arc::new(field.as_ref().clone().with_name(label))
                }
                _ => Arc::clone(field),
            }
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

/// The bare names that the outermost ORDER BY sorts by: they may mean a label.
fn order_names(query: &ast::Query) -> HashSet<String> {
    let Some(ast::OrderBy { kind: ast::OrderByKind::Expressions(exprs), .. }) = &query.order_by else {
        return HashSet::new();
    };
    exprs
        .iter()
        .filter_map(|by| match &by.expr {
            Expr::Identifier(ident) => Some(folded(ident)),
            _ => None,
        })
        .collect()
}

/// Labels come from the leftmost SELECT; the others only have to have distinct names.
fn label_set(body: &mut SetExpr, ordered_by: &HashSet<String>, items: &mut Vec<Item>) {
    match body {
        SetExpr::Select(select) => label_items(&mut select.projection, ordered_by, items),
        SetExpr::SetOperation { left, right, .. } => {
            label_set(left, ordered_by, items);
            label_set(right, &HashSet::new(), &mut Vec::new());
        }
        SetExpr::Query(query) => label_set(&mut query.body, ordered_by, items),
        _ => {}
    }
}

fn label_items(projection: &mut [SelectItem], ordered_by: &HashSet<String>, items: &mut Vec<Item>) {
    let is_wildcard = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let has_wildcard = projection.iter().any(is_wildcard);
    let mut seen = HashSet::new();
    // DataFusion's name of a cast is that of what is cast.
    let mut cores = HashSet::new();
    for item in projection.iter_mut() {
        let position = items.len();
        let rename = |expr: &Expr, name: &str| SelectItem::ExprWithAlias {
            expr: expr.clone(),
            alias: Ident::with_quote('"', name),
        };
        let ours = format!("{OURS}{position}");
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let (_, label) = figure(expr);
                let label = label.unwrap_or_else(|| UNNAMED.to_owned());
                let is_new = cores.insert(core(expr).to_string().to_lowercase()) & seen.insert(label.clone());
                let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                items.push(Item::Column(Some(label.clone())));
                if !is_new || has_wildcard {
                    *item = rename(expr, &ours);
                } else if !is_column && ordered_by.contains(&label) {
                    *item = rename(expr, &label);
                }
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                let label = folded(alias);
                let is_new = seen.insert(label.clone());
                items.push(Item::Column(Some(label)));
                if !is_new {
                    *item = rename(expr, &ours);
                }
            }
            _ => items.push(Item::Wildcard),
        }
    }
}

/// What is under the casts of an expression.
fn core(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast { expr, .. } | Expr::Nested(expr) => core(expr),
        other => other,
    }
}

fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The label of an expression.
pub fn label_of(expr: &Expr) -> String {
    figure(expr).1.unwrap_or_else(|| UNNAMED.to_owned())
}

/// A name and how good it is: 2 for one that says something, 1 for a type or a keyword, 0 for none.
fn figure(expr: &Expr) -> (u8, Option<String>) {
    let good = |name: String| (2, Some(name));
    let fixed = |name: &str| (2, Some(name.to_owned()));
    match expr {
        Expr::Identifier(ident) => good(folded(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map_or((0, None), |ident| good(folded(ident))),
        Expr::Function(function) => match function.name.0.last() {
            Some(ast::ObjectNamePart::Identifier(ident)) => good(folded(ident)),
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
            Some(SelectItem::ExprWithAlias { alias, .. }) => (2, Some(folded(alias))),
            _ => (0, None),
        },
        SetExpr::SetOperation { left, .. } => first_label(left),
        SetExpr::Query(query) => first_label(&query.body),
        SetExpr::Values(_) => (2, Some("column1".to_owned())),
        _ => (0, None),
    }
}

/// The name of a type in `pg_type`, without its arguments.
pub fn type_label(data_type: &DataType) -> String {
    let text = match data_type {
        DataType::Array(
            ast::ArrayElemTypeDef::AngleBracket(item)
            | ast::ArrayElemTypeDef::SquareBracket(item, _)
            | ast::ArrayElemTypeDef::Parenthesis(item),
        ) => return type_label(item),
        DataType::Custom(name, _) => match name.0.last() {
            Some(ast::ObjectNamePart::Identifier(ident)) => folded(ident),
            _ => name.to_string().to_lowercase(),
        },
        other => other.to_string().to_lowercase(),
    };
    let is_zoned = text.contains("with time zone") && !text.contains("without");
    let bare = text.split('(').next().unwrap_or_default().trim();
    let bare = bare.trim_end_matches(" with time zone").trim_end_matches(" without time zone");
    match bare {
        "int" | "integer" | "int4" => "int4",
        "bigint" | "int8" => "int8",
        "smallint" | "int2" => "int2",
        "double" | "double precision" | "float" | "float8" => "float8",
        "real" | "float4" => "float4",
        "decimal" | "dec" | "numeric" => "numeric",
        "boolean" | "bool" => "bool",
        "character varying" | "char varying" | "varchar" => "varchar",
        "char" | "character" => "bpchar",
        "timestamp" if is_zoned => "timestamptz",
        "time" if is_zoned => "timetz",
        other => other,
    }
    .to_owned()
}
