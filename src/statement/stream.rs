//! `CREATE STREAM`: declared with its columns; its mirror answers for the past. `ALTER STREAM … PAUSE | RESUME`.

use arrow::compute::can_cast_types;
use granary_catalog::{Backfill, Change, Column, Object, ObjectKind, SealedText, Source, Stream, StreamIngest};
use granary_sql::name::fold;
use granary_sql::statement::{CreateStream, StreamOrigin};
use granary_sql::timestamp::parse_timestamp;
use granary_sql::{OptionEntry, Statement};

use granary_sql::{OptionValue, Options, without_secrets};

use super::context::{NewObject, StatementContext, check_options};
use super::types::{self, type_name};
use crate::capture::Dsn;
use crate::engine::{OFFSET, check_time_type};
use crate::error::{Error, Kind, Result};
use crate::kafka::{self, AvroRows, Format};

/// The option that says that no events come in.
pub const PAUSED: &str = "paused";
/// Columns of a stream that a capture fills, rather than its table.
pub const OP: &str = "_op";
pub const COMMIT_TIME: &str = "_commit_time";
pub const LSN: &str = "_lsn";

pub fn create(context: &mut StatementContext, create: &CreateStream) -> Result<()> {
    check_options(&create.options, &[PAUSED])?;
    let mut paused = create.options.bool(PAUSED)?.unwrap_or(false);
    let columns = types::columns(context, &create.columns)?;
    let timestamp = fold(&create.timestamp);
    match columns.iter().find(|column| column.name == timestamp) {
        None => {
            let error = Error::new(Kind::UndefinedColumn, format!("the stream has no column \"{timestamp}\""));
            return Err(context.at_ident(&create.timestamp, error));
        }
        Some(column) => check_time_type(&timestamp, &column.data_type, "the stream")
            .map_err(|error| context.at_ident(&create.timestamp, error))?,
    }
    if let Some(declared) = create.columns.iter().find(|column| fold(&column.name) == OFFSET) {
        let error = Error::new(Kind::ReservedName, format!("column name \"{OFFSET}\" is the server's own"));
        return Err(context.at_ident(&declared.name, error));
    }
    let mut deduplicate_by = Vec::new();
    for ident in &create.deduplicate_by {
        let name = fold(ident);
        if !columns.iter().any(|column| column.name == name) {
            let error = Error::new(Kind::UndefinedColumn, format!("the stream has no column \"{name}\""));
            return Err(context.at_ident(ident, error));
        }
        deduplicate_by.push(name);
    }
    let ingest = match &create.origin {
        StreamOrigin::Push => StreamIngest::Push,
        StreamOrigin::Kafka(options) => {
            let (ingest, is_said) = read_topic(options, &columns)?;
            paused |= is_said;
            ingest
        }
        StreamOrigin::Postgres { connection, publication, table } => {
            Dsn::parse(connection)?;
            check_captured(context, create, &columns)?;
            let (dsn, publication) = (SealedText::new(connection.clone()), publication.as_ref().map(fold));
            StreamIngest::Postgres { dsn, publication, table: table.clone() }
        }
    };
    let backfill = match &create.backfill {
        None => None,
        Some(backfill) => {
            let object = context.find(ObjectKind::Source, &backfill.source)?;
            let source: &Source = object.downcast().ok_or_else(|| Error::internal("a source is not a source"))?;
            check_mirror(context, create, &columns, source)?;
            let until_us = match &backfill.until {
                None => context.now_us,
                Some(text) => parse_timestamp(text).map_err(granary_sql_error)?,
            };
            Some(Backfill { source: source.header.id, until_us })
        }
    };
    let header = context.new_header(NewObject {
        kind: ObjectKind::Stream,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: without_secrets(
            &CreateStream { or_replace: false, if_not_exists: false, ..create.clone() }.to_string(),
        )
        .into_owned(),
    })?;
    if let Some(header) = header {
        let stream =
            Stream { header, columns, timestamp, deduplicate_by, ingest, backfill, paused, depends_on: Vec::new() };
        check_replaced(context, &stream)?;
        context.changes.push(Change::put(stream));
    }
    Ok(())
}

