//! What the server sends to others by itself: requests of HTTP and mails. Where it may go is decided here, since it goes
//! from inside of its network, and users say where to.
//!
//! It knows no catalog and no clock, and keeps nothing: who sends decides when to try again.

mod http;
mod mail;

pub use http::{Answer, HttpClient, Post, check_header};
pub use mail::{Letter, Mailer, check_address};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use url::{Host, Url};

use crate::error::{Error, Kind, Result};

/// So long anybody may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where the server may send to, and by whom.
#[derive(Clone, Default)]
pub struct OutboundConfig {
    /// hosts, or `*.domain` for all in it; None: every one that is not forbidden
    pub hosts: Option<Vec<String>>,
    /// of a mail server, with user and password; None: there is none
    pub smtp_url: Option<String>,
    /// the sender of mails
    pub smtp_from: Option<String>,
}

impl std::fmt::Debug for OutboundConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboundConfig").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// Reads a URL that requests may go to. Errors: `InvalidParameterValue` if it is none, or leads where nobody may send.
pub fn parse_url(text: &str) -> Result<Url> {
    let wrong = |why: &str| {
        let error = Error::new(Kind::InvalidParameterValue, format!("the URL of a webhook {why}"));
        Err(error.with_hint("type it as 'https://hooks.example.com/path'"))
    };
    let Ok(url) = Url::parse(text) else { return wrong("does not read") };
    if !matches!(url.scheme(), "http" | "https") {
        return wrong("begins with https:// or http://");
    }
    let address = match url.host() {
        None => return wrong("names no host"),
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
    };
    match address.filter(|address| is_forbidden(*address)) {
        Some(address) => wrong(&format!("must not lead to {address}")),
        None => Ok(url),
    }
}

/// Addresses that only this machine, its network or its cloud has a meaning for: nobody else's service is there, and
/// some of these give away what the machine may do.
fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_forbidden_v4(address),
        IpAddr::V6(address) => {
            const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            let embedded = embedded_v4(address);
            address.is_unspecified()
                || address.is_multicast()
                || address.segments()[0] & 0xffc0 == 0xfe80
                || address == METADATA
                || embedded.is_some_and(is_forbidden_v4)
        }
    }
}

fn is_forbidden_v4(address: Ipv4Addr) -> bool {
    /// of two clouds whose metadata are not link-local
    const METADATA: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
    address.octets()[0] == 0
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || METADATA.contains(&address)
}

/// The address of the old kind that one of the new kind stands for, if it does: mapped, translated, or by 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// Whether a host is one of these names, or in one of these domains.
fn is_listed(hosts: &[String], host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    hosts.iter().any(|known| match known.trim().to_ascii_lowercase().strip_prefix("*.") {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
        None => known.trim().trim_start_matches('[').trim_end_matches(']').eq_ignore_ascii_case(&host),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_lead_nowhere_good_are_refused() {
        for text in [
            "https://hooks.example.com/services/x?y=z",
            "http://127.0.0.1:8080/",
            "http://10.0.0.1/",
            "http://[::1]:80/",
            "https://[2002:0a00:0001::]/",
        ] {
            assert!(parse_url(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "hooks.example.com",
            "ftp://example.com/",
            "file:///etc/passwd",
            "http://",
            "http://169.254.169.254/latest/meta-data",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://169.254.1/",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[fd00:ec2::254]/",
            "http://0.0.0.0/",
            "http://[::]/",
            "http://255.255.255.255/",
            "http://224.0.0.1/",
        ] {
            assert!(parse_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_listed_by_name_or_domain() {
        let hosts = ["a.example".to_owned(), "*.b.example".to_owned(), "::1".to_owned()];
        for host in ["a.example", "A.Example", "a.example.", "x.b.example", "x.y.b.example", "[::1]"] {
            assert!(is_listed(&hosts, host), "{host}");
        }
        for host in ["b.example", "xb.example", "x.a.example", "a.example.evil", "127.0.0.1"] {
            assert!(!is_listed(&hosts, host), "{host}");
        }
    }
}
