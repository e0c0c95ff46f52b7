//! Alerts, and what they have told whom. What an evaluation that failed says may be of rows that only the owner reads: it is
//! shown to who may tend the alert, and so are deliveries.

use granary_catalog::{Alert, Object};

use super::{Rows, SystemContext, object_row, row};
use crate::error::Result;

fn may_tend(context: &SystemContext, object: &Object) -> bool {
    let access = context.scope.access();
    access.owns(object) || access.may_operate_in(context.scope.workspace)
}

pub fn alerts(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let Some(store) = &context.facts.alerts else { return Ok(()) };
    for object in context.objects() {
        let Object::Alert(alert) = object else { continue };
        let state = store.state(alert.header.id.0);
        let failing = state.failing.as_ref();
        let may_tend = may_tend(context, object);
        object_row!(context, rows, &alert.header,
            condition: &alert.condition,
            severity: alert.severity.as_str(),
            state: state.phase.as_str(),
            since: state.since_us,
            rows: state.rows,
            last_checked_at: state.checked_us,
            last_told_at: state.told_us,
            times_told: state.times_told,
            resolved_at: state.resolved_us,
            last_error: failing.filter(|_| may_tend).map(|failing| failing.message.clone()),
            failures: failing.map_or(0, |failing| failing.count),
            paused: alert.paused,
            hold: alert.for_us,
            repeat_every: alert.repeat.map(|repeat| repeat.every_us),
            repeat_at_most: alert.repeat.and_then(|repeat| repeat.at_most),
            check_every: alert.check_every_us,
            actions: actions(alert),
        );
    }
    Ok(())
}

/// `webhook https://hooks.example.com/***`
fn actions(alert: &Alert) -> Vec<String> {
    alert.actions.iter().map(|action| format!("{} {}", action.as_str(), action.target())).collect()
}

pub fn alert_deliveries(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let Some(store) = &context.facts.alerts else { return Ok(()) };
    for object in context.objects() {
        let Object::Alert(alert) = object else { continue };
        if !may_tend(context, object) {
            continue;
        }
        for delivery in store.deliveries(alert.header.id.0) {
            row!(rows,
                schema: context.schema_of(&alert.header),
                alert: &alert.header.name,
                id: delivery.key(),
                event: delivery.event.as_str(),
                action: &delivery.kind,
                target: &delivery.target,
                created_at: delivery.created_us,
                state: delivery.state.as_str(),
                attempts: delivery.attempts,
                attempted_at: delivery.attempted_us,
                next_attempt_at: delivery.next_attempt_us,
                error: delivery.error.as_ref(),
            );
        }
    }
    Ok(())
}
