//! Statements as declarations of a repository: what each declares, what it names of others, and of which properties it
//! consists, so that two of them can be compared for people.

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::ControlFlow;

use sqlparser::ast::{self, Expr, ObjectName, Query, Value, VisitMut, VisitorMut};

use crate::name::{fold, quote_literal};
use crate::option::{Options, join};
use crate::statement::{
    AlertSeverity, CreateAlert, CreateApiKey, CreateDataset, CreateEntity, CreateExpectation, CreateFeatureService,
    CreateFeatureTable, CreateFeatureView, CreateFunction, CreateRealtimeFeatureView, CreateSink, CreateSource,
    CreateStream, CreateTest, CreateWorkspace, Expected, FunctionBody, OnFailure, Severity, SinkTarget, SourceOrigin,
    Statement, StreamOrigin, Volatility,
};
use crate::text::SqlText;

/// What a declaration makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeclaredKind {
    Schema,
    Entity,
    Source,
    Stream,
    View,
    Function,
    FeatureView,
    FeatureTable,
    RealtimeFeatureView,
    FeatureService,
    Sink,
    Expectation,
    Alert,
    Test,
}

impl DeclaredKind {
    /// Whether it can stand in a FROM; all of these share their names.
    pub fn is_relation(self) -> bool {
        match self {
            DeclaredKind::Source
            | DeclaredKind::Stream
            | DeclaredKind::View
            | DeclaredKind::FeatureView
            | DeclaredKind::FeatureTable
            | DeclaredKind::RealtimeFeatureView
            | DeclaredKind::FeatureService => true,
            DeclaredKind::Schema
            | DeclaredKind::Entity
            | DeclaredKind::Function
            | DeclaredKind::Sink
            | DeclaredKind::Expectation
            | DeclaredKind::Alert
            | DeclaredKind::Test => false,
        }
    }

    /// Whether two objects of these kinds cannot have one name.
    pub fn shares_names_with(self, other: DeclaredKind) -> bool {
        self == other || self.is_relation() && other.is_relation()
    }

    /// Whether a name that is used so can mean an object of this kind.
    pub fn is_meant_by(self, name_use: NameUse) -> bool {
        match name_use {
            NameUse::Entity => self == DeclaredKind::Entity,
            NameUse::Relation => self.is_relation(),
            NameUse::Function => self == DeclaredKind::Function,
        }
    }
}

/// How a statement names another object, which says of what kind it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameUse {
    Entity,
    Relation,
    Function,
}

/// One property of a declaration, as people read it: `schedule` is `'1 day'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    pub name: String,
    pub value: String,
}

/// The kind and name of what a CREATE statement declares; `None` for every other statement, and for what is no part of
/// a repository: roles, keys, secrets, workspaces, datasets and the like.
pub fn declared(statement: &Statement) -> Option<(DeclaredKind, &ObjectName)> {
    Some(match statement {
        Statement::CreateEntity(create) => (DeclaredKind::Entity, &create.name),
        Statement::CreateSource(create) => (DeclaredKind::Source, &create.name),
        Statement::CreateStream(create) => (DeclaredKind::Stream, &create.name),
        Statement::CreateSink(create) => (DeclaredKind::Sink, &create.name),
        Statement::CreateExpectation(create) => (DeclaredKind::Expectation, &create.name),
        Statement::CreateAlert(create) => (DeclaredKind::Alert, &create.name),
        Statement::CreateFeatureView(create) => (DeclaredKind::FeatureView, &create.name),
        Statement::CreateFeatureTable(create) => (DeclaredKind::FeatureTable, &create.name),
        Statement::CreateRealtimeFeatureView(create) => (DeclaredKind::RealtimeFeatureView, &create.name),
        Statement::CreateFeatureService(create) => (DeclaredKind::FeatureService, &create.name),
        Statement::CreateFunction(create) => (DeclaredKind::Function, &create.name),
        Statement::CreateTest(create) => (DeclaredKind::Test, &create.name),
        Statement::Postgres(statement) => match statement.ast.as_ref() {
            ast::Statement::CreateView(create) if !create.temporary && !create.materialized => {
                (DeclaredKind::View, &create.name)
            }
            ast::Statement::CreateSchema { schema_name: ast::SchemaName::Simple(name), .. } => {
                (DeclaredKind::Schema, name)
            }
            _ => return None,
        },
        _ => return None,
    })
}

