//! Plans: what somebody wanted a workspace to be, and what that would change. A plan changes nothing; the workspace says
//! which one was applied to it last, in the commit that did it.

use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::change::Author;
use crate::error::Error;
use crate::id::{ObjectId, PlanId, Version};
use crate::store::{Number, Order, Store, Table};

/// One file of a repository, as it was read; texts that are secret are blanked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFile {
    /// Relative to the repository's folder; empty if the text came from no file.
    pub path: String,
    pub text: String,
}

/// What a plan does to one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChange {
    pub action: PlanAction,
    /// In words: `feature view`.
    pub kind: String,
    pub schema: String,
    pub name: String,
    /// What it was called before, if it is renamed.
    #[serde(default)]
    pub renamed_from: Option<String>,
    #[serde(default)]
    pub properties: Vec<ChangedProperty>,
    /// Why it is recreated, or which features come.
    #[serde(default)]
    pub reason: Option<String>,
    /// The jobs that follow, in words; empty if none do.
    #[serde(default)]
    pub jobs: Option<String>,
    /// About how many rows these jobs read, if that is known.
    #[serde(default)]
    pub estimated_rows: Option<u64>,
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The file that declares it.
    #[serde(default)]
    pub file: Option<String>,
}

impl PlannedChange {
    /// The properties that differ, as JSON: `[{"name": …, "new": …, "old": …}]`.
    pub fn properties_json(&self) -> String {
        serde_json::to_value(&self.properties).unwrap_or_default().to_string()
    }
}

/// A property that becomes another; `None` where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedProperty {
    pub name: String,
    pub old: Option<String>,
    pub new: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanAction {
    Create,
    Rename,
    Update,
    /// Features come to a view; what is stored of the others stays.
    AddFeatures,
    /// What is stored of it goes, and is made anew.
    Recreate,
    Drop,
}

impl PlanAction {
    pub const fn as_str(self) -> &'static str {
        match self {
            PlanAction::Create => "create",
            PlanAction::Rename => "rename",
            PlanAction::Update => "update",
            PlanAction::AddFeatures => "add features",
            PlanAction::Recreate => "recreate",
            PlanAction::Drop => "drop",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub id: PlanId,
    #[serde(flatten)]
    pub new: NewPlan,
}

/// A plan that has no number yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPlan {
    pub workspace: ObjectId,
    pub author: Author,
    /// What its author says about it.
    #[serde(default)]
    pub message: Option<String>,
    pub files: Vec<PlanFile>,
    /// Whether texts were blanked: such a plan can only be applied with its files.
    #[serde(default)]
    pub has_secrets: bool,
    #[serde(default)]
    pub suppress_recreates: bool,
    /// The workspace's objects that it was made against, and when each was last changed.
    pub base: Vec<(ObjectId, Version)>,
    pub changes: Vec<PlannedChange>,
}

/// The plans of one catalog.
pub struct Plans {
    store: Arc<Store>,
    /// The next plan's number; held while one is written.
    next: Mutex<u64>,
}

impl Plans {
    pub(crate) fn open(store: Arc<Store>) -> Result<Plans, Error> {
        let next = store.number(Number::NextPlan)?.unwrap_or(1);
        Ok(Plans { store, next: Mutex::new(next) })
    }

    /// Durable when it returns.
    pub fn add(&self, new: NewPlan) -> Result<Plan, Error> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = Plan { id: PlanId(*next), new };
        let mut batch = self.store.batch();
        batch.put(Table::Plans, &[plan.id.0], &plan)?;
        batch.set(Number::NextPlan, *next + 1);
        batch.commit()?;
        *next += 1;
        Ok(plan)
    }

    pub fn get(&self, id: PlanId) -> Result<Option<Plan>, Error> {
        self.store.get(Table::Plans, &[id.0])
    }

    /// Those of a workspace, the newest first.
    pub fn list(&self, workspace: ObjectId) -> Result<Vec<Plan>, Error> {
        let mut plans = Vec::new();
        self.store.scan(Table::Plans, (Bound::Unbounded, Bound::Unbounded), Order::Descending, |plan: Plan| {
            if plan.new.workspace == workspace {
                plans.push(plan);
            }
            ControlFlow::Continue(())
        })?;
        Ok(plans)
    }

    /// Forgets plans of a workspace made before this time, but for those to keep; tells how many.
    pub fn prune(&self, workspace: ObjectId, before_us: i64, keep: &dyn Fn(PlanId) -> bool) -> Result<u64, Error> {
        let _writer = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.list(workspace)?;
        let old = old.into_iter().filter(|plan| plan.new.author.at_us < before_us && !keep(plan.id));
        let mut batch = self.store.batch();
        let mut pruned = 0;
        for plan in old {
            batch.delete(Table::Plans, &[plan.id.0]);
            pruned += 1;
        }
        if pruned > 0 {
            batch.commit()?;
        }
        Ok(pruned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    fn new(workspace: u64, at_us: i64) -> NewPlan {
        NewPlan {
            workspace: ObjectId(workspace),
            author: Author { role: "ada".to_owned(), at_us, statement: String::new() },
            message: None,
            files: Vec::new(),
            has_secrets: false,
            suppress_recreates: false,
            base: Vec::new(),
            changes: Vec::new(),
        }
    }

    #[test]
    fn plans_are_kept_and_numbered_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.redb");
        let catalog = Catalog::open(&path).unwrap();
        let plans = catalog.plans();
        let ids: Vec<u64> =
            [(1, 10), (2, 20), (1, 30)].map(|(workspace, at)| plans.add(new(workspace, at)).unwrap().id.0).into();
        assert_eq!(ids, [1, 2, 3]);
        let listed: Vec<u64> = plans.list(ObjectId(1)).unwrap().iter().map(|plan| plan.id.0).collect();
        assert_eq!(listed, [3, 1]);
        assert_eq!(plans.prune(ObjectId(1), 40, &|id| id == PlanId(1)).unwrap(), 1);
        drop(catalog);
        let catalog = Catalog::open(&path).unwrap();
        assert_eq!(catalog.plans().get(PlanId(1)).unwrap().unwrap().new, new(1, 10));
        assert_eq!(catalog.plans().get(PlanId(3)).unwrap(), None);
        assert_eq!(catalog.plans().add(new(1, 50)).unwrap().id, PlanId(4));
    }
}
