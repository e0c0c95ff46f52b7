//! Session settings, as `SET`, `SHOW` and ParameterStatus know them: one table, one row a setting.

use std::collections::BTreeMap;

use granary_postgres::datetime::Zone;

use crate::engine::{FromSource, ShownSetting, is_system_schema};
use crate::error::{Error, Kind, Result};
use crate::statement::Writing;

/// How a value is checked and normalized.
#[derive(Debug, Clone, Copy)]
enum Check {
    Any,
    Bool,
    Milliseconds,
    OneOf(&'static [&'static str]),
    /// only this value is possible yet
    Only(&'static str),
    /// cannot be set
    Fixed,
}

/// One setting.
#[derive(Debug)]
struct Setting {
    /// as clients spell it in ParameterStatus; looked up without regard to case
    name: &'static str,
    default: &'static str,
    check: Check,
    /// changes are reported to the client
    reported: bool,
    description: &'static str,
}

const fn setting(
    name: &'static str,
    default: &'static str,
    check: Check,
    reported: bool,
    description: &'static str,
) -> Setting {
    Setting { name, default, check, reported, description }
}

/// The version that clients are told: the catalogs and the behaviour are those of PostgreSQL 15.
pub const SERVER_VERSION: &str = concat!("15.0 (Granary ", env!("CARGO_PKG_VERSION"), ")");

