//! Renames: an object that is declared no more and one that is declared newly are the same under another name, if their
//! declarations differ in nothing but names. What is stored of it stays.

use std::collections::HashMap;
use std::sync::Arc;

use granary_catalog::{Change, Object, ObjectId};
use granary_sql::declaration::{DeclaredKind, NameUse, query, rename, visit_names};
use granary_sql::name::canonical;
use granary_sql::{QualifiedName, Statement};
use sqlparser::ast::{Ident, ObjectName};

use super::planning::{kind_of, stated};
use super::texts::Declaration;

/// New names, by kind and old name.
#[derive(Debug, Default)]
pub struct Renames(HashMap<(DeclaredKind, String), ObjectName>);

impl Renames {
    /// Whether a declaration is what `object` is declared by, but for its own name and for names that were changed.
    pub fn is_same_but_named(&self, object: &Object, declaration: &Declaration) -> bool {
        let Some(mut old) = stated(object) else { return false };
        rename(&mut old, name_of(&declaration.statement).unwrap_or_else(|| single(&declaration.name)));
        self.substitute(&mut old);
        old == declaration.statement
    }

    fn substitute(&self, statement: &mut Statement) {
        visit_names(statement, &mut |name_use, name| {
            if let Some(new) = self.new_name(name_use, name) {
                *name = new;
            }
        });
    }

    fn new_name(&self, name_use: NameUse, name: &ObjectName) -> Option<ObjectName> {
        let old = QualifiedName::of(name)?;
        let mut found = self.0.iter().filter(|((kind, known), _)| kind.is_meant_by(name_use) && *known == old.name);
        found.next().map(|(_, new)| new.clone())
    }

    /// The one object that a declaration is another name of, among those that nothing declares.
    pub fn find(&mut self, declaration: &Declaration, orphans: &[Arc<Object>]) -> Option<Arc<Object>> {
        let is_it = |object: &&Arc<Object>| {
            object.kind() == kind_of(declaration.kind) && self.is_same_but_named(object, declaration)
        };
        let mut found = orphans.iter().filter(is_it);
        let object = Arc::clone(found.next()?);
        if found.next().is_some() {
            return None;
        }
        let new = name_of(&declaration.statement)?;
        self.0.insert((declaration.kind, object.name().to_owned()), new);
        Some(object)
    }
}

/// The changes that make an object be called and say what the declaration does.
pub fn changes(object: &Object, declaration: &Declaration) -> Vec<Change> {
    let id: ObjectId = object.id();
    let mut changes = Vec::new();
    if object.name() != declaration.name {
        changes.push(Change::Rename { id, to: declaration.name.clone() });
    }
    let query = object.query().and_then(|_| query(&declaration.statement)).map(str::to_owned);
    changes.push(Change::Reword { id, statement: declaration.statement.to_string(), query });
    changes
}

fn name_of(statement: &Statement) -> Option<ObjectName> {
    granary_sql::declaration::declared(statement).map(|(_, name)| name.clone())
}

fn single(name: &str) -> ObjectName {
    ObjectName::from(vec![canonical(&Ident::with_quote('"', name))])
}
