//! The examples of the reference pages: every ```sql block of a page is run, in order, in a workspace that holds
//! what `sql/reference/examples.sql` makes.
//!
//! A statement that fails has the line `-- ERROR 0A000: the message` behind it, with its SQLSTATE and whole message.
//! A ```text block right behind the SQL is what `granary sql` prints.

use std::path::{Path, PathBuf};

use crate::{Server, root, succeeded};

/// A fenced block of a page.
struct Block<'a> {
    /// 1-based, of the fence
    line: usize,
    info: &'a str,
    text: String,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut is_open = false;
    for (index, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), is_open) {
            (Some(info), false) => blocks.push(Block { line: index + 1, info, text: String::new() }),
            (Some(_), true) | (None, false) => {}
            (None, true) => {
                let block = blocks.last_mut().expect("it is open");
                block.text.push_str(line);
                block.text.push('\n');
            }
        }
        is_open ^= line.starts_with("```");
    }
    blocks
}

/// Statements that are run together.
struct Part<'a> {
    sql: &'a str,
    /// SQLSTATE and message of the only statement, which fails
    error: Option<(&'a str, &'a str)>,
}

fn parts(sql: &str) -> Vec<Part<'_>> {
    let statements = granary_sql::parse(sql).expect("the pages parse");
    let mut parts = Vec::new();
    let mut start = 0;
    for (index, statement) in statements.iter().enumerate() {
        let end = statements.get(index + 1).map_or(sql.len(), |next| next.offset);
        let behind = &sql[statement.offset + statement.text.len()..end];
        let Some(mark) = behind.lines().find_map(|line| line.strip_prefix("-- ERROR ")) else { continue };
        parts.push(Part { sql: &sql[start..statement.offset], error: None });
        parts.push(Part { sql: &sql[statement.offset..end], error: Some(mark.split_once(": ").expect("a message")) });
        start = end;
    }
    parts.push(Part { sql: &sql[start..], error: None });
    parts
}

/// What the block prints, or what is wrong with it.
fn run(server: &Server, workspace: &str, sql: &str) -> Result<String, String> {
    let mut printed = String::new();
    for part in parts(sql) {
        let output = server.sql_in(workspace, &[PathBuf::from("-")], part.sql);
        let errors = String::from_utf8_lossy(&output.stderr);
        match part.error {
            None if output.status.success() => printed.push_str(&String::from_utf8_lossy(&output.stdout)),
            None => return Err(errors.into_owned()),
            Some((code, message)) => {
                if output.status.success() || !errors.contains(&format!(": {message} ({code})\n")) {
                    return Err(format!("expected {code} {message}, found: {errors}"));
                }
            }
        }
    }
    Ok(printed)
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect()
}

fn run_page(server: &Server, path: &Path) -> Vec<String> {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    let workspace = format!("page_{}", name.trim_end_matches(".md"));
    server.answer(&format!("CREATE WORKSPACE {workspace} LIVE"));
    let setup = root().join("sql/reference/examples.sql");
    succeeded("examples.sql", server.sql_in(&workspace, &[setup], ""));
    let page = std::fs::read_to_string(path).expect("the page");
    let blocks = blocks(&page);
    let mut wrong = Vec::new();
    for (index, block) in blocks.iter().enumerate().filter(|(_, block)| block.info == "sql") {
        let shown = blocks
            .get(index + 1)
            .filter(|next| next.info == "text" && next.line == block.line + block.text.lines().count() + 2);
        match (run(server, &workspace, &block.text), shown) {
            (Err(error), _) => wrong.push(format!("{name}:{}: {error}", block.line)),
            (Ok(printed), Some(shown)) if lines(&printed) != lines(&shown.text) => {
                wrong.push(format!("{name}:{}: it prints\n{printed}", shown.line));
            }
            (Ok(_), _) => {}
        }
    }
    wrong
}

#[test]
fn every_example_of_the_reference_is_true() {
    let server = Server::start("2024-03-10");
    let entries = std::fs::read_dir(root().join("sql/reference")).expect("the reference");
    let mut pages: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    assert!(pages.len() > 20, "{pages:?}");
    let wrong: Vec<String> = pages.iter().flat_map(|page| run_page(&server, page)).collect();
    assert!(wrong.is_empty(), "{} examples are not true\n\n{}", wrong.len(), wrong.join("\n"));
}
