//! What the server counts of itself, as `/metrics` tells it: the numbers of the connected workspace, and of all.

use granary_catalog::Workspace;

use super::{Rows, SystemContext, row};
use crate::error::Result;
use crate::metrics::samples;

pub fn metrics(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let workspace = context.scope.snapshot.get_as::<Workspace>(context.scope.workspace);
    let workspace = workspace.map(|workspace| workspace.header.name.as_str());
    let is_shown = |of: &Option<String>| of.is_none() || of.as_deref() == workspace;
    let all = samples().into_iter().chain((context.facts.samples)());
    for sample in all.filter(|sample| is_shown(&sample.workspace)) {
        let label = |name| sample.labels.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        row!(rows,
            name: format!("{}{}", sample.metric.name, sample.suffix),
            type: sample.metric.kind,
            service: label("service"),
            door: label("door"),
            outcome: label("outcome"),
            status: label("status"),
            le: label("le").and_then(|bound| bound.parse::<f64>().ok()),
            value: sample.value,
            stream: label("stream"),
            view: label("view"),
            sink: label("sink"),
            alert: label("alert"),
            partition: label("partition").and_then(|partition| partition.parse::<i32>().ok()),
            phase: label("phase"),
            kind: label("kind"),
            state: label("state"),
            part: label("part"),
            version: label("version"),
        );
    }
    Ok(())
}
