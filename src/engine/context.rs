//! How DataFusion is set up: memory, functions, rules. One engine a server, one session state a statement.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::{QueryPlanner as PhysicalQueryPlanner, SessionState};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{MemoryLimit, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;
use futures::stream::BoxStream;

use super::arithmetic::CheckedArithmetic;
use super::functions;
use super::guarded::GuardedConditions;
use super::lineage::KnownLineages;
use super::literals::TextLiterals;
use super::memory::{HeldMemory, SharedMemory};
use super::point_in_time::{PointInTimePlanner, PointInTimeRule};
use super::sealed::Unseal;
use super::threads::QueryThreads;
use super::yielding::YieldingJoins;
use crate::error::Result;

/// What the engine may use of the machine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// bytes that all queries together may hold before they spill
    pub memory_limit_bytes: usize,
    /// where spilled data goes
    pub spill_folder: PathBuf,
    /// tasks of one query that may run side by side
    pub parallelism: usize,
}

/// DataFusion, configured. Cheap to share.
#[derive(Debug)]
pub struct Engine {
    base: SessionState,
    threads: Arc<QueryThreads>,
    lineages: KnownLineages,
}

#[derive(Debug)]
struct GranaryQueryPlanner;

#[async_trait::async_trait]
impl PhysicalQueryPlanner for GranaryQueryPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        state: &dyn datafusion::catalog::Session,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(PointInTimePlanner)])
            .create_physical_plan(plan, state)
            .await
    }
}

/// Threads for queries, for each task of one that may run side by side. More than one: a join whose condition holds for
/// few rows computes for long without pausing, even when it is cancelled, and others must have a thread meanwhile.
const THREADS_PER_TASK: usize = 4;

/// How many of the largest memory consumers an out-of-memory error names.
const CONSUMERS_NAMED: std::num::NonZeroUsize = std::num::NonZeroUsize::new(3).expect("three is not zero");

impl Engine {
    pub fn new(config: &EngineConfig) -> Result<Engine> {
        let runtime = runtime(config)?;
        let threads = Arc::new(QueryThreads::new(THREADS_PER_TASK * config.parallelism)?);
        let mut session = SessionConfig::new()
            .with_extension(Arc::clone(&threads))
            .with_target_partitions(config.parallelism)
            .with_information_schema(false)
            .with_create_default_catalog_and_schema(false);
        let options = session.options_mut();
        options.sql_parser.collect_spans = true;
        options.sql_parser.parse_float_as_decimal = true;
        options.sql_parser.map_string_types_to_utf8view = false;
        options.execution.parquet.schema_force_view_types = false;
        options.execution.time_zone = Some("UTC".into());
        // what a sort keeps back for its merge must leave room for its rows
        let kept_back = options.execution.sort_spill_reservation_bytes;
        options.execution.sort_spill_reservation_bytes = kept_back.min(config.memory_limit_bytes / 4);
        let mut builder = SessionStateBuilder::new()
            .with_config(session)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_query_planner(Arc::new(GranaryQueryPlanner))
            .with_analyzer_rule(Arc::new(TextLiterals))
            .with_analyzer_rule(Arc::new(CheckedArithmetic))
            .with_optimizer_rule(Arc::new(PointInTimeRule))
            .with_physical_optimizer_rule(Arc::new(Unseal))
            .with_physical_optimizer_rule(Arc::new(GuardedConditions))
            .with_physical_optimizer_rule(Arc::new(YieldingJoins));
        functions::register(&mut builder);
        Ok(Engine { base: builder.build(), threads, lineages: KnownLineages::default() })
    }

    /// Does work on the threads for queries: see [`QueryThreads::work`].
    pub async fn work<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        self.threads.work(work).await
    }

    /// Lineages that were asked for before.
    pub fn lineages(&self) -> &KnownLineages {
        &self.lineages
    }

    /// Polls a stream on the threads for queries: see [`QueryThreads::stream`].
    pub fn stream(
        &self,
        schema: SchemaRef,
        rows: BoxStream<'static, Result<RecordBatch>>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        self.threads.stream(schema, rows)
    }

    /// Room beside that of queries, out of the same memory.
    pub fn hold(&self, name: &str) -> HeldMemory {
        HeldMemory::new(&self.base.runtime_env().memory_pool, name)
    }

    /// Bytes that queries hold, and may hold together.
    pub fn memory(&self) -> (usize, usize) {
        let pool = &self.base.runtime_env().memory_pool;
        let limit = match pool.memory_limit() {
            MemoryLimit::Finite(limit) => limit,
            MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
        };
        (pool.reserved(), limit)
    }

    /// For work that is no client's own, such as a job.
    pub fn threads(&self) -> &tokio::runtime::Handle {
        self.threads.handle()
    }

    /// The state for one statement. `now_us` is what `now()` says in it.
    pub fn state(&self, now_us: i64) -> SessionState {
        let mut state = self.base.clone();
        let now = chrono::DateTime::from_timestamp_micros(now_us);
        state.execution_props_mut().query_execution_start_time = now;
        state
    }

    /// A state whose plans keep the order of what they read, part by part, as long as they go row by row.
    pub fn split_state(&self, now_us: i64) -> SessionState {
        let mut state = self.state(now_us);
        let options = state.config_mut().options_mut();
        options.optimizer.enable_round_robin_repartition = false;
        // a partition that has ended may not read on in the files of another
        options.execution.enable_file_stream_work_stealing = false;
        state
    }

    /// A state whose plans have one partition, so that rows come in the order of the files that hold them.
    /// That order is what breaks ties between events of the same time.
    pub fn ordered_state(&self, now_us: i64) -> SessionState {
        let mut state = self.state(now_us);
        let options = state.config_mut().options_mut();
        options.execution.target_partitions = 1;
        options.optimizer.repartition_file_scans = false;
        options.optimizer.enable_round_robin_repartition = false;
        state
    }
}

fn runtime(config: &EngineConfig) -> Result<Arc<RuntimeEnv>> {
    let pool = TrackConsumersPool::new(SharedMemory::new(config.memory_limit_bytes), CONSUMERS_NAMED);
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![config.spill_folder.clone()]));
    Ok(RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk)
        // files may change between two queries, and we must see it
        .with_object_list_cache_limit(0)
        .build_arc()?)
}