/// The statement without OR REPLACE and IF NOT EXISTS: what its object is defined by.
pub fn bare(mut statement: Statement) -> Statement {
    if let Some((or_replace, if_not_exists)) = modes(&mut statement) {
        (*or_replace, *if_not_exists) = (false, false);
    }
    statement
}

/// The statement with OR REPLACE.
pub fn replacing(mut statement: Statement) -> Statement {
    match &mut statement {
        Statement::Postgres(view) => {
            if let ast::Statement::CreateView(create) = view.ast.as_mut() {
                create.or_replace = true;
            }
        }
        other => {
            if let Some((or_replace, if_not_exists)) = modes(other) {
                (*or_replace, *if_not_exists) = (true, false);
            }
        }
    }
    statement
}

fn modes(statement: &mut Statement) -> Option<(&mut bool, &mut bool)> {
    match statement {
        Statement::CreateEntity(CreateEntity { or_replace, if_not_exists, .. })
        | Statement::CreateSource(CreateSource { or_replace, if_not_exists, .. })
        | Statement::CreateStream(CreateStream { or_replace, if_not_exists, .. })
        | Statement::CreateSink(CreateSink { or_replace, if_not_exists, .. })
        | Statement::CreateExpectation(CreateExpectation { or_replace, if_not_exists, .. })
        | Statement::CreateAlert(CreateAlert { or_replace, if_not_exists, .. })
        | Statement::CreateFeatureView(CreateFeatureView { or_replace, if_not_exists, .. })
        | Statement::CreateFeatureTable(CreateFeatureTable { or_replace, if_not_exists, .. })
        | Statement::CreateRealtimeFeatureView(CreateRealtimeFeatureView { or_replace, if_not_exists, .. })
        | Statement::CreateFeatureService(CreateFeatureService { or_replace, if_not_exists, .. })
        | Statement::CreateFunction(CreateFunction { or_replace, if_not_exists, .. })
        | Statement::CreateTest(CreateTest { or_replace, if_not_exists, .. }) => Some((or_replace, if_not_exists)),
        _ => None,
    }
}

/// The text of the query that a declared object is defined by, if one is.
pub fn query(statement: &Statement) -> Option<&str> {
    match statement {
        Statement::CreateFeatureView(create) => Some(&create.query.text),
        Statement::CreateRealtimeFeatureView(create) => Some(&create.query.text),
        Statement::CreateSource(CreateSource { origin: SourceOrigin::Query(query), .. }) => Some(&query.text),
        _ => None,
    }
}

/// Says a comment in a statement that makes an object, declared or not; false if it has no place for one.
pub fn say_comment(statement: &mut Statement, text: Option<String>) -> bool {
    match statement {
        Statement::CreateEntity(CreateEntity { comment, .. })
        | Statement::CreateSource(CreateSource { comment, .. })
        | Statement::CreateStream(CreateStream { comment, .. })
        | Statement::CreateSink(CreateSink { comment, .. })
        | Statement::CreateExpectation(CreateExpectation { comment, .. })
        | Statement::CreateAlert(CreateAlert { comment, .. })
        | Statement::CreateFeatureView(CreateFeatureView { comment, .. })
        | Statement::CreateFeatureTable(CreateFeatureTable { comment, .. })
        | Statement::CreateRealtimeFeatureView(CreateRealtimeFeatureView { comment, .. })
        | Statement::CreateFeatureService(CreateFeatureService { comment, .. })
        | Statement::CreateFunction(CreateFunction { comment, .. })
        | Statement::CreateTest(CreateTest { comment, .. })
        | Statement::CreateDataset(CreateDataset { comment, .. })
        | Statement::CreateWorkspace(CreateWorkspace { comment, .. })
        | Statement::CreateApiKey(CreateApiKey { comment, .. }) => {
            *comment = text;
            true
        }
        _ => false,
    }
}

