//! A real server in its own process and folder, for tests that only know it by its address.
#![allow(dead_code)]

#[path = "../support/ready.rs"]
mod ready;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

pub const USER: &str = "granary";
pub const PASSWORD: &str = "let me in";

pub struct Server {
    child: Child,
    pub address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts the binary on a free port and waits until it says that it is ready.
    pub fn start(arguments: &[&str]) -> Server {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_granary"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path())
            .args(arguments)
            .env("GRANARY_PASSWORD", PASSWORD)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let port = ready::port_when_ready(&mut child);
        Server { child, address: SocketAddr::from(([127, 0, 0, 1], port)), folder }
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
