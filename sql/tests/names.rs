//! No word of feature objects is reserved: each may name a table, a column and an alias in ordinary SQL.

use granary_sql::{Statement, parse, time_of};
use sqlparser::ast::{Expr, SetExpr, TableFactor};

const WORDS: &[&str] = &[
    "source",
    "entity",
    "online",
    "offline",
    "feature",
    "features",
    "stream",
    "service",
    "workspace",
    "refresh",
    "verify",
    "start",
    "series",
    "last",
    "lifetime",
    "timestamp",
    "at",
    "before",
    "changes",
    "sum",
    "count",
    "sample",
    "job",
    "key",
    "keys",
    "secret",
    "dataset",
    "request",
    "retry",
    "wait",
    "timeout",
    "cancel",
    "api",
    "push",
    "kafka",
    "publication",
    "deduplicate",
    "backfill",
    "until",
    "nowait",
    "overwrite",
    "development",
    "live",
    "realtime",
    "comment",
    "schedule",
    "aggregate",
    "size",
    "step",
    "format",
    "settings",
    "open",
    "output",
    "connect",
    "top",
    "view",
    "sort",
    "version",
    "system_time",
    "date",
    "time",
    "month",
    "name",
    "type",
    "value",
    "data",
    "role",
    "index",
];

#[test]
fn words_of_feature_objects_are_names() {
    for word in WORDS {
        for text in [
            format!("SELECT {word} FROM {word}"),
            format!("SELECT {word}.{word}, t.{word} FROM {word}, t"),
            format!("SELECT a AS {word} FROM t AS {word}"),
            // PostgreSQL takes these for labels behind AS only
            match *word {
                "day" | "hour" | "minute" | "month" | "second" | "year" => format!("SELECT a AS {word} FROM t {word}"),
                _ => format!("SELECT a {word} FROM t {word}"),
            },
            format!("SELECT sum({word}) FROM t GROUP BY {word} ORDER BY {word} DESC"),
            format!("WITH {word} AS (SELECT 1 AS {word}) SELECT {word}.{word} FROM {word}"),
            format!("SELECT a FROM t JOIN {word} ON t.a = {word}.a"),
            format!("SELECT f.a FROM t {word} JOIN v FOR SYSTEM_TIME AS OF {word}.ts AS f ON f.a = {word}.a"),
            format!("SELECT a FROM v FOR SYSTEM_TIME FROM '2024-01-01' TO '2024-02-01' {word}"),
        ] {
            let parsed = parse(&text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
            assert!(matches!(parsed[0].statement, Statement::Query(_)), "{text}");
        }
        for text in [
            format!("CREATE TABLE {word} ({word} int)"),
            format!("INSERT INTO {word} ({word}) VALUES (1)"),
            format!("UPDATE {word} SET {word} = 1 WHERE {word} = 2"),
            format!("DELETE FROM {word} WHERE {word} IS NULL"),
        ] {
            let parsed = parse(&text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
            assert!(matches!(parsed[0].statement, Statement::Postgres(_)), "{text}");
        }
        for text in [
            format!("CREATE ENTITY {word} ({word} text)"),
            format!("CREATE SOURCE {word} FROM PARQUET 'p' TIMESTAMP {word} WITH ({word} = 1)"),
            format!("CREATE SOURCE s AS SELECT {word} FROM {word} TIMESTAMP {word}"),
            format!(
                "CREATE FEATURE VIEW {word} ENTITY {word} TIMESTAMP {word} FEATURES ({word}({word}) OVER {word} AS {word}) WINDOW {word} AS (LIFETIME) AS SELECT {word} FROM {word}"
            ),
            format!("CREATE FEATURE SERVICE {word} AS {word} ({word}) AS {word}, t KEYS ({word} = {word})"),
            format!("REFRESH FEATURE VIEW {word} FROM {word} TO {word}"),
            format!("DROP FEATURE VIEW {word}"),
            format!("ALTER FEATURE VIEW {word} RENAME TO {word}"),
            format!("COMMENT ON COLUMN {word}.{word} IS 'x'"),
        ] {
            let parsed = parse(&text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
            let printed = parsed[0].statement.to_string();
            assert_eq!(parse(&printed).unwrap()[0], parsed[0], "{text}\n{printed}");
        }
    }
}

#[test]
fn an_alias_is_an_alias_with_and_without_system_time() {
    let check = |text: &str| {
        let Statement::Query(query) = parse(text).unwrap().remove(0).statement else { panic!("{text}") };
        let SetExpr::Select(select) = *query.ast.body else { panic!("{text}") };
        let TableFactor::Table { alias, version, .. } = &select.from[0].relation else { panic!("{text}") };
        assert_eq!((alias.as_ref().map(|alias| alias.name.value.as_str()), version), (Some("at"), &None), "{text}");
    };
    check("SELECT * FROM t at");
    check("SELECT * FROM t at, v FOR SYSTEM_TIME AS OF at.ts AS f");
}

#[test]
fn system_time_of_a_table() {
    let time = |text: &str| {
        let Statement::Query(query) = parse(text).unwrap().remove(0).statement else { panic!("{text}") };
        let SetExpr::Select(select) = *query.ast.body else { panic!("{text}") };
        time_of(&select.from[0].relation)
    };
    let print = |expression: &Expr| expression.to_string();
    assert_eq!(time("SELECT * FROM v"), None);
    match time("SELECT * FROM v FOR SYSTEM_TIME AS OF '2024-03-01' AS f") {
        Some(granary_sql::SystemTime::AsOf(at)) => assert_eq!(print(&at), "'2024-03-01'"),
        other => panic!("{other:?}"),
    }
    match time("SELECT * FROM v for system_time from a + b to now() - interval '1 day' f WHERE true") {
        Some(granary_sql::SystemTime::Between { start, end }) => {
            assert_eq!((print(&start), print(&end)), ("a + b".to_string(), "now() - INTERVAL '1 day'".to_string()));
        }
        other => panic!("{other:?}"),
    }
}
