//! Who may connect from where, and how they prove who they are: rules in a file, in the form of PostgreSQL's pg_hba.conf.
//! The first rule that fits decides; whom none fits is refused.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::error::{Error, Kind, Result, io_error};

/// The rules in their order.
#[derive(Debug, Clone, Default)]
pub struct HostRules(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    encryption: Encryption,
    databases: Vec<String>,
    users: Vec<String>,
    addresses: Addresses,
    method: Method,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    Any,
    Needed,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Addresses {
    All,
    Network { address: IpAddr, bits: u32 },
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// by its password
    Scram,
    /// it is believed
    Trust,
    Reject,
}

/// Who knocks.
pub struct Knock<'a> {
    pub user: &'a str,
    pub database: &'a str,
    pub peer: SocketAddr,
    pub is_encrypted: bool,
}

impl HostRules {
    pub fn read(path: &Path) -> Result<HostRules> {
        let text = std::fs::read_to_string(path).map_err(|error| io_error("read", path, error))?;
        HostRules::parse(&text).map_err(|(line, message)| {
            let message = format!("\"{}\", line {line}: {message}", path.display());
            Error::new(Kind::InvalidParameterValue, message).with_hint(
                "host | hostssl | hostnossl, then database, user, address/bits and scram-sha-256, trust or reject",
            )
        })
    }

    /// The error comes with its line.
    fn parse(text: &str) -> std::result::Result<HostRules, (usize, String)> {
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            if !words.is_empty() {
                rules.push(Rule::parse(&words).map_err(|message| (index + 1, message))?);
            }
        }
        Ok(HostRules(rules))
    }

    /// Errors: `InvalidAuthorization` (28000), in PostgreSQL's words.
    pub fn method(&self, knock: &Knock<'_>) -> Result<Method> {
        let refused = |words: &str| {
            let Knock { user, database, peer, is_encrypted } = knock;
            let encryption = if *is_encrypted { "SSL encryption" } else { "no encryption" };
            let host = peer.ip();
            let message = format!("{words} host \"{host}\", user \"{user}\", database \"{database}\", {encryption}");
            Err(Error::new(Kind::InvalidAuthorization, message))
        };
        match self.0.iter().find(|rule| rule.fits(knock)).map(|rule| rule.method) {
            None => refused("no pg_hba.conf entry for"),
            Some(Method::Reject) => refused("pg_hba.conf rejects connection for"),
            Some(method) => Ok(method),
        }
    }
}

impl Rule {
    fn parse(words: &[&str]) -> std::result::Result<Rule, String> {
        let encryption = match words[0] {
            "host" => Encryption::Any,
            "hostssl" => Encryption::Needed,
            "hostnossl" => Encryption::None,
            "local" => return Err("there are no local sockets".to_owned()),
            other => return Err(format!("\"{other}\" is no type of connection")),
        };
        let [_, databases, users, address, rest @ ..] = words else {
            return Err("a rule has a type, databases, users, an address and a method".to_owned());
        };
        let (addresses, rest) = match (Addresses::parse(address), rest) {
            (Some(addresses), rest) => (addresses, rest),
            // an address and its mask, apart
            (None, [mask, rest @ ..]) if let Some(addresses) = Addresses::with_mask(address, mask) => (addresses, rest),
            (None, _) => return Err(format!("\"{address}\" is no address with a mask length, such as 10.0.0.0/8")),
        };
        let method = match rest {
            ["scram-sha-256"] => Method::Scram,
            ["trust"] => Method::Trust,
            ["reject"] => Method::Reject,
            [other] => return Err(format!("the method \"{other}\" is not supported")),
            [] => return Err("the rule has no method".to_owned()),
            [_, option, ..] => return Err(format!("the option \"{option}\" is not supported")),
        };
        Ok(Rule { encryption, databases: names(databases)?, users: names(users)?, addresses, method })
    }

    fn fits(&self, knock: &Knock<'_>) -> bool {
        let encryption = match self.encryption {
            Encryption::Any => true,
            Encryption::Needed => knock.is_encrypted,
            Encryption::None => !knock.is_encrypted,
        };
        let is_own = self.databases.iter().any(|name| name == "sameuser") && knock.user == knock.database;
        let names = |names: &[String], own: &str| names.iter().any(|name| name == "all" || name == own);
        encryption
            && (is_own || names(&self.databases, knock.database))
            && names(&self.users, knock.user)
            && self.addresses.have(knock.peer.ip())
    }
}