/// Stops a stream from taking events, or lets it go on. Its own statement says so, too.
pub fn pause(context: &mut StatementContext, object: &Object, own: Statement, paused: bool) -> Result<()> {
    let stream: &Stream = object.downcast().ok_or_else(|| Error::internal("a stream is not a stream"))?;
    let Statement::CreateStream(mut create) = own else {
        return Err(Error::internal("a stream was made by another statement"));
    };
    let mut stream = Stream { paused, ..stream.clone() };
    if let StreamIngest::Kafka { options, .. } = &mut stream.ingest {
        options.retain(|(name, _)| name != PAUSED);
    }
    if let StreamOrigin::Kafka(options) = &mut create.origin {
        options.entries.retain(|entry| entry.name != PAUSED);
    }
    create.options.entries.retain(|entry| entry.name != PAUSED);
    if paused {
        let value = OptionValue::Bool(true);
        create.options.entries.push(OptionEntry { name: PAUSED.to_owned(), value, position: None });
    }
    let options = create.options.entries.iter();
    stream.header.options = options.map(|entry| (entry.name.clone(), entry.value.to_string())).collect();
    stream.header.statement = create.to_string();
    context.changes.push(Change::put(stream));
    Ok(())
}

/// What is kept of `FROM KAFKA (…)`, and whether it says that nothing is read. Everything is checked that can be without
/// asking a broker.
fn read_topic(typed: &Options, columns: &[Column]) -> Result<(StreamIngest, bool)> {
    let (options, secrets) = kept_options(typed, "FROM KAFKA")?;
    let mut ingest = StreamIngest::Kafka { options, secrets };
    let read = topic_options(&ingest)?.ok_or_else(|| Error::internal("a topic is none"))?;
    read.check_client()?;
    if let Some(key) = &read.key {
        let column = columns.iter().find(|column| column.name == *key).ok_or_else(|| {
            Error::new(Kind::UndefinedColumn, format!("the stream has no column \"{key}\", which option \"key\" names"))
        })?;
        if column.data_type.is_nested() {
            let message = format!("a message's key cannot be of type {}", type_name(&column.data_type));
            return Err(Error::new(Kind::DatatypeMismatch, message));
        }
    }
    if let Format::Avro { schema, .. } = &read.format {
        check_record(schema, columns.iter().filter(|column| Some(&column.name) != read.key.as_ref()))?;
    }
    // it is the stream's, whatever it reads
    if let StreamIngest::Kafka { options, .. } = &mut ingest {
        options.retain(|(name, _)| name != PAUSED);
    }
    Ok((ingest, read.paused))
}

/// Options by name as the catalog keeps them.
pub type KeptOptions = Vec<(String, String)>;
/// Those that nobody is shown.
pub type KeptSecrets = Vec<(String, SealedText)>;

/// The options of a client of Kafka, and those that nobody is shown.
pub fn kept_options(typed: &Options, clause: &str) -> Result<(KeptOptions, KeptSecrets)> {
    let (mut options, mut secrets) = (Vec::new(), Vec::new());
    for entry in &typed.entries {
        let value = match &entry.value {
            OptionValue::String(text) | OptionValue::Ident(text) | OptionValue::Number(text) => text.clone(),
            OptionValue::Bool(value) => value.to_string(),
            OptionValue::List(_) | OptionValue::Pairs(_) => {
                let message = format!("option \"{}\" of {clause} takes a single value", entry.name);
                return Err(Error::new(Kind::InvalidParameterValue, message));
            }
        };
        if kafka::is_secret(&entry.name) {
            secrets.push((entry.name.clone(), SealedText::new(value)));
        } else {
            options.push((entry.name.clone(), value));
        }
    }
    Ok((options, secrets))
}

/// Columns that the capture fills have its types.
fn check_captured(context: &StatementContext, create: &CreateStream, columns: &[Column]) -> Result<()> {
    let own = |name: &str| [OP, COMMIT_TIME, LSN].contains(&name);
    for (column, declared) in columns.iter().zip(&create.columns) {
        let wanted = match column.name.as_str() {
            OP => "text",
            COMMIT_TIME => "timestamp with time zone",
            LSN => "bigint",
            _ => continue,
        };
        if type_name(&column.data_type) != wanted {
            let message = format!("column \"{}\" of a capture has type {wanted}", column.name);
            return Err(context.at_ident(&declared.name, Error::new(Kind::DatatypeMismatch, message)));
        }
    }
    if columns.iter().all(|column| own(&column.name)) {
        return Err(Error::new(Kind::InvalidObjectDefinition, "the stream has no column of the table"));
    }
    Ok(())
}

/// What a stream says of its topic; None if it has none.
pub fn topic_options(ingest: &StreamIngest) -> Result<Option<kafka::Options>> {
    let StreamIngest::Kafka { options, secrets } = ingest else { return Ok(None) };
    let shown = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let sealed = secrets.iter().map(|(name, value)| (name.as_str(), value.expose()));
    kafka::Options::of(shown.chain(sealed)).map(Some)
}

