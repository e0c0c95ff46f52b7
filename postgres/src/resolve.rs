//! Which operator, function or cast an expression means: PostgreSQL's own tables of them, and its rules for choosing
//! (chapter "Type Conversion" of its manual).

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use crate::builtin;
use crate::error::{Error, Result};
use crate::types::{self as t, Type, is_polymorphic, type_row};

/// One row of `pg_proc`.
#[derive(Debug)]
pub struct Proc {
    pub oid: u32,
    pub name: &'static str,
    pub arguments: Vec<u32>,
    /// with those that it only gives; empty if there are no such
    pub all_arguments: Vec<u32>,
    pub argument_modes: Vec<char>,
    pub argument_names: Vec<String>,
    pub result: u32,
    pub gives_set: bool,
    /// f, a, w or p
    pub kind: char,
    pub is_strict: bool,
    /// what the last argument is repeated as, 0 for none
    pub variadic: u32,
    pub n_defaults: usize,
    /// the name of what carries it out
    pub source: &'static str,
    pub volatility: char,
}

/// One row of `pg_operator`.
#[derive(Debug)]
pub struct Operator {
    pub oid: u32,
    pub name: &'static str,
    /// 0: it stands before its operand
    pub left: u32,
    pub right: u32,
    pub result: u32,
    pub function: u32,
}

/// One row of `pg_cast`.
#[derive(Debug, Clone, Copy)]
struct Cast {
    function: u32,
    context: Context,
    /// it goes through the text of both
    is_text: bool,
}

/// Who asks for a conversion: the fewer words, the fewer are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Context {
    Implicit,
    Assignment,
    Explicit,
}

/// How a value gets to another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// it is the same value
    Relabel,
    /// by a function of `pg_proc`
    Function(u32),
    /// printed and read
    Text,
    /// each item
    Items,
}

struct Tables {
    procs: Vec<Proc>,
    procs_by_name: HashMap<&'static str, Vec<usize>>,
    procs_by_oid: HashMap<u32, usize>,
    operators: HashMap<&'static str, Vec<Operator>>,
    casts: HashMap<(u32, u32), Cast>,
}

fn unescape(text: &'static str) -> Option<&'static str> {
    (text != "\\N").then_some(text)
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let procs = read("pg_proc", |fields, column| {
        let field = |name: &str| fields[column(name)];
        let numbers =
            |text: &'static str| -> Vec<u32> { text.split([' ', ',']).filter_map(|word| word.parse().ok()).collect() };
        let list = |name: &str| unescape(field(name)).map_or("", |text| text.trim_matches(['{', '}']));
        let words = |name: &str| -> Vec<String> {
            let text = list(name);
            if text.is_empty() {
                Vec::new()
            } else {
                text.split(',').map(|word| word.trim_matches('"').to_owned()).collect()
            }
        };
        Proc {
            oid: field("oid").parse().expect("an OID"),
            name: field("proname"),
            arguments: numbers(field("proargtypes")),
            all_arguments: numbers(list("proallargtypes")),
            argument_modes: words("proargmodes").iter().filter_map(|word| word.chars().next()).collect(),
            argument_names: words("proargnames"),
            result: field("prorettype").parse().expect("an OID"),
            gives_set: field("proretset") == "t",
            kind: field("prokind").chars().next().unwrap_or('f'),
            is_strict: field("proisstrict") == "t",
            variadic: field("provariadic").parse().expect("an OID"),
            n_defaults: field("pronargdefaults").parse().expect("a count"),
            source: field("prosrc"),
            volatility: field("provolatile").chars().next().unwrap_or('v'),
        }
    });
    let mut operators: HashMap<&'static str, Vec<Operator>> = HashMap::new();
    for operator in read("pg_operator", |fields, column| {
        let number = |name: &str| fields[column(name)].parse().expect("an OID");
        Operator {
            oid: number("oid"),
            name: fields[column("oprname")],
            left: number("oprleft"),
            right: number("oprright"),
            result: number("oprresult"),
            function: number("oprcode"),
        }
    }) {
        operators.entry(operator.name).or_default().push(operator);
    }
    let casts = read("pg_cast", |fields, column| {
        let number = |name: &str| fields[column(name)].parse().expect("an OID");
        let context = match fields[column("castcontext")] {
            "i" => Context::Implicit,
            "a" => Context::Assignment,
            _ => Context::Explicit,
        };
        (
            (number("castsource"), number("casttarget")),
            Cast { function: number("castfunc"), context, is_text: fields[column("castmethod")] == "i" },
        )
    });
    let mut procs_by_name: HashMap<&'static str, Vec<usize>> = HashMap::new();
    for (index, proc) in procs.iter().enumerate() {
        procs_by_name.entry(proc.name).or_default().push(index);
    }
    Tables {
        procs_by_oid: procs.iter().enumerate().map(|(index, proc)| (proc.oid, index)).collect(),
        procs_by_name,
        procs,
        operators,
        casts: casts.into_iter().collect(),
    }
});

