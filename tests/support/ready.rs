//! How every test of the built program learns that its server is ready, and where.

use std::io::{BufRead, BufReader};
use std::process::Child;

/// The port of a server whose standard error is piped, once it says that it is ready.
#[allow(dead_code)]
pub fn port_when_ready(child: &mut Child) -> u16 {
    when_ready(child).0
}

/// The port, and what the server said before. What it says later goes to the test's own standard error: the pipe must
/// not fill up.
pub fn when_ready(child: &mut Child) -> (u16, String) {
    let mut lines = BufReader::new(child.stderr.take().expect("standard error is piped")).lines();
    let mut said = String::new();
    for line in &mut lines {
        let line = line.expect("text");
        if let Some((_, rest)) = line.split_once(" is ready: psql -h 127.0.0.1 -p ") {
            let port = rest.split_whitespace().next().and_then(|port| port.parse().ok()).expect("a port");
            std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("server: {line}")));
            return (port, said);
        }
        said.push_str(&line);
        said.push('\n');
    }
    panic!("the server did not start:\n{said}");
}
