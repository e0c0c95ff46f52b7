//! The calls of Flight SQL, each turned into statements of the client's session.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionBeginTransactionRequest, ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    ActionEndTransactionRequest, CommandGetCatalogs, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetSqlInfo,
    CommandGetTableTypes, CommandGetTables, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
    CommandStatementIngest, CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult,
    EndTransaction, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightEndpoint,
    FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage, SchemaAsIpc, Ticket,
};
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::parameters::{batches_of, next_rows};
use super::results::FlightRows;
use super::sessions::{Bound, FlightSession, Sessions, new_handle};
use super::status::status;
use super::types::{cast_batch, plain_schema};
use super::{ingest, metadata};
use crate::engine::{rows_with_lists, with_lists};
use crate::error::{Error, Kind, Result};
use crate::http::Peer;
use crate::row::array_of;
use crate::session::{BatchStream, DeclaredTypes, Parameter, Prepared};

type Rpc<T> = std::result::Result<Response<T>, Status>;
type Rows = Pin<Box<dyn Stream<Item = std::result::Result<arrow_flight::FlightData, Status>> + Send>>;

/// What all requests share.
#[derive(Clone)]
pub struct Door {
    sessions: Arc<Sessions>,
}

/// What a statement answers.
pub enum Answer {
    Rows(SchemaRef, BatchStream, CancellationToken),
    /// how many rows it wrote, if its tag says so
    Done(Option<i64>),
}

/// So many rows of parameters may be bound to a query, each of which runs it.
const MOST_QUERIES: usize = 1000;
/// So many prepared statements a session may have.
const MOST_PREPARED: usize = 1000;

impl Door {
    pub fn new(sessions: Arc<Sessions>) -> Door {
        Door { sessions }
    }

    async fn session<T>(&self, request: &Request<T>) -> Result<Arc<FlightSession>> {
        self.sessions.of(request.metadata(), peer(request)).await
    }
}

fn peer<T>(request: &Request<T>) -> SocketAddr {
    request.extensions().get::<Peer>().map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |peer| peer.0)
}

/// Runs a statement of a session to where its rows begin, or its end. Who waits no longer has it cancelled, not dropped:
/// a commit may be half done.
pub async fn run(session: &Arc<FlightSession>, prepared: Prepared, parameters: Vec<Parameter>) -> Result<Answer> {
    let token = session.closed.child_token();
    let (own, stop) = (Arc::clone(session), token.clone());
    let guard = token.clone().drop_guard();
    let task = tokio::spawn(async move {
        let mut session = own.session.lock().await;
        let response = session.execute(&prepared, parameters, &stop).await;
        if response.is_err() {
            session.fail_transaction();
        }
        session.take_notices();
        session.take_named_changes();
        session.take_changed_parameters();
        session.rest();
        response
    });
    let response = task.await.map_err(|error| Error::internal("a statement died").with_source(error))??;
    guard.disarm();
    answer(response, token)
}

fn answer(response: crate::session::Response, token: CancellationToken) -> Result<Answer> {
    use crate::session::Response;
    Ok(match response {
        Response::Rows { schema, rows, .. } => {
            let listed = with_lists(&schema);
            let schema = plain_schema(&listed);
            let own = Arc::clone(&schema);
            let rows = rows.map(move |batch| cast_batch(&rows_with_lists(&batch?, &listed)?, &own)).boxed();
            Answer::Rows(schema, rows, token)
        }
        Response::Found { schema, rows } => {
            let columns = rows.columns()?;
            let arrays = schema.fields().iter().zip(&columns);
            let arrays = arrays.map(|(field, values)| array_of(field.data_type(), values.iter().map(Option::as_ref)));
            let batch = arrow::array::RecordBatch::try_new(Arc::clone(&schema), arrays.collect::<Result<Vec<_>>>()?)
                .map_err(|error| Error::internal("a lookup found other columns than it has").with_source(error))?;
            let schema = plain_schema(&schema);
            let batch = cast_batch(&batch, &schema);
            Answer::Rows(schema, futures::stream::once(async move { batch }).boxed(), token)
        }
        Response::CopyOut(_) | Response::CopyIn(_) => {
            return Err(Error::not_supported("COPY over Flight SQL").with_hint("rows come and go as they are here"));
        }
        Response::Done { tag } => {
            let count = tag.rsplit(' ').next().and_then(|count| count.parse().ok());
            Answer::Done(count)
        }
        Response::Empty => Answer::Done(None),
    })
}

