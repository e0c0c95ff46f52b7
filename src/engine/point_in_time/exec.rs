//! The operator: one spine, any number of views that are read by the same keys, one pass over each input.
//!
//! `gather` reads the spine and the inputs, into memory or to disk; `blocks` answers a block of keys. Each partition
//! of the output takes the next block, or the next part on disk, until there is none.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, SpillMetrics, Time,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::TryStreamExt;
use granary_catalog::IntervalSet;
use granary_sql::timestamp::format_timestamp;
use tokio::sync::OnceCell;

use super::answer::Answerer;
use super::blocks::Questions;
use super::collect::Resources;
use super::gather::Gathering;
use super::part::{Gathered, Part};
use super::planner::single_partition;
use super::spans::SpanInput;
use super::stored::StoredInput;
use crate::engine::relation::{BoundView, RowLayout};
use crate::error::Result;
use crate::tile::{ViewKind, window_label};

/// Who asks.
#[derive(Debug, Clone)]
pub enum Spine {
    /// Rows whose columns from `width` on are the keys and then the time.
    Rows { input: Arc<dyn ExecutionPlan>, width: usize },
    /// Every key that has a row by `time_us`.
    AllKeys { time_us: i64 },
    /// Every key, at all times of `[start_us, end_us)`.
    History { start_us: i64, end_us: i64 },
}

/// Rows of one or more views: keys first, then what `layout` says.
#[derive(Debug, Clone)]
pub struct RowsInput {
    pub plan: Arc<dyn ExecutionPlan>,
    pub layout: RowLayout,
    pub time: usize,
    /// where it is a column; else rows arrive in the order in which they come, one partition after the other
    pub arrival: Option<usize>,
    /// the same rows in the offline store, if its files lie in the order that a join by key needs
    pub stored: Option<StoredInput>,
    /// how to read spans of time in the place of some of these rows
    pub spans: Option<Arc<SpanInput>>,
}

/// What is wanted of one view.
#[derive(Debug, Clone)]
pub struct Read {
    pub view: Arc<BoundView>,
    /// for EXPLAIN
    pub origin: &'static str,
    pub answerer: Arc<Answerer>,
    pub materialized: Option<IntervalSet>,
    /// which of the inputs has its rows
    pub input: usize,
    /// the input's column that says which rows are of this view; all are, without one
    pub of_view: Option<usize>,
    /// by the answerer's partial or attribute, its columns in the input
    pub columns: Vec<Vec<usize>>,
    pub secondary: Option<usize>,
    /// since when a row is known, of a bitemporal view
    pub known_at: Option<usize>,
}

/// As EXPLAIN shows it.
impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.answerer.plan();
        write!(f, "{} (", self.view.name)?;
        if self.view.kind().has_aggregates() {
            let windows: Vec<String> = plan.windows().iter().map(window_label).collect();
            write!(f, "{} over {}", counted(plan.features.len(), "aggregate"), windows.join(", "))?;
        } else {
            f.write_str(&counted(plan.attributes.len(), "attribute"))?;
        }
        write!(f, ") from {}", self.origin)
    }
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// See the module.
#[derive(Debug)]
pub struct PointInTimeExec {
    spine: Spine,
    inputs: Vec<RowsInput>,
    reads: Arc<[Read]>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    gathered: Arc<OnceCell<Arc<Gathered>>>,
}

impl PointInTimeExec {
    /// `schema`: the spine's columns, then those of each read.
    pub fn new(
        spine: Spine,
        inputs: Vec<RowsInput>,
        reads: Vec<Read>,
        schema: SchemaRef,
        partitions: usize,
    ) -> PointInTimeExec {
        let properties = single_partition(schema)
            .with_partitioning(datafusion::physical_plan::Partitioning::UnknownPartitioning(partitions.max(1)));
        PointInTimeExec {
            spine,
            inputs,
            reads: reads.into(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
            gathered: Arc::default(),
        }
    }
}

impl DisplayAs for PointInTimeExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let views: Vec<String> = self.reads.iter().map(Read::to_string).collect();
        let views = views.join(", ");
        let keys = match self.spine {
            Spine::Rows { .. } => None,
            Spine::AllKeys { time_us } => Some(format!("all as of {}", format_timestamp(time_us))),
            Spine::History { start_us, end_us } => {
                Some(format!("all from {} to {}", format_timestamp(start_us), format_timestamp(end_us)))
            }
        };
        match format {
            DisplayFormatType::TreeRender => {
                write!(f, "views={views}")?;
                keys.map_or(Ok(()), |keys| write!(f, "\nkeys={keys}"))
            }
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "PointInTimeExec: {views}")?;
                keys.map_or(Ok(()), |keys| write!(f, ", keys: {keys}"))
            }
        }
    }
}

