//! What a statement takes and gives, before it is carried out.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use granary_sql::{Parsed, Statement};
use sqlparser::ast;

use super::{parameters, variables};
use crate::engine::{LogicalPlan, PRINTED, output_schema, parameter_oids};
use crate::error::{Error, Result};
use crate::statement::{self, Parameters, StatementContext};

/// What a prepared statement takes and gives.
#[derive(Debug, Clone)]
pub struct Description {
    pub parameters: Vec<DataType>,
    /// the types of PostgreSQL that they are of, where the Arrow types do not say it
    pub parameter_oids: Vec<u32>,
    /// None: it returns no rows
    pub columns: Option<SchemaRef>,
}

impl Description {
    pub(super) fn of(parameters: Vec<DataType>, columns: Option<SchemaRef>) -> Description {
        Description { parameters, parameter_oids: Vec::new(), columns }
    }
}

/// The OID of the type `unknown`.
const UNKNOWN_OID: u32 = 705;

/// Whether the OID names a type that a parameter has.
const fn is_said(oid: u32) -> bool {
    oid != 0 && oid != UNKNOWN_OID
}

/// What a client has said of the types of parameters.
#[derive(Debug, Clone, Default)]
pub struct DeclaredTypes {
    /// 0 where it has said nothing
    pub oids: Vec<u32>,
    /// those that queries can be planned with
    pub types: Vec<Option<DataType>>,
}

impl DeclaredTypes {
    pub const fn none() -> &'static DeclaredTypes {
        static NONE: DeclaredTypes = DeclaredTypes { oids: Vec::new(), types: Vec::new() };
        &NONE
    }

    /// The OIDs that were said, and those that were found where none was.
    fn with_oids(&self, mut found: Vec<u32>) -> Vec<u32> {
        found.resize(found.len().max(self.oids.len()), 0);
        for (found, said) in found.iter_mut().zip(&self.oids) {
            if is_said(*said) {
                *found = *said;
            }
        }
        found
    }

    /// The types, values of those that only `granary_postgres` knows as their texts.
    fn known_or_printed(&self) -> Vec<Option<DataType>> {
        let said = |index: usize| self.oids.get(index).is_some_and(|oid| is_said(*oid));
        let known = self.types.iter().enumerate();
        known.map(|(index, known)| known.clone().or_else(|| said(index).then_some(PRINTED))).collect()
    }

    /// Errors: `FeatureNotSupported` if one was said that nothing but the catalogs knows.
    pub(super) fn check(&self) -> Result<()> {
        let unsupported = self.oids.iter().zip(&self.types).find(|(oid, known)| known.is_none() && is_said(**oid));
        match unsupported {
            Some((oid, _)) => Err(Error::not_supported(format!("a parameter of the type with OID {oid}"))),
            None => Ok(()),
        }
    }
}

/// What a statement takes and gives, by planning it.
pub(super) async fn describe(
    mut context: StatementContext,
    parsed: &Parsed,
    said: &DeclaredTypes,
) -> Result<Description> {
    if let Some(columns) = variables::columns(&parsed.statement) {
        return Ok(Description::of(Vec::new(), Some(columns)));
    }
    if let Statement::Query(query) = &parsed.statement
        && let Cow::Owned(query) = statement::describe_repository(&mut context, &query.ast)?
    {
        return describe_query(&context, &query, said).await;
    }
    if let Statement::Query(query) = &parsed.statement
        && let Some(found) = statement::catalog_query(&context, &query.ast, &said.oids)
    {
        let found = found?;
        let (parameters, parameter_oids) = found.parameters().into_iter().unzip();
        return Ok(Description { parameters, parameter_oids, columns: Some(found.schema()) });
    }
    if !matches!(parsed.statement, Statement::Query(_) | Statement::Declare(_) | Statement::Postgres(_)) {
        said.check()?;
    }
    match &parsed.statement {
        Statement::Declare(declare) => {
            let described = describe_query(&context, &declare.query.ast, said).await?;
            Ok(Description { columns: None, ..described })
        }
        Statement::Query(query) => describe_query(&context, &query.ast, said).await,
        Statement::Postgres(statement) => Box::pin(describe_change(&mut context, &statement.ast, said)).await,
        Statement::Explain(explain) => {
            let columns = Some(statement::explain_schema(explain));
            Ok(Description::of(Vec::new(), columns))
        }
        Statement::ShowCreate(_) => Ok(text_column("create_statement")),
        Statement::CreateApiKey(_) => Ok(Description::of(Vec::new(), Some(statement::api_key_schema()))),
        Statement::Backup(_) => Ok(Description::of(Vec::new(), Some(statement::backup_schema()))),
        Statement::CheckAlert(_) => Ok(Description::of(Vec::new(), Some(statement::check_alert_schema()))),
        Statement::Verify(verify) => {
            let columns = Some(statement::verify_schema(&context, verify)?);
            Ok(Description::of(Vec::new(), columns))
        }
        _ => Ok(Description::of(Vec::new(), None)),
    }
}