static SETTINGS: &[Setting] = &[
    setting("application_name", "", Check::Any, true, "name of the client's program"),
    setting("bytea_output", "hex", Check::Only("hex"), false, "text format of bytea"),
    setting("check_function_bodies", "on", Check::Bool, false, "functions are always checked"),
    setting("client_encoding", "UTF8", Check::Any, true, "encoding of the client's texts; UTF8 only"),
    setting("client_min_messages", "notice", Check::Any, false, "least severity of messages sent"),
    setting("DateStyle", "ISO, MDY", Check::Any, true, "text format of dates; ISO only"),
    setting("cpu_index_tuple_cost", "0.005", Check::Any, false, "plans are not chosen by such costs"),
    setting("cpu_operator_cost", "0.0025", Check::Any, false, "plans are not chosen by such costs"),
    setting("cpu_tuple_cost", "0.01", Check::Any, false, "plans are not chosen by such costs"),
    setting("default_table_access_method", "heap", Check::Only("heap"), false, "how tables are kept"),
    setting("default_tablespace", "", Check::Only(""), false, "there is one place for tables"),
    setting("default_toast_compression", "pglz", Check::Any, false, "data files are compressed in any case"),
    setting("default_transaction_deferrable", "off", Check::Bool, false, "no transaction waits for others"),
    setting("default_transaction_isolation", "read committed", Check::Any, false, "isolation of new transactions"),
    setting("default_transaction_read_only", "off", Check::Bool, true, "whether new transactions only read"),
    setting("effective_cache_size", "4GB", Check::Any, false, "plans are not chosen by it"),
    setting("enable_bitmapscan", "on", Check::Bool, false, "plans are not chosen by it"),
    setting("enable_hashagg", "on", Check::Bool, false, "plans are not chosen by it"),
    setting("enable_hashjoin", "on", Check::Bool, false, "plans are not chosen by it"),
    setting("enable_indexonlyscan", "on", Check::Bool, false, "plans are not chosen by it"),
    setting("enable_indexscan", "on", Check::Bool, false, "plans are not chosen by it"),
    setting("enable_material", "on", Check::Bool, false, "plans are not chosen by it"),
    setting("enable_mergejoin", "on", Check::Bool, false, "plans are not chosen by it"),
    setting("enable_nestloop", "on", Check::Bool, false, "plans are not chosen by it"),
    setting("enable_seqscan", "on", Check::Bool, false, "plans are not chosen by it"),
    setting("enable_sort", "on", Check::Bool, false, "plans are not chosen by it"),
    setting("escape_string_warning", "on", Check::Bool, false, "there are no such warnings"),
    setting("extra_float_digits", "1", Check::Any, false, "floats are always shown in full"),
    setting("from_source", "unset", Check::Any, false, "on: compute from the source; off: only from the offline store"),
    setting(
        "idle_in_transaction_session_timeout",
        "0",
        Check::Milliseconds,
        false,
        "longest silence in a transaction; 0: no limit",
    ),
    setting("idle_session_timeout", "0", Check::Milliseconds, false, "longest silence outside of one; 0: no limit"),
    setting("in_hot_standby", "off", Check::Fixed, true, "never"),
    setting("ingest_dry_run", "off", Check::Bool, false, "on: INSERT and COPY check all and store nothing"),
    setting(
        "ingest_on_error",
        "stop",
        Check::OneOf(&["stop", "ignore"]),
        false,
        "ignore: rows that do not fit are left out",
    ),
    setting("integer_datetimes", "on", Check::Fixed, true, "always"),
    setting("IntervalStyle", "postgres", Check::Only("postgres"), true, "text format of intervals"),
    setting("is_superuser", "off", Check::Fixed, true, "whether the role is a superuser"),
    setting("jit", "on", Check::Bool, false, "there is no such compiler here"),
    setting("lc_messages", "C", Check::Only("C"), false, "language of messages"),
    setting("lc_monetary", "C", Check::Any, false, "there is no type money"),
    setting("lc_numeric", "C", Check::Only("C"), false, "format of numbers"),
    setting("lc_time", "C", Check::Only("C"), false, "names of days and months"),
    setting("lock_timeout", "0", Check::Milliseconds, false, "there are no locks to wait for"),
    setting("maintenance_work_mem", "64MB", Check::Any, false, "memory is shared by all"),
    setting("max_identifier_length", "63", Check::Fixed, false, "as in PostgreSQL"),
    setting("max_index_keys", "32", Check::Fixed, false, "as in PostgreSQL"),
    setting("password_encryption", "scram-sha-256", Check::Only("scram-sha-256"), false, "how passwords are kept"),
    setting("plan_cache_mode", "auto", Check::Any, false, "plans are made for every execution"),
    setting("quote_all_identifiers", "off", Check::Only("off"), false, "names are quoted where they have to be"),
    setting("random_page_cost", "4", Check::Any, false, "plans are not chosen by such costs"),
    setting("restrict_nonsystem_relation_kind", "", Check::Any, false, "what pg_dump wants to be kept from"),
    setting(
        "row_security",
        "on",
        Check::Bool,
        false,
        "whether policies leave out rows; off: a query that they would change is an error",
    ),
    setting("scram_iterations", "4096", Check::Fixed, true, "iterations of new password verifiers"),
    setting("scheduler", "on", Check::Fixed, false, "whether jobs are made by themselves; --scheduler off: no"),
    setting("search_path", "\"$user\", public", Check::Any, true, "schemas of names without one"),
    setting("server_encoding", "UTF8", Check::Fixed, true, "encoding of texts"),
    setting("server_version", SERVER_VERSION, Check::Fixed, true, "the version"),
    setting("server_version_num", "150000", Check::Fixed, false, "the version as a number"),
    setting("session_authorization", "", Check::Fixed, true, "who logged in"),
    setting("session_replication_role", "origin", Check::Only("origin"), false, "there are no triggers"),
    setting("standard_conforming_strings", "on", Check::Only("on"), true, "backslashes in strings are plain"),
    setting("statement_timeout", "0", Check::Milliseconds, false, "longest a statement may run; 0: no limit"),
    setting("synchronous_commit", "on", Check::Any, false, "commits are always durable"),
    setting("synchronize_seqscans", "on", Check::Bool, false, "every reader begins at the beginning"),
    setting("temp_tablespaces", "", Check::Any, false, "there is one place for temporary files"),
    setting("TimeZone", "UTC", Check::Any, true, "time zone of timestamps as text"),
    setting("transaction_deferrable", "off", Check::Bool, false, "no transaction waits for others"),
    setting("transaction_isolation", "read committed", Check::Any, false, "isolation of the transaction"),
    setting("transaction_read_only", "off", Check::Bool, false, "whether the transaction only reads"),
    setting("work_mem", "4MB", Check::Any, false, "memory is shared by all"),
    setting("xmloption", "content", Check::Any, false, "there is no type xml"),
];

