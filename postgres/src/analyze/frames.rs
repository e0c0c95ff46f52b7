//! Windows: their names, what one takes from another, and the rows around each row that a function sees.

use granary_sql::marks;
use sqlparser::ast::{self, WindowFrameBound};

use super::{Analyzer, fold, place_of};
use crate::error::{Error, Result};
use crate::plan::{Bound, Exclude, Expr, ExprKind, Frame, FrameUnits, RangeFrame};
use crate::resolve::Context;
use crate::types::{self as t, Type};

fn windowing(message: impl Into<String>) -> Error {
    Error::new("42P20", message)
}

impl Analyzer<'_> {
    /// A window with all that it takes from the one it names.
    pub(super) fn window_spec(&mut self, over: &ast::WindowType) -> Result<ast::WindowSpec> {
        match over {
            ast::WindowType::NamedWindow(ident) => self.named_window(ident),
            ast::WindowType::WindowSpec(spec) => self.completed(spec),
        }
    }

    fn named_window(&mut self, ident: &ast::Ident) -> Result<ast::WindowSpec> {
        let name = fold(ident);
        let found = self.scopes.last().and_then(|scope| scope.named_windows.iter().find(|(other, _)| *other == name));
        let spec = found.map(|(_, spec)| spec.clone()).ok_or_else(|| {
            Error::new("42704", format!("window \"{name}\" does not exist")).at(super::place_of_ident(ident))
        })?;
        self.completed(&spec)
    }

    fn completed(&mut self, spec: &ast::WindowSpec) -> Result<ast::WindowSpec> {
        let Some(ident) = &spec.window_name else { return Ok(spec.clone()) };
        let base = self.deeper(|analyzer| analyzer.named_window(ident))?;
        let (name, place) = (fold(ident), super::place_of_ident(ident));
        let (exclude, own): (Vec<_>, Vec<_>) =
            spec.partition_by.iter().cloned().partition(|key| excluded(key).is_some());
        if !own.is_empty() {
            return Err(windowing(format!("cannot override PARTITION BY clause of window \"{name}\"")).at(place));
        }
        if !spec.order_by.is_empty() && !base.order_by.is_empty() {
            return Err(windowing(format!("cannot override ORDER BY clause of window \"{name}\"")).at(place));
        }
        if base.window_frame.is_some() {
            let message = format!("cannot copy window \"{name}\" because it has a frame clause");
            return Err(windowing(message).at(place));
        }
        Ok(ast::WindowSpec {
            window_name: None,
            partition_by: base.partition_by.into_iter().chain(exclude).collect(),
            order_by: if spec.order_by.is_empty() { base.order_by } else { spec.order_by.clone() },
            window_frame: spec.window_frame.clone(),
        })
    }

    /// Windows of a WINDOW clause. Each may name those before it.
    pub(super) fn named_windows(&mut self, definitions: &[ast::NamedWindowDefinition]) -> Result<()> {
        for definition in definitions {
            let name = fold(&definition.0);
            let place = super::place_of_ident(&definition.0);
            let spec = match &definition.1 {
                ast::NamedWindowExpr::WindowSpec(spec) => spec.clone(),
                ast::NamedWindowExpr::NamedWindow(_) => continue,
            };
            if self.scope().named_windows.iter().any(|(other, _)| *other == name) {
                return Err(windowing(format!("window \"{name}\" is already defined")).at(place));
            }
            let spec = self.completed(&spec)?;
            self.scope().named_windows.push((name, spec));
        }
        Ok(())
    }

    pub(super) fn frame(&mut self, spec: &ast::WindowSpec, order_by: &[(Expr, bool, bool)]) -> Result<Frame> {
        let exclude = spec.partition_by.iter().find_map(excluded).unwrap_or(Exclude::Nothing);
        let Some(frame) = &spec.window_frame else {
            let end = if order_by.is_empty() { Bound::UnboundedFollowing } else { Bound::CurrentRow };
            return Ok(Frame { units: FrameUnits::Range, start: Bound::UnboundedPreceding, end, exclude, range: None });
        };
        check_bounds(frame)?;
        let units = match frame.units {
            ast::WindowFrameUnits::Rows => FrameUnits::Rows,
            ast::WindowFrameUnits::Range => FrameUnits::Range,
            ast::WindowFrameUnits::Groups => FrameUnits::Groups,
        };
        if units == FrameUnits::Groups && order_by.is_empty() {
            return Err(windowing("GROUPS mode requires an ORDER BY clause"));
        }
        let mut range = None;
        let start = self.bound(&frame.start_bound, units, order_by, &mut range)?;
        let start_value = range.take();
        let end = match &frame.end_bound {
            Some(end) => self.bound(end, units, order_by, &mut range)?,
            None => Bound::CurrentRow,
        };
        let range = match (start_value, range) {
            (None, None) => None,
            (start, end) => {
                let key = start.iter().chain(&end).map(|(key, _)| key.clone()).next();
                key.map(|key| Box::new(RangeFrame { key, start: start.map(|(_, at)| at), end: end.map(|(_, at)| at) }))
            }
        };
        Ok(Frame { units, start, end, exclude, range })
    }

    /// `range`: of an offset of values, the key that is compared and the value at the bound.
    fn bound(
        &mut self,
        bound: &WindowFrameBound,
        units: FrameUnits,
        order_by: &[(Expr, bool, bool)],
        range: &mut Option<(Expr, Expr)>,
    ) -> Result<Bound> {
        let (by, precedes) = match bound {
            WindowFrameBound::CurrentRow => return Ok(Bound::CurrentRow),
            WindowFrameBound::Preceding(None) => return Ok(Bound::UnboundedPreceding),
            WindowFrameBound::Following(None) => return Ok(Bound::UnboundedFollowing),
            WindowFrameBound::Preceding(Some(by)) => (by, true),
            WindowFrameBound::Following(Some(by)) => (by, false),
        };
        let place = place_of(by.as_ref());
        let what = match units {
            FrameUnits::Rows => "ROWS",
            FrameUnits::Range => "RANGE",
            FrameUnits::Groups => "GROUPS",
        };
        let n_sets = self.scope().sets.len();
        // sqlparser takes any text here for an interval
        let made = match by.as_ref() {
            ast::Expr::Interval(ast::Interval { value, leading_field: None, .. }) => self.expr(value)?,
            other => self.expr(other)?,
        };
        if has_column(&made) {
            return Err(Error::new("42P10", format!("argument of {what} must not contain variables")).at(place));
        }
        if self.scope().sets.len() > n_sets {
            return Err(Error::new("0A000", format!("set-returning functions are not allowed in window {what}")));
        }
        let by = if units == FrameUnits::Range {
            let (offset, key, at) = self.value_offset(made, order_by, precedes).map_err(|error| error.at(place))?;
            *range = Some((key, at));
            offset
        } else {
            let from = made.data_type.name();
            self.coerce(made, &Type::of(t::INT8), Context::Assignment).map_err(|error| match error.sqlstate {
                "42846" => {
                    let message = format!("argument of {what} must be type bigint, not type {from}");
                    Error::new("42804", message).at(place)
                }
                _ => error.at(place),
            })?
        };
        Ok(if precedes { Bound::Preceding(by) } else { Bound::Following(by) })
    }

    /// The offset, the key as it is compared, and the key of the current row moved by the offset.
    fn value_offset(
        &mut self,
        offset: Expr,
        order_by: &[(Expr, bool, bool)],
        precedes: bool,
    ) -> Result<(Expr, Expr, Expr)> {
        let mut keys: Vec<&(Expr, bool, bool)> = Vec::new();
        for key in order_by {
            if !keys.iter().any(|other| other.0.is_same(&key.0)) {
                keys.push(key);
            }
        }
        let [(key, descending, _)] = keys.as_slice() else {
            return Err(windowing("RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column"));
        };
        let key_type = key.data_type.name();
        // the type of offsets, and the one that keys are compared in
        let (wanted, compared) = match key.data_type.oid {
            t::INT2 | t::INT4 | t::INT8 => (t::INT8, t::INT8),
            t::FLOAT4 | t::FLOAT8 => (t::FLOAT8, t::FLOAT8),
            t::NUMERIC => (t::NUMERIC, t::NUMERIC),
            t::DATE | t::TIMESTAMP => (t::INTERVAL, t::TIMESTAMP),
            t::TIMESTAMPTZ => (t::INTERVAL, t::TIMESTAMPTZ),
            t::TIME | t::INTERVAL => (t::INTERVAL, t::INTERVAL),
            _ => {
                let message =
                    format!("RANGE with offset PRECEDING/FOLLOWING is not supported for column type {key_type}");
                return Err(Error::new("0A000", message));
            }
        };
        let given = offset.data_type.clone();
        let is_of_key = match wanted {
            t::INT8 => matches!(given.oid, t::INT2 | t::INT4 | t::INT8 | t::UNKNOWN),
            _ => true,
        };
        let offset = match self.coerce(offset, &Type::of(wanted), Context::Implicit) {
            Ok(offset) if is_of_key => offset,
            Err(error) if error.sqlstate != "42846" => return Err(error),
            _ => {
                let message = format!(
                    "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {key_type} and offset type {}",
                    given.name()
                );
                return Err(Error::new("0A000", message).with_hint("Cast the offset value to an appropriate type."));
            }
        };
        let key = self.coerce(key.clone(), &Type::of(compared), Context::Explicit)?;
        let operator = if precedes == *descending { "+" } else { "-" };
        let at = self.operation(operator, key.clone(), offset.clone())?;
        Ok((offset, key, at))
    }
}

