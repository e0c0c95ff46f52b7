//! Events of OpenLineage, version 2-0-2 of its specification, and the facets that go with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use granary_catalog::{JobWork, Object, ObjectId, Source, SourceDefinition};
use serde_json::{Map, Value, json};
use twox_hash::XxHash64;

use super::{Moment, Note, OpenLineageConfig};
use crate::access::Asker;
use crate::engine::{NameScope, Origin, QueryPlanner, ReadStores, Transformation, columns_of_relation, flat_lineage};
use crate::row::type_name;

const PRODUCER: &str = concat!("urn:granary:", env!("CARGO_PKG_VERSION"));
const SCHEMA: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";

/// A facet: what it says, under the URL of what says how.
fn facet(version: &str, name: &str, content: Value) -> Value {
    let mut facet = Map::new();
    facet.insert("_producer".to_owned(), json!(PRODUCER));
    let url = format!("https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}");
    facet.insert("_schemaURL".to_owned(), json!(url));
    if let Value::Object(content) = content {
        facet.extend(content);
    }
    Value::Object(facet)
}

pub fn event(stores: &ReadStores, config: &OpenLineageConfig, note: &Note) -> Value {
    let event = Event { planner: planner(stores, note), config, note };
    event.made()
}

/// Of the definitions at that time, in the server's name.
fn planner(stores: &ReadStores, note: &Note) -> QueryPlanner {
    let scope = NameScope {
        snapshot: Arc::clone(&note.snapshot),
        workspace: note.job.request.workspace,
        search_path: vec!["public".to_owned()],
        process_id: 0,
        meant: Vec::new(),
        asker: Asker::Server,
    };
    QueryPlanner::new(stores.clone(), scope, note.at_us)
}

struct Event<'a> {
    planner: QueryPlanner,
    config: &'a OpenLineageConfig,
    note: &'a Note,
}