fn read<T>(name: &str, make: impl Fn(&[&'static str], &dyn Fn(&str) -> usize) -> T) -> Vec<T> {
    let table = builtin::table(name).expect("a file of ours");
    let column = |name: &str| table.column(name).expect("a column of ours");
    table.lines().map(|line| make(&line.split('\t').collect::<Vec<_>>(), &column)).collect()
}

pub fn proc_of(oid: u32) -> Option<&'static Proc> {
    TABLES.procs_by_oid.get(&oid).map(|index| &TABLES.procs[*index])
}

pub fn procs_named(name: &str) -> impl Iterator<Item = &'static Proc> {
    TABLES.procs_by_name.get(name).into_iter().flatten().map(|index| &TABLES.procs[*index])
}

pub fn all_procs() -> &'static [Proc] {
    &TABLES.procs
}

pub fn operators_named(name: &str) -> &'static [Operator] {
    TABLES.operators.get(name).map_or(&[], Vec::as_slice)
}

/// The operator that a function carries out.
pub fn operator_of(function: u32) -> Option<&'static Operator> {
    static OPERATORS: LazyLock<HashMap<u32, &'static Operator>> =
        LazyLock::new(|| TABLES.operators.values().flatten().map(|operator| (operator.function, operator)).collect());
    OPERATORS.get(&function).copied()
}

/// Whether a function carries out a cast.
pub fn is_cast(function: u32) -> bool {
    static FUNCTIONS: LazyLock<HashSet<u32>> =
        LazyLock::new(|| TABLES.casts.values().map(|cast| cast.function).filter(|function| *function != 0).collect());
    FUNCTIONS.contains(&function)
}

/// The type under a domain.
pub fn base_type(oid: u32) -> u32 {
    let is_domain = type_row(oid).is_some_and(|row| row.kind == 'd');
    if !is_domain {
        return oid;
    }
    static BASES: LazyLock<HashMap<u32, u32>> = LazyLock::new(|| {
        let rows = read("pg_type", |fields, column| {
            let number = |name: &str| fields[column(name)].parse().expect("an OID");
            (number("oid"), number("typbasetype"))
        });
        rows.into_iter().filter(|(_, base)| *base != 0).collect()
    });
    BASES.get(&oid).copied().unwrap_or(oid)
}

fn category(oid: u32) -> char {
    if oid == t::UNKNOWN { 'X' } else { type_row(oid).map_or('X', |row| row.category) }
}

fn is_preferred(oid: u32) -> bool {
    type_row(oid).is_some_and(|row| row.is_preferred)
}

fn element(oid: u32) -> Option<u32> {
    Type::of(oid).element().map(|element| element.oid)
}

