//! Datasets, a row for each version, and what they were made from.

use granary_catalog::Object;

use super::{Rows, SystemContext, object_row, row};
use crate::error::Result;

pub fn datasets(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::Dataset(dataset) = object else { continue };
        for version in dataset.versions() {
            object_row!(context, rows, &dataset.header,
                version: version.number,
                rows: version.rows,
                bytes: version.bytes,
                created_at: version.created_at_us,
                created_by: &version.created_by,
                query: &version.query,
                catalog_version: version.made_at.0,
                job: version.job.map(|job| job.0),
                settings: version.settings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
                is_newest: version.number == dataset.newest.number,
            );
        }
    }
    Ok(())
}

pub fn dataset_inputs(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::Dataset(dataset) = object else { continue };
        for version in dataset.versions() {
            for input in &version.inputs {
                row!(rows,
                    schema: context.schema_of(&dataset.header),
                    dataset: &dataset.header.name,
                    version: version.number,
                    object_schema: &input.schema,
                    object: &input.name,
                    kind: input.kind.as_str(),
                    revision: input.revision,
                    rows_version: input.rows_version,
                    definition: &input.definition,
                );
            }
        }
    }
    Ok(())
}