/// Gives the object that a statement makes another name.
pub fn rename(statement: &mut Statement, to: ObjectName) {
    match statement {
        Statement::CreateEntity(CreateEntity { name, .. })
        | Statement::CreateSource(CreateSource { name, .. })
        | Statement::CreateStream(CreateStream { name, .. })
        | Statement::CreateSink(CreateSink { name, .. })
        | Statement::CreateExpectation(CreateExpectation { name, .. })
        | Statement::CreateAlert(CreateAlert { name, .. })
        | Statement::CreateFeatureView(CreateFeatureView { name, .. })
        | Statement::CreateFeatureTable(CreateFeatureTable { name, .. })
        | Statement::CreateRealtimeFeatureView(CreateRealtimeFeatureView { name, .. })
        | Statement::CreateFeatureService(CreateFeatureService { name, .. })
        | Statement::CreateFunction(CreateFunction { name, .. })
        | Statement::CreateTest(CreateTest { name, .. })
        | Statement::CreateDataset(CreateDataset { name, .. })
        | Statement::CreateWorkspace(CreateWorkspace { name, .. }) => *name = to,
        Statement::CreateApiKey(CreateApiKey { name, .. }) => {
            *name = to.0.first().and_then(ast::ObjectNamePart::as_ident).cloned();
        }
        _ => {}
    }
}

/// Shows `visit` every name of another object in the statement, which it may change in the tree (not in the texts of
/// queries). Names that the statement itself gives, as in WITH, are not shown; neither is its own.
pub fn visit_names(statement: &mut Statement, visit: &mut dyn FnMut(NameUse, &mut ObjectName)) {
    match statement {
        Statement::CreateSource(CreateSource { origin: SourceOrigin::Query(query), .. }) => in_query(query, visit),
        Statement::CreateStream(create) => {
            if let Some(backfill) = &mut create.backfill {
                visit(NameUse::Relation, &mut backfill.source);
            }
        }
        Statement::CreateSink(create) => visit(NameUse::Relation, &mut create.view),
        // the figures of its condition are no functions of users
        Statement::CreateExpectation(create) => visit(NameUse::Relation, &mut create.view),
        Statement::CreateAlert(create) => in_tree(&mut create.when.ast, visit),
        Statement::CreateFeatureView(create) => {
            create.entities.iter_mut().for_each(|name| visit(NameUse::Entity, name));
            in_query(&mut create.query, visit);
            for item in create.features.iter_mut().flatten() {
                if let crate::feature::Arguments::List(list) = &mut item.function.arguments {
                    list.iter_mut().for_each(|argument| in_tree(&mut argument.ast, visit));
                }
                if let Some(filter) = &mut item.function.filter {
                    in_tree(&mut filter.ast, visit);
                }
            }
        }
        Statement::CreateFeatureTable(create) => {
            create.entities.iter_mut().for_each(|name| visit(NameUse::Entity, name))
        }
        Statement::CreateRealtimeFeatureView(create) => in_query(&mut create.query, visit),
        Statement::CreateFeatureService(create) => {
            create.members.iter_mut().for_each(|member| visit(NameUse::Relation, &mut member.view))
        }
        Statement::CreateFunction(create) => match &mut create.body {
            FunctionBody::Return(body) => in_tree(&mut body.ast, visit),
            FunctionBody::Query(text) => {
                for parsed in crate::parse(text).unwrap_or_default() {
                    if let Statement::Query(mut query) = parsed.statement {
                        in_query(&mut query, visit);
                    }
                }
            }
        },
        Statement::CreateTest(create) => {
            for given in &mut create.given {
                visit(NameUse::Relation, &mut given.relation);
                in_query(&mut given.query, visit);
            }
            in_query(&mut create.query, visit);
            if let Expected::Rows { query, .. } = &mut create.expected {
                in_query(query, visit);
            }
        }
        Statement::Postgres(statement) => match statement.ast.as_mut() {
            ast::Statement::CreateView(create) => in_tree(&mut create.query, visit),
            _ => {}
        },
        _ => {}
    }
}

