//! Queries without relations, as PostgreSQL 15 answers them.

use std::sync::Arc;

use super::execute;
use crate::datetime::{Clock, Zone};
use crate::error::Result;
use crate::plan::Function;
use crate::resolve::Proc;
use crate::value::Row;
use crate::world::{NameKind, Relation, World};
use crate::{analyze, text};

struct Nothing;

impl World for Nothing {
    fn relation(&self, _: Option<&str>, _: &str) -> Option<Arc<Relation>> {
        None
    }

    fn rows(&self, _: &Relation) -> Result<Arc<Vec<Row>>> {
        Ok(Arc::default())
    }

    fn function(&self, _: &Proc) -> Option<Function> {
        None
    }

    fn number_of(&self, _: NameKind, _: &str) -> Result<Option<u32>> {
        Ok(None)
    }

    fn name_of(&self, _: NameKind, _: u32) -> Option<String> {
        None
    }

    fn user(&self) -> String {
        "granary".to_owned()
    }

    fn session_user(&self) -> String {
        "granary".to_owned()
    }

    fn database(&self) -> String {
        "postgres".to_owned()
    }

    fn current_schema(&self) -> Option<String> {
        Some("public".to_owned())
    }

    fn clock(&self) -> Clock {
        Clock { now_us: 0, zone: Zone::UTC }
    }

    fn check_stopped(&self) -> Result<()> {
        Ok(())
    }
}

/// Labels and rows, or the error's SQLSTATE and message.
fn answer(sql: &str) -> String {
    let parsed = granary_sql::parse(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}")).remove(0);
    let granary_sql::Statement::Query(query) = parsed.statement else { panic!("{sql}") };
    let answered = analyze(&query.ast, &[], &Nothing).and_then(|analyzed| {
        let labels: Vec<&str> = analyzed.query.columns.iter().map(|column| column.name.as_str()).collect();
        let mut lines = vec![labels.join("|")];
        for row in execute(&analyzed.query, Vec::new(), &Nothing)? {
            let values = row.iter().zip(&analyzed.query.columns).map(|(value, column)| {
                let shown = text::format(value, &column.data_type, Nothing.clock());
                shown.unwrap_or_else(|| "NULL".to_owned())
            });
            lines.push(values.collect::<Vec<_>>().join("|"));
        }
        Ok(lines.join(" / "))
    });
    answered.unwrap_or_else(|error| format!("{} {}", error.sqlstate, error.message))
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (sql, expected) in cases {
        assert_eq!(answer(sql), *expected, "{sql}");
    }
}

#[test]
fn frames() {
    let over = |frame: &str| {
        let values = "(values (1), (2), (2), (4), (null)) t(x)";
        answer(&format!("select x, array_agg(x) over (order by x {frame}) as a from {values}"))
    };
    for (frame, expected) in [
        ("range between 1 preceding and 1 following", "1|{1,2,2} / 2|{1,2,2} / 2|{1,2,2} / 4|{4} / NULL|{NULL}"),
        ("range between 1 following and 2 following", "1|{2,2} / 2|{4} / 2|{4} / 4|NULL / NULL|{NULL}"),
        (
            "rows between 1 preceding and 1 following exclude current row",
            "1|{2} / 2|{1,2} / 2|{2,4} / 4|{2,NULL} / NULL|{4}",
        ),
        (
            "groups between 1 preceding and current row exclude ties",
            "1|{1} / 2|{1,2} / 2|{1,2} / 4|{2,2,4} / NULL|{4,NULL}",
        ),
    ] {
        assert_eq!(over(frame), format!("x|a / {expected}"), "{frame}");
    }
    for (frame, expected) in [
        ("range -1 preceding", "22013 invalid preceding or following size in window function"),
        ("rows between null::int preceding and current row", "22004 frame starting offset must not be null"),
        ("rows x preceding", "42P10 argument of ROWS must not contain variables"),
        ("rows true preceding", "42804 argument of ROWS must be type bigint, not type boolean"),
        (
            "rows between 1 following and 1 preceding",
            "42P20 frame starting from following row cannot have preceding rows",
        ),
    ] {
        assert_eq!(over(frame), expected, "{frame}");
    }
}

