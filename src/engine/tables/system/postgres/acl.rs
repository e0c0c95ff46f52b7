//! Rights as PostgreSQL's catalog shows them: `{granary=arwd/granary,app=r/granary}`.

use std::collections::BTreeMap;

use granary_catalog::{Object, ObjectId, Privilege, Snapshot};

use crate::access::grants_of;

/// Letters in PostgreSQL's order. The predefined roles of a workspace have none.
const LETTERS: [(Privilege, char); 8] = [
    (Privilege::Insert, 'a'),
    (Privilege::Select, 'r'),
    (Privilege::Update, 'w'),
    (Privilege::Delete, 'd'),
    (Privilege::Execute, 'X'),
    (Privilege::Usage, 'U'),
    (Privilege::Create, 'C'),
    (Privilege::Connect, 'c'),
];

/// Rights on all of the object, the owner's first. `None` while nothing was ever granted or revoked: NULL says that
/// what holds is what objects of its kind begin with.
pub fn of(snapshot: &Snapshot, object: &Object) -> Option<Vec<String>> {
    object.header().grants.as_ref()?;
    let owner = &object.header().owner;
    let own = match object {
        Object::Workspace(_) => "Cc",
        Object::Schema(_) => "UC",
        Object::Function(_) => "X",
        _ => "arwd",
    };
    let mut by_grantee: BTreeMap<Option<ObjectId>, Vec<Privilege>> = BTreeMap::new();
    for grant in grants_of(object).iter().filter(|grant| grant.column.is_none()) {
        by_grantee.entry(grant.grantee).or_default().push(grant.privilege);
    }
    let mut items = vec![format!("{owner}={own}/{owner}")];
    for (grantee, privileges) in by_grantee {
        let held = LETTERS.iter().filter(|(privilege, _)| privileges.contains(privilege));
        let letters: String = held.map(|(_, letter)| letter).collect();
        if !letters.is_empty() {
            let name = grantee.and_then(|id| snapshot.get(id)).map_or("", |role| role.name());
            items.push(format!("{name}={letters}/{owner}"));
        }
    }
    Some(items)
}