impl Event<'_> {
    fn made(&self) -> Value {
        let object = self.object();
        let target = self.target(object.as_ref());
        let (inputs, columns) = match (&self.note.job.request.work, &object) {
            (JobWork::Refresh(_) | JobWork::Dataset(_), Some(object)) => self.lineage(object),
            _ => (Vec::new(), None),
        };
        let kind = match &self.note.moment {
            Moment::Begun => "START",
            Moment::Succeeded => "COMPLETE",
            Moment::Failed(_) => "FAIL",
            Moment::Cancelled => "ABORT",
        };
        json!({
            "eventType": kind,
            "eventTime": time(self.note.at_us),
            "run": { "runId": self.run_id(), "facets": self.run_facets() },
            "job": {
                "namespace": self.config.namespace,
                "name": self.job_name(&target),
                "facets": self.job_facets(object.as_ref()),
            },
            "inputs": inputs,
            "outputs": [self.output(&target, object.as_ref(), columns)],
            "producer": PRODUCER,
            "schemaURL": SCHEMA,
        })
    }

    /// What the job is about, if it is still there, or there already.
    fn object(&self) -> Option<Arc<Object>> {
        let snapshot = &self.note.snapshot;
        match &self.note.job.request.work {
            JobWork::Dataset(work) => snapshot.relation(work.schema, &work.name).cloned(),
            other => snapshot.get(other.view()?.0).cloned(),
        }
    }

    /// The full name of that.
    fn target(&self, object: Option<&Arc<Object>>) -> String {
        match (&self.note.job.request.work, object) {
            (_, Some(object)) => self.name_of(object),
            (JobWork::Dataset(work), None) => {
                let schema = self.note.snapshot.get(work.schema).map_or("public", |schema| schema.name());
                self.named(schema, &work.name)
            }
            (other, None) => self.named("public", other.view().map_or("", |(_, name)| name)),
        }
    }

    /// Views and datasets are made by jobs of their names; others say what they do.
    fn job_name(&self, target: &str) -> String {
        match &self.note.job.request.work {
            JobWork::Refresh(_) | JobWork::Dataset(_) => target.to_owned(),
            other => format!("{target}.{}", other.kind()),
        }
    }

    fn named(&self, schema: &str, name: &str) -> String {
        let workspace = self.note.snapshot.get(self.note.job.request.workspace);
        format!("{}.{schema}.{name}", workspace.map_or("", |workspace| workspace.name()))
    }

    fn name_of(&self, object: &Object) -> String {
        let schema = self.note.snapshot.schema_of(object).map_or("public", |schema| &schema.header.name);
        self.named(schema, object.name())
    }

    /// The same whoever asks, so that an attempt which a crash has ended can be told of.
    fn run_id(&self) -> String {
        let job = &self.note.job;
        let said = format!("{} {} {} {}", self.config.namespace, job.id, job.created_at_us(), self.note.attempt);
        let half = |seed| XxHash64::oneshot(seed, said.as_bytes()).to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&half(0));
        bytes[8..].copy_from_slice(&half(1));
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    fn run_facets(&self) -> Value {
        let mut facets = Map::new();
        let engine = json!({ "version": env!("CARGO_PKG_VERSION"), "name": "granary" });
        facets.insert("processing_engine".to_owned(), facet("1-1-1", "ProcessingEngineRunFacet", engine));
        // one that begins with all there is has no time in it
        if let Some(refresh) = self.note.job.request.work.refresh().filter(|work| work.range.start_us != i64::MIN) {
            let range = json!({ "nominalStartTime": time(refresh.range.start_us), "nominalEndTime": time(refresh.range.end_us) });
            facets.insert("nominalTime".to_owned(), facet("1-0-1", "NominalTimeRunFacet", range));
        }
        if let Moment::Failed(error) = &self.note.moment {
            let message = format!("{} (SQLSTATE {})", error.message, error.sqlstate);
            let said = json!({ "message": message, "programmingLanguage": "SQL" });
            facets.insert("errorMessage".to_owned(), facet("1-0-1", "ErrorMessageRunFacet", said));
        }
        Value::Object(facets)
    }

    fn job_facets(&self, object: Option<&Arc<Object>>) -> Value {
        let mut facets = Map::new();
        let kind = self.note.job.request.work.kind().to_uppercase();
        let said = json!({ "processingType": "BATCH", "integration": "GRANARY", "jobType": kind });
        facets.insert("jobType".to_owned(), facet("2-0-4", "JobTypeJobFacet", said));
        let query = match (&self.note.job.request.work, object.map(AsRef::as_ref)) {
            (JobWork::Refresh(_), Some(Object::FeatureView(view))) => Some(view.query.as_str()),
            (JobWork::Dataset(_), Some(Object::Dataset(dataset))) => Some(dataset.newest.query.as_str()),
            _ => None,
        };
        if let Some(query) = query {
            let said = json!({ "query": query, "dialect": "postgresql" });
            facets.insert("sql".to_owned(), facet("1-1-0", "SQLJobFacet", said));
        }
        Value::Object(facets)
    }

    fn output(&self, target: &str, object: Option<&Arc<Object>>, columns: Option<Value>) -> Value {
        let mut facets = object.map(|object| self.dataset_facets(object)).unwrap_or_default();
        if let Some(columns) = columns {
            facets.insert("columnLineage".to_owned(), columns);
        }
        let mut output = json!({ "namespace": self.config.namespace, "name": target, "facets": facets });
        if self.note.moment == Moment::Succeeded {
            let rows = json!({ "rowCount": self.note.job.rows_written });
            let statistics = facet("1-0-2", "OutputStatisticsOutputDatasetFacet", rows);
            output["outputFacets"] = json!({ "outputStatistics": statistics });
        }
        output
    }

    fn dataset_facets(&self, object: &Object) -> Map<String, Value> {
        let mut facets = Map::new();
        let columns = columns_of_relation(&self.note.snapshot, object);
        let field =
            |column: &granary_catalog::Column| json!({ "name": column.name, "type": type_name(&column.data_type) });
        let fields: Vec<Value> = columns.iter().map(field).collect();
        facets.insert("schema".to_owned(), facet("1-2-0", "SchemaDatasetFacet", json!({ "fields": fields })));
        if let Object::Source(Source { definition: SourceDefinition::Files { paths, .. }, .. }) = object
            && let Some(path) = paths.first()
        {
            let said = json!({ "name": object.name(), "uri": uri(path) });
            facets.insert("dataSource".to_owned(), facet("1-0-1", "DatasourceDatasetFacet", said));
        }
        if let Some(comment) = &object.header().comment {
            let said = json!({ "description": comment });
            facets.insert("documentation".to_owned(), facet("1-1-0", "DocumentationDatasetFacet", said));
        }
        facets
    }

    /// What goes in, and what the columns that come out are made of.
    fn lineage(&self, object: &Arc<Object>) -> (Vec<Value>, Option<Value>) {
        let flat = flat_lineage(&self.planner, object);
        let mut inputs: BTreeSet<Input> = BTreeSet::new();
        let mut fields = Map::new();
        for (column, influences) in flat.iter() {
            let mut by_field: BTreeMap<(String, String), Vec<Transformation>> = BTreeMap::new();
            for (origin, how) in influences {
                let Some((input, field)) = self.input(origin) else { continue };
                if let Some(field) = field {
                    by_field.entry((input.name.clone(), field)).or_default().push(*how);
                }
                inputs.insert(input);
            }
            let Some(column) = column else { continue };
            let input_field = |((name, field), how): ((String, String), Vec<Transformation>)| {
                let how = how.iter().map(|how| json!({ "type": how.type_name(), "subtype": how.subtype() }));
                let how: Vec<Value> = how.collect();
                json!({ "namespace": self.config.namespace, "name": name, "field": field, "transformations": how })
            };
            let input_fields: Vec<Value> = by_field.into_iter().map(input_field).collect();
            fields.insert(column.clone(), json!({ "inputFields": input_fields }));
        }
        let columns = facet("1-2-0", "ColumnLineageDatasetFacet", json!({ "fields": fields }));
        let inputs = inputs.into_iter().map(|input| {
            let behind = input.object.and_then(|id| self.note.snapshot.get(id));
            let facets = behind.map(|object| self.dataset_facets(object)).unwrap_or_default();
            json!({ "namespace": self.config.namespace, "name": input.name, "facets": facets })
        });
        (inputs.collect(), Some(columns))
    }

    /// The dataset and the column behind an origin; what has no name is no dataset.
    fn input(&self, origin: &Origin) -> Option<(Input, Option<String>)> {
        match origin {
            Origin::Column(id, column) => {
                let object = self.note.snapshot.get(*id)?;
                Some((Input { name: self.name_of(object), object: Some(*id) }, Some(column.clone())))
            }
            Origin::Object { schema, name, .. } => Some((Input { name: self.named(schema, name), object: None }, None)),
            Origin::System(schema, name, column) => {
                Some((Input { name: self.named(schema, name), object: None }, Some(column.clone())))
            }
            Origin::Unnamed(_) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Input {
    name: String,
    object: Option<ObjectId>,
}

fn time(at_us: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(at_us).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// A path of a source, which may be a file's, as a URI.
fn uri(path: &str) -> String {
    match url::Url::parse(path) {
        Ok(url) => url.to_string(),
        Err(_) => match url::Url::from_file_path(path) {
            Ok(url) => url.to_string(),
            // relative to where the server runs
            Err(()) => format!("file:{path}"),
        },
    }
}
