//! `CREATE ALERT`, `ALTER ALERT … PAUSE`, and `CHECK ALERT`, which evaluates one now.

mod condition;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use granary_catalog::{Alert, AlertAction, AlertRepeat, AlertSeverity, Change, Object, ObjectKind, SealedText};
use granary_sql::name::fold;
use granary_sql::statement::{self, CheckAlert, CreateAlert};
use granary_sql::{OptionEntry, OptionValue, Statement, is_masked_url, masked_url, without_secrets};

use super::context::{NewObject, StatementContext, check_options};
use super::stream::PAUSED;
use crate::alerts::{AlertState, Event, Found, Message, Rules, Telling, step};
use crate::error::{Error, Kind, Result};
use crate::outbound::{check_address, check_header, parse_url};
use crate::row::{Value, array_of};
use crate::warehouse::Warehouse;
use condition::Evaluated;

pub const OPTIONS: [&str; 1] = [PAUSED];

/// How often an alert is looked at, if it does not say so.
const CHECK_EVERY_US: i64 = 60_000_000;
const SHORTEST_US: i64 = 1_000_000;
const MOST_ACTIONS: usize = 16;

pub async fn create(context: &mut StatementContext, create: &CreateAlert) -> Result<()> {
    check_options(&create.options, &OPTIONS)?;
    let condition = create.when.text.clone();
    let depends_on = condition::check(context, &condition)
        .await
        .map_err(|error| context.at(&create.when.ast, error.without_position()))?;
    let check_every_us = create.check_every.as_ref().map_or(CHECK_EVERY_US, |every| every.microseconds);
    let repeat = create.repeat.as_ref().map(|repeat| AlertRepeat {
        every_us: repeat.every.microseconds,
        at_most: repeat.at_most.and_then(|times| u32::try_from(times).ok()),
    });
    let shortest = repeat.map_or(check_every_us, |repeat| repeat.every_us.min(check_every_us));
    if shortest < SHORTEST_US {
        let message = "an alert is looked at, and repeated, once a second at most";
        return Err(Error::new(Kind::InvalidParameterValue, message));
    }
    if create.actions.len() > MOST_ACTIONS {
        let message = format!("an alert has at most {MOST_ACTIONS} actions");
        return Err(Error::new(Kind::InvalidParameterValue, message));
    }
    let actions = create.actions.iter().map(action).collect::<Result<Vec<_>>>()?;
    let anew = CreateAlert { or_replace: false, if_not_exists: false, ..create.clone() };
    let header = context.new_header(NewObject {
        kind: ObjectKind::Alert,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: without_secrets(&anew.to_string()).into_owned(),
    })?;
    let Some(header) = header else { return Ok(()) };
    let has_mail = actions.iter().any(|action| matches!(action, AlertAction::Email { .. }));
    if has_mail && !context.warehouse.alerts.sends_mail.load(Ordering::Relaxed) {
        let told =
            Error::new(Kind::SuccessfulCompletion, "this server has no mail server: mails will not be delivered");
        context.notices.push(told.with_hint("granary serve --smtp-url … --smtp-from …"));
    }
    let severity = match create.severity {
        Some(statement::AlertSeverity::Info) => AlertSeverity::Info,
        Some(statement::AlertSeverity::Critical) => AlertSeverity::Critical,
        Some(statement::AlertSeverity::Warning) | None => AlertSeverity::Warning,
    };
    context.changes.push(Change::put(Alert {
        header,
        condition,
        for_us: create.hold.as_ref().map_or(0, |hold| hold.microseconds),
        severity,
        repeat,
        check_every_us,
        actions,
        paused: create.options.bool(PAUSED)?.unwrap_or(false),
        depends_on,
    }));
    Ok(())
}

fn action(typed: &statement::AlertAction) -> Result<AlertAction> {
    Ok(match typed {
        statement::AlertAction::Webhook { url, headers } => {
            parse_url(url)?;
            if is_masked_url(url) {
                let message = "the URL of the webhook is shown without its secret part";
                return Err(Error::new(Kind::InvalidParameterValue, message).with_hint("type it in full"));
            }
            let header = |(name, value): &(String, String)| {
                check_header(name, value)?;
                Ok((name.clone(), SealedText::new(value)))
            };
            AlertAction::Webhook {
                url: SealedText::new(url),
                shown: masked_url(url),
                headers: headers.iter().map(header).collect::<Result<_>>()?,
            }
        }
        statement::AlertAction::Email(to) => {
            to.iter().try_for_each(|address| check_address(address))?;
            AlertAction::Email { to: to.clone() }
        }
        statement::AlertAction::Notify(channel) => AlertAction::Notify { channel: fold(channel) },
    })
}

/// Stops an alert from being looked at, or lets it go on. Its own statement says so, too.
pub fn pause(context: &mut StatementContext, object: &Object, own: Statement, paused: bool) -> Result<()> {
    let alert: &Alert = object.downcast().ok_or_else(|| Error::internal("an alert is not one"))?;
    let Statement::CreateAlert(mut create) = own else {
        return Err(Error::internal("an alert was made by another statement"));
    };
    create.options.entries.retain(|entry| entry.name != PAUSED);
    if paused {
        let value = OptionValue::Bool(true);
        create.options.entries.push(OptionEntry { name: PAUSED.to_owned(), value, position: None });
    }
    let mut alert = Alert { paused, ..alert.clone() };
    let options = create.options.entries.iter();
    alert.header.options = options.map(|entry| (entry.name.clone(), entry.value.to_string())).collect();
    alert.header.statement = create.to_string();
    context.changes.push(Change::put(alert));
    Ok(())
}