impl ExecutionPlan for PointInTimeExec {
    fn name(&self) -> &str {
        "PointInTimeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        let spine = match &self.spine {
            Spine::Rows { input, .. } => Some(input),
            Spine::AllKeys { .. } | Spine::History { .. } => None,
        };
        spine.into_iter().chain(self.inputs.iter().map(|input| &input.plan)).collect()
    }

    // The order in which rows come breaks ties of their times, so nobody may split the inputs anew.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.children().len()]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        if children.len() != self.children().len() {
            return Err(DataFusionError::Internal("a point-in-time join keeps its inputs".into()));
        }
        let mut children = children.into_iter();
        let spine = match &self.spine {
            Spine::Rows { width, input } => {
                Spine::Rows { input: children.next().unwrap_or_else(|| Arc::clone(input)), width: *width }
            }
            other => other.clone(),
        };
        let inputs =
            self.inputs.iter().zip(children).map(|(input, plan)| RowsInput { plan, ..input.clone() }).collect();
        Ok(Arc::new(PointInTimeExec {
            spine,
            inputs,
            reads: Arc::clone(&self.reads),
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
            gathered: Arc::default(),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let schema = self.schema();
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let resources =
            Resources { context: Arc::clone(&context), metrics: SpillMetrics::new(&self.metrics, partition) };
        let figures = Figures::new(&self.metrics, partition);
        let batch_size = context.session_config().batch_size();
        let gathering = Gathering {
            spine: self.spine.clone(),
            inputs: self.inputs.clone(),
            reads: Arc::clone(&self.reads),
            figures: figures.clone(),
            resources,
            parallelism: self.properties.partitioning.partition_count(),
            scans_of_spans: Vec::new(),
        };
        let (asked, answer_schema) = (gathering.spine.clone(), Arc::clone(&schema));
        let gathered = Arc::clone(&self.gathered);
        let start = async move {
            let gathered = gathered.get_or_try_init(|| gathering.run()).await?;
            let questions = Questions {
                asked,
                inputs: Arc::clone(&gathered.described),
                reads: Arc::clone(&gathered.reads),
                schema: answer_schema,
            };
            Ok::<_, DataFusionError>(Answering { gathered: Arc::clone(gathered), part: None, questions, figures })
        };
        let blocks = futures::stream::once(start)
            .map_ok(|answering| {
                futures::stream::try_unfold(answering, |mut answering| async move {
                    let rows = answering.next().await?;
                    Ok::<_, DataFusionError>(rows.map(|rows| (rows, answering)))
                })
            })
            .try_flatten();
        let batches = blocks
            .map_ok(move |rows| {
                let starts = (0..rows.num_rows()).step_by(batch_size);
                let batches: Vec<_> =
                    starts.map(|start| Ok(rows.slice(start, batch_size.min(rows.num_rows() - start)))).collect();
                futures::stream::iter(batches)
            })
            .try_flatten()
            .inspect_ok(move |batch| baseline.record_output(batch.num_rows()));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

/// One partition of the output on its way.
struct Answering {
    gathered: Arc<Gathered>,
    /// the part that is being answered
    part: Option<Part>,
    questions: Questions,
    figures: Figures,
}

impl Answering {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let part = match &mut self.part {
                Some(part) => part,
                None => match self.gathered.next().await? {
                    Some(part) => self.part.insert(part),
                    None => return Ok(None),
                },
            };
            let Some(next) = part.next().await? else {
                self.part = None;
                continue;
            };
            let _timer = self.figures.answer_time.timer();
            let rows = self.questions.answer(part.block(&next))?;
            if rows.num_rows() > 0 {
                return Ok(Some(rows));
            }
        }
    }
}

/// What EXPLAIN ANALYZE shows. Times of steps that run side by side are added up.
#[derive(Debug, Clone)]
pub struct Figures {
    pub spine_rows: Count,
    pub rows_read: Count,
    pub rows_kept: Count,
    /// of the offline store
    pub files_read: Count,
    pub files_pruned: Count,
    pub bytes_read: Count,
    /// spans of time that were read in the place of rows
    pub spans_read: Count,
    /// reading the spine and numbering its keys
    pub spine_time: Time,
    /// waiting for rows of inputs
    pub scan_time: Time,
    /// finding the keys of rows, and dividing them into parts
    pub match_time: Time,
    /// putting the rows of a part in order
    pub order_time: Time,
    /// calculating features
    pub answer_time: Time,
}

impl Figures {
    fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Figures {
        let count = |name: &'static str| MetricBuilder::new(metrics).counter(name, partition);
        let time = |name: &'static str| MetricBuilder::new(metrics).subset_time(name, partition);
        Figures {
            spine_rows: count("spine_rows"),
            rows_read: count("rows_read"),
            rows_kept: count("rows_kept"),
            files_read: count("files_read"),
            files_pruned: count("files_pruned"),
            bytes_read: count("bytes_read"),
            spans_read: count("spans_read"),
            spine_time: time("spine_time"),
            scan_time: time("scan_time"),
            match_time: time("match_time"),
            order_time: time("order_time"),
            answer_time: time("answer_time"),
        }
    }
}

/// Continuous windows and attributes of streams see rows up to the asked time itself.
pub fn sees_whole_time(kind: ViewKind) -> bool {
    matches!(kind, ViewKind::StreamContinuous | ViewKind::StreamAttributes)
}
