//! Prepared statements by SQL: PREPARE, EXECUTE and DEALLOCATE. They share their names with those of the protocol, of
//! which the session is told.

use std::sync::Arc;

use arrow::datatypes::DataType;
use futures::FutureExt;
use futures::future::BoxFuture;
use granary_sql::name::fold;
use granary_sql::statement::{Execute, Explain, Prepare};
use granary_sql::{Parsed, Statement};
use tokio_util::sync::CancellationToken;

use super::{DeclaredTypes, Description, NamedChange, Parameter, Prepared, Session, parameters};
use crate::engine::{constant_values, type_number};
use crate::error::{Error, Kind, Result};
use crate::statement::Response;

/// As many as a session may have by SQL.
const MOST_PREPARED: usize = 10_000;

fn missing(name: &str) -> Error {
    Error::new(Kind::InvalidStatementName, format!("prepared statement \"{name}\" does not exist"))
}

impl Session {
    /// The client has prepared a statement by a message.
    pub fn note_prepared(&mut self, name: &str, prepared: &Prepared) {
        if !name.is_empty() {
            self.prepared.insert(name.to_owned(), prepared.clone());
        }
    }

    /// The client has closed a statement by a message.
    pub fn forget_prepared(&mut self, name: &str) {
        self.prepared.remove(name);
    }

    pub(super) async fn prepare_named(&mut self, statement: &Prepare) -> Result<Response> {
        let name = fold(&statement.name);
        if self.prepared.contains_key(&name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Error::new(Kind::DuplicatePreparedStatement, message));
        }
        if self.prepared.len() >= MOST_PREPARED {
            let message = format!("there are {MOST_PREPARED} prepared statements already");
            return Err(Error::new(Kind::ConfigurationLimitExceeded, message).with_hint("DEALLOCATE some"));
        }
        let oids = statement.types.iter().map(|said| type_number(&said.ast.to_string()));
        let declared = DeclaredTypes {
            oids: oids.collect::<Result<_>>()?,
            types: statement.types.iter().map(|said| parameters::arrow_type(&said.ast)).collect(),
        };
        // places of errors count from where the inner statement begins, as it is planned from its own text
        let inner = granary_sql::parse(&statement.statement.text)?.pop();
        let text: Arc<str> = statement.statement.text.as_str().into();
        let prepared = self.describe_statement((Arc::clone(&text), text), inner, &declared).boxed().await?;
        self.prepared.insert(name.clone(), prepared.clone());
        self.named_changes.push(NamedChange::Prepared(name, prepared));
        Ok(Response::done("PREPARE"))
    }

    pub(super) fn execute_named<'a>(
        &'a mut self,
        statement: &'a Execute,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Response>> {
        self.execute_with(statement, cancel).boxed()
    }

    async fn execute_with(&mut self, statement: &Execute, cancel: &CancellationToken) -> Result<Response> {
        let (prepared, values) = self.with_arguments(statement).await?;
        self.execute(&prepared, values, cancel).await
    }

    /// EXPLAIN EXECUTE.
    pub(super) fn explain_named<'a>(
        &'a mut self,
        explain: &'a Explain,
        statement: &'a Execute,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Response>> {
        async move {
            let (prepared, values) = self.with_arguments(statement).await?;
            let Some(inner) = prepared.0.parsed.as_deref().cloned() else {
                return Err(Error::not_supported("EXPLAIN of nothing"));
            };
            let text = Arc::clone(&prepared.0.text);
            let (inner_text, offset) = (inner.text.clone(), inner.offset);
            let explained = Statement::Explain(Explain { statement: Box::new(inner), ..explain.clone() });
            let parsed = Parsed { statement: explained, text: inner_text, offset };
            let shown = Arc::clone(&prepared.0.shown);
            let explained = self.describe_statement((text, shown), Some(parsed), &DeclaredTypes::none()).await?;
            self.execute(&explained, values, cancel).await
        }
        .boxed()
    }

    /// What is to be executed, and the values of its parameters.
    async fn with_arguments(&mut self, statement: &Execute) -> Result<(Prepared, Vec<Parameter>)> {
        let name = fold(&statement.name);
        let prepared = self.prepared.get(&name).cloned().ok_or_else(|| missing(&name))?;
        let types = &prepared.description().parameters;
        if types.len() != statement.arguments.len() {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let (expected, got) = (types.len(), statement.arguments.len());
            let detail = format!("Expected {expected} parameters but got {got}.");
            return Err(Error::new(Kind::Syntax, message).with_detail(detail));
        }
        let mut values = Vec::with_capacity(types.len());
        if !types.is_empty() {
            let planner = self.context("").planner();
            let constants = statement.arguments.iter().zip(types);
            // the catalogs' texts are views of texts, which a constant is not
            let plain = |data_type: &DataType| match data_type {
                DataType::Utf8View => DataType::Utf8,
                other => other.clone(),
            };
            let constants = constants.map(|(argument, data_type)| (argument.ast.clone(), plain(data_type))).collect();
            let constants = async move { constant_values(&planner, constants).await };
            let constants = self.warehouse.engine.work(Box::pin(constants)).await??;
            values.extend(types.iter().cloned().zip(constants));
        }
        Ok((prepared, values))
    }

    pub(super) fn deallocate(&mut self, name: &str) -> Result<()> {
        self.prepared.remove(name).ok_or_else(|| missing(name))?;
        self.named_changes.push(NamedChange::Deallocated(name.to_owned()));
        Ok(())
    }

    pub(super) fn deallocate_all(&mut self) {
        self.prepared.clear();
        self.named_changes.push(NamedChange::DeallocatedAll);
    }

    /// What a statement gives that speaks of others by their names: rows of a cursor or a prepared statement.
    pub(super) fn describe_named(&self, statement: &Statement) -> Option<Description> {
        let columns = match statement {
            Statement::Fetch(fetch) if !fetch.is_move => self.cursors.schema(&fold(&fetch.name))?.0,
            Statement::Execute(execute) => self.prepared.get(&fold(&execute.name))?.description().columns.clone()?,
            _ => return None,
        };
        Some(Description::of(Vec::new(), Some(columns)))
    }
}
