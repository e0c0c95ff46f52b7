//! No input panics, overflows the stack or takes for ever: mutations of the corpus from a fixed seed, and deep nesting.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use granary_sql::{ParseErrorKind, parse};

/// Knuth's MMIX generator: the same texts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }
}

fn corpus() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut texts = Vec::new();
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "sql")) {
        let text = fs::read_to_string(path).unwrap();
        texts.extend(parse(&text).unwrap().into_iter().map(|parsed| parsed.text));
    }
    texts
}

/// Words, numbers, blanks and symbols.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for character in text.chars() {
        let is_word = character.is_alphanumeric() || character == '_';
        match pieces.last_mut() {
            Some(last) if is_word && last.chars().all(|other| other.is_alphanumeric() || other == '_') => {
                last.push(character)
            }
            _ => pieces.push(character.to_string()),
        }
    }
    pieces
}

fn mutate(random: &mut Random, texts: &[String]) -> String {
    let mut mutated = pieces(&texts[random.below(texts.len())]);
    for _ in 0..=random.below(4) {
        let at = random.below(mutated.len());
        match random.below(8) {
            0 => mutated.truncate(at),
            1 => drop(mutated.splice(at..(at + random.below(5)).min(mutated.len()), [])),
            2 if !mutated.is_empty() => mutated.insert(at, mutated[at].clone()),
            3 if !mutated.is_empty() => {
                let other = random.below(mutated.len());
                mutated.swap(at, other);
            }
            4 => {
                let other = pieces(&texts[random.below(texts.len())]);
                let start = random.below(other.len());
                let end = (start + random.below(10)).min(other.len());
                mutated.splice(at..at, other[start..end].iter().cloned());
            }
            5 => mutated.insert(
                at,
                ["(", ")", "'", "\"", ";", "--", "/*", "$$", "\\", "\0", "é", "𝄞", "$1", "."][random.below(14)]
                    .to_string(),
            ),
            6 => mutated.insert(at, char::from(u8::try_from(random.below(128)).unwrap()).to_string()),
            _ => {
                let byte = u8::try_from(random.below(256)).unwrap();
                mutated.insert(at, String::from_utf8_lossy(&[byte]).to_string());
            }
        }
    }
    mutated.concat()
}

