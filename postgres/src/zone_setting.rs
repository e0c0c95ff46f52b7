//! What `TimeZone` can be set to.

use chrono_tz::Tz;

use crate::datetime::{Zone, format_offset};

/// A zone as `SET TimeZone` says it, and the name under which SHOW has it. None: there is no such zone.
///
/// A number is of hours east of Greenwich. Behind letters, or with minutes, an offset is one of POSIX, which counts to the
/// west.
pub fn zone_setting(text: &str) -> Option<(String, Zone)> {
    let text = text.trim();
    if let Ok(hours) = text.parse::<f64>() {
        let seconds = (hours * 3600.0).round();
        if seconds.abs() > 168.0 * 3600.0 {
            return None;
        }
        return Some(of_offset(seconds as i32));
    }
    if let Some(zone) = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(text)) {
        let name = zone.name().to_owned();
        let is_utc = matches!(
            zone,
            Tz::UTC | Tz::GMT | Tz::UCT | Tz::Zulu | Tz::Universal | Tz::Etc__UTC | Tz::Etc__GMT | Tz::Etc__UCT
        );
        return Some((name, if is_utc { Zone::UTC } else { Zone::Named(*zone) }));
    }
    let letters = match text.strip_prefix('<') {
        Some(rest) => rest.find('>')? + 2,
        None => text.bytes().take_while(u8::is_ascii_alphabetic).count(),
    };
    let west = posix_seconds(text.get(letters..)?)?;
    Some((text.to_owned(), Zone::Fixed(-west)))
}

fn of_offset(seconds: i32) -> (String, Zone) {
    if seconds == 0 {
        return ("<+00>-00".to_owned(), Zone::UTC);
    }
    (format!("<{}>{}", format_offset(seconds), format_offset(-seconds)), Zone::Fixed(seconds))
}

/// `5`, `-5:30`, `+05:30:00`.
fn posix_seconds(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let mut seconds = 0;
    for (part, unit) in digits.split(':').zip([3600, 60, 1]) {
        let is_number = !part.is_empty() && part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
        seconds += part.parse::<i32>().ok().filter(|_| is_number)? * unit;
    }
    (digits.split(':').count() <= 3 && seconds <= 168 * 3600).then_some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_named_as_postgresql_names_them() {
        let named = |text: &str| zone_setting(text).map(|(name, _)| name);
        assert_eq!(named("america/new_york").as_deref(), Some("America/New_York"));
        assert_eq!(named("5").as_deref(), Some("<+05>-05"));
        assert_eq!(named("-8.5").as_deref(), Some("<-08:30>+08:30"));
        assert_eq!(zone_setting("FOO+3"), Some(("FOO+3".to_owned(), Zone::Fixed(-3 * 3600))));
        assert_eq!(zone_setting("Etc/UTC"), Some(("Etc/UTC".to_owned(), Zone::UTC)));
        assert_eq!(named("Mars/Base"), None);
        assert_eq!(named(""), None);
    }
}
