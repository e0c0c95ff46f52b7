//! A PostgreSQL server of a test's own, as it comes with the machine. Nobody else may run it as root.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tokio_postgres::{Client, NoTls};

use crate::asking::free_port;

const PASSWORD: &str = "pass 'word";

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

pub struct Server {
    folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// Empty, with a log that can be decoded.
    pub fn start() -> Server {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server { folder, port: free_port() };
        let password = server.folder.path().join("password");
        std::fs::write(&password, PASSWORD).expect("writes");
        if let Some((user, group)) = somebody() {
            std::fs::set_permissions(server.folder.path(), PermissionsExt::from_mode(0o755)).expect("may");
            for path in [server.folder.path(), &password] {
                chown(path, Some(user), Some(group)).expect("may");
            }
        }
        let password = password.to_str().expect("UTF-8");
        server.run(
            "initdb",
            &["-N", "-E", "UTF8", "--locale=C", "-U", "ada", "-A", "scram-sha-256", "--pwfile", password],
        );
        server.start_again();
        server
    }

    fn run(&self, program: &str, args: &[&str]) {
        let mut command = Command::new(programs().join(program));
        command.arg("-D").arg(self.folder.path().join("data")).args(args).current_dir("/");
        if let Some((user, group)) = somebody() {
            command.uid(user).gid(group);
        }
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.expect("it runs").success(), "{program} {args:?}");
    }

    pub fn start_again(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c wal_level=logical -c shared_buffers=32MB \
             -c fsync=off -c wal_sender_timeout=60s -c max_wal_senders=20 -c max_replication_slots=20",
            self.port
        );
        let log = self.folder.path().join("log");
        self.run("pg_ctl", &["-w", "-l", log.to_str().expect("UTF-8"), "-o", &options, "start"]);
    }

    /// At once, as if it had crashed.
    pub fn stop(&self) {
        self.run("pg_ctl", &["-w", "-m", "immediate", "stop"]);
    }

    /// How a stream reaches it, as a literal of SQL.
    pub fn dsn(&self) -> String {
        format!("'{}'", self.address().replace('\'', "''"))
    }

    fn address(&self) -> String {
        let password = PASSWORD.replace('\'', "\\'");
        format!("host=127.0.0.1 port={} user=ada dbname=postgres password='{password}' sslmode=disable", self.port)
    }

    pub async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.address(), NoTls).await.expect("connects");
        tokio::spawn(connection);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut command = Command::new(programs().join("pg_ctl"));
        command.arg("-D").arg(self.folder.path().join("data")).args(["-m", "immediate", "stop"]).current_dir("/");
        if let Some((user, group)) = somebody() {
            command.uid(user).gid(group);
        }
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}