fn in_query(query: &mut SqlText<Box<Query>>, visit: &mut dyn FnMut(NameUse, &mut ObjectName)) {
    in_tree(&mut query.ast, visit);
}

fn in_tree(tree: &mut impl VisitMut, visit: &mut dyn FnMut(NameUse, &mut ObjectName)) {
    let mut own = CommonTables::default();
    let _: ControlFlow<()> = tree.visit(&mut own);
    let mut names = Names { own: own.0, visit };
    let _: ControlFlow<()> = tree.visit(&mut names);
}

/// The names that WITH gives, anywhere in a tree.
#[derive(Default)]
struct CommonTables(HashSet<String>);

impl VisitorMut for CommonTables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.0.extend(tables.map(|table| fold(&table.alias.name)));
        ControlFlow::Continue(())
    }
}

struct Names<'a> {
    own: HashSet<String>,
    visit: &'a mut dyn FnMut(NameUse, &mut ObjectName),
}

impl VisitorMut for Names<'_> {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        let is_own = match relation.0.as_slice() {
            [only] => only.as_ident().is_some_and(|ident| self.own.contains(&fold(ident))),
            _ => false,
        };
        if !is_own {
            (self.visit)(NameUse::Relation, relation);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            (self.visit)(NameUse::Function, &mut function.name);
        }
        ControlFlow::Continue(())
    }

    /// `transformation('view', …)`
    fn pre_visit_table_factor(&mut self, factor: &mut ast::TableFactor) -> ControlFlow<()> {
        if let ast::TableFactor::Table { args: Some(args), .. } = factor
            && let Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(Expr::Value(value)))) = args.args.first()
            && let Value::SingleQuotedString(text) = &value.value
            && let Some(mut name) = name_in(text)
        {
            (self.visit)(NameUse::Relation, &mut name);
        }
        ControlFlow::Continue(())
    }
}

/// A name that stands in a string.
fn name_in(text: &str) -> Option<ObjectName> {
    let mut parsed = crate::parse(&format!("SELECT FROM {text}")).ok()?;
    let Statement::Query(query) = &mut parsed.first_mut()?.statement else { return None };
    let mut found = None;
    in_query(query, &mut |_, name| found = Some(name.clone()));
    found
}

