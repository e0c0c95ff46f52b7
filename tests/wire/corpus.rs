//! What fuzzing begins with: every statement of the tests and of the reference, and values of every type.

use std::path::Path;

use crate::random::Random;

pub const SETUP: &[&str] = &[
    "CREATE TABLE strange (id int8, t text, n numeric(18, 4), f float8, a int4[], at timestamptz, j jsonb)",
    "CREATE TABLE g (id int PRIMARY KEY, k text, i int, b bigint, s smallint, n numeric(8, 2), f float8, t text, d date, ok bool)",
    "INSERT INTO g VALUES (1, 'a', 1, 10, 1, 1.50, 0.5, 'x', '2024-01-01', true), (2, 'b', NULL, 20, 2, -2.25, 'NaN', '', NULL, false)",
    "CREATE TABLE t (a int, b text, c float8)",
    "INSERT INTO t VALUES (1, 'x', 1.5), (2, NULL, 'Infinity'), (NULL, '', -1)",
];

/// Of the columns of `strange`.
pub const COLUMNS: &[&str] = &["int8", "text", "numeric", "float8", "int4[]", "timestamptz", "jsonb"];

pub const TYPES: &[&str] = &[
    "bool",
    "int2",
    "int4",
    "int8",
    "float4",
    "float8",
    "numeric",
    "numeric(10,2)",
    "text",
    "varchar(3)",
    "char(3)",
    "bytea",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "uuid",
    "json",
    "jsonb",
    "inet",
    "cidr",
    "macaddr",
    "bit(3)",
    "varbit",
    "oid",
    "name",
    "regclass",
    "regtype",
    "int4[]",
    "text[]",
    "numeric[]",
    "timestamptz[]",
    "bool[]",
    "jsonb[]",
    "timetz",
    "int2vector",
    "\"char\"",
    "xid",
    "jsonpath",
];

const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "127",
    "32767",
    "32768",
    "-32768",
    "2147483647",
    "-2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "1e308",
    "-1e-320",
    "NaN",
    "Infinity",
    "-Infinity",
    "0x10",
    "1_000",
    "12345678901234567890123456789012345678901234567890.123456789",
    "0.00000000000000000000000000000000001",
    "true",
    "f",
    "2024-02-29",
    "2023-02-29",
    "294276-12-31 23:59:59.999999",
    "4713-01-01 BC",
    "0001-01-01 00:00:00+15:59",
    "infinity",
    "-infinity",
    "24:00:00",
    "23:59:60.5",
    "2024-03-31 02:30 Europe/Berlin",
    "1 year -3 mons 4 days 05:06:07.000008",
    "P1Y2M",
    "178000000 years",
    "-9223372036854775808 microseconds",
    "{}",
    "{1,2,NULL}",
    "{{1,2},{3,4}}",
    "{\"a\\\"b\",NULL}",
    "{1",
    "[0:1]={1,2}",
    "[]",
    "{\"a\": [1, {\"b\": null}]}",
    "[[[[[[]]]]]]",
    "\"\\u0000\"",
    "\"\\ud83d\\ude00\"",
    "\\x00ff",
    "\\xzz",
    "00000000-0000-0000-0000-000000000000",
    "192.168.0.1/24",
    "::ffff:1.2.3.4/128",
    "08:00:2b:01:02:03",
    "B101",
    "101",
    "g",
    "pg_class",
    "ä€𝄞",
    "\u{feff}x",
    "a\tb",
    "\\.",
    "\\N",
    "$.a[*] ? (@ > 1)",
    "'",
    "\"",
    ";",
    "--",
    "/*",
    "$$",
    "%s",
    "(((((",
];

/// Text that the grammar knows.
const WORDS: &[&str] = &[
    "NULL",
    "DEFAULT",
    "*",
    "(",
    ")",
    "()",
    ",",
    "::int",
    "::text",
    "::numeric",
    "[1]",
    "[1:2]",
    "->",
    "->>",
    "#>",
    "@>",
    "||",
    "IS NULL",
    "NOT",
    "AND",
    "OR",
    "=",
    "<>",
    "<",
    ">=",
    "+",
    "-",
    "/",
    "%",
    "^",
    "~",
    "LIKE",
    "IN",
    "ANY",
    "ALL",
    "BETWEEN",
    "CASE",
    "END",
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "OFFSET",
    "UNION",
    "EXCEPT ALL",
    "WITH x AS",
    "OVER ()",
    "FILTER (WHERE",
    "WITHIN GROUP",
    "LATERAL",
    "JOIN",
    "USING (id)",
    "ON true",
    "generate_series(1, 3)",
    "g",
    "t",
    "FOR SYSTEM_TIME AS OF now()",
    "RETURNING *",
    "ON CONFLICT DO NOTHING",
    "$1",
    "$0",
    "$99999",
    "1e400",
    "''",
    "E'\\x'",
    "INTERVAL '1 day'",
    "AT TIME ZONE 'x'",
    "ROW(1, 2)",
    "ARRAY[]",
    "EXISTS",
    "GROUPING SETS ((), (1))",
    "count(*)",
    ".",
    ":=",
];

pub struct Corpus {
    statements: Vec<String>,
}

impl Corpus {
    pub fn read() -> Corpus {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut statements = Vec::new();
        read_folder(&root.join("tests/slt"), &mut statements);
        read_folder(&root.join("postgres/tests/expressions"), &mut statements);
        read_folder(&root.join("sql/reference"), &mut statements);
        assert!(statements.len() > 5_000, "{} statements", statements.len());
        Corpus { statements }
    }

