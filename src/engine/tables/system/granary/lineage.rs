//! Which columns are made of which.

use super::{Rows, SystemContext, row};
use crate::engine::lineage::{Origin, lineage_of};
use crate::error::Result;

pub fn lineage(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let snapshot = &context.scope.snapshot;
    let own = snapshot.objects().filter(|object| object.home().workspace() == Some(context.scope.workspace));
    for object in own {
        let lineage = lineage_of(&context.planner, object);
        for edge in &lineage.edges {
            let (kind, schema, name, column) = match &edge.from {
                Origin::Column(id, column) => match snapshot.get(*id) {
                    Some(from) => {
                        let schema = context.schema_of(from.header());
                        (Some(from.kind().as_str()), Some(schema), Some(from.name()), Some(column.as_str()))
                    }
                    None => (None, None, None, Some(column.as_str())),
                },
                Origin::Object { kind, schema, name } => {
                    (Some(kind.as_str()), Some(schema.clone()), Some(name.as_str()), None)
                }
                Origin::System(schema, name, column) => {
                    (Some("system view"), Some((*schema).to_owned()), Some(*name), Some(column.as_str()))
                }
                Origin::Unnamed(what) => (None, None, None, Some(what.as_str())),
            };
            row!(rows,
                from_kind: kind,
                from_schema: schema,
                from_object: name,
                from_column: column,
                to_kind: object.kind().as_str(),
                to_schema: context.schema_of(object.header()),
                to_object: object.name(),
                to_column: edge.column.as_deref(),
                type: edge.how.type_name(),
                subtype: edge.how.subtype(),
                error: lineage.error.as_deref(),
            );
        }
        // one that reads nothing any more still says why
        if let Some(error) = lineage.error.as_ref().filter(|_| lineage.edges.is_empty()) {
            row!(rows,
                to_kind: object.kind().as_str(),
                to_schema: context.schema_of(object.header()),
                to_object: object.name(),
                type: "INDIRECT",
                subtype: "UNKNOWN",
                error: error,
            );
        }
    }
    Ok(())
}