/// The values of one session.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    changed: BTreeMap<String, String>,
    /// settings of the transaction, to be put back at its end: name, value before
    local: Vec<(String, Option<String>)>,
    /// what was set when the transaction began
    before: Option<BTreeMap<String, String>>,
    to_report: Vec<(String, String)>,
    /// grows with every change
    revision: u64,
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(name))
}

fn unknown(name: &str) -> Error {
    Error::new(Kind::UndefinedObject, format!("unrecognized configuration parameter \"{name}\""))
        .with_hint("SHOW ALL lists those that there are")
}

impl Settings {
    /// A setting as SHOW prints it.
    pub fn shown(&self, name: &str) -> Result<String> {
        let value = self.get(name)?;
        Ok(find(name).map_or(value.clone(), |setting| shown(setting, value)))
    }

    /// The value of a setting. Custom ones (`a.b`) exist once they are set.
    pub fn get(&self, name: &str) -> Result<String> {
        let key = name.to_ascii_lowercase();
        if let Some(value) = self.changed.get(&key) {
            return Ok(value.clone());
        }
        find(name).map(|setting| setting.default.to_owned()).ok_or_else(|| unknown(name))
    }

    /// As long as it is the same, so are all values.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn application_name(&self) -> &str {
        self.changed.get("application_name").map_or("", String::as_str)
    }

    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        self.revision += 1;
        let key = name.to_ascii_lowercase();
        let Some(setting) = find(name) else {
            if name.contains('.') {
                self.changed.insert(key, value.to_owned());
                return Ok(());
            }
            return Err(unknown(name));
        };
        let value = checked(setting, value)?;
        if setting.reported {
            self.to_report.push((setting.name.to_owned(), value.clone()));
        }
        self.changed.insert(key, value);
        Ok(())
    }

    /// `SET LOCAL`: until the transaction ends.
    pub fn set_local(&mut self, name: &str, value: &str) -> Result<()> {
        let key = name.to_ascii_lowercase();
        let before = self.changed.get(&key).cloned();
        self.set(name, value)?;
        self.local.push((key, before));
        Ok(())
    }

    pub fn begin_transaction(&mut self) {
        self.before = Some(self.changed.clone());
    }

    /// What was set for the transaction is put back, and what was set in it, if it is rolled back.
    pub fn end_transaction(&mut self, is_kept: bool) {
        let before = self.before.take();
        self.revision += u64::from(!self.local.is_empty() || (before.is_some() && !is_kept));
        let reported: Vec<(&'static str, Option<String>)> = SETTINGS
            .iter()
            .filter(|setting| setting.reported)
            .map(|setting| (setting.name, self.get(setting.name).ok()))
            .collect();
        let local = std::mem::take(&mut self.local);
        match before.filter(|_| !is_kept) {
            Some(before) => self.changed = before,
            None => {
                for (key, before) in local.into_iter().rev() {
                    match before {
                        Some(value) => self.changed.insert(key, value),
                        None => self.changed.remove(&key),
                    };
                }
            }
        }
        for (name, shown) in reported {
            let now = self.get(name).ok();
            if now != shown {
                self.to_report.extend(now.map(|now| (name.to_owned(), now)));
            }
        }
    }

    /// Sets what the server decides, without its checks.
    pub fn force(&mut self, name: &str, value: &str) {
        self.revision += 1;
        self.changed.insert(name.to_ascii_lowercase(), value.to_owned());
    }

    pub fn reset(&mut self, name: &str) -> Result<()> {
        let setting = find(name).ok_or_else(|| unknown(name))?;
        self.revision += 1;
        self.changed.remove(&name.to_ascii_lowercase());
        if setting.reported {
            self.to_report.push((setting.name.to_owned(), setting.default.to_owned()));
        }
        Ok(())
    }

    pub fn reset_all(&mut self) {
        let fixed = ["is_superuser", "scheduler", "session_authorization"];
        self.revision += 1;
        self.changed.retain(|name, _| fixed.contains(&name.as_str()));
    }

    /// What the client is told when it connects.
    pub fn reported(&self) -> Vec<(String, String)> {
        SETTINGS
            .iter()
            .filter(|setting| setting.reported)
            .map(|setting| (setting.name.to_owned(), self.get(setting.name).unwrap_or_default()))
            .collect()
    }

    pub fn take_changed(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.to_report)
    }

    /// All that there are, for SHOW ALL and the system views.
    pub fn all(&self) -> Vec<ShownSetting> {
        let listed = SETTINGS.iter().map(|setting| {
            let stored = self.get(setting.name).unwrap_or_default();
            ShownSetting {
                name: setting.name.to_owned(),
                shown: shown(setting, stored.clone()),
                stored,
                unit: matches!(setting.check, Check::Milliseconds).then_some("ms"),
                description: setting.description.to_owned(),
            }
        });
        let custom = self.changed.iter().filter(|(name, _)| find(name).is_none()).map(|(name, value)| ShownSetting {
            name: name.clone(),
            shown: value.clone(),
            stored: value.clone(),
            unit: None,
            description: String::new(),
        });
        listed.chain(custom).collect()
    }

    pub fn from_source(&self) -> FromSource {
        match self.changed.get("from_source").map(String::as_str) {
            Some("on") => FromSource::On,
            Some("off") => FromSource::Off,
            _ => FromSource::Unset,
        }
    }

    pub fn writing(&self) -> Writing {
        let is = |name: &str, value: &str| self.changed.get(name).is_some_and(|set| set == value);
        Writing { is_dry_run: is("ingest_dry_run", "on"), leaves_out: is("ingest_on_error", "ignore") }
    }

    /// The schemas to look names up in, in order.
    pub fn search_path(&self, user: &str) -> Vec<String> {
        let text = self.get("search_path").unwrap_or_default();
        text.split(',')
            .map(|part| part.trim().trim_matches('"').to_owned())
            .filter(|part| !part.is_empty())
            // A role may be named as a system schema is; that does not make the schema its own.
            .filter(|part| part != "$user" || !is_system_schema(Some(user)))
            .map(|part| if part == "$user" { user.to_owned() } else { part })
            .collect()
    }

    /// The zone of times that say none, and in which they are shown.
    pub fn zone(&self) -> Zone {
        let set = self.changed.get("timezone");
        set.and_then(|name| granary_postgres::zone_setting(name)).map_or(Zone::UTC, |(_, zone)| zone)
    }

    pub fn statement_timeout_ms(&self) -> Option<u64> {
        self.milliseconds_of("statement_timeout")
    }

    /// Of a setting that is a time; None for no limit.
    pub fn milliseconds_of(&self, name: &str) -> Option<u64> {
        self.changed.get(name)?.parse().ok().filter(|&timeout| timeout > 0)
    }
}

