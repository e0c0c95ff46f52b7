//! Plans of queries over two relations, and what decides their columns.

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::logical_expr::{EmptyRelation, Extension, UserDefinedLogicalNodeCore};
use datafusion::prelude::SessionContext;
use granary_catalog::ObjectId;

use super::*;

/// `t (a, b, c, ts, l)` is object 1, `u (a, d)` is object 2.
async fn planned(sql: &str) -> LogicalPlan {
    let context = SessionContext::new();
    let list = DataType::new_list(DataType::Int64, true);
    let relation = |id: u64, columns: &[(&str, DataType)]| {
        let fields: Vec<Field> = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
        Arc::new(Outline::new(OutlineOf::Object(ObjectId(id)), Arc::new(Schema::new(fields))))
    };
    let int = || DataType::Int64;
    let t = relation(1, &[("a", int()), ("b", int()), ("c", int()), ("ts", int()), ("l", list)]);
    context.register_table("t", t).expect("a new name");
    context.register_table("u", relation(2, &[("a", int()), ("d", int())])).expect("a new name");
    context.state().create_logical_plan(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// By column of the result, what it is made of: `t.a` as it is, `t.b>f` by a filter.
fn shown(output: &Output) -> Vec<String> {
    let sign = |how: Transformation| match how {
        Transformation::Identity => "",
        Transformation::Transformation => ">t",
        Transformation::Aggregation => ">a",
        Transformation::Conditional => ">c",
        Transformation::Filter => ">f",
        Transformation::GroupBy => ">g",
        Transformation::Join => ">j",
        Transformation::Sort => ">s",
        Transformation::Window => ">w",
        Transformation::Unknown => ">?",
    };
    let one = |(origin, how): &(Origin, Transformation)| match origin {
        Origin::Column(ObjectId(1), column) => format!("t.{column}{}", sign(*how)),
        Origin::Column(_, column) => format!("u.{column}{}", sign(*how)),
        other => format!("{other:?}{}", sign(*how)),
    };
    let column = |own: &Influences| {
        let all: Influences = own.iter().chain(&output.rows).cloned().collect();
        all.iter().map(one).collect::<Vec<_>>().join(" ")
    };
    output.columns.iter().map(column).collect()
}

async fn check(sql: &str, expected: &[&str]) {
    let plan = planned(sql).await;
    let output = walk(&plan).expect("it is walked");
    assert_eq!(output.columns.len(), plan.schema().fields().len(), "{sql}");
    assert_eq!(shown(&output), expected, "{sql}");
}

#[tokio::test]
async fn columns_and_expressions() {
    check(
        "SELECT a, a + b AS s, 1 AS one, CAST(a AS BIGINT) AS same, CAST(a AS TEXT) AS text FROM t",
        &["t.a", "t.a>t t.b>t", "", "t.a", "t.a>t"],
    )
    .await;
    check(
        "SELECT CASE WHEN a > 1 THEN b ELSE c END AS x, coalesce(b, c) AS y FROM t",
        &["t.a>c t.b>t t.c>t", "t.b>t t.c>t"],
    )
    .await;
    // what stands in a condition counts as that, however it was made
    check("SELECT CASE WHEN s > 1 THEN 1 END AS x FROM (SELECT sum(a) AS s FROM t) q", &["t.a>c"]).await;
    check("SELECT x.a FROM (SELECT a AS b, b AS a FROM t) AS x", &["t.b"]).await;
    check("VALUES (1, 2)", &["", ""]).await;
}

#[tokio::test]
async fn rows_that_are_chosen_and_sorted() {
    check("SELECT a FROM t WHERE b > 1 AND c < 2", &["t.a t.b>f t.c>f"]).await;
    check("SELECT a FROM t ORDER BY b LIMIT 1", &["t.a t.b>s"]).await;
    check("SELECT DISTINCT a, b FROM t", &["t.a t.a>g t.b>g", "t.a>g t.b t.b>g"]).await;
    check("SELECT DISTINCT ON (a) b FROM t ORDER BY a, ts", &["t.a>g t.a>s t.b t.ts>s"]).await;
}

#[tokio::test]
async fn groups_and_windows() {
    check(
        "SELECT a, sum(b) AS s, count(*) AS n FROM t GROUP BY a HAVING max(c) > 1",
        &["t.a t.a>g t.c>f", "t.a>g t.b>a t.c>f", "t.a>g t.c>f"],
    )
    .await;
    check(
        "SELECT sum(b) FILTER (WHERE c > 1) AS s, array_agg(a ORDER BY ts) AS l FROM t",
        &["t.b>a t.c>f", "t.a>a t.ts>s"],
    )
    .await;
    // a sum of what was summed is still one; one of what a condition has decided is not
    check("SELECT sum(s) AS s FROM (SELECT a, sum(b) + 1 AS s FROM t GROUP BY a) q", &["t.a>g t.b>a"]).await;
    check("SELECT max(CASE WHEN a > 1 THEN b END) AS x FROM t", &["t.a>c t.b>a"]).await;
    check(
        "SELECT a, b, sum(c) AS s FROM t GROUP BY GROUPING SETS ((a), (b))",
        &["t.a t.a>g t.b>g", "t.a>g t.b t.b>g", "t.a>g t.b>g t.c>a"],
    )
    .await;
    check(
        "SELECT lag(a) OVER (PARTITION BY b ORDER BY ts) AS x, sum(c) OVER (ORDER BY ts) AS y FROM t",
        &["t.a>t t.b>w t.ts>w", "t.c>a t.ts>w"],
    )
    .await;
}

#[tokio::test]
async fn joins() {
    check(
        "SELECT b, d FROM t JOIN u ON t.a = u.a AND c > d",
        &["t.a>j t.b t.c>j u.a>j u.d>j", "t.a>j t.c>j u.a>j u.d u.d>j"],
    )
    .await;
    // the same by WHERE: a condition over one side alone is a filter
    check("SELECT b FROM t, u WHERE t.a = u.a AND d > 1", &["t.a>j t.b u.a>j u.d>f"]).await;
    check("SELECT t.b, u.* FROM t LEFT JOIN u USING (a)", &["t.a>j t.b u.a>j", "t.a>j u.a u.a>j", "t.a>j u.a>j u.d"])
        .await;
    check("SELECT b FROM t LEFT SEMI JOIN u ON t.a = u.a", &["t.a>j t.b u.a>j"]).await;
    // rows of each side are those of the join
    check("SELECT b FROM t JOIN (SELECT a FROM u WHERE d > 1) v ON t.a = v.a", &["t.a>j t.b u.a>j u.d>f"]).await;
}

#[tokio::test]
async fn subqueries_and_sets() {
    check("SELECT b FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a)", &["t.a>f t.b u.a>f"]).await;
    check("SELECT b FROM t WHERE a IN (SELECT a FROM u WHERE d > 1)", &["t.a>f t.b u.a>f u.d>f"]).await;
    check("SELECT (SELECT max(d) FROM u WHERE u.a = t.a) AS m FROM t", &["t.a>f u.a>f u.d>a"]).await;
    check("SELECT a, b FROM t UNION ALL SELECT d, a FROM u WHERE d > 1", &["t.a u.d u.d>f", "t.b u.a u.d>f"]).await;
    check("SELECT a FROM t EXCEPT SELECT a FROM u", &["t.a t.a>g t.a>j u.a>j"]).await;
    check("WITH x AS (SELECT a, b FROM t), y AS (SELECT a + 1 AS k FROM x) SELECT k FROM y", &["t.a>t"]).await;
    check(
        "SELECT t.b, v.m FROM t, LATERAL (SELECT max(d) AS m FROM u WHERE u.a = t.a) v",
        &["t.a>f t.b u.a>f", "t.a>f u.a>f u.d>a"],
    )
    .await;
}

#[tokio::test]
async fn what_comes_round_again() {
    // b comes to be in the place of a in the second round, c in the third
    check(
        "WITH RECURSIVE r AS (SELECT a AS x, b AS y, c AS z FROM t UNION ALL SELECT y, z, z AS same FROM r WHERE x > 1) \
         SELECT x FROM r",
        &["t.a t.a>f t.b t.b>f t.c t.c>f"],
    )
    .await;
    check("SELECT a, unnest(l) AS item FROM t", &["t.a", "t.l>t"]).await;
}

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd)]
struct Strange(LogicalPlan);

impl UserDefinedLogicalNodeCore for Strange {
    fn name(&self) -> &'static str {
        "Strange"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.0]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.0.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Strange")
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(Strange(inputs.remove(0)))
    }
}

/// Nothing that is not known here is passed over.
#[tokio::test]
async fn what_is_not_known_decides_everything() {
    let input = planned("SELECT a, sum(b) AS s FROM t WHERE c > 1 GROUP BY a").await;
    let strange = LogicalPlan::Extension(Extension { node: Arc::new(Strange(input)) });
    let all = "t.a>? t.b>? t.c>?";
    assert_eq!(shown(&walk(&strange).expect("it is walked")), [all, all]);
    // also without inputs
    let schema = Arc::new(DFSchema::empty());
    let nothing = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema });
    let described = planned("EXPLAIN SELECT 1").await;
    let output = walk(&described).expect("it is walked");
    assert!(output.columns.iter().all(|column| !column.is_empty()), "{:?}", output.columns);
    assert!(walk(&nothing).expect("it is walked").columns.is_empty());
}