/// The properties of a declaration, in the order in which it is written; its name is none of them.
pub fn properties(statement: &Statement) -> Vec<Property> {
    let mut list = List::default();
    match statement {
        Statement::CreateEntity(create) => {
            list.add("join keys", join(&create.columns));
            list.common(&create.options, create.comment.as_ref());
        }
        Statement::CreateSource(create) => {
            match &create.origin {
                SourceOrigin::Query(query) => list.add("query", &query.text),
                SourceOrigin::Files { format, path } => {
                    list.add("from", format!("{} {}", format.word().to_uppercase(), quote_literal(path)));
                }
                SourceOrigin::Postgres { table, .. } => {
                    list.add("from", format!("POSTGRES TABLE {}", quote_literal(table)))
                }
            }
            list.optional("columns", create.columns.as_ref().map(|columns| join(columns)));
            list.optional("timestamp", create.timestamp.as_ref());
            list.common(&create.options, create.comment.as_ref());
        }
        Statement::CreateStream(create) => {
            list.add("columns", join(&create.columns));
            list.add("from", origin_of(&create.origin));
            list.add("timestamp", &create.timestamp);
            list.list("deduplicate by", &create.deduplicate_by);
            list.optional(
                "backfill",
                create.backfill.as_ref().map(|backfill| match &backfill.until {
                    Some(until) => format!("{} until '{until}'", backfill.source),
                    None => backfill.source.to_string(),
                }),
            );
            list.common(&create.options, create.comment.as_ref());
        }
        Statement::CreateSink(create) => {
            list.add("from", &create.view);
            list.add(
                "to",
                match &create.target {
                    SinkTarget::Kafka(options) => format!("KAFKA {options}"),
                    SinkTarget::Channel(name) => format!("CHANNEL {name}"),
                },
            );
            list.common(&create.options, create.comment.as_ref());
        }
        Statement::CreateExpectation(create) => {
            list.add("on", &create.view);
            list.add("check", &create.check.text);
            list.optional("severity", create.severity.map(Severity::words));
            list.optional("on failure", create.on_failure.map(OnFailure::words));
            list.common(&create.options, create.comment.as_ref());
        }
        Statement::CreateAlert(create) => {
            list.add("when", &create.when.text);
            list.optional("for", create.hold.as_ref());
            list.optional("severity", create.severity.map(AlertSeverity::words));
            list.optional("repeat", create.repeat.as_ref());
            list.optional("check every", create.check_every.as_ref());
            for (place, action) in create.actions.iter().enumerate() {
                list.add(format!("action {}", place + 1), action);
            }
            list.common(&create.options, create.comment.as_ref());
        }
        Statement::CreateFeatureView(create) => {
            list.add("entity", join(&create.entities));
            list.add("timestamp", &create.timestamp);
            list.optional("aggregate by", create.aggregate_by.as_ref());
            for item in create.features.iter().flatten() {
                let definition = format!("{} OVER {}", item.function, item.window);
                list.add(format!("feature {}", item.alias), definition);
                list.optional(format!("comment of {}", item.alias), item.comment.as_ref());
            }
            for window in &create.windows {
                list.add(format!("window {}", window.name), &window.window);
            }
            list.add("query", &create.query.text);
            list.common(&create.options, create.comment.as_ref());
        }
        Statement::CreateFeatureTable(create) => {
            list.add("columns", join(&create.columns));
            list.add("entity", join(&create.entities));
            list.add("timestamp", &create.timestamp);
            list.common(&create.options, create.comment.as_ref());
        }
        Statement::CreateRealtimeFeatureView(create) => {
            list.list("request", &create.request);
            list.add("query", &create.query.text);
            list.common(&create.options, create.comment.as_ref());
        }
        Statement::CreateFeatureService(create) => {
            for member in &create.members {
                let name = member.alias.as_ref().map_or_else(|| member.view.to_string(), ToString::to_string);
                list.add(format!("member {name}"), member);
            }
            list.common(&create.options, create.comment.as_ref());
        }
        Statement::CreateFunction(create) => {
            list.list("arguments", &create.arguments);
            list.add("returns", &create.returns);
            list.optional("volatility", create.volatility.map(Volatility::as_str));
            if create.strict {
                list.add("strict", true);
            }
            match &create.body {
                FunctionBody::Query(text) => list.add("body", text),
                FunctionBody::Return(expression) => list.add("body", &expression.text),
            }
            list.common(&create.options, create.comment.as_ref());
        }
        Statement::CreateTest(create) => {
            for given in &create.given {
                list.add(format!("given {}", given.relation), given);
            }
            list.optional("at", create.at.as_ref());
            list.add("expect", &create.query.text);
            list.add("outcome", &create.expected);
            list.common(&create.options, create.comment.as_ref());
        }
        Statement::Postgres(statement) => match statement.ast.as_ref() {
            ast::Statement::CreateView(create) => list.add("query", &create.query),
            _ => {}
        },
        _ => {}
    }
    list.0
}

fn origin_of(origin: &StreamOrigin) -> String {
    match origin {
        StreamOrigin::Push => "PUSH".to_owned(),
        StreamOrigin::Kafka(options) => format!("KAFKA {options}"),
        StreamOrigin::Postgres { table, .. } => format!("POSTGRES TABLE {table}"),
    }
}

#[derive(Default)]
struct List(Vec<Property>);

impl List {
    fn add(&mut self, name: impl Into<String>, value: impl ToString) {
        self.0.push(Property { name: name.into(), value: value.to_string() });
    }

