//! Types that a statement itself says of its parameters: `$1::int8`, `CAST($1 AS date)`, `LIMIT $1`.

use std::ops::ControlFlow;

use arrow::datatypes::{DataType, TimeUnit};
use sqlparser::ast::{self, Expr, Visit, Visitor};

use crate::engine::type_label;

/// The types that the client has said, and where it has said none, those of the text.
pub fn declared(statement: &impl Visit, said: &[Option<DataType>]) -> Vec<Option<DataType>> {
    let mut casts = Casts { types: said.to_vec() };
    // The visitor never breaks.
    let _ = statement.visit(&mut casts);
    casts.types
}

/// Whether a cast of a parameter of this type changes nothing.
pub fn is_of_type(data_type: Option<&DataType>, to: &ast::DataType) -> bool {
    // a text may be cut to a length
    let is_cut = matches!(data_type, Some(DataType::Utf8)) && to.to_string().contains('(');
    data_type.is_some() && data_type == arrow_type(to).as_ref() && !is_cut
}

struct Casts {
    types: Vec<Option<DataType>>,
}

impl Casts {
    fn say(&mut self, expr: &Expr, data_type: Option<DataType>) {
        let Expr::Value(value) = expr else { return };
        let ast::Value::Placeholder(name) = &value.value else { return };
        let number: Option<usize> = name.strip_prefix('$').and_then(|number| number.parse().ok());
        let Some(index) = number.and_then(|number| number.checked_sub(1)).filter(|index| *index < 65_535) else {
            return;
        };
        if self.types.len() <= index {
            self.types.resize(index + 1, None);
        }
        if self.types[index].is_none() {
            self.types[index] = data_type;
        }
    }
}

impl Visitor for Casts {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Cast { expr, data_type, .. } = expr {
            self.say(expr, arrow_type(data_type));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
        if let Some(ast::LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
            let offset = offset.as_ref().map(|offset| &offset.value);
            for expr in limit.iter().chain(offset) {
                self.say(expr, Some(DataType::Int64));
            }
        }
        ControlFlow::Continue(())
    }
}

pub fn arrow_type(data_type: &ast::DataType) -> Option<DataType> {
    let item = match type_label(data_type).as_str() {
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "text" | "varchar" => DataType::Utf8,
        "bytea" => DataType::Binary,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => return None,
    };
    let is_array = matches!(data_type, ast::DataType::Array(_));
    Some(if is_array { DataType::new_list(item, true) } else { item })
}