/// `a,b`, each perhaps in quotes.
fn names(text: &str) -> std::result::Result<Vec<String>, String> {
    let plain = |name: &str| match name {
        "samerole" | "samegroup" | "replication" => Err(format!("\"{name}\" is not supported")),
        _ if name.starts_with(['+', '@', '/']) => Err(format!("\"{name}\" is not supported")),
        _ => Ok(name.trim_matches('"').to_owned()),
    };
    text.split(',').map(plain).collect()
}

impl Addresses {
    fn parse(text: &str) -> Option<Addresses> {
        if text == "all" {
            return Some(Addresses::All);
        }
        let (address, bits) = text.split_once('/')?;
        let (address, bits): (IpAddr, u32) = (address.parse().ok()?, bits.parse().ok()?);
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Addresses::Network { address, bits })
    }

    fn with_mask(address: &str, mask: &str) -> Option<Addresses> {
        let (address, mask): (IpAddr, IpAddr) = (address.parse().ok()?, mask.parse().ok()?);
        let (bits, zeros) = match mask {
            IpAddr::V4(mask) => (mask.to_bits().leading_ones(), mask.to_bits().trailing_zeros()),
            IpAddr::V6(mask) => (mask.to_bits().leading_ones(), mask.to_bits().trailing_zeros()),
        };
        let width = if mask.is_ipv4() { 32 } else { 128 };
        (address.is_ipv4() == mask.is_ipv4() && bits + zeros.min(width) == width)
            .then_some(Addresses::Network { address, bits })
    }

    fn have(self, peer: IpAddr) -> bool {
        let Addresses::Network { address, bits } = self else { return true };
        match (address, peer.to_canonical()) {
            (IpAddr::V4(address), IpAddr::V4(peer)) => {
                let shift = 32 - bits;
                address.to_bits().checked_shr(shift) == peer.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(address), IpAddr::V6(peer)) => {
                let shift = 128 - bits;
                address.to_bits().checked_shr(shift) == peer.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rules: &str, user: &str, peer: &str, is_encrypted: bool) -> String {
        let rules = HostRules::parse(rules).expect("rules");
        let peer = SocketAddr::new(peer.parse().expect("an address"), 1);
        match rules.method(&Knock { user, database: "d", peer, is_encrypted }) {
            Ok(method) => format!("{method:?}"),
            Err(error) => format!("{} {}", error.sqlstate(), error.message()),
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = "# comment\nhost all eve all reject\nhostssl d \"ada\",bob 10.0.0.0/8 trust\n\
                     hostnossl all all 10.1.0.0 255.255.0.0 reject\nhost sameuser all ::1/128 trust\n\
                     host all all 0.0.0.0/0 scram-sha-256";
        assert_eq!(answer(rules, "ada", "10.2.3.4", true), "Trust");
        assert_eq!(answer(rules, "ada", "10.2.3.4", false), "Scram");
        assert_eq!(answer(rules, "ada", "::ffff:10.2.3.4", true), "Trust");
        assert_eq!(answer(rules, "d", "::1", false), "Trust");
        let eve =
            "28000 pg_hba.conf rejects connection for host \"127.0.0.1\", user \"eve\", database \"d\", SSL encryption";
        assert_eq!(answer(rules, "eve", "127.0.0.1", true), eve);
        let none = "28000 no pg_hba.conf entry for host \"::1\", user \"ada\", database \"d\", no encryption";
        assert_eq!(answer(rules, "ada", "::1", false), none);
        assert!(answer(rules, "bob", "10.1.2.3", false).starts_with("28000 pg_hba.conf rejects"));
    }

    #[test]
    fn what_is_no_rule_is_told_with_its_line() {
        for (rules, line) in [
            ("host all all", 1),
            ("\nlocal all all trust", 2),
            ("host all all 10.0.0.0/33 trust", 1),
            ("host all all 10.0.0.0 255.0.255.0 trust", 1),
            ("host all all all md5", 1),
            ("host all +admins all trust", 1),
            ("hostssl all all all cert clientcert=1", 1),
        ] {
            assert_eq!(HostRules::parse(rules).expect_err(rules).0, line, "{rules}");
        }
    }
}
