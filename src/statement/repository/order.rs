//! In which order declarations can be made: each behind those that it names.

use granary_sql::QualifiedName;
use granary_sql::declaration::{DeclaredKind, visit_names};

use super::texts::{Declaration, Texts};
use crate::error::{Error, Kind, Result};

/// For each declaration the places of those that it names.
pub fn named(texts: &Texts) -> Vec<Vec<usize>> {
    let declarations = &texts.declarations;
    let of = |place: usize, declaration: &Declaration| {
        let mut found = Vec::new();
        visit_names(&mut declaration.statement.clone(), &mut |name_use, name| {
            let Some(name) = QualifiedName::of(name) else { return };
            let is_meant = |other: &Declaration| {
                other.kind.is_meant_by(name_use)
                    && other.name == name.name
                    && (name.schema.is_none() || other.schema.is_none() || name.schema == other.schema)
            };
            let places = declarations.iter().enumerate().filter(|(other, known)| *other != place && is_meant(known));
            found.extend(places.map(|(other, _)| other));
        });
        // a schema comes before what lives in it
        let home = declaration.schema.as_ref().map(|schema| {
            declarations.iter().position(|other| other.kind == DeclaredKind::Schema && other.name == *schema)
        });
        found.extend(home.flatten());
        found.sort_unstable();
        found.dedup();
        found
    };
    declarations.iter().enumerate().map(|(place, declaration)| of(place, declaration)).collect()
}

/// The places of the declarations in an order in which they can be made. Errors: some need each other.
pub fn in_order(texts: &Texts, named: &[Vec<usize>]) -> Result<Vec<usize>> {
    let mut order: Vec<usize> = Vec::with_capacity(named.len());
    let mut is_done = vec![false; named.len()];
    while order.len() < named.len() {
        let ready: Vec<usize> =
            (0..named.len()).filter(|place| !is_done[*place] && named[*place].iter().all(|on| is_done[*on])).collect();
        if ready.is_empty() {
            return Err(circle(texts, named, &is_done));
        }
        for place in ready {
            is_done[place] = true;
            order.push(place);
        }
    }
    Ok(order)
}

fn circle(texts: &Texts, named: &[Vec<usize>], is_done: &[bool]) -> Error {
    let open = |place: &usize| !is_done[*place];
    let Some(mut at) = (0..named.len()).find(open) else { return Error::internal("a circle without declarations") };
    // whoever is open names one that is open, so this comes back to where it was
    let mut way = Vec::new();
    while !way.contains(&at) {
        way.push(at);
        at = named[at].iter().copied().find(open).unwrap_or(at);
    }
    let start = way.iter().position(|place| *place == at).unwrap_or(0);
    let names: Vec<&str> =
        way[start..].iter().chain([&at]).map(|place| texts.declarations[*place].name.as_str()).collect();
    let message = format!("declarations need each other: {}", names.join(" reads "));
    let places: Vec<String> = way[start..].iter().map(|place| texts.shown(texts.declarations[*place].place)).collect();
    Error::new(Kind::InvalidObjectDefinition, message).with_detail(format!("They are in {}.", places.join(", ")))
}
