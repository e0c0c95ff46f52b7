//! A plan in words, for people who review it.

use serde::Deserialize;
use serde_json::Value;

/// One row of `granary.plan` or `granary.apply`.
#[derive(Debug, Clone, Deserialize)]
pub struct Row {
    pub action: String,
    pub kind: String,
    pub schema: String,
    pub name: String,
    pub renamed_from: Option<String>,
    pub changes: Vec<Changed>,
    pub reason: Option<String>,
    pub jobs: Option<String>,
    pub estimated_rows: Option<i64>,
    pub warnings: Vec<String>,
    pub file: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Changed {
    pub name: String,
    pub old: Option<String>,
    pub new: Option<String>,
}

impl Row {
    fn shown_name(&self) -> String {
        if self.schema.is_empty() || self.schema == "public" {
            return self.name.clone();
        }
        format!("{}.{}", self.schema, self.name)
    }

    /// Whether what is stored of it, or it itself, goes.
    pub fn destroys(&self) -> bool {
        self.action == "recreate" || self.action == "drop"
    }
}

/// The rows of a plan, out of `json_agg` of them.
pub fn rows(json: &Value) -> Result<Vec<Row>, serde_json::Error> {
    match json {
        Value::Null => Ok(Vec::new()),
        rows => Vec::deserialize(rows),
    }
}

/// The plan of a workspace: each object with what becomes of it, the jobs that follow, warnings, and how many there are.
pub fn text(workspace: &str, plan: Option<i64>, rows: &[Row]) -> String {
    let mut text = String::new();
    if rows.is_empty() {
        return format!("Workspace {workspace} is as the repository declares it: nothing changes.\n");
    }
    match plan {
        Some(plan) => text.push_str(&format!("Plan {plan} for workspace {workspace}\n\n")),
        None => text.push_str(&format!("Workspace {workspace}\n\n")),
    }
    for row in rows {
        push_row(&mut text, row);
    }
    let jobs: Vec<&Row> = rows.iter().filter(|row| row.jobs.is_some()).collect();
    if !jobs.is_empty() {
        text.push_str("\nJobs that follow\n");
        for row in jobs {
            let rows = row.estimated_rows.map_or_else(String::new, |rows| format!(", about {rows} rows to read"));
            text.push_str(&format!("  {}: {}{rows}\n", row.shown_name(), row.jobs.as_deref().unwrap_or_default()));
        }
    }
    let warnings: Vec<String> = rows
        .iter()
        .flat_map(|row| row.warnings.iter().map(move |warning| format!("  {}: {warning}\n", row.shown_name())))
        .collect();
    if !warnings.is_empty() {
        text.push_str("\nWarnings\n");
        text.extend(warnings);
    }
    text.push_str(&format!("\n{}\n", summary(rows)));
    text
}

fn push_row(text: &mut String, row: &Row) {
    let sign = match row.action.as_str() {
        "create" | "add features" => "+",
        "drop" => "-",
        "recreate" => "!",
        _ => "~",
    };
    let file = row.file.as_ref().map_or_else(String::new, |file| format!("  ({file})"));
    let from = row.renamed_from.as_ref().map_or_else(String::new, |from| format!(", which was {from}"));
    let action = match row.action.as_str() {
        "add features" => "add features to".to_owned(),
        other => other.to_owned(),
    };
    text.push_str(&format!("{sign} {action} {} {}{from}{file}\n", row.kind, row.shown_name()));
    if let Some(reason) = &row.reason {
        let words = match row.action.as_str() {
            "recreate" => format!("because {reason}"),
            _ => reason.clone(),
        };
        text.push_str(&format!("    {words}\n"));
    }
    // what is made is in its file
    if row.action == "create" {
        return;
    }
    for changed in &row.changes {
        push_changed(text, changed);
    }
}

fn push_changed(text: &mut String, changed: &Changed) {
    let (old, new) = (changed.old.as_deref().unwrap_or("none"), changed.new.as_deref().unwrap_or("none"));
    if !old.contains('\n') && !new.contains('\n') {
        text.push_str(&format!("    {}: {old} -> {new}\n", changed.name));
        return;
    }
    text.push_str(&format!("    {}:\n", changed.name));
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let before = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let behind = old[before..].iter().rev().zip(new[before..].iter().rev()).take_while(|(old, new)| old == new).count();
    let lines = |lines: &[&str], sign: char| -> String {
        lines[before..lines.len() - behind].iter().map(|line| format!("      {sign} {}\n", line.trim_end())).collect()
    };
    text.push_str(&lines(&old, '-'));
    text.push_str(&lines(&new, '+'));
}

/// `2 to create, 1 to update`
fn summary(rows: &[Row]) -> String {
    let of = |action: &str| rows.iter().filter(|row| row.action == action).count();
    let counts = [
        ("create", "to create"),
        ("rename", "to rename"),
        ("update", "to update"),
        ("add features", "to get features"),
        ("recreate", "to recreate"),
        ("drop", "to drop"),
    ];
    let counts = counts.into_iter().map(|(action, words)| (of(action), words)).filter(|(count, _)| *count > 0);
    counts.map(|(count, words)| format!("{count} {words}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_as_a_review() {
        let json = serde_json::json!([
            { "action": "create", "kind": "entity", "schema": "public", "name": "customer", "renamed_from": null,
              "changes": [{ "name": "join keys", "old": null, "new": "user_id text" }], "reason": null, "jobs": null,
              "estimated_rows": null, "warnings": [], "file": "entities.sql:1" },
            { "action": "recreate", "kind": "feature view", "schema": "risk", "name": "spend", "renamed_from": null,
              "changes": [{ "name": "query", "old": "SELECT a,\n  b\nFROM t", "new": "SELECT a,\n  c\nFROM t" },
                          { "name": "ttl", "old": null, "new": "'1 day'" }],
              "reason": "its query changes", "jobs": "REFRESH FEATURE VIEW spend backfills", "estimated_rows": 12,
              "warnings": ["its rows go"], "file": "spend.sql:3" },
            { "action": "rename", "kind": "source", "schema": "public", "name": "tx", "renamed_from": "transactions",
              "changes": [], "reason": null, "jobs": null, "estimated_rows": null, "warnings": [], "file": null },
        ]);
        let expected = "\
Plan 7 for workspace prod

+ create entity customer  (entities.sql:1)
! recreate feature view risk.spend  (spend.sql:3)
    because its query changes
    query:
      -   b
      +   c
    ttl: none -> '1 day'
~ rename source tx, which was transactions

Jobs that follow
  risk.spend: REFRESH FEATURE VIEW spend backfills, about 12 rows to read

Warnings
  risk.spend: its rows go

1 to create, 1 to rename, 1 to recreate
";
        assert_eq!(text("prod", Some(7), &rows(&json).unwrap()), expected);
        assert_eq!(text("prod", None, &[]), "Workspace prod is as the repository declares it: nothing changes.\n");
    }
}
