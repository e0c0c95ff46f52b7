//! A query that DataFusion has no equal of, as a relation: the columns that it reads come into memory, and
//! `granary_postgres` carries it out there, row by row.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableSource};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use granary_postgres::plan::{self, Body, Distinct, ExprKind, From, Query, Scan, Select, Source};
use granary_postgres::types::Type;
use granary_postgres::{Row, Value as Pg, World};
use tokio_util::sync::CancellationToken;

use super::carry;
use super::lower::field;
use super::world::SettledWorld;
use crate::engine::catalog_query::converted;
use crate::engine::catalog_query::world::CatalogWorld;
use crate::engine::into_datafusion;
use crate::engine::tables::system::SystemContext;

/// How many rows are handed on at once.
const BATCH_ROWS: usize = 8192;
/// Bytes of a value in memory, beside those of a text.
const VALUE_BYTES: usize = size_of::<Pg>();

/// A relation that the query reads, and which columns of it.
#[derive(Clone)]
struct Read {
    number: u32,
    n_columns: usize,
    columns: Vec<(usize, Type)>,
    source: Arc<dyn TableSource>,
}

/// What carries out the query.
struct Work {
    query: Arc<Query>,
    values: Vec<Pg>,
    context: SystemContext,
    world: Arc<SettledWorld>,
}

pub struct Interpreted {
    work: Arc<Work>,
    reads: Vec<Read>,
    schema: SchemaRef,
}

impl Interpreted {
    /// The query over what `world` knows. Its columns are called `0`, `1`, …
    pub fn new(query: Arc<Query>, world: &Arc<SettledWorld>, context: SystemContext, values: Vec<Pg>) -> Interpreted {
        let mut columns: HashMap<u32, BTreeSet<usize>> = HashMap::new();
        query.walk(&mut |query| {
            if let Body::Select(select) = &query.body
                && let Some(from) = &select.from
            {
                from.scans(&mut |scan| {
                    if let Source::Relation(relation) = &scan.source {
                        columns.entry(relation.oid).or_default().extend(scan.slots.iter().map(|(column, _)| *column));
                    }
                });
            }
        });
        let reads = world.known().filter_map(|known| {
            let own = columns.get(&known.relation.oid)?;
            let types = &known.relation.columns;
            Some(Read {
                number: known.relation.oid,
                n_columns: types.len(),
                columns: own.iter().map(|column| (*column, types[*column].data_type.clone())).collect(),
                source: Arc::clone(&known.source),
            })
        });
        let reads = reads.collect();
        let fields: Vec<Field> = query
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let carrier = carry::carrier(&column.data_type);
                field(&index.to_string(), &column.data_type, &carrier).as_ref().clone()
            })
            .collect();
        let work = Work { query, values, context, world: Arc::clone(world) };
        Interpreted { work: Arc::new(work), reads, schema: Arc::new(Schema::new(fields)) }
    }

    /// The relations that it reads, and the places of the columns that it reads of each.
    pub fn columns_read(&self) -> impl Iterator<Item = (&Arc<dyn TableSource>, Vec<usize>)> {
        self.reads.iter().map(|read| (&read.source, read.columns.iter().map(|(column, _)| *column).collect()))
    }
}

/// The rows that functions of FROM give, in the columns of `scan` that are read. None: it is needed by what it stands in.
pub fn rows_of_functions(
    scan: &Scan,
    world: &Arc<SettledWorld>,
    context: SystemContext,
    values: &[Pg],
) -> Option<Interpreted> {
    let targets: Vec<plan::Expr> = scan
        .slots
        .iter()
        .enumerate()
        .map(|(slot, (column, _))| {
            let data_type = scan.types.get(*column)?.clone();
            Some(plan::Expr::new(ExprKind::Column { level: 0, slot }, data_type))
        })
        .collect::<Option<_>>()?;
    let columns = targets.iter().map(|target| plan::Output {
        name: String::new(),
        data_type: target.data_type.clone(),
        relation: 0,
        number: 0,
    });
    let columns = columns.collect();
    let slots = scan.slots.iter().enumerate().map(|(slot, (column, _))| (*column, slot)).collect();
    let select = Select {
        n_slots: scan.slots.len(),
        from: Some(From::Scan(Scan { slots, ..scan.clone() })),
        filter: None,
        grouping: None,
        windows: Vec::new(),
        sets: Vec::new(),
        targets,
        distinct: Distinct::No,
    };
    let query = Query {
        id: 0,
        is_fixed: false,
        with: Vec::new(),
        body: Body::Select(Box::new(select)),
        order_by: Vec::new(),
        limit: None,
        offset: None,
        with_ties: false,
        columns,
    };
    Some(Interpreted::new(Arc::new(query), world, context, values.to_vec()))
}

