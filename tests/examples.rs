//! The examples and the SQL of the READMEs, run as a stranger would: with the built program, over the wire.

#[path = "examples/fraud.rs"]
mod fraud;
#[path = "examples/monitoring.rs"]
mod monitoring;
#[path = "support/ready.rs"]
mod ready;
#[path = "examples/reference.rs"]
mod reference;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Shortly after the example's last flight.
const NOW: &str = "2014-01-01 08:00:00";
const PASSWORD: &str = "only for this test";

/// A server on a folder of its own, stopped when dropped.
struct Server {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Server {
    /// `now`: what it takes for the time.
    fn start(now: &str) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = granary()
            .args(["serve", "--listen", "127.0.0.1:0", "--scheduler", "off", "--now", now, "--data"])
            .arg(folder.path().join("data"))
            .env("GRANARY_LOG", "error")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let port = ready::port_when_ready(&mut process);
        Server { process, port, folder }
    }

    fn sql(&self, files: &[PathBuf], standard_input: &str) -> Output {
        self.sql_in("granary", files, standard_input)
    }

    fn sql_in(&self, workspace: &str, files: &[PathBuf], standard_input: &str) -> Output {
        let dsn = format!("postgres://granary@127.0.0.1:{}/{workspace}", self.port);
        let mut process = granary()
            .args(["sql", "--dsn", &dsn])
            .args(files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut pipe = process.stdin.take().expect("a pipe");
        pipe.write_all(standard_input.as_bytes()).expect("it reads");
        drop(pipe);
        process.wait_with_output().expect("it ends")
    }

    /// What the statements print; it is an error if one fails.
    fn answer(&self, sql: &str) -> String {
        succeeded("the statements", self.sql(&[PathBuf::from("-")], sql))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A failed test leaves no server behind.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn granary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_granary"));
    command.current_dir(root()).env("GRANARY_PASSWORD", PASSWORD).env_remove("PGPASSWORD");
    command
}

fn succeeded(what: &str, output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{what} failed: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// The files of an example whose names begin with a digit, in order.
fn numbered(example: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(example).expect("the example").map(|entry| entry.expect("a file").path()).collect();
    files.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        name.starts_with(|first: char| first.is_ascii_digit()) && name.ends_with(".sql")
    });
    files.sort();
    files
}

/// The blocks of a page that are marked as SQL.
fn sql_blocks(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).expect("the page");
    let blocks = text.split("```sql\n").skip(1);
    blocks.map(|block| block.split("```").next().expect("a first part").to_owned()).collect()
}

#[test]
fn the_flights_example_and_the_readmes_run() {
    let server = Server::start(NOW);
    let example = root().join("examples/flights");
    let files = numbered(&example);
    assert_eq!(files.len(), 7);
    for file in &files {
        let printed = succeeded(&file.display().to_string(), server.sql(std::slice::from_ref(file), ""));
        assert!(!printed.is_empty(), "{} prints nothing", file.display());
    }
    let checked = succeeded("check.sql", server.sql(&[example.join("check.sql")], ""));
    let expected = std::fs::read_to_string(example.join("check.out")).expect("check.out");
    assert_eq!(checked, expected, "check.sql answers what check.out does not say");

    for page in [root().join("README.md"), example.join("README.md")] {
        let blocks = sql_blocks(&page);
        assert!(!blocks.is_empty(), "{} has SQL", page.display());
        for block in blocks {
            server.answer(&block);
        }
    }
}

#[test]
fn sql_prints_rows_tags_and_places() {
    let server = Server::start(NOW);
    let printed = server.answer("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (20, NULL);");
    assert_eq!(printed, "CREATE TABLE\nINSERT 0 2\n");
    let printed = server.answer("SELECT * FROM t ORDER BY a;");
    assert_eq!(printed, " a  | b\n----+---\n  1 | x\n 20 |\n(2 rows)\n\n");

    let failed = server.sql(&[PathBuf::from("-")], "SELECT 1;\n-- a comment\nSELECT a,\n  c FROM t;\nSELECT 2;\n");
    assert_eq!(failed.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(errors.contains("-:4:3: column \"c\" does not exist (42703)\n    c FROM t;\n    ^"), "{errors}");
    assert!(!String::from_utf8_lossy(&failed.stdout).contains('2'), "what follows the error is not run");

    let refused = server.sql(&[PathBuf::from("-")], "CREATE TABLE never (a int);\nSELEC 1;\n");
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty(), "nothing of a text with a syntax error is run");
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(errors.starts_with("granary: -:2:1: "), "{errors}");
}

#[test]
fn a_taken_port_does_not_swallow_the_first_password() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let start = |address: &str| {
        let mut command = granary();
        command.env_remove("GRANARY_PASSWORD").args(["serve", "--listen", address, "--data"]).arg(folder.path());
        command.stderr(Stdio::piped());
        command
    };
    let refused = start(&address).output().expect("the program starts");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("could not listen on"));
    let mut process = start("127.0.0.1:0").spawn().expect("the program starts");
    let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    let first = lines.next().expect("a line").expect("text");
    process.kill().expect("it runs");
    process.wait().expect("it ends");
    assert!(first.contains("has the password"), "{first}");
}

/// As under a supervisor whose log has died first.
#[test]
fn a_server_whose_log_nobody_reads_stops_when_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = granary();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the program starts");
    let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("text").contains(" is ready: ")));
    drop(lines);
    let asked = Command::new("kill").args(["-TERM", &process.id().to_string()]).status().expect("kill runs");
    assert!(asked.success());
    let (ended, end) = std::sync::mpsc::channel();
    let id = process.id().to_string();
    let waiting = std::thread::spawn(move || {
        let status = process.wait().expect("it ends");
        // who waits has perhaps given up
        let _ = ended.send(());
        status
    });
    if end.recv_timeout(Duration::from_secs(60)).is_err() {
        Command::new("kill").args(["-KILL", &id]).status().expect("kill runs");
        panic!("it does not stop");
    }
    assert!(waiting.join().expect("waits").success());
}

#[test]
fn a_folder_has_one_server() {
    let server = Server::start(NOW);
    let folder = server.folder.path().join("data");
    let second = granary().args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder).output();
    let second = second.expect("the program starts");
    assert_eq!(second.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(errors.contains("is in use by another server"), "{errors}");
}

/// Runs the quickstart until it says how to go on, then stops it with SIGTERM; gives what it printed.
fn quickstart(folder: &Path) -> String {
    let mut process = granary()
        .args(["quickstart", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut printed = String::new();
    let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
    for line in lines.by_ref() {
        let line = line.expect("text");
        printed.push_str(&line);
        printed.push('\n');
        if line == "The server runs until Ctrl-C." {
            let signal = Command::new("kill").args(["-TERM", &process.id().to_string()]).status();
            assert!(signal.expect("kill").success());
        }
    }
    assert!(process.wait().expect("it ends").success(), "{printed}");
    printed
}

#[test]
fn the_quickstart_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = quickstart(folder.path());
    for expected in
        ["clock        2014-01-01 08:00:00+00", "SELECT 10000", "median", "PGPASSWORD='only for this test' psql"]
    {
        assert!(first.contains(expected), "no {expected:?} in {first}");
    }
    let second = quickstart(folder.path());
    assert_eq!(second.matches("materialized by an earlier run").count(), 6, "{second}");
    assert!(second.contains("10000 |"), "{second}");
}

#[test]
fn the_quickstart_leaves_other_folders_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("mine.txt"), "mine").expect("a file");
    let refused = granary().args(["quickstart", "--data"]).arg(folder.path()).output().expect("the program starts");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("it is left as it is"));
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1);
}
