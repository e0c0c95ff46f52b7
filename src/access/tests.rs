//! Rights, decided one by one.

use granary_catalog::{Change, Header, Home, Schema, Table, Workspace};

use super::*;

const WORKSPACE: ObjectId = ObjectId::FIRST;

struct World {
    snapshot: Snapshot,
    roles: Vec<ObjectId>,
    table: ObjectId,
}

/// A workspace of `boss` with a table of `ann`; `bob` is in `team`, `root` a superuser.
fn world() -> World {
    let (schema, table) = (WORKSPACE.after(1), WORKSPACE.after(2));
    let header = |id, home, name: &str, owner: &str| Header::new(id, home, name, owner);
    let home = Home::Schema { workspace: WORKSPACE, schema };
    let ids: Vec<ObjectId> = (3..8).map(|n| WORKSPACE.after(n)).collect();
    let role = |nth: usize, name: &str| Role::new(header(ids[nth], Home::Server, name, "root"));
    let changes = [
        Change::put(Workspace {
            header: header(WORKSPACE, Home::Server, "prod", "boss"),
            live: true,
            applied_plan: None,
        }),
        Change::put(Schema { header: header(schema, Home::Workspace(WORKSPACE), "public", "boss") }),
        Change::put(Role { superuser: true, ..role(0, "root") }),
        Change::put(role(1, "ann")),
        Change::put(role(2, "team")),
        Change::put(Role { member_of: vec![ids[2]], ..role(3, "bob") }),
        Change::put(role(4, "boss")),
        Change::put(Table::new(header(table, home, "t", "ann"), Vec::new(), 1)),
    ];
    World { snapshot: Snapshot::empty().apply(&changes).expect("new objects"), roles: ids, table }
}

impl World {
    fn grant(&mut self, id: ObjectId, grants: &[(Option<ObjectId>, Privilege, Option<&str>)]) {
        let grants = grants.iter().map(|(grantee, privilege, column)| Grant {
            grantee: *grantee,
            privilege: *privilege,
            column: column.map(str::to_owned),
        });
        let change = Change::SetGrants { id, grants: Some(grants.collect()) };
        self.snapshot = self.snapshot.apply(&[change]).expect("a grant");
    }

    /// What a role may: select all, select column a, insert, manage, operate, grant.
    fn may(&self, role: &str) -> [bool; 6] {
        let asker = Asker::role(role);
        let access = asker.access(&self.snapshot);
        let table = self.snapshot.get(self.table).expect("the table");
        [
            access.check_select(table, ["a", "b"]).is_ok(),
            access.check_select(table, ["a"]).is_ok(),
            access.check_write(table, Privilege::Insert, []).is_ok(),
            access.check_manage(table, "DROP").is_ok(),
            access.check_operate(table, "REFRESH").is_ok(),
            access.check_grant(table, "GRANT").is_ok(),
        ]
    }
}

const ALL: [bool; 6] = [true; 6];
const NOTHING: [bool; 6] = [false; 6];

#[test]
fn only_owners_and_superusers_may_without_a_grant() {
    let world = world();
    for (role, expected) in
        [("root", ALL), ("ann", ALL), ("boss", ALL), ("bob", NOTHING), ("team", NOTHING), ("nobody", NOTHING)]
    {
        assert_eq!(world.may(role), expected, "{role}");
    }
}

#[test]
fn a_grant_reaches_members_and_only_its_column() {
    let mut world = world();
    let team = world.roles[2];
    world.grant(world.table, &[(Some(team), Privilege::Select, Some("a"))]);
    assert_eq!(world.may("bob"), [false, true, false, false, false, false]);
    let asker = Asker::role("bob");
    let table = world.snapshot.get(world.table).expect("the table");
    let access = asker.access(&world.snapshot);
    assert_eq!(access.readable(table).expect("a"), Readable::SomeColumns);
    // count(*) names no column: any will do
    assert!(access.check_select(table, []).is_ok());
    assert!(access.check(table, Privilege::Select).is_err());
    world.grant(world.table, &[(None, Privilege::Select, None)]);
    assert_eq!(world.may("bob"), [true, true, false, false, false, false]);
    world.grant(world.table, &[]);
    assert_eq!(world.may("bob"), NOTHING);
}

#[test]
fn the_predefined_roles_of_a_workspace() {
    for (role, expected) in [
        (Privilege::Owner, ALL),
        (Privilege::Editor, [true, true, true, true, true, false]),
        (Privilege::Operator, [false, false, false, false, true, false]),
        (Privilege::Consumer, [true, true, false, false, false, false]),
        (Privilege::Viewer, NOTHING),
    ] {
        let mut world = world();
        let bob = world.roles[3];
        world.grant(WORKSPACE, &[(Some(bob), role, None)]);
        assert_eq!(world.may("bob"), expected, "{role}");
        let asker = Asker::role("bob");
        let access = asker.access(&world.snapshot);
        let workspace = world.snapshot.get(WORKSPACE).expect("the workspace");
        assert!(access.may_connect(workspace));
        assert_eq!(access.check_manage(workspace, "DROP").is_ok(), role == Privilege::Owner);
    }
}

#[test]
fn what_everybody_may_can_be_taken_back() {
    let mut world = world();
    let asker = Asker::role("bob");
    let schema = WORKSPACE.after(1);
    world.grant(world.table, &[(None, Privilege::Select, None)]);
    assert!(world.may("bob")[0]);
    world.grant(schema, &[]);
    let table = world.snapshot.get(world.table).expect("the table");
    let refused = asker.access(&world.snapshot).check_select(table, ["a"]).expect_err("no usage");
    assert_eq!(
        (refused.kind(), refused.message()),
        (Kind::InsufficientPrivilege, "permission denied for schema public")
    );
    world.grant(WORKSPACE, &[]);
    let workspace = world.snapshot.get(WORKSPACE).expect("the workspace");
    let refused = asker.access(&world.snapshot).check_connect(workspace).expect_err("no connect");
    assert_eq!(refused.message(), "permission denied for database \"prod\"");
    let table = world.snapshot.get(world.table).expect("the table");
    let refused = check_read(&world.snapshot, "bob", table, ["a"]).expect_err("no connect");
    assert_eq!(refused.message(), "permission denied for database \"prod\"");
    assert!(check_read(&world.snapshot, "ann", table, ["a"]).is_err());
    assert!(check_read(&world.snapshot, "root", table, ["a"]).is_ok());
}
