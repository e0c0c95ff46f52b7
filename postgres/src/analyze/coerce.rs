//! Conversions: constants and parameters of no type get one, other values become of another.

use super::Analyzer;
use crate::error::{Error, Result};
use crate::functions::casts;
use crate::plan::{Expr, ExprKind, Function};
use crate::resolve::{self, Context, Path};
use crate::text;
use crate::types::{self as t, Type};
use crate::value::Value;

impl Analyzer<'_> {
    /// Makes the expression of the type. Errors: 42846, 42804, or what reading a constant says.
    pub(super) fn coerce(&mut self, expr: Expr, target: &Type, context: Context) -> Result<Expr> {
        if target.oid == t::UNKNOWN {
            return Ok(expr);
        }
        let from = expr.data_type.clone();
        if from.oid == t::UNKNOWN {
            return self.typed(expr, target, context);
        }
        if let (ExprKind::Array(items), Some(element)) = (&expr.kind, target.element())
            && from.oid != target.oid
        {
            let items =
                items.clone().into_iter().map(|item| self.coerce(item, &element, context)).collect::<Result<_>>()?;
            return Ok(Expr::new(ExprKind::Array(items), target.clone()));
        }
        let path = resolve::path(from.oid, target.oid, context).ok_or_else(|| {
            Error::new("42846", format!("cannot cast type {} to {}", from.name(), t::format_type(target.oid, None)))
        })?;
        let converted = match path {
            Path::Relabel if turns_sign(&expr, from.oid, target.oid) => {
                let to = target.oid;
                let function = Function::new("oid", move |_, values| {
                    let number = values[0].as_int().unwrap_or_default();
                    Ok(Value::Int(if to == t::INT4 { i64::from(number as u32 as i32) } else { number & 0xffff_ffff }))
                });
                Expr::call(function, vec![expr], Type::of(to))
            }
            Path::Relabel => {
                let fields = if target.oid == t::RECORD { from.fields.clone() } else { None };
                let modifier =
                    if resolve::base_type(from.oid) == resolve::base_type(target.oid) { from.modifier } else { -1 };
                Expr { data_type: Type { oid: target.oid, modifier, fields }, ..expr }
            }
            Path::Function(_) | Path::Text | Path::Items => {
                // numbers become as many bits as are wanted
                let is_bits = target.oid == t::BIT && matches!(from.oid, t::INT4 | t::INT8);
                let wanted = if is_bits { target.clone() } else { Type::of(target.oid) };
                let function = casts::function(self.world, &from, &wanted).ok_or_else(|| {
                    Error::not_supported(format!("a cast from {} to {}", from.name(), t::format_type(target.oid, None)))
                })?;
                Expr::call(function, vec![expr], wanted)
            }
        };
        Ok(fit(converted, target, context))
    }

    /// A constant or parameter without a type.
    fn typed(&mut self, expr: Expr, target: &Type, context: Context) -> Result<Expr> {
        let mut fixed = Type::of(resolve::base_type(target.oid));
        if fixed.oid == t::INTERVAL {
            // its fields say what numbers without a unit are
            fixed.modifier = target.modifier;
        }
        match expr.kind {
            ExprKind::Constant(Value::Text(text)) => {
                let value = self.read(&text, &fixed)?;
                let value = match target.modifier {
                    -1 => value,
                    modifier => {
                        casts::fitted(value, &Type::with_modifier(fixed.oid, modifier), context == Context::Explicit)?
                    }
                };
                Ok(Expr::constant(value, target.clone()))
            }
            ExprKind::Parameter(index) => {
                let known = self.parameters.get(index).cloned().flatten();
                match known {
                    None => {
                        if self.parameters.len() <= index {
                            self.parameters.resize(index + 1, None);
                        }
                        // one type for all its mentions
                        let plain = Type { modifier: -1, ..target.clone() };
                        self.parameters[index] = Some(plain.clone());
                        Ok(fit(Expr::new(ExprKind::Parameter(index), plain), target, context))
                    }
                    Some(known) if known.oid == target.oid => {
                        Ok(fit(Expr::new(ExprKind::Parameter(index), known), target, context))
                    }
                    Some(known) => {
                        let message = format!("inconsistent types deduced for parameter ${}", index + 1);
                        Err(Error::new("42P08", message).with_detail(format!(
                            "{} versus {}",
                            known.name(),
                            target.name()
                        )))
                    }
                }
            }
            // NULL, or something that gives it
            kind => Ok(Expr { kind, data_type: target.clone() }),
        }
    }

    /// Reads a constant's text.
    pub(super) fn read(&self, text: &str, data_type: &Type) -> Result<Value> {
        if t::REG_TYPES.contains(&data_type.oid) {
            return casts::reg_number(self.world, text, data_type.oid);
        }
        if data_type.oid == t::RECORD {
            return Err(Error::new("0A000", "input of anonymous composite types is not implemented"));
        }
        text::parse(text, data_type, self.world.clock())
    }

    /// A constant that nothing gave a type is text.
    pub(super) fn settled(&mut self, expr: Expr) -> Result<Expr> {
        if expr.data_type.oid == t::UNKNOWN {
            self.coerce(expr, &Type::of(t::TEXT), Context::Implicit)
        } else {
            Ok(expr)
        }
    }

    pub(super) fn condition(&mut self, expr: Expr, what: &str) -> Result<Expr> {
        let from = expr.data_type.name();
        self.coerce(expr, &Type::of(t::BOOL), Context::Assignment).map_err(|error| match error.sqlstate {
            "42846" => Error::new("42804", format!("argument of {what} must be type boolean, not type {from}")),
            _ => error,
        })
    }

    /// All of them of the type that they have in common.
    pub(super) fn common(&mut self, exprs: Vec<Expr>, what: &str) -> Result<(Vec<Expr>, Type)> {
        let types: Vec<Type> = exprs.iter().map(|expr| expr.data_type.clone()).collect();
        let common = resolve::common_type(&types, what)?;
        let exprs =
            exprs.into_iter().map(|expr| self.coerce(expr, &common, Context::Implicit)).collect::<Result<_>>()?;
        Ok((exprs, common))
    }
}

/// Whether a number that becomes an OID, or was one, may be another: the same 32 bits are signed or not.
fn turns_sign(expr: &Expr, from: u32, to: u32) -> bool {
    let is_oid = |oid: u32| matches!(oid, t::OID | t::XID) || t::REG_TYPES.contains(&oid);
    let is_turned = (from == t::INT4 && is_oid(to)) || (is_oid(from) && to == t::INT4);
    is_turned && !matches!(expr.kind, ExprKind::Column { .. } | ExprKind::Constant(Value::Int(0..=0x7fff_ffff)))
}

/// Cuts or rounds to what a modifier allows.
fn fit(expr: Expr, target: &Type, context: Context) -> Expr {
    if target.modifier < 0 || expr.data_type.modifier == target.modifier {
        return Expr { data_type: Type { fields: expr.data_type.fields.clone(), ..target.clone() }, ..expr };
    }
    let (fitted_type, explicit) =
        (Type::with_modifier(resolve::base_type(target.oid), target.modifier), context == Context::Explicit);
    let function = Function::new("fit", move |_, values| casts::fitted(values[0].clone(), &fitted_type, explicit));
    Expr::call(function, vec![expr], target.clone())
}
