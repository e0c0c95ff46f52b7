//! `CREATE DATASET`: the rows of a query, kept as a version that never changes. A job makes it, whose last step is the
//! commit of the catalog that names the rows: until then nobody sees them, and a crash leaves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use granary_catalog::{
    Author, Change, Dataset, DatasetInput, DatasetVersion, DatasetWork, Header, Job, JobWork, NewJob, Object, ObjectId,
    ObjectKind, Version,
};
use granary_sql::statement::CreateDataset;
use tokio_util::sync::CancellationToken;

use super::context::{NewObject, StatementContext, check_options};
use super::rights;
use super::select::{self, PlannedQuery};
use super::table::{columns_of, new_storage_id, schema_of};
use crate::engine::{
    BoundView, LogicalPlan, QueryPlanner, Staged, cast_batches, dataset_table, run, table_id, versions_read,
};
use crate::error::{Error, Result};
use crate::materialize::{cancelled, run_job};
use crate::offline::{Layout, Write, WriteKind};
use crate::warehouse::Warehouse;

/// Settings that the rows of a query can depend on.
const SETTINGS: [&str; 2] = ["from_source", "TimeZone"];

/// Makes a dataset, or a version of one, as a job, and waits for its end. Gives the number of rows; None if nothing was
/// to be done.
pub async fn create(
    context: &mut StatementContext,
    create: &CreateDataset,
    cancel: &CancellationToken,
) -> Result<Option<u64>> {
    check_options(&create.options, &[])?;
    let planned = select::plan_definition(context, &create.query).await?;
    let columns = columns_of(&planned)?;
    let header = context.new_header(NewObject {
        kind: ObjectKind::Dataset,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: String::new(),
    })?;
    let Some(mut header) = header else { return Ok(None) };
    rights::check_owner(context, header.id, &header.owner, "CREATE DATASET")?;
    header.statement = statement_of(create, &header);
    let existing = context.snapshot().get(header.id).cloned();
    if let Some(object) = &existing
        && let Some(dataset) = object.downcast::<Dataset>()
    {
        context.check_replaced_columns(object, &dataset.newest.columns, &columns)?;
    }
    let earlier: Vec<DatasetVersion> = existing
        .and_then(|object| object.downcast::<Dataset>().map(|dataset| dataset.versions().cloned().collect()))
        .unwrap_or_default();
    let settings = (context.facts.settings)().into_iter().filter(|setting| SETTINGS.contains(&setting.name.as_str()));
    let newest = DatasetVersion {
        number: earlier.last().map_or(1, |version| version.number + 1),
        query: create.query.text.clone(),
        columns,
        storage_id: new_storage_id()?,
        rows: 0,
        bytes: 0,
        made_at: context.snapshot().version(),
        created_at_us: context.now_us,
        created_by: context.role.clone(),
        job: None,
        settings: settings.map(|setting| (setting.name, setting.stored)).collect(),
        inputs: inputs(context, &planned)?,
    };
    let dataset = Dataset { header, newest, earlier };
    // a taken name is refused before there are rows
    context.snapshot().apply(&[Change::put(dataset.clone())])?;
    let warehouse = Arc::clone(&context.warehouse);
    let author = Author { role: context.role.clone(), at_us: context.now_us, statement: context.text.clone() };
    let job = register(context, &dataset, author)?;
    let making = Making {
        base: context.snapshot().version(),
        planner: context.planner(),
        plan: planned.plan,
        dataset,
        cancel: cancel.child_token(),
    };
    // The job has a task of its own, so that it ends in the ledger whatever becomes of the session.
    let task = context.warehouse.engine.threads().spawn(async move {
        let cancel = making.cancel.clone();
        run_job(&warehouse, &job, &cancel, make(&warehouse, &job, making)).await
    });
    task.await.map_err(|error| Error::internal("a job's task died").with_source(error))?.map(Some)
}

/// What makes the dataset anew. A comment of the version before stays.
fn statement_of(create: &CreateDataset, header: &Header) -> String {
    let mut anew = CreateDataset { or_replace: false, if_not_exists: false, ..create.clone() };
    if anew.options.string("description").is_ok_and(|description| description.is_none()) {
        anew.comment.clone_from(&header.comment);
    }
    anew.to_string()
}

fn register(context: &StatementContext, dataset: &Dataset, author: Author) -> Result<Job> {
    let schema = dataset.header.home.schema().ok_or_else(|| Error::internal("a dataset is in no schema"))?;
    let work = DatasetWork { schema, name: dataset.header.name.clone(), version: dataset.newest.number };
    let workspace = context.scope.workspace;
    Ok(context.warehouse.catalog.ledger().create_job(NewJob::new(JobWork::Dataset(work), workspace, author))?)
}

