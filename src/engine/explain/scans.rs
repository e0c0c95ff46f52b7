//! Whose rows a scan reads: the files of an operator, back to the object of the catalog.

use std::collections::HashMap;

use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use granary_catalog::{Object, SourceDefinition};

use crate::engine::query::QueryPlanner;
use crate::engine::relation::BoundView;
use crate::engine::tables::stored::tables_of;
use crate::error::Result;

/// What is scanned.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    /// the format of its files; None for rows in memory
    pub format: Option<String>,
    /// the object that they belong to
    pub name: Option<String>,
    pub files: usize,
}

/// The objects of the catalog by where their rows are.
#[derive(Debug)]
pub struct Names {
    /// by the name of the stored table
    stored: HashMap<String, String>,
    /// where the paths of a source's files begin, up to their first wildcard
    sources: Vec<(String, String)>,
}

impl Names {
    pub fn of(planner: &QueryPlanner) -> Result<Names> {
        let scope = &planner.scope;
        let mut names = Names { stored: HashMap::new(), sources: Vec::new() };
        let own = scope.snapshot.objects().filter(|object| object.home().workspace() == Some(scope.workspace));
        for object in own {
            let name = object.name().to_owned();
            match object.as_ref() {
                Object::FeatureView(view) => {
                    let view = BoundView::of_feature_view(view)?;
                    names.stored.insert(view.events_table(), name.clone());
                    let groups = view.by_group().into_iter().map(|group| group.offline_table());
                    names.stored.extend(groups.map(|table| (table, name.clone())));
                }
                Object::Source(source) => {
                    let SourceDefinition::Files { paths, .. } = &source.definition else { continue };
                    let fixed = |path: &String| {
                        let path = path.split_once("://").map_or(path.as_str(), |(_, path)| path);
                        path.split(['*', '?', '[', '{']).next().unwrap_or_default().trim_start_matches('/').to_owned()
                    };
                    names.sources.extend(paths.iter().map(|path| (fixed(path), name.clone())));
                }
                other => names.stored.extend(tables_of(other).into_iter().map(|table| (table, name.clone()))),
            }
        }
        Ok(names)
    }

    /// What the operator scans, if it does.
    pub fn relation(&self, plan: &dyn ExecutionPlan) -> Option<Relation> {
        let scan = plan.downcast_ref::<DataSourceExec>()?;
        let Some(config) = scan.data_source().downcast_ref::<FileScanConfig>() else {
            return Some(Relation { format: None, name: None, files: 0 });
        };
        let mut files = config.file_groups.iter().flat_map(|group| group.iter());
        let first = files.next().map(|file| file.object_meta.location.to_string());
        let n_files = files.count() + usize::from(first.is_some());
        let format = config.file_source().file_type().to_owned();
        Some(Relation { format: Some(format), name: first.and_then(|path| self.name_of(&path)), files: n_files })
    }

    fn name_of(&self, path: &str) -> Option<String> {
        if let Some(name) = path.split('/').find_map(|part| self.stored.get(part)) {
            return Some(name.clone());
        }
        // paths in a bucket lack its name, those of this machine the slash in front
        let reads = |start: &str| {
            path.starts_with(start) || start.split_once('/').is_some_and(|(_, key)| path.starts_with(key))
        };
        let longest = self.sources.iter().filter(|(start, _)| !start.is_empty() && reads(start));
        longest.max_by_key(|(start, _)| start.len()).map(|(_, name)| name.clone())
    }
}
