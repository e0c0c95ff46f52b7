//! The lists that clients in Rust go through, each in a program of its own.

use std::path::Path;

/// The lines of a list, without comments.
pub fn lines(path: impl AsRef<Path>) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a list");
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// Each value of `types.txt`: its type and its literal.
pub fn values(path: impl AsRef<Path>) -> Vec<(String, String)> {
    let value = |line: &String| {
        let (name, literal) = line.split_once(" |").expect("type | literal");
        (name.to_owned(), literal.strip_prefix(' ').unwrap_or(literal).to_owned())
    };
    lines(path).iter().map(value).collect()
}
