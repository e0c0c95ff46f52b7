//! A server as a process of its own. It is stopped by its process id, and never outlives its test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::cluster::Cluster;
use crate::ready::port_when_ready;

const USER: &str = "granary";
/// The superuser's.
pub const PASSWORD: &str = "granary";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Granary,
    Postgres,
}

pub enum Server {
    Granary(Granary),
    Postgres(Cluster),
}

pub struct Granary {
    folder: TempDir,
    now: Option<String>,
    schedules: bool,
    child: Child,
    port: u16,
}

/// A connection and the notices that came over it.
pub struct Connection {
    pub client: Client,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Connection {
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut self.notices.lock().expect("nobody panics while holding it"))
    }
}

impl Server {
    /// A server on an empty folder. `now`: what it takes for the time; `schedules`: whether it makes jobs by itself.
    pub fn start(program: Program, now: Option<&str>, schedules: bool) -> Server {
        match program {
            Program::Granary => Server::Granary(Granary::start(now, schedules)),
            Program::Postgres => {
                assert!(now.is_none(), "PostgreSQL has the time of the machine");
                Server::Postgres(Cluster::start(USER, PASSWORD, &["timezone=UTC"]))
            }
        }
    }

    /// Whether it makes jobs by itself.
    pub fn schedules(&self) -> bool {
        matches!(self, Server::Granary(granary) if granary.schedules)
    }

    pub fn program(&self) -> Program {
        match self {
            Server::Granary(_) => Program::Granary,
            Server::Postgres(_) => Program::Postgres,
        }
    }

    /// Stops it and starts it on the same folder.
    pub fn restart(&mut self) {
        match self {
            Server::Granary(granary) => granary.restart(),
            Server::Postgres(cluster) => {
                cluster.stop();
                cluster.start_again();
            }
        }
    }

    /// To PostgreSQL a workspace is a database.
    pub async fn create_workspace(&self, name: &str, development: bool) {
        let (first, create) = match self.program() {
            Program::Granary if development => ("granary", format!("CREATE WORKSPACE {name} DEVELOPMENT")),
            Program::Granary => ("granary", format!("CREATE WORKSPACE {name} LIVE")),
            Program::Postgres => ("postgres", format!("CREATE DATABASE {name}")),
        };
        self.connect(first).await.client.batch_execute(&create).await.expect("a new workspace");
    }

    fn port(&self) -> u16 {
        match self {
            Server::Granary(granary) => granary.port,
            Server::Postgres(cluster) => cluster.port(),
        }
    }

    /// A connection of the superuser.
    pub async fn connect(&self, workspace: &str) -> Connection {
        self.connect_as(USER, PASSWORD, workspace).await.expect("a connection")
    }

    pub async fn connect_as(
        &self,
        user: &str,
        password: &str,
        workspace: &str,
    ) -> Result<Connection, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port()).user(user).password(password).dbname(workspace);
        config.connect_timeout(std::time::Duration::from_secs(30));
        let (client, mut connection) = config.connect(NoTls).await?;
        let notices = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&notices);
        tokio::spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notice(notice) = message {
                    kept.lock().expect("nobody panics while holding it").push(notice.message().to_owned());
                }
            }
        });
        Ok(Connection { client, notices })
    }
}

impl Granary {
    fn start(now: Option<&str>, schedules: bool) -> Granary {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (child, port) = launch(folder.path(), now, schedules);
        Granary { folder, now: now.map(str::to_owned), schedules, child, port }
    }

    fn restart(&mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "SIGTERM to process {pid}");
        let status = self.child.wait().expect("the server ends");
        assert!(status.success(), "the server ended with {status}");
        (self.child, self.port) = launch(self.folder.path(), self.now.as_deref(), self.schedules);
    }
}

impl Drop for Granary {
    fn drop(&mut self) {
        // Also after a failed test; one that has been stopped already is not harmed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the program and reads its port from the line that says it is ready.
fn launch(folder: &Path, now: Option<&str>, schedules: bool) -> (Child, u16) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_granary"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--memory-limit", "1GiB", "--data"]).arg(folder.join("data"));
    command.args(["--scheduler", if schedules { "on" } else { "off" }]);
    if let Some(now) = now {
        command.args(["--now", now]);
    }
    command.env("GRANARY_PASSWORD", PASSWORD).env("GRANARY_LOG", "error");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let port = port_when_ready(&mut child);
    (child, port)
}
