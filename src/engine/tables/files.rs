//! Batch sources in files: Parquet, CSV and JSON, by path, glob, folder or object-store URL.
//!
//! Everything that can be wrong with them is looked for when the source is created: each file's head is read, and an
//! error names the file and the column.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::config::TableParquetOptions;
use datafusion::datasource::TableProvider;
use datafusion::datasource::file_format::FileFormat as DataFusionFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::execution::context::SessionState;
use futures::TryStreamExt;
use granary_catalog::{Column, FileFormat};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectMeta, ObjectStore};

use crate::error::{Error, Kind, Result};

/// What `CREATE SOURCE … FROM PARQUET|CSV|JSON` says.
#[derive(Debug, Clone)]
pub struct FileSourceRequest {
    pub format: FileFormat,
    pub paths: Vec<String>,
    /// `header`, `delimiter`, …, and for S3 `region`, `endpoint`
    pub options: Vec<(String, String)>,
    pub declared: Option<Vec<Column>>,
    pub timestamp: Option<String>,
}

/// How many rows of a text file decide the types of its columns.
const ROWS_SAMPLED: usize = 10_000;

/// Reads the heads of all files and gives the columns that they have in common.
pub async fn infer_file_source(state: &SessionState, request: &FileSourceRequest) -> Result<Vec<Column>> {
    let mut known: Vec<(Field, String)> = Vec::new();
    let mut n_files = 0;
    for path in &request.paths {
        let url = parse_path(path)?;
        register_store(state, &url, &request.options)?;
        let store = state.runtime_env().object_store(&url)?;
        let files = list(state, store.as_ref(), &url, path, request.format).await?;
        for file in &files {
            let path = shown_path(&url, file);
            let schema = file_schema(state, &store, file, request, &path).await?;
            check_timestamp(request, &schema, &path)?;
            merge(&mut known, &schema, &path)?;
        }
        n_files += files.len();
    }
    if n_files == 0 {
        let paths = request.paths.join("\", \"");
        return Err(Error::new(Kind::UndefinedFile, format!("no file matches \"{paths}\""))
            .with_hint("paths are read by the server: absolute, or relative to its working folder"));
    }
    Ok(match &request.declared {
        Some(columns) => columns.clone(),
        None => {
            known.into_iter().map(|(field, _)| Column::new(field.name(), field.data_type().clone(), true)).collect()
        }
    })
}

pub fn parse_path(path: &str) -> Result<ListingTableUrl> {
    // DataFusion itself looks for a pattern in local paths only.
    let pattern = if path.contains("://") { path.find(['*', '?', '[']) } else { None };
    let parsed = match pattern {
        Some(at) => {
            let (folder, pattern) = path.split_at(path[..at].rfind('/').map_or(0, |slash| slash + 1));
            ListingTableUrl::parse(folder).and_then(|url| url.with_glob(pattern))
        }
        None => ListingTableUrl::parse(path),
    };
    parsed.map_err(|error| {
        Error::new(Kind::InvalidParameterValue, format!("\"{path}\" is not a path or URL")).with_source(error)
    })
}

/// Makes the object store of a URL known. Local files need none.
pub fn register_store(state: &SessionState, url: &ListingTableUrl, options: &[(String, String)]) -> Result<()> {
    match url.scheme() {
        "file" => Ok(()),
        "s3" | "s3a" => {
            let store = s3_store(url.as_str(), options)?;
            state.runtime_env().register_object_store(url.object_store().as_ref(), Arc::new(store));
            Ok(())
        }
        other => {
            Err(Error::not_supported(format!("a source on {other}://")).with_hint("use a local path or s3://bucket/…"))
        }
    }
}