/// The columns of the answer of CHECK ALERT.
pub fn check_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("state", DataType::Utf8, true),
        Field::new("rows", DataType::Int64, true),
        Field::new("told", DataType::Utf8, true),
        Field::new("error", DataType::Utf8, true),
    ]))
}

/// Evaluates an alert now, and does what is then to be done. In a development workspace nobody is told, and nothing kept.
pub async fn check(context: &StatementContext, check: &CheckAlert) -> Result<RecordBatch> {
    let object = context.find(ObjectKind::Alert, &check.name)?;
    let alert: &Alert = object.downcast().ok_or_else(|| Error::internal("an alert is not one"))?;
    let (state, events) = match (context.scope.is_live(), alert.paused) {
        (true, true) => {
            let message = format!("alert \"{}\" is paused", alert.header.name);
            return Err(Error::new(Kind::ObjectNotInPrerequisiteState, message)
                .with_hint(format!("ALTER ALERT {} RESUME", check.name)));
        }
        (true, false) => evaluate(&context.warehouse, alert).await?,
        (false, _) => {
            let evaluated = condition::evaluate(&context.warehouse, alert).await;
            step(&AlertState::default(), rules(alert), &evaluated.found, context.warehouse.clock.now_us())
        }
    };
    let is_live = context.scope.is_live();
    let told: Vec<&str> = events.iter().filter(|_| is_live).map(|event| event.as_str()).collect();
    let text = |text: &str| Some(Value::Text(text.into()));
    let cells = [
        text(state.phase.as_str()),
        Some(Value::Int(i64::try_from(state.rows).unwrap_or(i64::MAX))),
        (!told.is_empty()).then(|| told.join(", ")).and_then(|told| text(&told)),
        state.failing.as_ref().and_then(|failing| text(&failing.message)),
    ];
    let schema = check_schema();
    let columns = schema.fields().iter().zip(&cells);
    let columns = columns.map(|(field, cell)| array_of(field.data_type(), [cell.as_ref()]));
    let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
    RecordBatch::try_new(schema, columns).map_err(|error| Error::internal("an alert's state").with_source(error))
}

fn rules(alert: &Alert) -> Rules {
    Rules { for_us: alert.for_us, repeat: alert.repeat }
}

/// Evaluates an alert of a live workspace, and records what it finds and what is to be told; who delivers is woken.
pub async fn evaluate(warehouse: &Arc<Warehouse>, alert: &Alert) -> Result<(AlertState, Vec<Event>)> {
    let id = alert.header.id;
    let checking = warehouse.alerts.checking(id.0);
    let _alone = checking.lock().await;
    let evaluated = condition::evaluate(warehouse, alert).await;
    let snapshot = warehouse.catalog.snapshot();
    // one that was dropped meanwhile leaves nothing, and of one that has become another nothing is known yet
    let before = warehouse.alerts.state(id.0);
    if snapshot.get_as::<Alert>(id).is_none_or(|now| now.condition != alert.condition || now.paused) {
        return Ok((before, Vec::new()));
    }
    // as of the end: what was told is told from then on
    let now_us = warehouse.clock.now_us();
    let (state, events) = step(&before, rules(alert), &evaluated.found, now_us);
    let tellings = events.iter().flat_map(|event| {
        let message = message(warehouse, alert, *event, (&before, &state), &evaluated);
        alert.actions.iter().enumerate().map(move |(place, action)| Telling {
            action: place,
            kind: action.as_str(),
            target: action.target(),
            is_repeated: *event == Event::Repeated || *event == Event::Failing && message.times_told > 1,
            message: message.clone(),
        })
    });
    warehouse.alerts.record(id.0, state.clone(), tellings.collect(), now_us)?;
    Ok((state, events))
}

fn message(
    warehouse: &Warehouse,
    alert: &Alert,
    event: Event,
    (before, state): (&AlertState, &AlertState),
    evaluated: &Evaluated,
) -> Message {
    let snapshot = warehouse.catalog.snapshot();
    let name_of = |id| snapshot.get(id).map_or_else(String::new, |object| object.name().to_owned());
    let home = alert.header.home;
    let (since_us, times_told) = match event {
        Event::Failing => {
            state.failing.as_ref().map_or((None, 0), |failing| (Some(failing.since_us), failing.times_told))
        }
        Event::Recovered => {
            before.failing.as_ref().map_or((None, 0), |failing| (Some(failing.since_us), failing.times_told))
        }
        Event::Resolved => (before.since_us, state.times_told),
        Event::Firing | Event::Repeated => (state.since_us, state.times_told),
    };
    let error = match &evaluated.found {
        Found::Failed { sqlstate, message } => Some(format!("{message} ({sqlstate})")),
        Found::Holds { .. } | Found::HoldsNot => None,
    };
    let has_rows = matches!(event, Event::Firing | Event::Repeated);
    Message {
        event,
        workspace: home.workspace().map(name_of).unwrap_or_default(),
        schema: home.schema().map(name_of).unwrap_or_default(),
        alert: alert.header.name.clone(),
        severity: alert.severity.as_str().to_owned(),
        condition: alert.condition.clone(),
        description: alert.header.comment.clone(),
        since_us,
        at_us: state.checked_us.unwrap_or_default(),
        times_told,
        rows: if has_rows { evaluated.rows.clone() } else { Vec::new() },
        n_rows: if has_rows { state.rows } else { 0 },
        error,
    }
}
