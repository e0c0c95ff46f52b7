//! The corpus: every statement in `tests/corpus/*.sql` and in the reference's ```sql blocks parses, prints, and parses
//! again to the same tree; every file in `tests/corpus/errors/` fails with the message, place and hint that it states.

use std::fs;
use std::path::{Path, PathBuf};

use granary_sql::{ParseError, Parsed, Statement, parse};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// The files of a folder with an ending, by name.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no .{ending} in {folder}");
    files
}

/// The variant's name.
fn variant(statement: &Statement) -> String {
    let debug = format!("{statement:?}");
    debug.split(['(', ' ', '{']).next().unwrap().to_string()
}

fn check_round_trip(origin: &str, text: &str) -> Vec<Parsed> {
    let parsed = parse(text).unwrap_or_else(|error| panic!("{origin}: {error:?}\n{text}"));
    assert!(!parsed.is_empty(), "{origin} is empty");
    for statement in &parsed {
        assert_eq!(&text[statement.offset..statement.offset + statement.text.len()], statement.text);
        let printed = statement.statement.to_string();
        let again = parse(&printed).unwrap_or_else(|error| panic!("{origin}: {error:?}\n{printed}"));
        assert_eq!(again.len(), 1, "{origin}: {printed}");
        assert_eq!(again[0].statement, statement.statement, "{origin}: {printed}");
        assert_eq!(again[0].statement.to_string(), printed, "{origin}: the print is not canonical");
    }
    parsed
}

#[test]
fn corpus_goes_round() {
    let mut count = 0;
    for path in files("tests/corpus", "sql") {
        let name = path.file_stem().unwrap().to_string_lossy().to_string();
        let parsed = check_round_trip(&name, &fs::read_to_string(&path).unwrap());
        count += parsed.len();
        // The files of our own statements hold nothing else.
        let words: Vec<String> = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        let is_own = !["postgres", "reading_and_writing", "select_system_time", "job", "role_membership"]
            .contains(&name.as_str());
        for statement in parsed.iter().filter(|_| is_own) {
            assert_eq!(variant(&statement.statement), words.concat(), "{}", statement.text);
        }
    }
    assert!(count > 200, "{count}");
}

#[test]
fn reference_examples_go_round() {
    for path in files("reference", "md") {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().to_string();
        assert!(text.starts_with("# "), "{name} has no title");
        assert!(text.lines().take(4).any(|line| line.starts_with("Status: ")), "{name} has no status");
        let blocks: Vec<&str> = text.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert!(!blocks.is_empty() || text.contains("```text"), "{name} has no example");
        for block in blocks {
            check_round_trip(&name, block);
        }
    }
}

/// `-- error: …`, `-- kind: …`, `-- position: …` and `-- hint: …` at the top of a case.
struct Expected<'a> {
    error: &'a str,
    sqlstate: Option<&'a str>,
    position: Option<usize>,
    hint: Option<&'a str>,
}

fn expected(header: &str) -> Expected<'_> {
    let field = |name: &str| header.lines().find_map(|line| line.strip_prefix(&format!("-- {name}: ")));
    Expected {
        error: field("error").expect("a case states its error"),
        sqlstate: field("sqlstate"),
        position: field("position").map(|position| position.parse().unwrap()),
        hint: field("hint"),
    }
}

#[test]
fn errors_are_as_stated() {
    let (mut count, mut differences) = (0, Vec::new());
    for path in files("tests/corpus/errors", "sql") {
        let name = path.file_name().unwrap().to_string_lossy().to_string();
        let text = fs::read_to_string(&path).unwrap();
        for case in text.split("\n\n").map(str::trim).filter(|case| !case.is_empty()) {
            let is_header = |line: &&str| line.starts_with("-- ");
            let header: String = case.lines().take_while(is_header).map(|line| format!("{line}\n")).collect();
            let statement: Vec<&str> = case.lines().skip_while(is_header).collect();
            let statement = statement.join("\n");
            let wanted = expected(&header);
            let error: ParseError = parse(&statement).expect_err(&format!("{name}: {statement}"));
            let found = (error.message.as_str(), error.kind.sqlstate(), error.position, error.hint.as_deref());
            let stated = (wanted.error, wanted.sqlstate.unwrap_or("42601"), wanted.position, wanted.hint);
            if found != stated {
                differences.push(format!("{name}: {statement}\n  found:  {found:?}\n  stated: {stated:?}"));
            }
            count += 1;
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(count >= 40, "{count}");
}
