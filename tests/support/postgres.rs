//! A PostgreSQL server of a test's own, as it comes with the machine. Nobody else may run it as root.

#![allow(dead_code, reason = "each of the test programs uses a part of it")]

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

pub struct Cluster {
    folder: tempfile::TempDir,
    port: u16,
    /// as `-c` takes them
    settings: Vec<String>,
}

impl Cluster {
    /// Empty, in C's order of texts; `user` is its superuser.
    pub fn start(user: &str, password: &str, settings: &[&str]) -> Cluster {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let cluster = Cluster { folder, port: free_port(), settings };
        let file = cluster.folder.path().join("password");
        std::fs::write(&file, password).expect("writes");
        if let Some((user, group)) = somebody() {
            std::fs::set_permissions(cluster.folder.path(), PermissionsExt::from_mode(0o755)).expect("may");
            for path in [cluster.folder.path(), &file] {
                chown(path, Some(user), Some(group)).expect("may");
            }
        }
        let file = file.to_str().expect("UTF-8");
        cluster.run("initdb", &["-N", "-E", "UTF8", "--locale=C", "-U", user, "-A", "scram-sha-256", "--pwfile", file]);
        cluster.start_again();
        cluster
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn start_again(&self) {
        let mut options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c shared_buffers=32MB -c fsync=off",
            self.port
        );
        for setting in &self.settings {
            options += " -c ";
            options += setting;
        }
        let log = self.folder.path().join("log");
        self.run("pg_ctl", &["-w", "-l", log.to_str().expect("UTF-8"), "-o", &options, "start"]);
    }

    /// At once, as if it had crashed.
    pub fn stop(&self) {
        self.run("pg_ctl", &["-w", "-m", "immediate", "stop"]);
    }

    fn run(&self, program: &str, args: &[&str]) {
        let status = self.status(program, args).expect("it runs");
        assert!(status.success(), "{program} {args:?}");
    }

    fn status(&self, program: &str, args: &[&str]) -> std::io::Result<ExitStatus> {
        let mut command = Command::new(programs().join(program));
        command.arg("-D").arg(self.folder.path().join("data")).args(args).current_dir("/");
        if let Some((user, group)) = somebody() {
            command.uid(user).gid(group);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // One that has been stopped already is not harmed.
        let _ = self.status("pg_ctl", &["-m", "immediate", "stop"]);
    }
}

fn programs() -> PathBuf {
    let folder = PathBuf::from("/usr/lib/postgresql/15/bin");
    assert!(folder.join("initdb").exists(), "PostgreSQL 15 is not installed: apt-get install postgresql-15");
    folder
}

/// Who is to run it, if that is not who runs the test.
fn somebody() -> Option<(u32, u32)> {
    let id = |args: &[&str]| {
        let output = Command::new("id").args(args).output().expect("id runs");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().expect("a number")
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "nobody"]), id(&["-g", "nobody"])))
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}
