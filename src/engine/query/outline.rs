//! Relations as outlines: their columns and no rows, so that a query can be planned with nothing opened, and whoever
//! walks the plan finds whose column each one is.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::TableReference;
use datafusion::datasource::{TableProvider, TableType, provider_as_source};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableSource};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use granary_catalog::{Column, Object, ObjectId, ObjectKind};

use super::system_time::{ReadAt, SystemTimes, as_of_column};
use super::{QueryPlanner, dataset, dataset_version, with_table};
use crate::access::Asker;
use crate::engine::relation::{EFFECTIVE_TIME, STATUS, VALID_FROM, VALID_TO, time_type};
use crate::engine::tables::system;
use crate::error::Result;

/// What an outline is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutlineOf {
    Object(ObjectId),
    /// of the server's own: its schema and name
    System(&'static str, &'static str),
}

/// A relation without rows.
#[derive(Debug)]
pub struct Outline {
    pub of: OutlineOf,
    schema: SchemaRef,
}

impl Outline {
    pub(in crate::engine) fn new(of: OutlineOf, schema: SchemaRef) -> Outline {
        Outline { of, schema }
    }

    fn of_columns(object: &Object, columns: &[Column], more: impl IntoIterator<Item = Field>) -> Outline {
        let own = columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true));
        let schema = Arc::new(Schema::new(own.chain(more).collect::<Vec<_>>()));
        Outline::new(OutlineOf::Object(object.id()), schema)
    }
}

#[async_trait]
impl TableProvider for Outline {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        Ok(Arc::new(EmptyExec::new(schema)))
    }
}

impl QueryPlanner {
    /// Every relation is an outline, whoever asks: nothing is opened, and nothing that is planned can be run for rows.
    /// `read` is what names mean.
    pub(in crate::engine) fn outlined(&self, read: Vec<ObjectId>) -> QueryPlanner {
        let mut outlined = self.clone();
        outlined.outlined = true;
        outlined.scope.asker = Asker::Server;
        outlined.scope.mean(read);
        outlined
    }

    pub(in crate::engine) fn is_outlined(&self) -> bool {
        self.outlined
    }

    /// An ordinary relation's; `None` if relations have rows.
    pub(super) fn outline(&self, object: &Object) -> Option<Arc<dyn TableProvider>> {
        let columns = || system::names::columns(&self.scope.snapshot, object);
        self.outlined.then(|| Arc::new(Outline::of_columns(object, &columns(), [])) as Arc<dyn TableProvider>)
    }

    /// What a name of a statement stands for where relations are outlines.
    pub(super) fn outline_named(
        &self,
        reference: &TableReference,
        times: &SystemTimes,
    ) -> Result<Arc<dyn TableSource>> {
        let outline = match self.versioned(reference, times) {
            Some((name, number)) => {
                let object = self.find(&with_table(reference, name))?;
                let columns = system::names::columns(&self.scope.snapshot, &object);
                match &times.relations[number - 1] {
                    ReadAt::AsOf { .. } => {
                        let time = Field::new(as_of_column(number), time_type(), true);
                        Outline::of_columns(&object, &columns, system_columns(times).into_iter().chain([time]))
                    }
                    ReadAt::Between { .. } => {
                        let valid = [VALID_FROM, VALID_TO].map(|name| Field::new(name, time_type(), true));
                        Outline::of_columns(&object, &columns, valid)
                    }
                    // its columns are those of one version
                    ReadAt::DatasetVersion { number } => {
                        let version = dataset_version::of_number(dataset(&object)?, *number)?;
                        Outline::of_columns(&object, &version.columns, [])
                    }
                    ReadAt::DatasetAt { .. } => Outline::of_columns(&object, &columns, []),
                }
            }
            None => match system::named(&self.scope.search_path, reference) {
                Some(relation) => {
                    Outline::new(OutlineOf::System(relation.schema, relation.name), Arc::clone(&relation.arrow))
                }
                None => {
                    let object = self.find(reference)?;
                    let columns = system::names::columns(&self.scope.snapshot, &object);
                    let is_feature = matches!(
                        object.kind(),
                        ObjectKind::FeatureView
                            | ObjectKind::FeatureTable
                            | ObjectKind::FeatureService
                            | ObjectKind::RealtimeView
                    );
                    let more = if is_feature { system_columns(times) } else { Vec::new() };
                    Outline::of_columns(&object, &columns, more)
                }
            },
        };
        Ok(provider_as_source(Arc::new(outline)))
    }
}

fn system_columns(times: &SystemTimes) -> Vec<Field> {
    match times.system_columns {
        true => vec![Field::new(EFFECTIVE_TIME, time_type(), true), Field::new(STATUS, DataType::Utf8, true)],
        false => Vec::new(),
    }
}
