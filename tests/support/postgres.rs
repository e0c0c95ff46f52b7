//! A PostgreSQL 15 of a test's own, in a temporary folder. Nobody may run it as root.
#![allow(dead_code)]

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

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
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    taken.local_addr().expect("an address").port()
}

pub struct Postgres {
    folder: tempfile::TempDir,
    pub port: u16,
    options: &'static str,
}

impl Postgres {
    /// Empty, with one superuser. `options`: those of the command line.
    pub fn start(user: &str, password: &str, options: &'static str) -> Postgres {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Postgres { folder, port: free_port(), options };
        let file = server.folder.path().join("password");
        std::fs::write(&file, password).expect("writes");
        if let Some((user, group)) = somebody() {
            std::fs::set_permissions(server.folder.path(), PermissionsExt::from_mode(0o755)).expect("may");
            for path in [server.folder.path(), &file] {
                chown(path, Some(user), Some(group)).expect("may");
            }
        }
        let file = file.to_str().expect("UTF-8");
        let common = ["-N", "-E", "UTF8", "--locale=C", "-A", "scram-sha-256", "--pwfile", file];
        server.run("initdb", &[&common, ["-U", user].as_slice()].concat());
        server.start_again();
        server
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(programs().join(program));
        command.arg("-D").arg(self.folder.path().join("data")).current_dir("/");
        if let Some((user, group)) = somebody() {
            command.uid(user).gid(group);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn run(&self, program: &str, args: &[&str]) {
        let status = self.command(program).args(args).status();
        assert!(status.expect("it runs").success(), "{program} {args:?}");
    }

    pub fn start_again(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c shared_buffers=32MB -c fsync=off {}",
            self.port, self.options
        );
        let log = self.folder.path().join("log");
        self.run("pg_ctl", &["-w", "-l", log.to_str().expect("UTF-8"), "-o", &options, "start"]);
    }

    /// At once, as if it had crashed.
    pub fn stop(&self) {
        self.run("pg_ctl", &["-w", "-m", "immediate", "stop"]);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.command("pg_ctl").args(["-m", "immediate", "stop"]).status();
    }
}