/// The bucket of a URL: as options say, and the environment where they say nothing.
pub fn s3_store(url: &str, options: &[(String, String)]) -> Result<AmazonS3> {
    let option = |name: &str| options.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let mut builder = AmazonS3Builder::new().with_url(url);
    for (name, value) in crate::config::aws_settings() {
        if let Ok(key) = name.parse() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(region) = option("region") {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = option("endpoint") {
        builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
    }
    builder.build().map_err(|error| {
        Error::new(Kind::InvalidParameterValue, format!("\"{url}\" cannot be reached: {error}")).with_hint(S3_HINT)
    })
}

const S3_HINT: &str = "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION in the server's environment";

fn extension(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Parquet => ".parquet",
        FileFormat::Csv => ".csv",
        FileFormat::Json => ".json",
        FileFormat::Delta => "",
    }
}

async fn list(
    state: &SessionState,
    store: &dyn ObjectStore,
    url: &ListingTableUrl,
    path: &str,
    format: FileFormat,
) -> Result<Vec<ObjectMeta>> {
    // A folder may hold other things; a file or a glob says itself what is meant.
    let wanted = if url.is_folder() && url.get_glob().is_none() { extension(format) } else { "" };
    let listed = async { url.list_all_files(state, store, wanted).await?.try_collect::<Vec<_>>().await };
    let mut files = listed.await.map_err(|error| unreadable(path, Error::from(error)))?;
    files.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(files)
}

/// Where a file is, as a user would write it: the store's own name for it begins below its root.
fn shown_path(url: &ListingTableUrl, file: &ObjectMeta) -> String {
    let root = if url.scheme() == "file" { "/".to_owned() } else { url.object_store().as_str().to_owned() };
    format!("{}/{}", root.trim_end_matches('/'), file.location)
}

fn unreadable(path: &str, error: Error) -> Error {
    let text = error.to_string();
    if !path.contains("://") {
        let kind = match error.kind() {
            Kind::UndefinedFile | Kind::InsufficientPrivilege => error.kind(),
            _ => Kind::IoError,
        };
        return Error::new(kind, format!("could not read \"{path}\": {text}"))
            .with_hint("paths are read by the server: absolute, or relative to its working folder");
    }
    bucket_error("read", path, &text)
}

/// The error of a file that a query was to be written to; the query's own errors stay as they are.
pub fn unwritable(path: &str, error: Error) -> Error {
    let text = error.to_string();
    let is_of_store = ["Error performing PUT", "Error performing POST"].iter().any(|begin| text.contains(begin));
    if path.contains("://") && is_of_store { bucket_error("write", path, &text) } else { error }
}

/// What a store of buckets says, for people.
pub fn bucket_error(action: &str, path: &str, text: &str) -> Error {
    // The words of S3's own answer; object_store keeps no more of it than its text.
    if text.contains("<Code>NoSuchBucket</Code>") {
        return Error::new(Kind::UndefinedFile, format!("could not {action} \"{path}\": the bucket does not exist"));
    }
    if text.contains("403 Forbidden") || text.contains("401 Unauthorized") {
        return Error::new(
            Kind::InsufficientPrivilege,
            format!("could not {action} \"{path}\": the server's credentials do not allow it"),
        )
        .with_hint(S3_HINT);
    }
    Error::new(Kind::IoError, format!("could not {action} \"{path}\": {text}")).with_hint(S3_HINT)
}

fn file_format(request: &FileSourceRequest, path: &str) -> Result<Arc<dyn DataFusionFormat>> {
    let compression = compression_of(path);
    match request.format {
        FileFormat::Parquet => {
            let mut options = TableParquetOptions::default();
            options.global.schema_force_view_types = false;
            options.global.pushdown_filters = true;
            Ok(Arc::new(ParquetFormat::new().with_options(options)))
        }
        FileFormat::Csv => {
            let mut format = CsvFormat::default()
                .with_has_header(true)
                .with_schema_infer_max_rec(ROWS_SAMPLED)
                .with_file_compression_type(compression);
            for (name, value) in &request.options {
                format = csv_option(format, name, value)?;
            }
            Ok(Arc::new(format))
        }
        FileFormat::Json => Ok(Arc::new(
            JsonFormat::default().with_schema_infer_max_rec(ROWS_SAMPLED).with_file_compression_type(compression),
        )),
        FileFormat::Delta => Err(Error::not_supported("a source FROM DELTA")
            .with_hint("read its files with FROM PARQUET if it has no deleted rows")),
    }
}

fn compression_of(path: &str) -> FileCompressionType {
    match path.rsplit('.').next() {
        Some("gz") => FileCompressionType::GZIP,
        Some("bz2") => FileCompressionType::BZIP2,
        Some("xz") => FileCompressionType::XZ,
        Some("zst") => FileCompressionType::ZSTD,
        _ => FileCompressionType::UNCOMPRESSED,
    }
}

fn csv_option(format: CsvFormat, name: &str, value: &str) -> Result<CsvFormat> {
    let byte = || match value.as_bytes() {
        [byte] => Ok(*byte),
        _ if value == "\\t" => Ok(b'\t'),
        _ => Err(Error::new(Kind::InvalidParameterValue, format!("option {name} must be one character"))),
    };
    Ok(match name {
        "header" => format.with_has_header(matches!(value, "true" | "on" | "yes" | "1")),
        "delimiter" => format.with_delimiter(byte()?),
        "quote" => format.with_quote(byte()?),
        "escape" => format.with_escape(Some(byte()?)),
        "comment" => format.with_comment(Some(byte()?)),
        "null" => {
            let mut pattern = String::from("^");
            for character in value.chars() {
                if !character.is_alphanumeric() {
                    pattern.push('\\');
                }
                pattern.push(character);
            }
            pattern.push('$');
            format.with_null_regex(Some(pattern))
        }
        _ => format,
    })
}

async fn file_schema(
    state: &SessionState,
    store: &Arc<dyn ObjectStore>,
    file: &ObjectMeta,
    request: &FileSourceRequest,
    path: &str,
) -> Result<SchemaRef> {
    let format = file_format(request, path)?;
    let inferred = format
        .infer_schema(state, store, std::slice::from_ref(file))
        .await
        .map_err(|error| damaged(path, request.format, error))?;
    let Some(declared) = &request.declared else { return Ok(inferred) };
    for (place, column) in declared.iter().enumerate() {
        let found = match request.format {
            // The columns of a CSV file are taken in order, so the header must agree.
            FileFormat::Csv if has_header(request) => {
                inferred.fields().get(place).filter(|field| *field.name() == column.name)
            }
            FileFormat::Csv => inferred.fields().get(place),
            // A JSON file need not have every field in its first rows.
            FileFormat::Json => continue,
            FileFormat::Parquet | FileFormat::Delta => {
                inferred.fields().iter().find(|field| *field.name() == column.name)
            }
        };
        let Some(found) = found else {
            return Err(missing_column(&column.name, path, &inferred));
        };
        if request.format == FileFormat::Parquet
            && !datafusion::arrow::compute::can_cast_types(found.data_type(), &column.data_type)
        {
            return Err(Error::new(
                Kind::DatatypeMismatch,
                format!(
                    "column \"{}\" of file \"{path}\" has type {}, which is not {}",
                    column.name,
                    found.data_type(),
                    column.data_type
                ),
            ));
        }
    }
    Ok(schema_of(declared))
}

fn has_header(request: &FileSourceRequest) -> bool {
    !request
        .options
        .iter()
        .any(|(name, value)| name == "header" && matches!(value.as_str(), "false" | "off" | "no" | "0"))
}

fn damaged(path: &str, format: FileFormat, error: datafusion::error::DataFusionError) -> Error {
    let name = match format {
        FileFormat::Parquet => "Parquet",
        FileFormat::Csv => "CSV",
        FileFormat::Json => "JSON",
        FileFormat::Delta => "Delta",
    };
    let error = Error::from(error);
    let kind = match error.kind() {
        Kind::UndefinedFile | Kind::InsufficientPrivilege | Kind::IoError => error.kind(),
        _ => Kind::DataCorrupted,
    };
    Error::new(kind, format!("file \"{path}\" is not readable as {name}: {error}"))
}

fn missing_column(column: &str, path: &str, schema: &Schema) -> Error {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    Error::new(Kind::UndefinedColumn, format!("file \"{path}\" has no column \"{column}\""))
        .with_detail(format!("Its columns are: {}.", names.join(", ")))
}

fn check_timestamp(request: &FileSourceRequest, schema: &Schema, path: &str) -> Result<()> {
    let Some(timestamp) = &request.timestamp else { return Ok(()) };
    let Ok(field) = schema.field_with_name(timestamp) else {
        return Err(missing_column(timestamp, path, schema)
            .with_hint("name the column that holds the event time with TIMESTAMP"));
    };
    check_time_type(timestamp, field.data_type(), &format!("file \"{path}\""))
}

/// A column of event times must be a timestamp or a date. `place` says where it stands.
pub fn check_time_type(column: &str, data_type: &DataType, place: &str) -> Result<()> {
    if matches!(data_type, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64) {
        return Ok(());
    }
    Err(Error::new(
        Kind::DatatypeMismatch,
        format!("column \"{column}\" of {place} has type {data_type}, which is not a timestamp"),
    )
    .with_hint(format!(
        "declare the columns: CREATE SOURCE … (…, {column} timestamptz, …) FROM …; or cast in a source AS SELECT"
    )))
}

fn merge(known: &mut Vec<(Field, String)>, schema: &Schema, path: &str) -> Result<()> {
    let places: HashMap<String, usize> =
        known.iter().enumerate().map(|(place, (field, _))| (field.name().clone(), place)).collect();
    for field in schema.fields() {
        match places.get(field.name()) {
            None => known.push((field.as_ref().clone(), path.to_owned())),
            Some(&place) => {
                let (earlier, earlier_file) = &known[place];
                if earlier.data_type() == &DataType::Null {
                    known[place].0 = field.as_ref().clone();
                } else if earlier.data_type() != field.data_type() && field.data_type() != &DataType::Null {
                    return Err(Error::new(
                        Kind::DatatypeMismatch,
                        format!(
                            "column \"{}\" has type {} in file \"{earlier_file}\" and {} in file \"{path}\"",
                            field.name(),
                            earlier.data_type(),
                            field.data_type(),
                        ),
                    )
                    .with_hint("declare the columns with their types in CREATE SOURCE"));
                }
            }
        }
    }
    Ok(())
}

fn schema_of(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(
        columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true)).collect::<Vec<_>>(),
    ))
}

/// The files as a table of these columns.
pub fn listing_table(
    state: &SessionState,
    request: &FileSourceRequest,
    columns: &[Column],
) -> Result<Arc<dyn TableProvider>> {
    let mut urls = Vec::with_capacity(request.paths.len());
    for path in &request.paths {
        let url = parse_path(path)?;
        register_store(state, &url, &request.options)?;
        urls.push(url);
    }
    let first = request.paths.first().map_or("", String::as_str);
    let is_folder = urls.iter().all(|url| url.is_folder() && url.get_glob().is_none());
    let wanted = if is_folder { extension(request.format) } else { "" };
    let options = ListingOptions::new(file_format(request, first)?).with_file_extension(wanted);
    let config =
        ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options).with_schema(schema_of(columns));
    Ok(Arc::new(ListingTable::try_new(config)?))
}