    fn optional(&mut self, name: impl Into<String>, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    fn list<T: Display>(&mut self, name: &str, values: &[T]) {
        if !values.is_empty() {
            self.add(name, join(values));
        }
    }

    fn common(&mut self, options: &Options, comment: Option<&String>) {
        for entry in &options.entries {
            self.add(entry.name.clone(), &entry.value);
        }
        self.optional("comment", comment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Statement {
        crate::parse(text).unwrap().pop().unwrap().statement
    }

    fn names(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        visit_names(&mut parsed(text), &mut |_, name| found.push(crate::name::shown(name)));
        found.sort();
        found
    }

    #[test]
    fn names_of_others_are_shown() {
        let view = "CREATE FEATURE VIEW v ENTITY a, s.b TIMESTAMP ts \
                    FEATURES (sum(bucket(x)) FILTER (WHERE is_good(y)) OVER (LAST '1 day') AS f) \
                    AS WITH c AS (SELECT * FROM t) SELECT f(x) FROM c JOIN s.u ON true WHERE x IN (SELECT 1 FROM w)";
        assert_eq!(names(view), ["a", "bucket", "f", "is_good", "s.b", "s.u", "t", "w"]);
        assert_eq!(names("CREATE FEATURE SERVICE s AS a, b AS c KEYS (x = y)"), ["a", "b"]);
        assert_eq!(names("CREATE STREAM s (a text) FROM PUSH TIMESTAMP a BACKFILL FROM m"), ["m"]);
        assert_eq!(names("CREATE ENTITY e (a text)"), [""; 0]);
        let calls = names("CREATE SOURCE s AS SELECT * FROM transformation('x.v', '2024-01-01', '2024-01-02')");
        assert!(calls.contains(&"x.v".to_owned()), "{calls:?}");
        let function = names("CREATE FUNCTION f(x int) RETURNS int LANGUAGE sql AS 'SELECT g(x)'");
        assert!(function.contains(&"g".to_owned()), "{function:?}");
    }

    #[test]
    fn modes_do_not_count() {
        let plain = parsed("CREATE ENTITY e (a text)");
        assert_eq!(bare(parsed("CREATE OR REPLACE ENTITY e (a text)")), plain);
        assert_eq!(bare(parsed("CREATE ENTITY IF NOT EXISTS e (a text)")), plain);
        assert_eq!(replacing(plain).to_string(), "CREATE OR REPLACE ENTITY e (a text)");
    }

    #[test]
    fn properties_are_told_one_by_one() {
        let view = parsed(
            "CREATE FEATURE VIEW v ENTITY e TIMESTAMP ts FEATURES (count(*) OVER w AS n COMMENT 'number') \
             WINDOW w AS (LAST '1 day') WITH (schedule = '1 day', online) COMMENT 'all' AS SELECT * FROM t",
        );
        let shown: Vec<String> =
            properties(&view).into_iter().map(|Property { name, value }| format!("{name}: {value}")).collect();
        let expected = [
            "entity: e",
            "timestamp: ts",
            "feature n: count(*) OVER w",
            "comment of n: number",
            "window w: (LAST '1 day')",
            "query: SELECT * FROM t",
            "schedule: '1 day'",
            "online: true",
            "comment: all",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_no_part_of_a_repository_declares_nothing() {
        for text in [
            "DROP TABLE t",
            "SELECT 1",
            "CREATE TABLE t (a int)",
            "CREATE TABLE t AS SELECT 1",
            "INSERT INTO t VALUES (1)",
            "CREATE ROLE r",
        ] {
            assert_eq!(declared(&parsed(text)), None, "{text}");
        }
        for (text, kind) in
            [("CREATE VIEW v AS SELECT 1", DeclaredKind::View), ("CREATE SCHEMA s", DeclaredKind::Schema)]
        {
            assert_eq!(declared(&parsed(text)).map(|(kind, _)| kind), Some(kind), "{text}");
        }
    }
}