/// The records have every column, in a type that loses nothing but by an error. More fields are fine.
fn check_record<'a>(schema: &str, columns: impl Iterator<Item = &'a Column>) -> Result<()> {
    let record = AvroRows::check(schema)?;
    for column in columns {
        let Ok(field) = record.field_with_name(&column.name) else {
            let message = format!("the Avro schema has no field \"{}\", which the stream has", column.name);
            return Err(Error::new(Kind::UndefinedColumn, message));
        };
        let (from, to) = (field.data_type(), &column.data_type);
        let loses = !from.is_integer() && to.is_integer();
        if loses || !is_same_family(from, to) {
            let message = format!("column \"{}\" has type {}, which Avro's {from} is not", column.name, type_name(to));
            return Err(Error::new(Kind::DatatypeMismatch, message));
        }
    }
    Ok(())
}

/// Events were taken in by what the stream was: which columns they have, and which of them count.
fn check_replaced(context: &StatementContext, stream: &Stream) -> Result<()> {
    let Some(before) = context.snapshot().get_as::<Stream>(stream.header.id) else { return Ok(()) };
    let is_same = before.columns == stream.columns
        && before.timestamp == stream.timestamp
        && before.deduplicate_by == stream.deduplicate_by
        && is_same_origin(&before.ingest, &stream.ingest)
        && before.backfill == stream.backfill;
    if is_same || !context.warehouse.ingest.has_events(stream.header.id) {
        return Ok(());
    }
    Err(Error::not_supported(format!("CREATE OR REPLACE STREAM \"{}\", which has events,", stream.header.name))
        .with_hint("make a new stream under another name"))
}

/// Offsets are those of a topic. How it is reached and read may change.
fn is_same_origin(before: &StreamIngest, after: &StreamIngest) -> bool {
    match (topic_options(before), topic_options(after)) {
        (Ok(Some(before)), Ok(Some(after))) => before.topic == after.topic,
        _ => match (before, after) {
            (
                StreamIngest::Postgres { publication: old_publication, table: old_table, .. },
                StreamIngest::Postgres { publication, table, .. },
            ) => old_publication == publication && old_table == table,
            _ => before == after,
        },
    }
}

fn granary_sql_error(error: impl std::fmt::Display) -> Error {
    Error::new(Kind::InvalidDatetimeFormat, error.to_string())
}

/// The mirror has every column of the stream, in a type that fits. More are fine.
fn check_mirror(context: &StatementContext, create: &CreateStream, columns: &[Column], source: &Source) -> Result<()> {
    let name = &source.header.name;
    for (column, declared) in columns.iter().zip(&create.columns) {
        let Some(found) = source.columns.iter().find(|found| found.name == column.name) else {
            let error = Error::new(
                Kind::UndefinedColumn,
                format!("source \"{name}\" has no column \"{}\", which the stream has", column.name),
            )
            .with_hint("BACKFILL matches columns by name: rename them in a source AS SELECT");
            return Err(context.at_ident(&declared.name, error));
        };
        if !is_same_family(&found.data_type, &column.data_type) {
            let error = Error::new(
                Kind::DatatypeMismatch,
                format!(
                    "column \"{}\" has type {} in the stream and {} in source \"{name}\"",
                    column.name,
                    type_name(&column.data_type),
                    type_name(&found.data_type)
                ),
            )
            .with_hint("cast it in a source AS SELECT");
            return Err(context.at_ident(&declared.name, error));
        }
    }
    Ok(())
}

/// Whether values of one type are values of the other without being reinterpreted.
pub fn is_same_family(from: &arrow::datatypes::DataType, to: &arrow::datatypes::DataType) -> bool {
    use arrow::datatypes::DataType;
    let text = |data_type: &DataType| {
        matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
            || matches!(data_type, DataType::Dictionary(_, value) if value.is_string())
    };
    let number = |data_type: &DataType| data_type.is_numeric();
    let time =
        |data_type: &DataType| matches!(data_type, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64);
    if !can_cast_types(from, to) {
        return false;
    }
    let same = |test: &dyn Fn(&DataType) -> bool| test(from) && test(to);
    same(&text) || same(&number) || same(&time) || from.is_nested() && to.is_nested() || {
        let plain = |data_type: &DataType| !text(data_type) && !number(data_type) && !time(data_type);
        same(&plain)
    }
}
