//! The house rules that a program can check: layers, owners of outside crates, headers, sizes, forbidden words.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The modules of `src/` from the lowest to the highest. One may use those before it, never those after it.
const LAYERS: [&str; 40] = [
    "error",
    "metrics",
    "time",
    "priority",
    "store_file",
    "config",
    "trace",
    "logging",
    "outbound",
    "access",
    "audit",
    "row",
    "tile",
    "monitor",
    "alerts",
    "ingest_log",
    "offline",
    "online",
    "request_log",
    "engine",
    "ingest",
    "kafka",
    "capture",
    "openlineage",
    "warehouse",
    "materialize",
    "backup",
    "statement",
    "session",
    "wire",
    "http",
    "flight",
    "attendants",
    "alerting",
    "readers",
    "scheduler",
    "sinks",
    "server",
    "cli",
    "main",
];

/// Outside crates that only some modules may name, so that each can be replaced in one place.
const OWNERS: [(&str, &[&str]); 29] = [
    ("pgwire", &["access", "wire"]),
    ("sha2", &["access", "backup"]),
    ("subtle", &["access"]),
    ("crc32fast", &["ingest_log"]),
    ("zstd", &["backup"]),
    ("redb", &["store_file", "online", "monitor", "alerts"]),
    ("deltalake", &["offline"]),
    ("parquet", &["offline"]),
    ("object_store", &["offline", "engine", "backup"]),
    ("datafusion", &["engine"]),
    ("datasketches", &["tile"]),
    ("minijinja", &["engine"]),
    ("axum", &["http"]),
    ("hyper_util", &["http"]),
    ("arrow_flight", &["flight"]),
    ("tonic", &["flight"]),
    ("prost", &["flight"]),
    ("moka", &["http"]),
    ("tokio_rustls", &["http", "wire"]),
    ("opentelemetry", &["trace"]),
    ("opentelemetry_sdk", &["trace"]),
    ("opentelemetry_otlp", &["trace"]),
    ("tracing_opentelemetry", &["trace"]),
    ("clap", &["cli"]),
    ("rdkafka", &["kafka"]),
    ("pgwire_replication", &["capture"]),
    ("arrow_avro", &["kafka"]),
    ("reqwest", &["outbound"]),
    ("lettre", &["outbound"]),
];

/// Longer than this, a file has grown past its subject. Lists of cases may be longer.
const LONGEST_FILE: usize = 800;
const LONGEST_TEST_FILE: usize = 1000;
const LONGEST_ARCHITECTURE: usize = 250;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    collect(&root().join(folder), &mut files);
    assert!(!files.is_empty(), "{folder} has no Rust files");
    files
}

fn collect(folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the project") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).expect("inside").display().to_string();
            files.insert(name, std::fs::read_to_string(&path).expect("text"));
        }
    }
}

/// The lines of a file outside of comments, and before its unit tests.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").filter(|line| !line.trim_start().starts_with("//"))
}

fn module_of(file: &str) -> &str {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').next().unwrap_or(path)
}

fn is_tests(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

#[test]
fn modules_use_only_what_is_below_them() {
    let mut wrong = Vec::new();
    for (file, text) in rust_files("src") {
        let module = module_of(&file);
        if module == "lib" || is_tests(&file) {
            continue;
        }
        let place = LAYERS.iter().position(|layer| *layer == module);
        let place = place.unwrap_or_else(|| panic!("{file}: add module {module} to LAYERS"));
        for line in code(&text) {
            for (at, _) in line.match_indices("crate::") {
                let used: String =
                    line[at + 7..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if let Some(used_place) = LAYERS.iter().position(|layer| *layer == used)
                    && used_place > place
                {
                    wrong.push(format!("{file}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "a lower layer uses a higher one:\n{}", wrong.join("\n"));
}

#[test]
fn outside_crates_have_one_owner() {
    let mut wrong = Vec::new();
    for (file, text) in rust_files("src") {
        for (name, owners) in OWNERS {
            if owners.contains(&module_of(&file)) {
                continue;
            }
            let named = format!("{name}::");
            for line in code(&text) {
                let uses = line.match_indices(&named).any(|(at, _)| {
                    !line[..at]
                        .ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_' || before == ':')
                });
                if uses {
                    wrong.push(format!("{file}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "an outside crate is named outside of its owner:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_clock_reads_the_time_and_only_the_configuration_the_environment() {
    let mut wrong = Vec::new();
    for (file, text) in rust_files("src") {
        for line in code(&text) {
            let reads_clock =
                line.contains("SystemTime::now") || line.contains("std::time::Instant") || line.contains("Utc::now");
            let reads_environment = line.contains("env::var");
            if is_tests(&file) {
                continue;
            }
            if (reads_clock && module_of(&file) != "time") || (reads_environment && module_of(&file) != "config") {
                wrong.push(format!("{file}: {}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_say_what_they_are_and_keep_to_it() {
    let mut wrong = Vec::new();
    for folder in ["src", "sql/src", "catalog/src", "tests"] {
        for (file, text) in rust_files(folder) {
            if !text.starts_with("//!") {
                wrong.push(format!("{file} does not begin with //!"));
            }
            let lines = text.lines().count();
            let longest = if folder == "tests" { LONGEST_TEST_FILE } else { LONGEST_FILE };
            if lines > longest {
                wrong.push(format!("{file} has {lines} lines, more than {longest}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_undone_or_unwrapped() {
    // Spelled in parts, so that this file passes its own rule.
    let forbidden =
        [concat!("to", "do!("), concat!("unimplem", "ented!("), concat!("db", "g!("), concat!("#[ig", "nore")];
    let unwrap = concat!(".unw", "rap()");
    let mut wrong = Vec::new();
    for folder in ["src", "sql/src", "catalog/src", "tests"] {
        for (file, text) in rust_files(folder) {
            for (number, line) in text.lines().enumerate() {
                if forbidden.iter().any(|word| line.contains(word)) {
                    wrong.push(format!("{file}:{}: {}", number + 1, line.trim()));
                }
            }
            if folder != "tests" && !is_tests(&file) && !file.ends_with("testing.rs") {
                wrong.extend(
                    code(&text).filter(|line| line.contains(unwrap)).map(|line| format!("{file}: {}", line.trim())),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_map_stays_a_map() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let lines = text.lines().count();
    assert!(lines <= LONGEST_ARCHITECTURE, "ARCHITECTURE.md has {lines} lines");
    for module in LAYERS {
        assert!(text.contains(&format!("{module}")), "ARCHITECTURE.md does not name {module}");
    }
}