/// How a value of a type becomes one of another; None if it cannot for who asks.
pub fn path(from: u32, to: u32, context: Context) -> Option<Path> {
    let (from, to) = (base_type(from), base_type(to));
    if from == to || to == t::ANY {
        return Some(Path::Relabel);
    }
    if is_polymorphic(to) {
        let fits = match to {
            t::ANYARRAY | t::ANYCOMPATIBLEARRAY => element(from).is_some(),
            t::ANYNONARRAY | t::ANYCOMPATIBLENONARRAY => element(from).is_none(),
            t::ANYENUM | t::ANYRANGE => false,
            _ => true,
        };
        return fits.then_some(Path::Relabel);
    }
    if let Some(cast) = TABLES.casts.get(&(from, to))
        && cast.context <= context
    {
        return Some(match cast.function {
            0 if cast.is_text => Path::Text,
            0 => Path::Relabel,
            function => Path::Function(function),
        });
    }
    // any composite is a record
    if to == t::RECORD && type_row(from).is_some_and(|row| row.kind == 'c') {
        return Some(Path::Relabel);
    }
    // vectors would take what should become an array
    if let (Some(from), Some(to)) = (element(from), element(to).filter(|_| !matches!(to, t::INT2VECTOR | t::OIDVECTOR)))
    {
        return path(from, to, context).map(|path| if path == Path::Relabel { path } else { Path::Items });
    }
    // every type is text to its input and output functions
    let is_text = |oid: u32| category(oid) == 'S';
    let allowed = (is_text(to) && context >= Context::Assignment) || (is_text(from) && context == Context::Explicit);
    let has_text = |oid: u32| type_row(oid).is_some_and(|row| row.kind != 'p');
    (allowed && has_text(from) && has_text(to)).then_some(Path::Text)
}

fn can_coerce(from: u32, to: u32) -> bool {
    from == t::UNKNOWN || path(from, to, Context::Implicit).is_some()
}

/// The type that all of them become: of CASE, UNION, VALUES, ARRAY and their like. Errors: 42804 for `what`.
pub fn common_type(types: &[Type], what: &str) -> Result<Type> {
    let mut known = types.iter().filter(|data_type| data_type.oid != t::UNKNOWN);
    let Some(first) = known.next() else { return Ok(Type::of(t::TEXT)) };
    let mut chosen = Type { oid: base_type(first.oid), ..first.clone() };
    for other in known {
        let oid = base_type(other.oid);
        if oid == chosen.oid {
            continue;
        }
        if category(oid) != category(chosen.oid) {
            return Err(Error::new(
                "42804",
                format!("{what} types {} and {} cannot be matched", chosen.name(), other.name()),
            ));
        }
        let forth = path(chosen.oid, oid, Context::Implicit).is_some();
        let back = path(oid, chosen.oid, Context::Implicit).is_some();
        if !is_preferred(chosen.oid) && forth && !back {
            chosen = Type::of(oid);
        }
    }
    for other in types {
        if !can_coerce(other.oid, chosen.oid) {
            return Err(Error::new(
                "42804",
                format!("{what} could not convert type {} to {}", other.name(), chosen.name()),
            ));
        }
    }
    let same = types.iter().all(|other| other.modifier == chosen.modifier && base_type(other.oid) == chosen.oid);
    if !same {
        chosen.modifier = -1;
    }
    Ok(chosen)
}

/// An operator for operands of these types, by PostgreSQL's rules. `left` is None for one that stands before its operand.
pub fn operator(name: &str, left: Option<u32>, right: u32) -> Result<&'static Operator> {
    let candidates: Vec<&Operator> =
        operators_named(name).iter().filter(|operator| (operator.left == 0) == left.is_none()).collect();
    let undefined = || {
        let spelled = match left {
            Some(left) => format!("{} {name} {}", t::format_type(left, None), t::format_type(right, None)),
            None => format!("{name} {}", t::format_type(right, None)),
        };
        Error::new("42883", format!("operator does not exist: {spelled}")).with_hint(if left.is_some() {
            "No operator matches the given name and argument types. You might need to add explicit type casts."
        } else {
            "No operator matches the given name and argument type. You might need to add an explicit type cast."
        })
    };
    let (left_base, right_base) = (left.map(base_type), base_type(right));
    let arguments = |operator: &Operator| -> Vec<u32> {
        if left.is_some() { vec![operator.left, operator.right] } else { vec![operator.right] }
    };
    let exact = |left: Option<u32>, right: u32| {
        candidates.iter().copied().find(|operator| operator.left == left.unwrap_or(0) && operator.right == right)
    };
    if let Some(left) = left_base {
        let assumed = match (left == t::UNKNOWN, right_base == t::UNKNOWN) {
            (true, false) => (right_base, right_base),
            (false, true) => (left, left),
            _ => (left, right_base),
        };
        if let Some(found) = exact(Some(assumed.0), assumed.1) {
            return Ok(found);
        }
    } else if let Some(found) = exact(None, right_base) {
        return Ok(found);
    }
    let given: Vec<u32> = left_base.into_iter().chain([right_base]).collect();
    let signatures: Vec<Vec<u32>> = candidates.iter().map(|operator| arguments(operator)).collect();
    match choose(&signatures, &given) {
        Choice::One(index) => Ok(candidates[index]),
        Choice::None => Err(undefined()),
        Choice::Several => {
            let spelled = match left {
                Some(left) => format!("{} {name} {}", t::format_type(left, None), t::format_type(right, None)),
                None => format!("{name} {}", t::format_type(right, None)),
            };
            Err(Error::new("42725", format!("operator is not unique: {spelled}"))
                .with_hint("Could not choose a best candidate operator. You might need to add explicit type casts."))
        }
    }
}