/// What a mark among the keys of a partition says to leave out.
pub(super) fn excluded(key: &ast::Expr) -> Option<Exclude> {
    let ast::Expr::Function(function) = key else { return None };
    let kinds = [("current row", Exclude::CurrentRow), ("group", Exclude::Group), ("ties", Exclude::Ties)];
    let is_one = |what: &str| super::marks::is_marked(function, &format!("{}{what}", marks::EXCLUDE));
    kinds.into_iter().find(|(what, _)| is_one(what)).map(|(_, exclude)| exclude)
}

fn has_column(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Column { level: 0, .. }) || expr.parts().into_iter().any(has_column)
}

fn check_bounds(frame: &ast::WindowFrame) -> Result<()> {
    use WindowFrameBound::{CurrentRow, Following, Preceding};
    let place = |bound: &WindowFrameBound| match bound {
        Preceding(Some(by)) | Following(Some(by)) => place_of(by.as_ref()),
        _ => None,
    };
    let start = &frame.start_bound;
    let wrong = |message: &str| Err(windowing(message).at(place(start)));
    if matches!(start, Following(None)) {
        return wrong("frame start cannot be UNBOUNDED FOLLOWING");
    }
    match (start, &frame.end_bound) {
        (Following(_), None) => wrong("frame starting from following row cannot end with current row"),
        (_, Some(Preceding(None))) => wrong("frame end cannot be UNBOUNDED PRECEDING"),
        (CurrentRow, Some(Preceding(_))) => wrong("frame starting from current row cannot have preceding rows"),
        (Following(_), Some(Preceding(_) | CurrentRow)) => {
            wrong("frame starting from following row cannot have preceding rows")
        }
        _ => Ok(()),
    }
}
