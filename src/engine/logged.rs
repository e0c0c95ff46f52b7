//! The log of a service's requests: where it lies, as a relation, and beside what AS OF answers for the same requests.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::TableProvider;
use datafusion::execution::SendableRecordBatchStream;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use granary_catalog::{Column, FeatureService, Object, Snapshot, Workspace};
use granary_sql::name::quote;

use super::plans::run;
use super::query::QueryPlanner;
use super::relation::{Interface, time_type};
use super::serving::shown_name;
use super::tables::stored::offline_table;
use crate::error::{Error, Kind, Result};
use crate::metrics::{self, ServiceMetrics};
use crate::request_log::{ASKED, DOOR, LogTarget, TIME};
use crate::row::{Value, array_of, text_of, values_of};

/// The logged rows in the query below; no object can have this name.
const ROWS: &str = "logged@rows";

/// Whether requests to an object are logged.
pub fn logs_requests(object: &Object) -> bool {
    let service = object.downcast::<FeatureService>();
    service.and_then(|service| service.log_sample).is_some_and(|rate| rate > 0.0)
}

/// Where requests to an object are logged, whether or not they are.
pub fn log_target(snapshot: &Snapshot, object: &Object) -> Result<LogTarget> {
    let service = object.downcast::<FeatureService>().ok_or_else(|| {
        let message =
            format!("\"{}\" is a {}, and requests are logged of feature services", object.name(), object.kind());
        Error::new(Kind::WrongObjectType, message)
    })?;
    let interface = Interface::of(snapshot, object)?;
    let typed = |columns: &[Column]| -> Vec<(String, DataType)> {
        columns.iter().map(|column| (column.name.clone(), column.data_type.clone())).collect()
    };
    let asked: Vec<_> = [typed(&interface.keys), typed(&interface.request)].concat();
    let rate = service.log_sample.unwrap_or(0.0);
    let metrics = service_metrics(snapshot, object)?;
    Ok(LogTarget::new(service.header.id.0, rate, &asked, &typed(&interface.features), metrics))
}

fn service_metrics(snapshot: &Snapshot, object: &Object) -> Result<Arc<ServiceMetrics>> {
    let workspace: Option<&Workspace> = snapshot.workspace_of(object);
    let workspace = workspace.ok_or_else(|| Error::internal("a service in no workspace"))?;
    Ok(metrics::of_service(&workspace.header.name, &shown_name(snapshot, object)))
}

/// What has been logged of a service up to now.
pub async fn logged_rows(planner: &QueryPlanner, service: &Object) -> Result<Arc<dyn TableProvider>> {
    let target = log_target(&planner.scope.snapshot, service)?;
    planner.requests.flush(&planner.offline).await?;
    offline_table(planner, &target.table, target.schema).await
}

/// The columns of a verification of a log.
pub fn log_differences_schema(snapshot: &Snapshot, service: &Object) -> Result<SchemaRef> {
    let interface = Interface::of(snapshot, service)?;
    let mut fields = vec![Field::new(TIME, time_type(), true), Field::new(DOOR, DataType::Utf8, true)];
    let asked = interface.keys.iter().chain(&interface.request);
    fields.extend(asked.map(|column| Field::new(&column.name, column.data_type.clone(), true)));
    fields.extend(["feature", "logged", "replayed"].map(|name| Field::new(name, DataType::Utf8, true)));
    Ok(Arc::new(Schema::new(fields)))
}

/// The logged values of a service that are not what its features were as of their time; of the newest `sample` requests.
pub async fn log_differences(
    planner: &QueryPlanner,
    service: &Object,
    relation: &str,
    sample: Option<u64>,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let interface = Interface::of(&planner.scope.snapshot, service)?;
    let schema = log_differences_schema(&planner.scope.snapshot, service)?;
    let rows = logged_rows(planner, service).await?;
    let asked: Vec<String> =
        interface.keys.iter().chain(&interface.request).map(|column| quote(&column.name)).collect();
    let features: Vec<String> = interface.features.iter().map(|feature| quote(&feature.name)).collect();
    let of = |relation: &str, columns: &[String]| -> Vec<String> {
        columns.iter().map(|column| format!("{relation}.{column}")).collect()
    };
    let shown = [of("l", &asked), of("l", &features), of("f", &features)].concat();
    // two columns of one name need two names
    let shown: Vec<String> =
        shown.iter().enumerate().map(|(place, column)| format!("{column} AS \"c{place}\"")).collect();
    let on: Vec<String> = asked.iter().map(|column| format!("f.{column} = l.{column}")).collect();
    let newest = sample.map_or(String::new(), |count| format!(" ORDER BY {TIME} DESC LIMIT {count}"));
    let text = format!(
        "SELECT l.{TIME}, l.{DOOR}, l.{ASKED}, {} FROM (SELECT * FROM {}{newest}) AS l \
         LEFT JOIN {relation} FOR SYSTEM_TIME AS OF l.{TIME} AS f ON {}",
        shown.join(", "),
        quote(ROWS),
        on.join(" AND ")
    );
    let plan = planner.clone().with_relation(ROWS.to_owned(), rows).plan_query_text(&text).await?;
    let joined: SendableRecordBatchStream = run(&planner.state(), &plan).await?;
    let comparison = Comparison { n_asked: asked.len(), features: interface.features, schema };
    Ok(joined.map_err(Error::from).and_then(move |batch| futures::future::ready(comparison.of(&batch))).boxed())
}

struct Comparison {
    n_asked: usize,
    features: Vec<Column>,
    schema: SchemaRef,
}

impl Comparison {
    /// Time, door, which were asked for; keys and request columns; logged features; replayed features.
    fn of(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.columns().iter().map(|column| values_of(column.as_ref()));
        let columns = columns.collect::<Result<Vec<Vec<Option<Value>>>>>()?;
        let (shown, rest) = columns.split_at(3);
        let (asked, values) = rest.split_at(self.n_asked);
        let (logged, replayed) = values.split_at(self.features.len());
        let mut found: Vec<Vec<Option<Value>>> = vec![Vec::new(); self.schema.fields().len()];
        for row in 0..batch.num_rows() {
            let was_asked = |feature: usize| match &shown[2][row] {
                Some(Value::List(items)) => items.get(feature) == Some(&Some(Value::Bool(true))),
                _ => false,
            };
            for (place, feature) in self.features.iter().enumerate() {
                let (logged, replayed) = (&logged[place][row], &replayed[place][row]);
                if logged == replayed || !was_asked(place) {
                    continue;
                }
                let text = |value: &Option<Value>| {
                    value.as_ref().map(|value| Value::Text(text_of(value, &feature.data_type).into()))
                };
                let cells = shown[..2].iter().chain(asked).map(|column| column[row].clone());
                let own = [Some(Value::Text(feature.name.as_str().into())), text(logged), text(replayed)];
                found.iter_mut().zip(cells.chain(own)).for_each(|(column, cell)| column.push(cell));
            }
        }
        let arrays = found
            .iter()
            .zip(self.schema.fields())
            .map(|(values, field)| array_of(field.data_type(), values.iter().map(Option::as_ref)));
        RecordBatch::try_new(Arc::clone(&self.schema), arrays.collect::<Result<Vec<_>>>()?)
            .map_err(|error| Error::internal("differences do not fit their schema").with_source(error))
    }
}