enum Choice {
    None,
    One(usize),
    Several,
}

/// The best of the signatures for arguments of these types.
fn choose(signatures: &[Vec<u32>], given: &[u32]) -> Choice {
    let fits = |signature: &[u32]| {
        signature.iter().zip(given).all(|(to, from)| can_coerce(*from, *to)) && is_consistent(signature, given)
    };
    let mut left: Vec<usize> = (0..signatures.len()).filter(|index| fits(&signatures[*index])).collect();
    match left.as_slice() {
        [] => return Choice::None,
        [one] => return Choice::One(*one),
        _ => {}
    }
    let most = |left: &mut Vec<usize>, count: &dyn Fn(&[u32]) -> usize| {
        let best = left.iter().map(|index| count(&signatures[*index])).max().unwrap_or(0);
        left.retain(|index| count(&signatures[*index]) == best);
    };
    most(&mut left, &|signature| {
        signature.iter().zip(given).filter(|(to, from)| **from != t::UNKNOWN && to == from).count()
    });
    if let [one] = left.as_slice() {
        return Choice::One(*one);
    }
    most(&mut left, &|signature| {
        let good = |to: u32, from: u32| {
            from != t::UNKNOWN && (to == from || (is_preferred(to) && category(to) == category(from)))
        };
        signature.iter().zip(given).filter(|(to, from)| good(**to, **from)).count()
    });
    if let [one] = left.as_slice() {
        return Choice::One(*one);
    }
    if !given.contains(&t::UNKNOWN) {
        return Choice::Several;
    }
    // a category for each unknown one: text if any takes text, else what all take
    let mut resolved = true;
    let mut wanted: Vec<Option<(char, bool)>> = vec![None; given.len()];
    for (position, from) in given.iter().enumerate() {
        if *from != t::UNKNOWN {
            continue;
        }
        let taken: Vec<u32> = left.iter().map(|index| signatures[*index][position]).collect();
        let first = category(taken[0]);
        let slot = if taken.iter().any(|to| category(*to) == 'S') {
            Some('S')
        } else if taken.iter().all(|to| category(*to) == first) {
            Some(first)
        } else {
            None
        };
        match slot {
            Some(slot) => {
                let has_preferred = taken.iter().any(|to| category(*to) == slot && is_preferred(*to));
                wanted[position] = Some((slot, has_preferred));
            }
            None => resolved = false,
        }
    }
    if resolved {
        let kept: Vec<usize> = left
            .iter()
            .copied()
            .filter(|index| {
                wanted.iter().enumerate().all(|(position, wanted)| {
                    let to = signatures[*index][position];
                    wanted.is_none_or(|(slot, has_preferred)| {
                        category(to) == slot && (!has_preferred || is_preferred(to))
                    })
                })
            })
            .collect();
        match kept.as_slice() {
            [one] => return Choice::One(*one),
            [] => {}
            _ => left = kept,
        }
    }
    // if all known ones are of one type, the unknown ones are, too
    let mut known = given.iter().copied().filter(|oid| *oid != t::UNKNOWN);
    if let Some(first) = known.next()
        && known.all(|oid| oid == first)
    {
        let assumed = vec![first; given.len()];
        let takes =
            |signature: &[u32]| signature.iter().all(|to| can_coerce(first, *to)) && is_consistent(signature, &assumed);
        let kept: Vec<usize> = left.iter().copied().filter(|index| takes(&signatures[*index])).collect();
        if let [one] = kept.as_slice() {
            return Choice::One(*one);
        }
    }
    Choice::Several
}