#[test]
fn recursion() {
    let edges = "(values (1, 2), (2, 3), (3, 1)) e(a, b)";
    let walk =
        format!("with recursive g(a, b) as (select 1, 2 union all select e.a, e.b from {edges}, g where e.a = g.b)");
    check(&[
        ("with recursive t(n) as (select 1 union all select n + 1 from t) select n from t where n > 2 limit 2", "n / 3 / 4"),
        (
            &format!("{walk} cycle a set c using p select * from g"),
            "a|b|c|p / 1|2|f|{(1)} / 2|3|f|{(1),(2)} / 3|1|f|{(1),(2),(3)} / 1|2|t|{(1),(2),(3),(1)}",
        ),
        (
            "with recursive t(id, up) as (select 1, 0 union all select e.id, e.up from (values (2, 1), (3, 1), (4, 2)) e(id, up)
             join t on e.up = t.id) search depth first by id set o select id from t order by o",
            "id / 1 / 2 / 4 / 3",
        ),
        (
            "with recursive t(n) as (select 1 union all select n + 0.5 from t) select * from t",
            "42804 recursive query \"t\" column 1 has type integer in non-recursive term but type numeric overall",
        ),
        (
            "with recursive t(n) as (select 1 union all select count(*) from t) select * from t",
            "42P19 aggregate functions are not allowed in a recursive query's recursive term",
        ),
        (
            "with recursive a as (select 1 union all select * from b), b as (select * from a) select 1",
            "0A000 mutual recursion between WITH items is not implemented",
        ),
    ]);
}

#[test]
fn from() {
    check(&[
        (
            "select j.x, k.p from (values (1)) a(x) join (values (1)) b(x) using (x) as j, ((values (2)) c(y) cross join (values (3)) d(z)) as k (p)",
            "x|p / 1|2",
        ),
        (
            "select * from rows from (generate_series(1, 2), coalesce(5, 6)) with ordinality as r (a, b)",
            "a|b|ordinality / 1|5|1 / 2|NULL|2",
        ),
        ("select * from coalesce(1, 2)", "coalesce / 1"),
        (
            "select k.x, a.x from ((values (1)) a(x) cross join (values (2)) b(y)) as k",
            "42P01 invalid reference to FROM-clause entry for table \"a\"",
        ),
        (
            "select * from generate_series(1, 2) as g (a int, b int)",
            "42601 a column definition list is only allowed for functions returning \"record\"",
        ),
    ]);
}

#[test]
fn expressions() {
    check(&[
        (
            "select -2 ^ 2, @ -5 + 3, 5 between symmetric 9 and 1, operator(pg_catalog.-) 4",
            "?column?|?column?|?column?|?column? / 4|2|t|-4",
        ),
        (
            "select 'a' like any (array['b', 'a']), 1 > all (values (0)), (values (3))",
            "?column?|?column?|column1 / t|t|3",
        ),
        ("select trim(leading from ' a'), trim(trailing 'xa' from 'bax')", "ltrim|rtrim / a|b"),
        ("select \"assign subscript\"(array[1, 2], 5, null, 4, false)", "?column? / {1,2,NULL,5}"),
        (
            "select \"assign subscript\"('{\"a\": 1}'::jsonb, '5', null, 'b', false, null, 1, false)",
            "?column? / {\"a\": 1, \"b\": [null, 5]}",
        ),
        ("select array[]", "42P18 cannot determine type of empty array"),
        ("values (default)", "42601 DEFAULT is not allowed in this context"),
        (
            "select a, b from (values (1, 2)) t(a, b) group by distinct rollup (a, b), rollup (a) order by 1, 2",
            "a|b / 1|2 / 1|NULL / NULL|NULL",
        ),
        ("select 1 fetch first 1 row with ties", "42601 WITH TIES cannot be specified without ORDER BY clause"),
    ]);
}