/// The same of one that changes rows.
async fn describe_change(
    context: &mut StatementContext,
    changing: &ast::Statement,
    said: &DeclaredTypes,
) -> Result<Description> {
    let known = said.known_or_printed();
    let types = known.as_slice();
    let declared = Parameters { oids: said.oids.clone(), ..Parameters::of_types(types.to_vec()) };
    let plan = match changing {
        ast::Statement::Query(query) => {
            let Some(divided) = statement::divided(query)? else { return Ok(Description::of(Vec::new(), None)) };
            return describe_divided(context, divided, said).await;
        }
        ast::Statement::Insert(insert) => {
            if types.is_empty() && statement::constant_insert(context, insert, &declared)?.is_some() {
                return Ok(Description::of(Vec::new(), None));
            }
            if insert.on.is_some() || insert.returning.is_some() {
                let planned = statement::plan_returning_insert(context, insert, &declared).await?;
                let mut types = types.to_vec();
                for plan in &planned.plans {
                    types = crate::engine::parameter_types(plan, &types)?.into_iter().map(Some).collect();
                }
                let last = planned.plans.last().ok_or_else(|| Error::internal("an INSERT has no plan"))?;
                return described(last, planned.returned, (&types, said));
            }
            statement::plan_insert(context, insert, &declared).await?.1
        }
        ast::Statement::Delete(delete) if statement::forgets(context, delete) => {
            statement::plan_forget(context, delete, &declared).await?
        }
        ast::Statement::Delete(delete) => {
            let planned = statement::plan_delete(context, delete, &declared).await?;
            return described(planned.plan(), planned.returned(context, &declared).await?, (types, said));
        }
        ast::Statement::Update(update) => {
            let planned = statement::plan_update(context, update, &declared).await?;
            return described(planned.plan(), planned.returned(context, &declared).await?, (types, said));
        }
        _ => return Ok(Description::of(Vec::new(), None)),
    };
    let parameters = crate::engine::parameter_types(&plan, types)?;
    let parameter_oids = said.with_oids(parameter_oids(&plan, parameters.len())?);
    Ok(Description { parameter_oids, ..Description::of(parameters, None) })
}

async fn describe_divided(
    context: &mut StatementContext,
    divided: statement::Divided,
    said: &DeclaredTypes,
) -> Result<Description> {
    let mut said = said.clone();
    for part in &divided.parts {
        context.with.clone_from(&part.with);
        let described = Box::pin(describe_change(context, &part.statement, &said)).await?;
        said.types = described.parameters.into_iter().map(Some).collect();
        context.given.extend(part.given(described.columns.as_ref(), Vec::new())?);
        part.check_returned(context, &divided.statement)?;
    }
    context.with = divided.with;
    match &divided.statement {
        ast::Statement::Query(query) => describe_query(context, query, &said).await,
        changing => Box::pin(describe_change(context, changing, &said)).await,
    }
}

async fn describe_query(context: &StatementContext, query: &ast::Query, said: &DeclaredTypes) -> Result<Description> {
    let types = parameters::declared(query, &said.types);
    let declared = Parameters { oids: said.oids.clone(), ..Parameters::of_types(types) };
    let planned = statement::plan_query(context, Box::new(query.clone()), &declared).await?;
    let columns = Some(planned.labels.apply(&output_schema(&planned.plan)));
    if let Some(known) = planned.parameters {
        let (parameters, parameter_oids) = known.into_iter().unzip();
        return Ok(Description { parameters, parameter_oids, columns });
    }
    said.check()?;
    Ok(Description::of(crate::engine::parameter_types(&planned.plan, &declared.types)?, columns))
}

/// A statement that changes rows, and what it returns of them.
fn described(
    plan: &LogicalPlan,
    returned: Option<(LogicalPlan, SchemaRef)>,
    (types, said): (&[Option<DataType>], &DeclaredTypes),
) -> Result<Description> {
    let mut parameters = crate::engine::parameter_types(plan, types)?;
    let parameter_oids = said.with_oids(parameter_oids(plan, parameters.len())?);
    let of = |parameters, columns| Description { parameter_oids, ..Description::of(parameters, columns) };
    let Some((returned, columns)) = returned else { return Ok(of(parameters, None)) };
    let known: Vec<_> = parameters.into_iter().map(Some).collect();
    parameters = crate::engine::parameter_types(&returned, &known)?;
    Ok(of(parameters, Some(columns)))
}

pub(super) fn text_column(name: &str) -> Description {
    let field = arrow::datatypes::Field::new(name, DataType::Utf8, false);
    Description::of(Vec::new(), Some(Arc::new(arrow::datatypes::Schema::new(vec![field]))))
}
