//! Evaluations whose functions go over whole columns at once: those of floats and texts that queries use most. They mean
//! what their row by row forms do, and give up where these may say an error, which is then theirs to say.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, BooleanBufferBuilder, Float64Array, Int32Array,
    PrimitiveArray, StringArray, StringBuilder,
};
use datafusion::arrow::compute::kernels::concat_elements::concat_elements_utf8;
use datafusion::arrow::compute::{cast, unary};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::logical_expr::ColumnarValue;
use granary_postgres::Value as Pg;
use granary_postgres::plan::{Expr, ExprKind};
use granary_postgres::types::{self as t};

/// The values of the expression for all rows; `None` where that has to be found out row by row. `arguments` are its columns.
pub fn evaluate(expr: &Expr, arguments: &[ColumnarValue], n_rows: usize) -> Option<ArrayRef> {
    match &expr.kind {
        ExprKind::Column { level: 0, slot } => column(expr, arguments.get(*slot)?, n_rows),
        ExprKind::Constant(value) => constant(value, n_rows),
        ExprKind::Call { function, arguments: parts, is_strict: true, is_volatile: false } => {
            let part = |index: usize| parts.get(index).and_then(|part| evaluate(part, arguments, n_rows));
            match (function.source, function.name) {
                ("float8pl" | "float48pl" | "float84pl", _) => floats(&part(0)?, &part(1)?, |a, b| a + b, |_, _| true),
                ("float8mi" | "float48mi" | "float84mi", _) => floats(&part(0)?, &part(1)?, |a, b| a - b, |_, _| true),
                ("float8mul" | "float48mul" | "float84mul", _) => {
                    floats(&part(0)?, &part(1)?, |a, b| a * b, |a, b| a == 0.0 || b == 0.0)
                }
                ("float8div" | "float48div" | "float84div", _) => {
                    let (left, right) = (part(0)?, part(1)?);
                    let by_zero = |number: f64| number == 0.0;
                    if any(right.as_primitive_opt::<Float64Type>()?, by_zero) {
                        return None;
                    }
                    floats(&left, &right, |a, b| a / b, |a, b| a == 0.0 || b.is_infinite())
                }
                ("float8abs", _) => of_float(&part(0)?, f64::abs),
                ("float8um", _) => of_float(&part(0)?, |number| -number),
                ("dfloor", _) => of_float(&part(0)?, f64::floor),
                ("dceil", _) => of_float(&part(0)?, f64::ceil),
                ("dtrunc", _) => of_float(&part(0)?, f64::trunc),
                ("dround", _) => of_float(&part(0)?, f64::round_ties_even),
                ("dsqrt", _) => {
                    let inner = part(0)?;
                    let is_negative = |number: f64| number < 0.0;
                    if any(inner.as_primitive_opt::<Float64Type>()?, is_negative) {
                        return None;
                    }
                    of_float(&inner, f64::sqrt)
                }
                ("", "float8") if is_exact_float(parts.first()?) => cast(&part(0)?, &DataType::Float64).ok(),
                ("textlike" | "textnlike", _) => {
                    let pattern = Pattern::of(parts.get(1)?)?;
                    Some(Arc::new(pattern.all(part(0)?.as_string_opt::<i32>()?, function.source == "textnlike")))
                }
                ("textlen", _) => Some(Arc::new(lengths(part(0)?.as_string_opt::<i32>()?)?)),
                ("text_substr" | "text_substr_no_len", _) => {
                    let (from, length) = (whole(parts.get(1)?)?, parts.get(2).map(whole));
                    let length = match length {
                        None => None,
                        Some(length) => Some(length.filter(|length| *length >= 0)?),
                    };
                    Some(Arc::new(parts_of(part(0)?.as_string_opt::<i32>()?, from, length)))
                }
                ("textcat", _) => {
                    let (left, right) = (part(0)?, part(1)?);
                    let joined = concat_elements_utf8(left.as_string_opt::<i32>()?, right.as_string_opt::<i32>()?);
                    Some(Arc::new(joined.ok()?))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// A column in the Arrow type that its type is evaluated in here.
fn column(expr: &Expr, argument: &ColumnarValue, n_rows: usize) -> Option<ArrayRef> {
    let array = argument.to_array(n_rows).ok()?;
    let (wanted, fits) = match expr.data_type.oid {
        t::FLOAT8 => (DataType::Float64, *array.data_type() == DataType::Float64),
        t::FLOAT4 => (DataType::Float32, *array.data_type() == DataType::Float32),
        t::INT2 | t::INT4 | t::INT8 => (array.data_type().clone(), array.data_type().is_signed_integer()),
        t::TEXT | t::VARCHAR => (DataType::Utf8, array.data_type().is_string()),
        _ => return None,
    };
    fits.then(|| cast(&array, &wanted).ok()).flatten()
}

fn constant(value: &Pg, n_rows: usize) -> Option<ArrayRef> {
    match value {
        Pg::Float(number) => Some(Arc::new(Float64Array::from_value(*number, n_rows))),
        Pg::Text(text) => Some(Arc::new(StringArray::new_repeated(text, n_rows))),
        _ => None,
    }
}

fn whole(expr: &Expr) -> Option<i64> {
    match &expr.kind {
        ExprKind::Constant(Pg::Int(number)) => Some(*number),
        _ => None,
    }
}

fn is_exact_float(expr: &Expr) -> bool {
    matches!(expr.data_type.oid, t::INT2 | t::INT4 | t::INT8 | t::FLOAT4)
}

fn any<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, found: impl Fn(T::Native) -> bool) -> bool {
    match array.null_count() {
        0 => array.values().iter().any(|value| found(*value)),
        _ => array.iter().flatten().any(found),
    }
}

fn of_float(inner: &ArrayRef, call: impl Fn(f64) -> f64) -> Option<ArrayRef> {
    let array: Float64Array = unary(inner.as_primitive_opt::<Float64Type>()?, call);
    Some(Arc::new(array))
}

fn as_float8(array: &ArrayRef) -> Option<Float64Array> {
    match array.data_type() {
        DataType::Float64 => array.as_primitive_opt::<Float64Type>().cloned(),
        DataType::Float32 => Some(unary(array.as_primitive_opt::<Float32Type>()?, f64::from)),
        _ => None,
    }
}

/// An operation on two columns of floats; `None` if a number became infinite or zero that should not have.
fn floats(
    left: &ArrayRef,
    right: &ArrayRef,
    operation: impl Fn(f64, f64) -> f64,
    may_be_zero: impl Fn(f64, f64) -> bool,
) -> Option<ArrayRef> {
    let (left, right) = (as_float8(left)?, as_float8(right)?);
    let made: Float64Array = datafusion::arrow::compute::binary(&left, &right, &operation).ok()?;
    let rows = left.values().iter().zip(right.values()).zip(made.values());
    let is_wrong = |left: f64, right: f64, made: f64| {
        made.is_infinite() && left.is_finite() && right.is_finite() || made == 0.0 && !may_be_zero(left, right)
    };
    // rows of NULLs have some number, too
    let seems_wrong = rows.fold(false, |wrong, ((left, right), made)| wrong | is_wrong(*left, *right, *made));
    (!seems_wrong).then(|| Arc::new(made) as ArrayRef)
}

fn lengths(texts: &StringArray) -> Option<Int32Array> {
    let is_ascii = texts.value_data().is_ascii();
    let length = |row: usize| match is_ascii {
        true => texts.value_length(row),
        false => i32::try_from(texts.value(row).chars().count()).unwrap_or(i32::MAX),
    };
    let lengths: Vec<i32> = (0..texts.len()).map(length).collect();
    Int32Array::try_new(lengths.into(), texts.nulls().cloned()).ok()
}

/// From the n-th character on, counted from 1, so many.
fn parts_of(texts: &StringArray, from: i64, length: Option<i64>) -> StringArray {
    let end = length.map_or(i64::MAX, |length| from.saturating_add(length));
    let skip = usize::try_from(from.saturating_sub(1).max(0)).unwrap_or(usize::MAX);
    let take = usize::try_from(end.saturating_sub(from.max(1)).max(0)).unwrap_or(usize::MAX);
    let mut parts = StringBuilder::with_capacity(texts.len(), texts.value_data().len());
    for text in texts {
        let Some(text) = text else {
            parts.append_null();
            continue;
        };
        let at = |text: &str, nth: usize| match text.is_ascii() {
            true => nth.min(text.len()),
            false => text.char_indices().nth(nth).map_or(text.len(), |(at, _)| at),
        };
        let rest = &text[at(text, skip)..];
        parts.append_value(&rest[..at(rest, take)]);
    }
    parts.finish()
}

/// A pattern of LIKE that is known beforehand: the texts between its `%`.
struct Pattern {
    pieces: Vec<String>,
}

impl Pattern {
    /// `None` of those with `_` or a backslash.
    fn of(expr: &Expr) -> Option<Pattern> {
        let ExprKind::Constant(Pg::Text(pattern)) = &expr.kind else { return None };
        let is_plain = !pattern.contains(['_', '\\']);
        is_plain.then(|| Pattern { pieces: pattern.split('%').map(str::to_owned).collect() })
    }

    fn all(&self, texts: &StringArray, negated: bool) -> BooleanArray {
        let finders: Vec<_> = self.pieces.iter().map(|piece| memchr::memmem::Finder::new(piece.as_bytes())).collect();
        let mut bits = BooleanBufferBuilder::new(texts.len());
        for row in 0..texts.len() {
            bits.append(self.is_like(texts.value(row).as_bytes(), &finders) != negated);
        }
        BooleanArray::new(bits.finish(), texts.nulls().cloned())
    }

    /// Bytes are enough: a piece of UTF-8 is found only where its characters are.
    fn is_like(&self, text: &[u8], finders: &[memchr::memmem::Finder<'_>]) -> bool {
        let [first, middle @ .., last] = self.pieces.as_slice() else {
            return self.pieces.first().is_some_and(|only| only.as_bytes() == text);
        };
        let Some(rest) = text.strip_prefix(first.as_bytes()) else { return false };
        let Some(mut rest) = rest.strip_suffix(last.as_bytes()) else { return false };
        for (piece, finder) in middle.iter().zip(&finders[1..]) {
            match finder.find(rest) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use granary_postgres::types::Type;

    use super::*;

    #[test]
    fn patterns_are_found_as_often_as_they_should() {
        let is_like = |text: &str, pattern: &str| {
            let expr = Expr::constant(Pg::text(pattern), Type::of(t::TEXT));
            Pattern::of(&expr).map(|pattern| pattern.all(&StringArray::from(vec![text]), false).value(0))
        };
        for (text, pattern, expected) in [
            ("abc", "abc", Some(true)),
            ("abc", "ab", Some(false)),
            ("abc", "%", Some(true)),
            ("", "%%", Some(true)),
            ("", "", Some(true)),
            ("aba", "aba%ba", Some(false)),
            ("abaxba", "aba%ba", Some(true)),
            ("xaxbx", "%a%b%", Some(true)),
            ("xbxax", "%a%b%", Some(false)),
            ("aa", "%a%a%a%", Some(false)),
            ("grün", "%ü%", Some(true)),
            ("abc", "a_c", None),
            ("abc", "a\\%", None),
        ] {
            assert_eq!(is_like(text, pattern), expected, "{text} LIKE {pattern}");
        }
    }

    #[test]
    fn parts_are_counted_in_characters() {
        let texts = StringArray::from(vec![Some("grün ist"), None, Some("x")]);
        let parts = |from, length| {
            let parts = parts_of(&texts, from, length);
            parts.iter().map(|part| part.unwrap_or("NULL").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(parts(3, Some(2)), ["ün", "NULL", ""]);
        assert_eq!(parts(-1, Some(3)), ["g", "NULL", "x"]);
        assert_eq!(parts(6, None), ["ist", "NULL", ""]);
        assert_eq!(parts(i64::MIN, Some(i64::MAX)), ["", "NULL", ""]);
        assert_eq!(parts(i64::MAX, Some(i64::MAX)), ["", "NULL", ""]);
        assert_eq!(lengths(&texts).unwrap().value(0), 8);
    }
}