pub async fn prepare(session: &Arc<FlightSession>, sql: &str) -> Result<Prepared> {
    let mut session = session.session.lock().await;
    let prepared = session.prepare(sql, DeclaredTypes::none()).await;
    if prepared.is_err() {
        session.fail_transaction();
    }
    session.rest();
    prepared
}

/// Runs a text that gives no parameters.
pub async fn run_text(session: &Arc<FlightSession>, sql: &str) -> Result<Answer> {
    let prepared = prepare(session, sql).await?;
    run(session, prepared, Vec::new()).await
}

/// Runs a bound statement once for each row of its parameters.
async fn run_bound(session: &Arc<FlightSession>, bound: Bound) -> Result<Answer> {
    let Bound { prepared, mut parameters } = bound;
    if parameters.is_empty() {
        if !prepared.description().parameters.is_empty() {
            let message = "the statement has parameters, and none are bound";
            return Err(Error::new(Kind::ProtocolViolation, message));
        }
        parameters.push(Vec::new());
    }
    let mut chained: Option<(SchemaRef, Vec<BatchStream>)> = None;
    let mut written = None;
    let token = session.closed.child_token();
    for row in parameters {
        match run(session, prepared.clone(), row).await? {
            Answer::Rows(schema, rows, _) => chained.get_or_insert_with(|| (schema, Vec::new())).1.push(rows),
            Answer::Done(count) => written = count.map_or(written, |count: i64| Some(written.unwrap_or(0) + count)),
        }
    }
    Ok(match chained {
        Some((schema, rows)) => Answer::Rows(schema, futures::stream::iter(rows).flatten().boxed(), token),
        None => Answer::Done(written),
    })
}

/// A FlightInfo with one endpoint: rows have the order and the snapshot of one stream.
fn info(session: &FlightSession, answer: Answer, descriptor: FlightDescriptor) -> Result<FlightInfo> {
    let (rows, count) = match answer {
        Answer::Rows(schema, rows, token) => (FlightRows { schema, rows, token }, -1),
        Answer::Done(count) => {
            let (schema, rows) = (Arc::new(Schema::empty()), futures::stream::empty().boxed());
            (FlightRows { schema, rows, token: CancellationToken::new() }, count.unwrap_or(-1))
        }
    };
    let schema = Arc::clone(&rows.schema);
    let handle = session.results.add(rows)?;
    let ticket = TicketStatementQuery { statement_handle: handle.into() };
    described(&schema, ticket.as_any().encode_to_vec(), descriptor).map(|info| info.with_total_records(count))
}

fn described(schema: &Schema, ticket: Vec<u8>, descriptor: FlightDescriptor) -> Result<FlightInfo> {
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| Error::internal("a schema is not to be sent").with_source(error))?;
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
    Ok(info.with_endpoint(endpoint).with_descriptor(descriptor).with_total_records(-1))
}

fn sent(FlightRows { schema, rows, .. }: FlightRows) -> Response<Rows> {
    let rows = rows.map_err(|error| FlightError::Tonic(Box::new(status(error))));
    let data = FlightDataEncoderBuilder::new().with_schema(schema).build(rows);
    Response::new(data.map_err(Status::from).boxed())
}

/// What is there at once.
fn batch_sent(batch: arrow::array::RecordBatch) -> Response<Rows> {
    let (schema, token) = (batch.schema(), CancellationToken::new());
    let rows = futures::stream::once(async move { Ok(batch) }).boxed();
    sent(FlightRows { schema, rows, token })
}

fn ipc_bytes(schema: &Schema) -> Result<prost::bytes::Bytes> {
    let message: IpcMessage = SchemaAsIpc::new(schema, &IpcWriteOptions::default())
        .try_into()
        .map_err(|error| Error::internal("a schema is not to be sent").with_source(error))?;
    Ok(message.0)
}

