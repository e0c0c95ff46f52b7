//! Calls about jobs from who has no session: each is what a statement does, for whom a statement would do it.

use std::sync::Arc;

use granary_catalog::{FeatureView, Job, JobId, Object, ObjectId, Snapshot};

use super::ingest::call_context;
use crate::access::Access;
use crate::error::{Error, Kind, Result};
use crate::statement::{StatementContext, Submission, cancel_job, check_job, retry_job, submit};
use crate::warehouse::Warehouse;

/// One call of a role in a workspace.
pub struct JobsCall {
    context: StatementContext,
}

impl JobsCall {
    /// `text` is what the job says that it was asked for by. Errors: 42501 for who may not connect.
    pub fn begin(
        warehouse: &Arc<Warehouse>,
        snapshot: Arc<Snapshot>,
        workspace: ObjectId,
        role: &str,
        text: String,
    ) -> Result<JobsCall> {
        let call = JobsCall { context: call_context(warehouse, snapshot, workspace, (role, text)) };
        if let Some(workspace) = call.context.snapshot().get(workspace) {
            call.access().check_connect(workspace)?;
        }
        Ok(call)
    }

    /// As REFRESH FEATURE VIEW … NOWAIT, but that the scheduler runs it.
    pub async fn submit(&self, submission: Submission<'_>) -> Result<Job> {
        let object = self.context.snapshot().get(submission.view.header.id).cloned();
        let object = object.ok_or_else(|| Error::internal("a view that is not in its snapshot"))?;
        self.access().check_operate(&object, "REFRESH FEATURE VIEW")?;
        submit(&self.context, submission).await
    }

    /// As CANCEL JOB.
    pub fn cancel(&self, job: JobId) -> Result<Job> {
        self.check(job)?;
        cancel_job(&self.context.warehouse, job)?;
        self.job(job)
    }

    /// As RETRY JOB.
    pub fn retry(&self, job: JobId) -> Result<Job> {
        self.check(job)?;
        retry_job(&self.context.warehouse, job)?;
        self.job(job)
    }

    /// A job of the workspace. Errors: 42704.
    pub fn job(&self, job: JobId) -> Result<Job> {
        let known = self.context.warehouse.catalog.ledger().get(job)?;
        if known.request.workspace == self.context.scope.workspace {
            return Ok(known);
        }
        Err(Error::new(Kind::UndefinedObject, format!("job {job} does not exist")))
    }

    /// The feature view, of an object that was found by its name. Errors: 42809.
    pub fn view(object: &Object) -> Result<&FeatureView> {
        object.downcast().ok_or_else(|| {
            let message = format!("\"{}\" is a {}, not a feature view", object.name(), object.kind().as_str());
            Error::new(Kind::WrongObjectType, message)
        })
    }

    /// Who started a job may tend it, and who may tend all jobs of the workspace.
    fn check(&self, job: JobId) -> Result<()> {
        check_job(&self.context, &self.job(job)?, "JOB")
    }

    fn access(&self) -> Access<'_> {
        self.context.scope.access()
    }
}