/// What the job needs.
struct Making {
    /// what the statement saw
    base: Version,
    planner: QueryPlanner,
    plan: LogicalPlan,
    /// as it will be, but for what is known only when the rows are there
    dataset: Dataset,
    cancel: CancellationToken,
}

/// The job: rows, then the commit that names them. Gives their number.
async fn make(warehouse: &Arc<Warehouse>, job: &Job, making: Making) -> Result<u64> {
    let Making { base, planner, plan, mut dataset, cancel } = making;
    let version = &mut dataset.newest;
    let schema = schema_of(&version.columns);
    let state = planner.state();
    let plan = cast_batches(plan, &schema)?;
    let batches = tokio::select! {
        batches = run(&state, &plan) => batches?,
        () = cancel.cancelled() => return Err(cancelled()),
    };
    let (counting, id) = (Arc::clone(warehouse), job.id);
    let mut n_rows = 0;
    let counted = batches.map(move |batch| {
        let batch = batch.map_err(Error::from)?;
        n_rows += batch.num_rows() as u64;
        counting.catalog.ledger().progress(id, n_rows, n_rows)?;
        Ok(batch)
    });
    let offline = &warehouse.offline;
    // It goes again if this is not committed.
    let staged = Staged::new(offline, dataset_table(version));
    offline.create_table(staged.table(), schema, Layout::Plain).await?;
    let write = Write::new(WriteKind::Append, counted.boxed()).with_cancel(cancel);
    version.rows = offline.write(staged.table(), write).await?.rows_written;
    let stored = offline.table(staged.table()).await?;
    version.bytes = stored.map_or(0, |stored| stored.files.iter().map(|file| file.size_bytes).sum());
    version.created_at_us = warehouse.clock.now_us();
    version.job = Some(job.id);
    let rows = version.rows;
    warehouse.catalog.commit(base, &job.request.author, vec![Change::put(dataset)])?;
    staged.keep();
    Ok(rows)
}

/// Everything that the query reads, directly or through others, as it is now.
fn inputs(context: &StatementContext, planned: &PlannedQuery) -> Result<Vec<DatasetInput>> {
    let stored = versions_read(&planned.plan)?;
    let mut found = BTreeSet::new();
    let mut waiting = planned.depends_on.clone();
    let mut inputs = Vec::new();
    while let Some(id) = waiting.pop() {
        let Some(object) = context.snapshot().get(id).filter(|_| found.insert(id)) else { continue };
        waiting.extend(object.depends_on());
        // A secret says nothing about rows, and its text is nobody's to read.
        if object.kind() != ObjectKind::Secret {
            inputs.extend(rows_versions(object, &stored)?.into_iter().map(|rows| input(context, object, rows)));
        }
    }
    inputs.sort_by_key(|input| (input.id, input.rows_version));
    Ok(inputs)
}

/// Which rows of the object a plan reads; `stored` are the stored tables it reads, and their versions.
fn rows_versions(object: &Object, stored: &BTreeMap<String, u64>) -> Result<Vec<Option<u64>>> {
    let read: Vec<Option<u64>> = match object {
        Object::Table(table) => stored.get(&table_id(table)).map(|version| Some(*version)).into_iter().collect(),
        Object::FeatureView(view) => {
            let groups = BoundView::of_feature_view(view)?.by_group();
            let versions = groups.iter().filter_map(|group| stored.get(&group.offline_table()));
            versions.map(|version| Some(*version)).collect()
        }
        Object::Dataset(dataset) => {
            let read = dataset.versions().filter(|version| stored.contains_key(&dataset_table(version)));
            read.map(|version| Some(version.number)).collect()
        }
        _ => Vec::new(),
    };
    Ok(if read.is_empty() { vec![None] } else { read })
}

fn input(context: &StatementContext, object: &Object, rows_version: Option<u64>) -> DatasetInput {
    let header = object.header();
    let schema: Option<ObjectId> = header.home.schema();
    let schema = schema.and_then(|schema| context.snapshot().get(schema)).map(|schema| schema.name().to_owned());
    let dataset = object.downcast::<Dataset>();
    let version = dataset.zip(rows_version).and_then(|(dataset, number)| dataset.version(number));
    let definition = match version {
        // what made that version, not the newest
        Some(version) => format!("CREATE DATASET {} AS {}", granary_sql::name::quote(&header.name), version.query),
        None => header.statement.clone(),
    };
    DatasetInput {
        id: header.id,
        kind: object.kind(),
        schema: schema.unwrap_or_default(),
        name: header.name.clone(),
        definition,
        revision: header.revision,
        rows_version,
    }
}