fn text(handle: &[u8]) -> &str {
    std::str::from_utf8(handle).unwrap_or_default()
}

fn bound(session: &FlightSession, handle: &[u8]) -> Result<Bound> {
    session.state().prepared.get(text(handle)).cloned().ok_or_else(|| {
        Error::new(Kind::InvalidStatementName, "prepared statement does not exist")
            .with_hint("a handle is good in the session that it was made in, until it is closed")
    })
}

/// The info of a call that is answered when it is fetched.
fn known(schema: &Schema, command: &impl ProstMessageExt, request: Request<FlightDescriptor>) -> Rpc<FlightInfo> {
    let info = described(schema, command.as_any().encode_to_vec(), request.into_inner()).map_err(status)?;
    Ok(Response::new(info))
}

#[tonic::async_trait]
impl FlightSqlService for Door {
    type FlightService = Door;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Rpc<Pin<Box<dyn Stream<Item = std::result::Result<HandshakeResponse, Status>> + Send>>> {
        let token = self.sessions.login(request.metadata(), peer(&request)).await.map_err(status)?;
        let bearer = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|error| status(Error::internal("a token is no header").with_source(error)))?;
        let answer = HandshakeResponse { protocol_version: 0, payload: token.into() };
        let mut response = Response::new(futures::stream::iter([Ok(answer)]).boxed() as Pin<Box<_>>);
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Rpc<FlightInfo> {
        let work = async {
            let session = self.session(&request).await?;
            session.check_transaction(query.transaction_id.as_deref())?;
            let answer = run_text(&session, &query.query).await?;
            info(&session, answer, request.into_inner())
        };
        work.await.map(Response::new).map_err(status)
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Rpc<FlightInfo> {
        let work = async {
            let session = self.session(&request).await?;
            let bound = bound(&session, &query.prepared_statement_handle)?;
            let answer = run_bound(&session, bound).await?;
            info(&session, answer, request.into_inner())
        };
        work.await.map(Response::new).map_err(status)
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Rpc<<Self as FlightService>::DoGetStream> {
        let session = self.session(&request).await.map_err(status)?;
        session.results.take(text(&ticket.statement_handle)).map(sent).map_err(status)
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Rpc<<Self as FlightService>::DoGetStream> {
        let work = async {
            let session = self.session(&request).await?;
            let bound = bound(&session, &query.prepared_statement_handle)?;
            let rows = match run_bound(&session, bound).await? {
                Answer::Rows(schema, rows, token) => FlightRows { schema, rows, token },
                Answer::Done(_) => FlightRows {
                    schema: Arc::new(Schema::empty()),
                    rows: futures::stream::empty().boxed(),
                    token: CancellationToken::new(),
                },
            };
            Ok(session.results.fetched(new_handle()?, rows))
        };
        work.await.map(sent).map_err(status)
    }

    async fn do_put_statement_update(
        &self,
        update: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> std::result::Result<i64, Status> {
        let work = async {
            let session = self.session(&request).await?;
            session.check_transaction(update.transaction_id.as_deref())?;
            count_of(run_text(&session, &update.query).await?)
        };
        work.await.map_err(status)
    }

    async fn do_put_statement_ingest(
        &self,
        command: CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> std::result::Result<i64, Status> {
        let work = async {
            let session = self.session(&request).await?;
            // ADBC's driver names no transaction here, and means the one that is open
            if command.transaction_id.as_ref().is_some_and(|id| !id.is_empty()) {
                session.check_transaction(command.transaction_id.as_deref())?;
            }
            ingest::ingest(&session, command, batches_of(request.into_inner())).await
        };
        work.await.map_err(status)
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> std::result::Result<DoPutPreparedStatementResult, Status> {
        let handle = query.prepared_statement_handle;
        let work = async {
            let session = self.session(&request).await?;
            let prepared = bound(&session, &handle)?.prepared;
            let mut batches = batches_of(request.into_inner());
            let mut parameters = Vec::new();
            while let Some(rows) = next_rows(&mut batches, &prepared).await? {
                parameters.extend(rows);
                if parameters.len() > MOST_QUERIES {
                    let message = format!("a query is run for {MOST_QUERIES} rows of parameters at most");
                    return Err(Error::new(Kind::ConfigurationLimitExceeded, message));
                }
            }
            if let Some(bound) = session.state().prepared.get_mut(text(&handle)) {
                bound.parameters = parameters;
            }
            Ok(())
        };
        work.await.map_err(status)?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn do_put_prepared_statement_update(
        &self,
        update: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> std::result::Result<i64, Status> {
        let work = async {
            let session = self.session(&request).await?;
            let Bound { prepared, parameters } = bound(&session, &update.prepared_statement_handle)?;
            let mut batches = batches_of(request.into_inner());
            if prepared.description().parameters.is_empty() {
                return count_of(run(&session, prepared, Vec::new()).await?);
            }
            ingest::all_or_nothing(&session, async {
                let mut written = 0;
                // those that come with the call, or that were bound before
                let mut next = next_rows(&mut batches, &prepared).await?.or(Some(parameters));
                while let Some(rows) = next {
                    for row in rows {
                        written += count_of(run(&session, prepared.clone(), row).await?)?.max(0);
                    }
                    next = next_rows(&mut batches, &prepared).await?;
                }
                Ok(written)
            })
            .await
        };
        work.await.map_err(status)
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> std::result::Result<ActionCreatePreparedStatementResult, Status> {
        let work = async {
            let session = self.session(&request).await?;
            session.check_transaction(query.transaction_id.as_deref())?;
            let prepared = prepare(&session, &query.query).await?;
            let description = prepared.description();
            let dataset_schema = match &description.columns {
                Some(columns) => ipc_bytes(&plain_schema(&with_lists(columns)))?,
                None => prost::bytes::Bytes::new(),
            };
            let fields = description.parameters.iter().enumerate();
            let fields =
                fields.map(|(index, data_type)| Field::new(format!("${}", index + 1), data_type.clone(), true));
            let parameter_schema = ipc_bytes(&Schema::new(fields.collect::<Vec<_>>()))?;
            let handle = new_handle()?;
            let mut state = session.state();
            if state.prepared.len() >= MOST_PREPARED {
                let message = format!("there are {MOST_PREPARED} prepared statements already");
                return Err(Error::new(Kind::ConfigurationLimitExceeded, message).with_hint("close some"));
            }
            state.prepared.insert(handle.clone(), Bound { prepared, parameters: Vec::new() });
            Ok(ActionCreatePreparedStatementResult {
                prepared_statement_handle: handle.into(),
                dataset_schema,
                parameter_schema,
            })
        };
        work.await.map_err(status)
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> std::result::Result<(), Status> {
        let session = self.session(&request).await.map_err(status)?;
        session.state().prepared.remove(text(&query.prepared_statement_handle));
        Ok(())
    }

    async fn do_action_begin_transaction(
        &self,
        _query: ActionBeginTransactionRequest,
        request: Request<Action>,
    ) -> std::result::Result<ActionBeginTransactionResult, Status> {
        let work = async {
            let session = self.session(&request).await?;
            session.check_transaction(None)?;
            run_text(&session, "BEGIN").await?;
            let id = new_handle()?;
            session.state().transaction = Some(id.clone());
            Ok(ActionBeginTransactionResult { transaction_id: id.into() })
        };
        work.await.map_err(status)
    }

    async fn do_action_end_transaction(
        &self,
        query: ActionEndTransactionRequest,
        request: Request<Action>,
    ) -> std::result::Result<(), Status> {
        let work = async {
            let session = self.session(&request).await?;
            session.check_transaction(Some(&query.transaction_id))?;
            let commits = query.action == EndTransaction::Commit as i32;
            let failed = session.session.lock().await.transaction_status() == crate::session::TransactionStatus::Failed;
            session.state().transaction = None;
            run_text(&session, if commits { "COMMIT" } else { "ROLLBACK" }).await?;
            if commits && failed {
                let message = "the transaction had failed, and was rolled back";
                return Err(Error::new(Kind::InFailedTransaction, message));
            }
            Ok(())
        };
        work.await.map_err(status)
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> std::result::Result<ActionCancelQueryResult, Status> {
        let session = self.session(&request).await.map_err(status)?;
        let info = FlightInfo::decode(query.info).map_err(|error| Status::invalid_argument(error.to_string()))?;
        // the two enumerations have the same numbers
        Ok(ActionCancelQueryResult { result: cancel(&session, &info) as i32 })
    }

    async fn do_action_fallback(&self, request: Request<Action>) -> Rpc<<Self as FlightService>::DoActionStream> {
        let session = self.session(&request).await.map_err(status)?;
        let action = request.into_inner();
        let body = match action.r#type.as_str() {
            "CancelFlightInfo" => {
                let asked = CancelFlightInfoRequest::decode(action.body)
                    .map_err(|error| Status::invalid_argument(error.to_string()))?;
                let found = cancel(&session, &asked.info.unwrap_or_default());
                CancelFlightInfoResult { status: found as i32 }.encode_to_vec()
            }
            "CloseSession" => {
                self.sessions.close(&session);
                // CloseSessionResult { status: CLOSED }
                vec![8, 1]
            }
            other => return Err(status(Error::not_supported(format!("the action {other}")))),
        };
        let result = arrow_flight::Result { body: body.into() };
        Ok(Response::new(futures::stream::iter([Ok(result)]).boxed()))
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Rpc<FlightInfo> {
        known(&query.into_builder().schema(), &query, request)
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<Ticket>,
    ) -> Rpc<<Self as FlightService>::DoGetStream> {
        let session = self.session(&request).await.map_err(status)?;
        metadata::catalogs(&session, query).await.map(batch_sent).map_err(status)
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Rpc<FlightInfo> {
        known(&query.clone().into_builder().schema(), &query, request)
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<Ticket>,
    ) -> Rpc<<Self as FlightService>::DoGetStream> {
        let session = self.session(&request).await.map_err(status)?;
        metadata::schemas(&session, query).await.map(batch_sent).map_err(status)
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Rpc<FlightInfo> {
        known(&query.clone().into_builder().schema(), &query, request)
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        request: Request<Ticket>,
    ) -> Rpc<<Self as FlightService>::DoGetStream> {
        let session = self.session(&request).await.map_err(status)?;
        metadata::tables(&session, query).await.map(batch_sent).map_err(status)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Rpc<FlightInfo> {
        known(&query.into_builder().schema(), &query, request)
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<Ticket>,
    ) -> Rpc<<Self as FlightService>::DoGetStream> {
        let session = self.session(&request).await.map_err(status)?;
        metadata::table_types(&session, query).await.map(batch_sent).map_err(status)
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Rpc<FlightInfo> {
        known(&metadata::primary_keys_schema(), &query, request)
    }

    async fn do_get_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<Ticket>,
    ) -> Rpc<<Self as FlightService>::DoGetStream> {
        let session = self.session(&request).await.map_err(status)?;
        metadata::primary_keys(&session, query).await.map(batch_sent).map_err(status)
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Rpc<FlightInfo> {
        let info = metadata::sql_info().map_err(status)?;
        known(&query.clone().into_builder(&info).schema(), &query, request)
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<Ticket>,
    ) -> Rpc<<Self as FlightService>::DoGetStream> {
        self.session(&request).await.map_err(status)?;
        let info = metadata::sql_info().map_err(status)?;
        let batch = query.into_builder(&info).build();
        batch.map(batch_sent).map_err(|error| status(Error::internal("what the server can").with_source(error)))
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}

fn count_of(answer: Answer) -> Result<i64> {
    match answer {
        Answer::Done(count) => Ok(count.unwrap_or(-1)),
        Answer::Rows(..) => Err(Error::new(Kind::WrongObjectType, "the statement gives rows, and is no update")),
    }
}

/// Stops what makes the rows of an info.
fn cancel(session: &FlightSession, info: &FlightInfo) -> CancelStatus {
    let tickets: Vec<&[u8]> =
        info.endpoint.iter().filter_map(|endpoint| Some(endpoint.ticket.as_ref()?.ticket.as_ref())).collect();
    // a ticket ends with its handle
    let found = session.results.cancel(|handle| tickets.iter().any(|ticket| ticket.ends_with(handle.as_bytes())));
    if found { CancelStatus::Cancelled } else { CancelStatus::NotCancellable }
}