#[test]
fn mutations_never_panic() {
    let texts = corpus();
    let mut random = Random(20_240_229);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..8_000 {
        let text = mutate(&mut random, &texts);
        match parse(&text) {
            Ok(parsed) => {
                accepted += 1;
                for statement in parsed {
                    // What was accepted prints as something that is accepted.
                    let printed = statement.statement.to_string();
                    match parse(&printed) {
                        Ok(again) => assert_eq!(again, [statement], "{text:?}\n{printed:?}"),
                        Err(error) => panic!("{error:?}\n{text:?}\n{printed:?}"),
                    }
                }
            }
            Err(error) => {
                refused += 1;
                let length = text.chars().count();
                assert!(
                    error.position.is_some_and(|position| (1..=length + 1).contains(&position)),
                    "{error:?}\n{text:?}"
                );
                assert!(error.message.chars().next().is_some_and(|first| !first.is_whitespace()));
            }
        }
    }
    assert!(accepted > 500 && refused > 2_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn deep_nesting_is_an_error() {
    let many = 20_000;
    let nested =
        |open: &str, middle: &str, close: &str| format!("SELECT {}{middle}{}", open.repeat(many), close.repeat(many));
    let mut texts = vec![
        nested("(", "1", ")"),
        nested("(SELECT ", "1", ")"),
        nested("f(", "1", ")"),
        nested("cast(", "1", " AS int)"),
        nested("CASE WHEN ", "1", " THEN 1 END"),
        nested("ARRAY[", "1", "]"),
        nested("[", "1", "]"),
        nested("NOT ", "true", ""),
        nested("- ", "1", ""),
        nested("INTERVAL ", "'1 day'", ""),
        nested("EXISTS (SELECT ", "1", ")"),
        nested("a IN (SELECT ", "1", ")"),
        nested("position(", "'a'", " IN 'b')"),
        nested("", "1", " + 1"),
        nested("", "1", "::int"),
        nested("", "a", " IS NULL"),
        nested("", "a", " COLLATE \"C\""),
        nested("", "a", "[1]"),
        nested("", "a", " AND b"),
        nested("", "a", " || b"),
        nested("", "1", " UNION SELECT 1"),
        nested("", "1", " EXCEPT SELECT 1"),
        nested("x::", "a", ""),
        nested("1::ARRAY<", "int", ">"),
        nested("CAST(1 AS STRUCT<a ", "int", ">)"),
        nested("* FROM (SELECT ", "1", ") t"),
        nested("* FROM ", "t", ""),
        nested("a, ", "b", ""),
        format!("SELECT * FROM {}t{}", "(".repeat(many), ")".repeat(many)),
        format!("SELECT * FROM {}t{}", "(a JOIN ".repeat(many), " ON true)".repeat(many)),
        format!("SELECT * FROM t {}", "JOIN t ON true ".repeat(many)),
        format!("SELECT * FROM v {}1", "FOR SYSTEM_TIME FROM (SELECT a FROM v ".repeat(many)),
        format!("SELECT * FROM v {}", "FOR SYSTEM_TIME FROM 1 TO 2 ".repeat(many)),
        format!("{}SELECT 1", "EXPLAIN ".repeat(many)),
        format!("{}SELECT 1", "WITH a AS (".repeat(many)),
        format!("{}SELECT 1", "PREPARE a AS ".repeat(many)),
        format!("CREATE TABLE t (a {}int{})", "ARRAY<".repeat(many), ">".repeat(many)),
        format!("CREATE TABLE t (a int{})", "[]".repeat(many)),
        format!("CREATE ENTITY e (a {}int)", "ARRAY<".repeat(many)),
        format!("CREATE FEATURE VIEW v WITH (a = {}1) ENTITY e TIMESTAMP t AS SELECT 1", "(".repeat(many)),
        format!("{}1", "SELECT cast(trim(substring(position(interval ".repeat(many)),
    ];
    for middle in ["1", "FROM", ")", "'x", ""] {
        for open in [
            "cast(",
            "trim(",
            "position(",
            "substring(",
            "extract(",
            "(",
            "interval (",
            "not exists (",
            "case ",
            "ceil(",
            "overlay(",
            "array(",
            "array[",
        ] {
            // Not deep enough for a limit of depth; each may be tried in two ways at every level.
            texts.push(format!("SELECT {}{middle}", open.repeat(45)));
        }
    }
    for text in texts {
        let started = Instant::now();
        let outcome = parse(&text);
        let start: String = text.chars().take(60).collect();
        assert!(started.elapsed() < Duration::from_secs(10), "{start} took {:?}", started.elapsed());
        if let Err(error) = outcome {
            use ParseErrorKind::{FeatureNotSupported, Syntax, TooComplex, TooManyColumns};
            let is_expected = matches!(error.kind, FeatureNotSupported | Syntax | TooComplex | TooManyColumns);
            assert!(is_expected && error.position.is_some(), "{start}: {error:?}");
        }
    }
}

#[test]
fn long_statements_are_fine() {
    let rows: Vec<String> = (0..20_000).map(|row| format!("({row}, 'text', 1.5, NULL)")).collect();
    parse(&format!("INSERT INTO t VALUES {}", rows.join(", "))).unwrap();
    let conditions: Vec<String> = (0..200).map(|value| format!("a = {value}")).collect();
    parse(&format!("SELECT * FROM t WHERE {}", conditions.join(" OR "))).unwrap();
    let features: Vec<String> = (0..2_000)
        .map(|number| format!("sum(amount * {number}) OVER (LAST '{} hours') AS f{number}", number + 1))
        .collect();
    let text = format!("CREATE FEATURE VIEW v ENTITY e TIMESTAMP ts FEATURES ({}) AS SELECT 1", features.join(", "));
    parse(&text).unwrap();
    let statements = "SELECT 1;".repeat(5_000);
    assert_eq!(parse(&statements).unwrap().len(), 5_000);
}