    pub fn statement(&self, random: &mut Random) -> String {
        random.pick(&self.statements).clone()
    }

    /// A value of some type, or of none.
    pub fn value(&self, random: &mut Random) -> String {
        (*random.pick(VALUES)).to_owned()
    }

    /// A statement with some tokens of another kind, or of another statement.
    pub fn broken(&self, random: &mut Random) -> String {
        let mut tokens = tokens(random.pick::<String>(&self.statements));
        for _ in 0..random.below(4) {
            let at = random.below(tokens.len() as u64 + 1) as usize;
            let last = at.min(tokens.len().saturating_sub(1));
            match random.below(9) {
                0 if !tokens.is_empty() => drop(tokens.remove(last)),
                1 if !tokens.is_empty() => tokens.insert(at, tokens[last].clone()),
                2 if !tokens.is_empty() => {
                    let other = random.below(tokens.len() as u64) as usize;
                    tokens.swap(last, other);
                }
                3 => tokens.insert(at, format!(" {} ", random.pick(WORDS))),
                4 if !tokens.is_empty() => tokens[last] = format!(" {} ", random.pick(WORDS)),
                5 if !tokens.is_empty() => tokens[last] = format!("'{}'", random.pick(VALUES).replace('\'', "''")),
                6 => {
                    let other = self::tokens(random.pick::<String>(&self.statements));
                    let from = random.below(other.len() as u64 + 1) as usize;
                    let count = random.below(12) as usize;
                    tokens.splice(at..at, other.into_iter().skip(from).take(count));
                }
                7 => {
                    let (open, close) =
                        *random.pick(&[("(", ")"), ("NOT ", ""), ("-", ""), ("ARRAY[", "]"), ("(SELECT ", ")")]);
                    let depth = *random.pick(&[2, 30, 300, 3_000]);
                    let inner = tokens.get(last).cloned().unwrap_or_default();
                    let nested = format!(" {}{inner}{} ", open.repeat(depth), close.repeat(depth));
                    tokens.splice(last..at.max(last).min(tokens.len()), [nested]);
                }
                _ => tokens.truncate(at),
            }
        }
        tokens.concat()
    }
}

/// Texts, words, numbers and signs, with the blanks behind them.
fn tokens(sql: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut in_text = false;
    for character in sql.chars() {
        let joins = match tokens.last().and_then(|token| token.chars().last()) {
            None => false,
            Some(_) if in_text => true,
            Some(last) if character.is_alphanumeric() || character == '_' => last.is_alphanumeric() || last == '_',
            Some(last) => character.is_whitespace() && last.is_whitespace(),
        };
        match tokens.last_mut() {
            Some(token) if joins => token.push(character),
            _ => tokens.push(character.to_string()),
        }
        in_text ^= character == '\'';
    }
    tokens
}

/// Bytes as that type has them, mostly.
pub fn binary_value(of: &str, random: &mut Random) -> Vec<u8> {
    let number = *random.pick(&[0_i64, 1, -1, i64::MAX, i64::MIN, 1 << 40, 700_000_000_000_000]);
    match of {
        "bool" | "\"char\"" => vec![number as u8],
        "int2" => (number as i16).to_be_bytes().to_vec(),
        "int4" | "date" | "oid" | "float4" => (number as i32).to_be_bytes().to_vec(),
        "int8" | "timestamp" | "timestamptz" | "time" | "float8" => number.to_be_bytes().to_vec(),
        "interval" => [number.to_be_bytes(), number.to_be_bytes()].concat(),
        "uuid" => [number.to_be_bytes(), number.to_be_bytes()].concat(),
        "jsonb" => b"\x01{\"a\": [1, 2.50]}".to_vec(),
        "numeric" | "numeric(10,2)" => {
            let digits: Vec<i16> = (0..random.below(5)).map(|_| random.below(10_000) as i16).collect();
            let head = [digits.len() as i16, random.below(9) as i16 - 4, *random.pick(&[0, 0x4000, -0x4000]), 4];
            head.into_iter().chain(digits).flat_map(i16::to_be_bytes).collect()
        }
        "int4[]" => {
            let head = [1_i32, 0, 23, 2, 1, 4, number as i32, -1];
            head.into_iter().flat_map(i32::to_be_bytes).collect()
        }
        _ => random.pick(VALUES).as_bytes().to_vec(),
    }
}

fn read_folder(folder: &Path, statements: &mut Vec<String>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read_folder(&path, statements);
            continue;
        }
        let Some(kind) = path.extension().and_then(|kind| kind.to_str()) else { continue };
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        match kind {
            "slt" => read_records(&text, statements),
            "txt" => statements.extend(text.lines().filter(|line| !line.starts_with("    ")).map(str::to_owned)),
            "md" => read_page(&text, statements),
            _ => {}
        }
    }
}

/// The statements behind `statement` and `query` lines.
fn read_records(text: &str, statements: &mut Vec<String>) {
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if !(line.starts_with("statement") || line.starts_with("query")) {
            continue;
        }
        let statement: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty() && *line != "----").collect();
        statements.push(statement.join("\n"));
    }
}

/// The statements of a page's examples.
fn read_page(text: &str, statements: &mut Vec<String>) {
    for block in text.split("```sql\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        statements
            .extend(block.split(";\n").map(|statement| statement.trim().to_owned()).filter(|one| !one.is_empty()));
    }
}