impl fmt::Debug for Interpreted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interpreted")
    }
}

#[async_trait]
impl TableProvider for Interpreted {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut inputs = Vec::with_capacity(self.reads.len());
        for read in &self.reads {
            let columns = read.columns.iter().map(|(column, _)| *column).collect();
            let scan = LogicalPlanBuilder::scan("read", Arc::clone(&read.source), Some(columns))?.build()?;
            inputs.push(state.create_physical_plan(&scan).await?);
        }
        let columns: Vec<usize> = projection.map_or_else(|| (0..self.schema.fields().len()).collect(), Clone::clone);
        let schema = Arc::new(self.schema.project(&columns)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Arc::new(InterpretedExec {
            work: Arc::clone(&self.work),
            reads: self.reads.clone(),
            inputs,
            columns,
            properties: Arc::new(properties),
        }))
    }
}

struct InterpretedExec {
    work: Arc<Work>,
    reads: Vec<Read>,
    /// one for each of `reads`
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    /// which columns of the query are wanted
    columns: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl fmt::Debug for InterpretedExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InterpretedExec")
    }
}

impl DisplayAs for InterpretedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InterpretedExec: in memory, row by row")
    }
}

impl ExecutionPlan for InterpretedExec {
    fn name(&self) -> &str {
        "InterpretedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(InterpretedExec {
            work: Arc::clone(&self.work),
            reads: self.reads.clone(),
            inputs,
            columns: self.columns.clone(),
            properties: Arc::clone(&self.properties),
        }))
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (work, reads, columns) = (Arc::clone(&self.work), self.reads.clone(), self.columns.clone());
        let inputs = self.inputs.clone();
        let schema = self.schema();
        let own_schema = Arc::clone(&schema);
        let memory = MemoryConsumer::new("rows of a query in memory").register(context.memory_pool());
        let batches = async move {
            let mut rows = HashMap::with_capacity(reads.len());
            for (read, input) in reads.iter().zip(&inputs) {
                rows.insert(read.number, Arc::new(read_rows(read, input, &context, &memory).await?));
            }
            let stop = CancellationToken::new();
            let guard = stop.clone().drop_guard();
            let made = tokio::task::spawn_blocking(move || work.run(rows, stop, &columns, &own_schema)).await;
            guard.disarm();
            drop(memory);
            let batches = made.map_err(|error| DataFusionError::External(Box::new(error)))??;
            Ok::<_, DataFusionError>(futures::stream::iter(batches.into_iter().map(Ok)))
        };
        let stream = futures::stream::once(batches).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// All rows of an input, in its order.
async fn read_rows(
    read: &Read,
    input: &Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
    memory: &MemoryReservation,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for partition in 0..input.output_partitioning().partition_count() {
        let mut batches = input.execute(partition, Arc::clone(context))?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            memory.try_grow(batch.get_array_memory_size() + batch.num_rows() * read.n_columns * VALUE_BYTES)?;
            let columns = read
                .columns
                .iter()
                .zip(batch.columns())
                .map(|((column, data_type), array)| Ok((*column, carry::values(array, data_type)?.into_iter())))
                .collect::<granary_postgres::Result<Vec<_>>>();
            let mut columns = columns.map_err(|error| into_datafusion(converted(error, "")))?;
            for _ in 0..batch.num_rows() {
                let mut row = vec![Pg::Null; read.n_columns];
                for (column, values) in &mut columns {
                    row[*column] = values.next().unwrap_or(Pg::Null);
                }
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

impl Work {
    fn run(
        &self,
        rows: HashMap<u32, Arc<Vec<Row>>>,
        stop: CancellationToken,
        columns: &[usize],
        schema: &SchemaRef,
    ) -> Result<Vec<RecordBatch>> {
        let failed = |error| into_datafusion(converted(error, ""));
        let catalogs = CatalogWorld::new(self.context.clone());
        catalogs.stop_by(stop);
        let world = self.world.with_rows(catalogs, rows);
        let rows = granary_postgres::execute(&self.query, self.values.clone(), &world).map_err(failed)?;
        rows.chunks(BATCH_ROWS).map(|rows| self.batch(rows, columns, schema, &world)).collect()
    }

    fn batch(&self, rows: &[Row], columns: &[usize], schema: &SchemaRef, world: &dyn World) -> Result<RecordBatch> {
        let arrays = columns.iter().map(|column| {
            let data_type = &self.query.columns[*column].data_type;
            let values: Vec<Pg> = rows.iter().map(|row| row[*column].clone()).collect();
            let wanted: DataType = carry::carrier(data_type);
            carry::array(&wanted, data_type, &values, world).map_err(|error| into_datafusion(converted(error, "")))
        });
        let arrays = arrays.collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
    }
}
