//! The window of a feature, as it was declared.

use granary_catalog::{ViewKind, Window};
use granary_sql::interval::format_interval;
use granary_sql::name::fold;
use granary_sql::statement::CreateFeatureView;
use granary_sql::{FeatureItem, WindowRef};

use super::super::context::StatementContext;
use super::times::{Times, not_a_multiple};
use crate::error::{Error, Kind, Result};

pub fn window(
    context: &StatementContext,
    create: &CreateFeatureView,
    item: &FeatureItem,
    times: &Times,
) -> Result<Window> {
    let declared = match &item.window {
        WindowRef::Inline(window) => window,
        WindowRef::Named(name) => {
            let found = create.windows.iter().find(|window| fold(&window.name) == fold(name));
            &found
                .ok_or_else(|| {
                    let error = Error::new(Kind::UndefinedObject, format!("window \"{}\" does not exist", fold(name)))
                        .with_hint(format!("declare it: WINDOW {} AS (LAST '7 days')", fold(name)));
                    context.at_ident(name, error)
                })?
                .window
        }
    };
    let window = match declared {
        granary_sql::Window::Last { size, offset } => Window::Last {
            size_us: size.microseconds,
            offset_us: offset.as_ref().map_or(0, |offset| offset.microseconds),
        },
        granary_sql::Window::Lifetime => Window::Lifetime,
        granary_sql::Window::Series { from, to, size, step } => Window::Series {
            from_us: from.microseconds,
            to_us: to.microseconds,
            size_us: size.microseconds,
            step_us: step.microseconds,
        },
    };
    check_window(&window, times).map_err(|error| context.at_ident(&item.function.name, error))?;
    Ok(window)
}

fn check_window(window: &Window, times: &Times) -> Result<()> {
    let wrong = |message: String| Err(Error::new(Kind::InvalidParameterValue, message));
    match *window {
        Window::Last { size_us, offset_us } => {
            if size_us <= 0 {
                return wrong("a window must be longer than zero".to_owned());
            }
            if offset_us > 0 {
                return wrong("a window's OFFSET must not be positive: it moves the window into the past".to_owned());
            }
        }
        Window::Lifetime => {}
        Window::Series { from_us, to_us, size_us, step_us } => {
            if size_us <= 0 || step_us <= 0 {
                return wrong("SIZE and STEP of a series must be longer than zero".to_owned());
            }
            if from_us >= to_us || to_us > 0 {
                return wrong("a series goes FROM an earlier TO a later time, both at or before now".to_owned());
            }
            if window.series_len() == 0 {
                return wrong("a series must be long enough for one window: SIZE is longer than FROM … TO".to_owned());
            }
        }
    }
    let tiled = matches!(times.kind, ViewKind::BatchAggregates | ViewKind::StreamTiled);
    if let (true, Window::Lifetime, None, Some(start), Some(interval)) =
        (tiled, window, times.lifetime_start_us, times.start_us, times.interval_us)
        && start.rem_euclid(interval) != 0
    {
        return Err(Error::new(
            Kind::InvalidParameterValue,
            format!(
                "LIFETIME begins at start, which is not a multiple of the aggregation interval, {}",
                format_interval(interval)
            ),
        )
        .with_hint("set lifetime_start to a multiple of it"));
    }
    if let (true, Some(interval)) = (tiled, times.interval_us)
        && let Some(length) = window.lengths_us().into_iter().find(|length| length % interval != 0)
    {
        return Err(not_a_multiple("window length or offset", length, "the aggregation interval", interval)
            .with_hint("use multiples of aggregation_interval, or set a smaller one"));
    }
    Ok(())
}
