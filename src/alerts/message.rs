//! What somebody is told, as a record, as JSON for programs and as text for people.

use granary_sql::timestamp::format_timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::state::Event;

/// Names and values of columns, in their order.
pub type ShownRow = Vec<(String, Json)>;

/// So many rows of the condition go with a message.
pub const SHOWN_ROWS: usize = 20;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub event: Event,
    pub workspace: String,
    pub schema: String,
    pub alert: String,
    pub severity: String,
    pub condition: String,
    pub description: Option<String>,
    /// since when the condition holds, or cannot be evaluated
    pub since_us: Option<i64>,
    pub at_us: i64,
    pub times_told: u32,
    /// what the condition gave; of a boolean nothing
    pub rows: Vec<ShownRow>,
    /// of which `rows` are the first
    pub n_rows: u64,
    pub error: Option<String>,
}

impl Message {
    /// `firing`, `resolved`, or `failing` for a condition that cannot be evaluated.
    pub fn status(&self) -> &'static str {
        match self.event {
            Event::Firing | Event::Repeated => "firing",
            Event::Resolved | Event::Recovered => "resolved",
            Event::Failing => "failing",
        }
    }

    /// One line.
    pub fn subject(&self) -> String {
        let what = match self.event {
            Event::Firing => "FIRING",
            Event::Repeated => "STILL FIRING",
            Event::Resolved => "RESOLVED",
            Event::Failing => "CANNOT BE EVALUATED",
            Event::Recovered => "CAN BE EVALUATED AGAIN",
        };
        format!("[{what}] {} ({}, {})", self.alert, self.severity, self.workspace)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut lines = vec![self.subject()];
        lines.extend(self.description.clone());
        if let (Some(since_us), Event::Firing | Event::Repeated | Event::Failing) = (self.since_us, self.event) {
            lines.push(format!("since {}", format_timestamp(since_us)));
        }
        lines.extend(self.error.as_ref().map(|error| format!("error: {error}")));
        for row in &self.rows {
            let cells = row.iter().map(|(name, value)| match value {
                Json::String(text) => format!("{name}: {text}"),
                Json::Null => format!("{name}: NULL"),
                other => format!("{name}: {other}"),
            });
            lines.push(format!("- {}", cells.collect::<Vec<_>>().join(", ")));
        }
        let more = self.n_rows.saturating_sub(self.rows.len() as u64);
        if more > 0 && !self.rows.is_empty() {
            lines.push(format!("and {more} more rows"));
        }
        lines.join("\n")
    }

    /// For programs; `id` is the same if it is sent again.
    pub fn json(&self, id: &str) -> Json {
        let rows = self.rows.iter().map(|row| Json::Object(Map::from_iter(row.iter().cloned())));
        let rows: Vec<Json> = rows.collect();
        json!({
            "id": id,
            "status": self.status(),
            "event": self.event.as_str().to_ascii_lowercase(),
            "alert": self.alert,
            "schema": self.schema,
            "workspace": self.workspace,
            "severity": self.severity,
            "condition": self.condition,
            "description": self.description,
            "since": self.since_us.map(rfc3339),
            "now": rfc3339(self.at_us),
            "times_told": self.times_told,
            "rows": rows,
            "row_count": self.n_rows,
            "error": self.error,
            "text": self.text(),
        })
    }

    /// The JSON in at most so many bytes: with fewer rows, or without text and condition, if it is longer.
    pub fn json_within(&self, id: &str, bytes: usize) -> String {
        let mut message = self.clone();
        loop {
            let text = message.json(id).to_string();
            if text.len() <= bytes {
                return text;
            }
            if message.rows.pop().is_none() {
                break;
            }
        }
        let mut short = message.json(id);
        for name in ["text", "condition", "description", "error"] {
            short[name] = Json::Null;
            let text = short.to_string();
            if text.len() <= bytes {
                return text;
            }
        }
        json!({ "id": id, "status": self.status() }).to_string()
    }
}

/// `2024-01-31T10:00:00.5Z`
fn rfc3339(at_us: i64) -> String {
    let text = format_timestamp(at_us);
    match text.strip_suffix("+00") {
        Some(utc) => format!("{}Z", utc.replacen(' ', "T", 1)),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(event: Event) -> Message {
        let row = |name: &str, age: i64| vec![("view".to_owned(), json!(name)), ("age".to_owned(), json!(age))];
        Message {
            event,
            workspace: "prod".to_owned(),
            schema: "public".to_owned(),
            alert: "stale".to_owned(),
            severity: "critical".to_owned(),
            condition: "(SELECT 1)".to_owned(),
            description: Some("call somebody".to_owned()),
            since_us: Some(0),
            at_us: 1_500_000,
            times_told: 1,
            rows: vec![row("a", 1), row("b", 2)],
            n_rows: 5,
            error: None,
        }
    }

    #[test]
    fn programs_get_json_and_people_text() {
        let json = message(Event::Firing).json("7");
        assert_eq!(json["id"], "7");
        assert_eq!((&json["status"], &json["event"]), (&json!("firing"), &json!("firing")));
        assert_eq!((&json["since"], &json["now"]), (&json!("1970-01-01T00:00:00Z"), &json!("1970-01-01T00:00:01.5Z")));
        assert_eq!(json["rows"][1]["view"], "b");
        let text = "[FIRING] stale (critical, prod)\ncall somebody\nsince 1970-01-01 00:00:00+00\n\
                    - view: a, age: 1\n- view: b, age: 2\nand 3 more rows";
        assert_eq!(json["text"], text);
        assert_eq!(message(Event::Resolved).status(), "resolved");
    }

    #[test]
    fn it_fits_where_there_is_little_room() {
        let whole = message(Event::Repeated);
        for bytes in [100, 300, 500, 700, 2000] {
            let text = whole.json_within("7", bytes);
            assert!(text.len() <= bytes, "{bytes}: {}", text.len());
            let json: Json = serde_json::from_str(&text).expect("JSON");
            assert_eq!((&json["id"], &json["status"]), (&json!("7"), &json!("firing")));
        }
    }
}
