//! A call that writes to several relations, from who has no session: all of it is checked before any of it is kept.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::{FutureExt, StreamExt};
use granary_catalog::{Object, ObjectId, Privilege, Snapshot};
use tokio_util::sync::CancellationToken;

use super::transaction::Transaction;
use crate::access::{Asker, PUBLIC_SCHEMA};
use crate::audit::Actor;
use crate::error::{Error, Result};
use crate::ingest::ViewCount;
use crate::statement::{Call, CallRows, LeftOut, StatementContext, Target, gather};
use crate::warehouse::Warehouse;

/// See the module.
pub struct IngestCall {
    context: StatementContext,
}

/// What one relation is to get.
pub struct Push {
    pub target: Target,
    /// in the columns of the target
    pub rows: RecordBatch,
    /// the number of each row, counted from one
    pub numbers: Vec<u64>,
    /// where those are noted that do not fit
    pub left_out: Arc<LeftOut>,
}

impl IngestCall {
    /// A call of this role in a workspace.
    pub fn begin(warehouse: &Arc<Warehouse>, snapshot: Arc<Snapshot>, workspace: ObjectId, role: &str) -> IngestCall {
        IngestCall { context: call_context(warehouse, snapshot, workspace, (role, "INGEST".to_owned())) }
    }

    /// Refuses a role that may not write to these columns of a relation.
    pub fn check_rights<'c>(&self, object: &Object, columns: impl IntoIterator<Item = &'c str>) -> Result<()> {
        let access = self.context.scope.access();
        if let Some(workspace) = self.context.snapshot().get(self.context.scope.workspace) {
            access.check_connect(workspace)?;
        }
        access.check_write(object, Privilege::Insert, columns)
    }

    /// Takes rows that fit into the call; gives their number.
    pub async fn take(&mut self, push: Push) -> Result<u64> {
        let Push { target, rows, numbers, left_out } = push;
        let rows = futures::stream::iter([Ok(CallRows { rows, numbers })]).boxed();
        // policies are for tables alone, and these are none
        assert!(target.table.is_none(), "rows are pushed to streams and feature tables");
        let call = Call { left_out: Some(left_out), ..Call::plain(rows, Vec::new()) };
        gather(&mut self.context, &target, call, &CancellationToken::new()).await
    }

    /// How many rows the call has of each view over the streams that it writes to.
    pub fn view_counts(&self) -> &[ViewCount] {
        &self.context.view_counts
    }

    /// Keeps what was taken: relation by relation, in the order in which they were given. It ends what it has begun also
    /// if nobody waits any more.
    pub async fn commit(self) -> Result<()> {
        let StatementContext { warehouse, scope, role, writes, text, .. } = self.context;
        let commit = async move {
            let mut transaction = Transaction::default();
            transaction.add(&scope.snapshot, Vec::new(), writes, text)?;
            transaction.commit(&warehouse, Actor { role, ..Actor::default() }).await.map(drop)
        };
        let task = tokio::spawn(commit.boxed());
        task.await.map_err(|error| Error::internal("a task that writes rows died").with_source(error))?
    }
}

/// The surroundings of a call that has no session: whose it is, and what it says in the place of a statement.
pub(super) fn call_context(
    warehouse: &Arc<Warehouse>,
    snapshot: Arc<Snapshot>,
    workspace: ObjectId,
    (role, text): (&str, String),
) -> StatementContext {
    let mut scope = warehouse.scope(workspace, vec![PUBLIC_SCHEMA.to_owned()], Asker::role(role));
    scope.snapshot = snapshot;
    StatementContext::without_session(warehouse, scope, role, text)
}
