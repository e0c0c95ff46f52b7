//! Casts to `varchar(n)` and `char(n)` cut what is longer, as the standard has it. DataFusion's text has no length, so
//! such a cast becomes the first `n` characters of one to text. And a number written with more digits than `numeric`
//! has here becomes a float, or the error that a float of that size is.

use std::ops::ControlFlow;

use sqlparser::ast::{CastKind, CharacterLength, DataType, Expr, Value, VisitMut, VisitorMut};

/// Rewrites in place.
pub fn rewrite(node: &mut impl VisitMut) {
    let _ = node.visit(&mut Lengths);
}

/// How many characters a type has room for; None for any number of them.
pub fn max_length(data_type: &DataType) -> Option<u64> {
    match data_type {
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            length.as_ref().and_then(in_characters)
        }
        DataType::Char(length) | DataType::Character(length) => length.as_ref().map_or(Some(1), in_characters),
        _ => None,
    }
}

fn in_characters(length: &CharacterLength) -> Option<u64> {
    match length {
        CharacterLength::IntegerLength { length, .. } => Some(*length),
        CharacterLength::Max => None,
    }
}

/// Whether a number as it is written, such as `1.5e300`, has digits only where 38 decimal digits reach.
fn fits_numeric(text: &str) -> bool {
    const DIGITS: i64 = 38;
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let n_digits = |part: &str| i64::try_from(part.len()).unwrap_or(i64::MAX);
    let Ok(exponent) = exponent.parse::<i32>().map(i64::from) else { return false };
    let n_whole = (n_digits(whole.trim_start_matches('0')) + exponent).max(0);
    let n_fraction = (n_digits(fraction) - exponent).max(0);
    n_whole + n_fraction <= DIGITS
}

struct Lengths;

impl VisitorMut for Lengths {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Value::Number(text, _) = &mut value.value
            && !fits_numeric(text)
        {
            value.value = Value::SingleQuotedString(std::mem::take(text));
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(expr.clone()),
                data_type: DataType::DoublePrecision,
                array: false,
                format: None,
            };
        }
        if let Expr::Cast { data_type, .. } = expr
            && let Some(length) = max_length(data_type)
        {
            *data_type = DataType::Text;
            let number = |number: u64| Some(Box::new(Expr::value(Value::Number(number.to_string(), false))));
            *expr = Expr::Substring {
                expr: Box::new(expr.clone()),
                substring_from: number(1),
                substring_for: number(length),
                special: true,
                shorthand: false,
            };
        }
        ControlFlow::Continue(())
    }
}