/// As PostgreSQL compares names of encodings: by letters and digits alone. Clients put quotes around it, too.
fn encoding_name(value: &str) -> String {
    value.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// The name of a setting as PostgreSQL spells it.
pub fn spelled(name: &str) -> Option<&'static str> {
    find(name).map(|setting| setting.name)
}

fn checked(setting: &Setting, value: &str) -> Result<String> {
    let wrong = || {
        Error::new(
            Kind::InvalidParameterValue,
            format!("invalid value for parameter \"{}\": \"{value}\"", setting.name),
        )
    };
    match (setting.name, setting.check) {
        ("from_source", _) => match bool_of(value) {
            Some(true) => Ok("on".to_owned()),
            Some(false) => Ok("off".to_owned()),
            None if value == "unset" || value.eq_ignore_ascii_case("default") => Ok("unset".to_owned()),
            None => Err(wrong().with_hint("on, off or unset")),
        },
        ("TimeZone", _) => granary_postgres::zone_setting(value).map(|(name, _)| name).ok_or_else(wrong),
        ("client_encoding", _) => match encoding_name(value).as_str() {
            "utf8" | "unicode" | "sqlascii" => Ok("UTF8".to_owned()),
            _ => Err(Error::not_supported(format!("client encoding \"{value}\"")).with_hint("use UTF8")),
        },
        ("DateStyle", _) if value.to_ascii_lowercase().starts_with("iso") => Ok("ISO, MDY".to_owned()),
        ("DateStyle", _) => Err(Error::not_supported(format!("DateStyle \"{value}\"")).with_hint("use ISO")),
        (_, Check::Any) => Ok(value.to_owned()),
        (_, Check::Bool) => match bool_of(value) {
            Some(true) => Ok("on".to_owned()),
            Some(false) => Ok("off".to_owned()),
            None => Err(wrong().with_hint("on or off")),
        },
        (_, Check::Milliseconds) => milliseconds(value).map(|ms| ms.to_string()).ok_or_else(|| {
            wrong().with_hint("a number of milliseconds up to 2147483647, or one of us, ms, s, min, h or d, as in '5s'")
        }),
        (_, Check::OneOf(words)) => match words.iter().find(|word| word.eq_ignore_ascii_case(value)) {
            Some(word) => Ok((*word).to_owned()),
            None => Err(wrong().with_hint(words.join(" or "))),
        },
        (_, Check::Only(only)) if only.eq_ignore_ascii_case(value) => Ok(only.to_owned()),
        (_, Check::Only(only)) => {
            Err(Error::not_supported(format!("{} = \"{value}\"", setting.name)).with_hint(format!("use {only}")))
        }
        (_, Check::Fixed) => {
            Err(Error::new(Kind::InvalidParameterValue, format!("parameter \"{}\" cannot be changed", setting.name)))
        }
    }
}

