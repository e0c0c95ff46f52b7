//! A real server in its own process and folder, for tests that only know it by its address.
#![allow(dead_code)]

#[path = "../support/ready.rs"]
mod ready;

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

pub const USER: &str = "granary";
pub const PASSWORD: &str = "let me in";

pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// what the server said before it was ready
    said: String,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts the binary on a free port, on a folder of its own unless told another, and waits until it is ready.
    pub fn start(arguments: &[&str]) -> Server {
        Server::start_with(arguments, &[])
    }

    /// With more in its environment.
    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Server {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let own = [OsStr::new("--data"), folder.path().as_os_str()];
        let data: &[&OsStr] = if arguments.contains(&"--data") { &[] } else { &own };
        // tests type REFRESH themselves, unless they say otherwise
        let scheduler: &[&str] = if arguments.contains(&"--scheduler") { &[] } else { &["--scheduler", "off"] };
        let mut child = Command::new(env!("CARGO_BIN_EXE_granary"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(scheduler)
            .env("GRANARY_LOG", "error")
            .args(data)
            .args(arguments)
            .envs(environment.iter().copied())
            .env("GRANARY_PASSWORD", PASSWORD)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (port, said) = ready::when_ready(&mut child);
        Server { child, said, address: SocketAddr::from(([127, 0, 0, 1], port)), folder }
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Where HTTP is served, if it was asked for.
    pub fn http_address(&self) -> &str {
        let url = self.said.lines().find_map(|line| line.strip_prefix("http: ")).expect("an HTTP address");
        url.split_once("://").expect("a scheme").1.trim_end_matches("/health")
    }

    /// Where Flight SQL is served, if it was asked for.
    pub fn flight_address(&self) -> &str {
        let url = self.said.lines().find_map(|line| line.strip_prefix("flight: ")).expect("a Flight SQL address");
        url.split_once("://").expect("a scheme").1
    }

    /// A client that has logged in.
    pub async fn connect(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::Config::new()
            .host("127.0.0.1")
            .port(self.address.port())
            .user(USER)
            .password(PASSWORD)
            .dbname(USER)
            .connect(tokio_postgres::NoTls)
            .await
            .expect("the login");
        tokio::spawn(connection);
        client
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// The memory that it holds now.
    pub fn memory_kb(&self) -> u64 {
        let output = Command::new("ps").args(["-o", "rss=", "-p", &self.child.id().to_string()]).output();
        let text = String::from_utf8(output.expect("ps runs").stdout).expect("text");
        text.trim().parse().expect("a number of kilobytes")
    }

    /// The most memory that it has held.
    pub fn peak_memory_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id())).expect("a process");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