/// Whether polymorphic arguments mean one type.
fn is_consistent(signature: &[u32], given: &[u32]) -> bool {
    let mut item = None;
    for (to, from) in signature.iter().zip(given) {
        let found = match *to {
            t::ANYELEMENT | t::ANYNONARRAY => Some(*from),
            t::ANYARRAY => element(*from),
            _ => None,
        };
        match (item, found) {
            (_, None | Some(t::UNKNOWN)) => {}
            (None, Some(found)) => item = Some(base_type(found)),
            (Some(item), Some(found)) if item == base_type(found) => {}
            _ => return false,
        }
    }
    let compatible: Vec<Type> = signature
        .iter()
        .zip(given)
        .filter_map(|(to, from)| match *to {
            t::ANYCOMPATIBLE | t::ANYCOMPATIBLENONARRAY => Some(Type::of(*from)),
            t::ANYCOMPATIBLEARRAY => element(*from).map(Type::of),
            _ => None,
        })
        .collect();
    compatible.is_empty() || common_type(&compatible, "").is_ok()
}

/// A function with the types that its arguments have to become.
#[derive(Debug)]
pub struct Resolved {
    pub proc: &'static Proc,
    pub arguments: Vec<Type>,
    pub result: Type,
    /// how many of the last arguments are items of a variadic array
    pub n_variadic: Option<usize>,
}

/// What kind of thing a call may be besides a function.
pub enum Call {
    Function(Resolved),
    /// the name of a type, which casts its argument
    Cast(Type),
}

