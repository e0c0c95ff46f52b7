//! How every test of the built program learns that its server is ready, and where.

use std::io::{BufRead, BufReader};
use std::process::Child;

/// The port of a server whose standard error is piped, once it says that it is ready. What it says later is read and
/// dropped, so that it never waits for us.
pub fn port_when_ready(child: &mut Child) -> u16 {
    let mut lines = BufReader::new(child.stderr.take().expect("standard error is piped")).lines();
    let port = loop {
        let line = lines.next().expect("the server says that it is ready").expect("text");
        if let Some((_, rest)) = line.split_once("is ready: psql -h 127.0.0.1 -p ") {
            break rest.split_whitespace().next().and_then(|port| port.parse().ok()).expect("a port");
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    port
}