fn bool_of(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" | "t" => Some(true),
        "off" | "false" | "no" | "0" | "f" => Some(false),
        _ => None,
    }
}

/// Units of times, the largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];

/// `500`, `500ms`, `1.5s`, `2min`, `1h`.
fn milliseconds(value: &str) -> Option<u64> {
    let value = value.trim();
    let end = value.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(value.len());
    let number: f64 = value[..end].parse().ok()?;
    let unit_ms = match value[end..].trim() {
        "" => 1.0,
        "us" => 0.001,
        unit => UNITS.iter().find(|(name, _)| *name == unit)?.1 as f64,
    };
    let rounded = (number * unit_ms).round_ties_even();
    (rounded <= f64::from(i32::MAX)).then_some(rounded as u64)
}

/// A time in the largest unit that it is a multiple of, as PostgreSQL shows it.
fn shown(setting: &Setting, value: String) -> String {
    match (setting.check, value.parse::<u64>()) {
        (Check::Milliseconds, Ok(ms)) if ms > 0 => {
            let (unit, unit_ms) = UNITS.iter().find(|(_, unit_ms)| ms % unit_ms == 0).expect("1 ms divides all");
            format!("{}{unit}", ms / unit_ms)
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_reported_and_reset() {
        let mut settings = Settings::default();
        settings.set("timezone", "etc/UTC").expect("utc");
        assert_eq!(settings.take_changed(), [("TimeZone".to_owned(), "Etc/UTC".to_owned())]);
        assert_eq!(settings.zone(), Zone::UTC);
        settings.set("TimeZone", "europe/berlin").expect("zone");
        assert_eq!(settings.zone().offset_at(0), 3600);
        assert_eq!(settings.set("TimeZone", "Mars").expect_err("none").kind(), Kind::InvalidParameterValue);
        assert_eq!(settings.set("nonsense", "1").expect_err("unknown").kind(), Kind::UndefinedObject);
        settings.set("my.own", "1").expect("custom");
        assert_eq!(settings.get("my.own").expect("set"), "1");
        settings.set("statement_timeout", "2s").expect("unit");
        assert_eq!(settings.statement_timeout_ms(), Some(2000));
        for (set, shown) in [("1.5s", "1500ms"), ("120000", "2min"), ("36h", "36h"), ("100us", "0"), ("2000", "2s")] {
            settings.set("statement_timeout", set).expect("a time");
            assert_eq!(settings.shown("statement_timeout").expect("set"), shown);
        }
        settings.set("statement_timeout", "25d").expect_err("too long");
        settings.set_local("statement_timeout", "5").expect("local");
        settings.end_transaction(true);
        assert_eq!(settings.statement_timeout_ms(), Some(2000));
        settings.begin_transaction();
        settings.set("statement_timeout", "7").expect("set");
        settings.end_transaction(false);
        assert_eq!(settings.statement_timeout_ms(), Some(2000));
        settings.reset_all();
        assert_eq!(settings.statement_timeout_ms(), None);
        assert_eq!(settings.search_path("me"), ["me", "public"]);
    }
}