/// A function of that name for arguments of these types, by PostgreSQL's rules. Errors: 42883, 42725.
pub fn function(name: &str, given: &[Type], is_variadic_call: bool) -> Result<Call> {
    let oids: Vec<u32> = given.iter().map(|given| base_type(given.oid)).collect();
    let spelled = || {
        let types: Vec<String> = given.iter().map(Type::name).collect();
        format!("{name}({})", types.join(", "))
    };
    let mut candidates: Vec<(&'static Proc, Vec<u32>, Option<usize>)> = Vec::new();
    for proc in procs_named(name) {
        let n = proc.arguments.len();
        if oids.len() <= n
            && oids.len() + proc.n_defaults >= n
            && (proc.variadic == 0 || is_variadic_call || oids.len() == n)
        {
            candidates.push((proc, proc.arguments[..oids.len()].to_vec(), None));
        }
        if proc.variadic != 0 && !is_variadic_call && oids.len() >= n {
            let mut arguments = proc.arguments[..n - 1].to_vec();
            arguments.extend(std::iter::repeat_n(proc.variadic, oids.len() - (n - 1)));
            candidates.push((proc, arguments, Some(oids.len() - (n - 1))));
        }
    }
    let resolved = |(proc, arguments, n_variadic): &(&'static Proc, Vec<u32>, Option<usize>)| {
        finish(proc, arguments, given, *n_variadic).map(Call::Function)
    };
    let exact = candidates.iter().find(|(_, arguments, n_variadic)| *arguments == oids && n_variadic.is_none());
    if let Some(found) = exact {
        return resolved(found);
    }
    // `float8('1')`, `text(x)`
    if let ([from], Some(row)) = (oids.as_slice(), t::type_named(name)) {
        let is_trivial =
            *from == t::UNKNOWN || matches!(path(*from, row.oid, Context::Explicit), Some(Path::Relabel | Path::Text));
        if is_trivial && row.kind != 'p' {
            return Ok(Call::Cast(Type::of(row.oid)));
        }
    }
    let signatures: Vec<Vec<u32>> = candidates.iter().map(|(_, arguments, _)| arguments.clone()).collect();
    match choose(&signatures, &oids) {
        Choice::One(index) => resolved(&candidates[index]),
        Choice::None => Err(Error::new("42883", format!("function {} does not exist", spelled())).with_hint(
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        )),
        Choice::Several => {
            // one that takes its arguments as they are goes before one that collects them
            let plain: Vec<&(&'static Proc, Vec<u32>, Option<usize>)> =
                candidates.iter().filter(|(_, _, n_variadic)| n_variadic.is_none()).collect();
            if let [one] = plain.as_slice()
                && candidates.len() > 1
            {
                return resolved(one);
            }
            Err(Error::new("42725", format!("function {} is not unique", spelled()))
                .with_hint("Could not choose a best candidate function. You might need to add explicit type casts."))
        }
    }
}

/// Gives polymorphic arguments and results their types.
fn finish(proc: &'static Proc, arguments: &[u32], given: &[Type], n_variadic: Option<usize>) -> Result<Resolved> {
    let (arguments, result) = concrete(arguments, proc.result, given)?;
    Ok(Resolved { proc, arguments, result, n_variadic })
}

/// The types that polymorphic ones mean for these arguments. Errors: 42804.
pub fn concrete(arguments: &[u32], result: u32, given: &[Type]) -> Result<(Vec<Type>, Type)> {
    let mut item: Option<Type> = None;
    let mut compatible: Vec<Type> = Vec::new();
    for (to, from) in arguments.iter().zip(given) {
        let is_known = from.oid != t::UNKNOWN;
        match *to {
            t::ANYELEMENT | t::ANYNONARRAY if is_known && item.is_none() => item = Some(from.clone()),
            t::ANYARRAY if is_known && item.is_none() => item = from.element(),
            t::ANYCOMPATIBLE | t::ANYCOMPATIBLENONARRAY => compatible.push(from.clone()),
            t::ANYCOMPATIBLEARRAY if is_known => compatible.extend(from.element()),
            _ => {}
        }
    }
    let compatible = if compatible.is_empty() { None } else { Some(common_type(&compatible, "arguments")?) };
    let text = Type::of(t::TEXT);
    let has_polymorphic = arguments.iter().any(|oid| is_polymorphic(*oid));
    if has_polymorphic
        && item.is_none()
        && compatible.is_none()
        && arguments.iter().zip(given).any(|(to, from)| is_polymorphic(*to) && from.oid == t::UNKNOWN)
    {
        let is_any = |oid: &u32| matches!(*oid, t::ANYELEMENT | t::ANYARRAY | t::ANYNONARRAY);
        if arguments.iter().any(is_any) {
            return Err(Error::new("42804", "could not determine polymorphic type because input has type unknown"));
        }
        item = Some(text.clone());
    }
    let array_of = |item: &Option<Type>| {
        let item = item.clone().unwrap_or(text.clone());
        item.array().unwrap_or(Type::of(t::TEXT_ARRAY))
    };
    let concrete = |oid: u32, given: Option<&Type>| match oid {
        t::ANYELEMENT | t::ANYNONARRAY => item.clone().unwrap_or(text.clone()),
        // a vector is passed as it is
        t::ANYARRAY if given.is_some_and(|given| given.element().is_some()) => given.cloned().unwrap_or(text.clone()),
        t::ANYARRAY => array_of(&item),
        t::ANYCOMPATIBLE | t::ANYCOMPATIBLENONARRAY => compatible.clone().unwrap_or(text.clone()),
        t::ANYCOMPATIBLEARRAY => array_of(&compatible),
        t::ANY => match given {
            Some(given) if given.oid != t::UNKNOWN => given.clone(),
            _ => Type::of(t::UNKNOWN),
        },
        other => Type::of(other),
    };
    let types = arguments.iter().enumerate().map(|(index, oid)| concrete(*oid, given.get(index))).collect();
    // records keep their fields; how long a value is, a function does not say
    let mut result_type = Type { modifier: -1, ..concrete(result, None) };
    if result == t::ANYARRAY
        && let Some(array) = arguments.iter().zip(given).find(|(to, _)| **to == t::ANYARRAY).map(|(_, given)| given)
        && array.oid != t::UNKNOWN
    {
        result_type = Type { modifier: -1, ..array.clone() };
    }
    // what a function makes has no modifier, whatever it is made of
    result_type.modifier = -1;
    Ok((types, result_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(names: &[&str]) -> Vec<Type> {
        names
            .iter()
            .map(|name| if *name == "unknown" { Type::of(t::UNKNOWN) } else { t::parse_type(name).expect(name) })
            .collect()
    }

    #[test]
    fn operators_are_chosen_as_postgresql_does() {
        // as PostgreSQL 15 answers
        for (left, name, right, result) in [
            ("int4", "+", "int8", "bigint"),
            ("int4", "/", "numeric", "numeric"),
            ("int4", "+", "unknown", "integer"),
            ("name", "=", "unknown", "boolean"),
            ("name", "=", "text", "boolean"),
            ("oid", "=", "int4", "boolean"),
            ("text", "||", "int4", "text"),
            ("date", "-", "date", "integer"),
            ("date", "+", "interval", "timestamp without time zone"),
            ("timestamptz", "-", "unknown", "interval"),
            ("varchar", "~", "unknown", "boolean"),
            ("int2vector", "@>", "int2[]", "boolean"),
            ("text[]", "||", "text", "text[]"),
            ("float4", "*", "int4", "double precision"),
            ("\"char\"", "=", "unknown", "boolean"),
            ("json", "->>", "unknown", "text"),
            ("bigint", "*", "interval", "interval"),
        ] {
            let given = types(&[left, right]);
            let found = operator(name, Some(given[0].oid), given[1].oid);
            let found = found
                .and_then(|found| concrete(&[found.left, found.right], found.result, &given))
                .map(|(_, result)| result.name());
            assert_eq!(found.as_deref(), Ok(result), "{left} {name} {right}");
        }
        for (left, name, right, sqlstate) in
            [("int4", "=", "text", "42883"), ("bool", "+", "bool", "42883"), ("json", "=", "json", "42883")]
        {
            let given = types(&[left, right]);
            assert_eq!(
                operator(name, Some(given[0].oid), given[1].oid).expect_err("none").sqlstate,
                sqlstate,
                "{left} {name} {right}"
            );
        }
    }

    #[test]
    fn functions_are_chosen_as_postgresql_does() {
        for (name, arguments, result) in [
            ("length", vec!["unknown"], "integer"),
            ("abs", vec!["int2"], "smallint"),
            ("round", vec!["float8"], "double precision"),
            ("round", vec!["int4"], "double precision"),
            ("round", vec!["numeric", "int4"], "numeric"),
            ("array_upper", vec!["int2vector", "int4"], "integer"),
            ("generate_series", vec!["int4", "int4"], "integer"),
            ("coalesce_no", vec![], ""),
            ("concat", vec!["int4", "text", "bool"], "text"),
            ("format", vec!["unknown", "int4"], "text"),
            ("array_append", vec!["text[]", "unknown"], "text[]"),
            ("date_trunc", vec!["unknown", "date"], "timestamp with time zone"),
            ("has_table_privilege", vec!["oid", "unknown"], "boolean"),
            ("to_char", vec!["timestamptz", "unknown"], "text"),
        ] {
            let found = match function(name, &types(&arguments), false) {
                Ok(Call::Function(found)) => found.result.name(),
                Ok(Call::Cast(data_type)) => data_type.name(),
                Err(error) if result.is_empty() => {
                    assert_eq!(error.sqlstate, "42883");
                    continue;
                }
                Err(error) => panic!("{name}({arguments:?}): {error}"),
            };
            assert_eq!(found, result, "{name}({arguments:?})");
        }
    }

    #[test]
    fn common_types_are_those_of_postgresql() {
        for (names, common) in [
            (vec!["int4", "numeric"], Ok("numeric")),
            (vec!["unknown", "unknown"], Ok("text")),
            (vec!["int4", "unknown"], Ok("integer")),
            (vec!["name", "text"], Ok("name")),
            (vec!["date", "timestamptz"], Ok("timestamp with time zone")),
            (vec!["int4", "text"], Err("42804")),
        ] {
            let found = common_type(&types(&names), "UNION").map(|found| found.name());
            assert_eq!(found.as_deref().map_err(|error| error.sqlstate), common, "{names:?}");
        }
    }
}
