//! Rows that a statement has written, as what its RETURNING stands on; defaults and checks as expressions over rows.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{Column, TableReference};
use datafusion::datasource::{MemTable, TableProvider, provider_as_source};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use sqlparser::ast::{self, Spanned};

use super::error::placed;
use super::query::QueryPlanner;
use crate::error::{Error, Kind, Result};

/// Columns of relations beside the one that is written to, each with the name of its relation.
pub type OtherColumns = Vec<(Option<String>, Field)>;

/// The columns of a plan, with the names of their relations.
pub fn qualified_columns(plan: &LogicalPlan) -> OtherColumns {
    let name = |qualifier: &TableReference| qualifier.table().to_owned();
    plan.schema().iter().map(|(qualifier, field)| (qualifier.map(name), field.as_ref().clone())).collect()
}

/// Rows as a relation.
pub fn memory_table(schema: SchemaRef, rows: Vec<RecordBatch>) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(schema, vec![rows])?))
}

/// All rows of a relation.
pub async fn run_table(planner: &QueryPlanner, table: Arc<dyn TableProvider>) -> Result<SendableRecordBatchStream> {
    let scan = LogicalPlanBuilder::scan("@rows", provider_as_source(table), None)?.build()?;
    super::plans::run(&planner.state(), &scan).await
}

/// A projection of rows, whose columns are those of `own` and then those of `others`.
pub fn returned_rows(
    planner: &QueryPlanner,
    items: &[ast::SelectItem],
    ((alias, own), others): ((&str, SchemaRef), &OtherColumns),
    (rows, text): (Vec<RecordBatch>, &str),
) -> Result<LogicalPlan> {
    let own = own.fields().iter().map(|field| (Some(alias.to_owned()), field.as_ref().clone()));
    let columns: OtherColumns = own.chain(others.iter().cloned()).collect();
    let numbered = |(number, (_, field)): (usize, &(Option<String>, Field))| {
        field.clone().with_name(number.to_string()).with_nullable(true)
    };
    let schema = Arc::new(Schema::new(columns.iter().enumerate().map(numbered).collect::<Vec<_>>()));
    let rows = rows.into_iter().map(|batch| RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec()));
    let rows = rows.collect::<std::result::Result<Vec<_>, _>>()?;
    let table = MemTable::try_new(schema, vec![rows])?;
    let named = columns.iter().enumerate().map(|(number, (relation, field))| {
        let column = Expr::Column(Column::from_name(number.to_string()));
        column.alias_qualified(relation.clone().map(TableReference::bare), field.name())
    });
    let scan = LogicalPlanBuilder::scan("@returned", provider_as_source(Arc::new(table)), None)?;
    let plan = scan.project(named.collect::<Vec<_>>())?.build()?;
    let mut exprs = Vec::new();
    for item in items {
        match item {
            ast::SelectItem::UnnamedExpr(expr) => exprs.push(planned(planner, expr, &plan, text)?),
            ast::SelectItem::ExprWithAlias { expr, alias } => {
                let name = granary_sql::name::fold(alias);
                exprs.push(planned(planner, expr, &plan, text)?.alias(name));
            }
            ast::SelectItem::Wildcard(_) => exprs.extend(columns_of(&plan, None)),
            ast::SelectItem::QualifiedWildcard(kind, _) => {
                let ast::SelectItemQualifiedWildcardKind::ObjectName(name) = kind else {
                    return Err(Error::not_supported(format!("RETURNING {item}")));
                };
                let relation = granary_sql::name::parts(name).pop().unwrap_or_default();
                let found = columns_of(&plan, Some(&relation));
                if found.is_empty() {
                    let message = format!("missing FROM-clause entry for table \"{relation}\"");
                    return Err(placed(Error::new(Kind::UndefinedTable, message), text, name.span().start));
                }
                exprs.extend(found);
            }
            other => return Err(Error::not_supported(format!("RETURNING {other}"))),
        }
    }
    Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
}

fn planned(planner: &QueryPlanner, expr: &ast::Expr, plan: &LogicalPlan, text: &str) -> Result<Expr> {
    planner.plan_expression(expr.clone(), plan.schema(), text)
}

fn columns_of(plan: &LogicalPlan, relation: Option<&str>) -> Vec<Expr> {
    let columns = plan.schema().iter();
    let wanted = columns.filter(|(qualifier, _)| {
        relation.is_none_or(|relation| qualifier.is_some_and(|qualifier| qualifier.table() == relation))
    });
    wanted.map(|(qualifier, field)| Expr::Column(Column::new(qualifier.cloned(), field.name()))).collect()
}
