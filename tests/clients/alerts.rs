//! Mails of alerts, as a mail server takes them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::server::Server;
use super::{certificate, shown, tools};

/// A mail server; it ends with its input.
struct MailServer {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl MailServer {
    fn start(arguments: &[&str]) -> MailServer {
        let script = format!("{}/tests/clients/with_mail.py", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(tools().join("venv/bin/python"))
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        MailServer { child, output, port: line.trim().parse().expect("a port") }
    }

    /// Waits for the next mail.
    fn next(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("a mail")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn mails_are_sent_when_an_alert_fires_and_when_it_is_resolved() {
    let mut mails = MailServer::start(&[]);
    let url = format!("smtp://127.0.0.1:{}", mails.port);
    let server = Server::start_with(&["--smtp-from", "Granary <granary@example.com>"], &[("GRANARY_SMTP_URL", &url)]);
    shown(&server, "CREATE TABLE t (what text, n int8); INSERT INTO t VALUES ('disk – full', 3)");
    let create = "CREATE ALERT a WHEN (SELECT what, n FROM t) SEVERITY CRITICAL CHECK EVERY '1 second' \
                  DO EMAIL 'ops@example.com', 'Somebody <b@example.com>' COMMENT 'call somebody'";
    shown(&server, create);
    let first = mails.next();
    assert_eq!(first["from"], "granary@example.com");
    assert_eq!(first["to"], serde_json::json!(["ops@example.com", "b@example.com"]));
    assert_eq!(first["subject"], "[FIRING] a (critical, granary)");
    let text = first["text"].as_str().expect("a text").replace("\r\n", "\n");
    assert!(text.starts_with("[FIRING] a (critical, granary)\ncall somebody\nsince "), "{text}");
    assert!(text.trim_end().ends_with("- what: disk – full, n: 3"), "{text}");
    shown(&server, "DELETE FROM t");
    let last = mails.next();
    assert_eq!(last["subject"], "[RESOLVED] a (critical, granary)");
    assert!(first["id"].as_str().is_some_and(|id| id.ends_with("@example.com>")) && first["id"] != last["id"]);
    let noted = shown(&server, "SELECT event, target FROM granary.alert_deliveries ORDER BY created_at");
    assert!(noted.contains("ops@example.com, Somebody <b@example.com>"), "{noted}");
}

#[test]
fn mails_go_encrypted_to_who_is_known_and_by_who_has_the_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = certificate(folder.path());
    // encoded as in any URL: s3cret:!
    for (how, scheme, more) in [("starttls", "smtp", "?tls=required"), ("tls", "smtps", "")] {
        let mut mails = MailServer::start(&[&certificate, &key, how]);
        let start = |password: &str, authority: &[(&str, &str)]| {
            let url = format!("{scheme}://u:{password}@127.0.0.1:{}{more}", mails.port);
            let environment = [authority, &[("GRANARY_SMTP_URL", &url)]].concat();
            let server = Server::start_with(&["--smtp-from", "granary@example.com"], &environment);
            shown(&server, "CREATE ALERT a WHEN true CHECK EVERY '1 day' DO EMAIL 'ops@example.com'");
            server
        };
        let authority = ("SSL_CERT_FILE", certificate.as_str());
        for (password, authority, said) in
            [("s3cret%3A%21", vec![], "certificate"), ("other", vec![authority], "(535)")]
        {
            let server = start(password, &authority);
            eventually(&server, &format!("SELECT error LIKE '%{said}%' FROM granary.alert_deliveries"));
        }
        let _server = start("s3cret%3A%21", &[authority]);
        assert_eq!(mails.next()["subject"], "[FIRING] a (warning, granary)", "{how}");
    }
}

/// Asks again until the answer is one row with true.
fn eventually(server: &Server, sql: &str) {
    let begun = Instant::now();
    while shown(server, sql).lines().nth(2).is_none_or(|row| row.trim() != "t") {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{sql}: {}",
            shown(server, "TABLE granary.alert_deliveries")
        );
    }
}

#[test]
fn a_mail_server_that_does_not_read_is_told_at_the_start() {
    for (arguments, said) in [
        (
            ["--smtp-url", "smtp://u:hush@h:x", "--smtp-from", "a@example.com"],
            "the URL of the mail server does not read",
        ),
        (["--smtp-url", "smtp://h", "--smtp-from", "nobody"], "the sender \"nobody\" of mails is not an address"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let output = Command::new(env!("CARGO_BIN_EXE_granary"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("data"))
            .args(arguments)
            .output()
            .expect("the binary starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(said) && !errors.contains("hush"), "{errors}");
    }
}
