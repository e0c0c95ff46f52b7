//! Addresses of networks: `inet` and `cidr`. Values are kept as their texts.

use std::cmp::Ordering;
use std::net::Ipv6Addr;

use super::{int, text, wrong_argument};
use crate::error::{Error, Result};
use crate::plan::Function;
use crate::resolve::Proc;
use crate::value::Value;

/// An address and how many of its bits are of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    is_v6: bool,
    address: u128,
    bits: u32,
}

impl Network {
    fn size(self) -> u32 {
        if self.is_v6 { 128 } else { 32 }
    }

    /// The bits behind those of the network.
    fn host_mask(self) -> u128 {
        self.all() & u128::MAX.checked_shr(128 - (self.size() - self.bits)).unwrap_or(0)
    }

    fn all(self) -> u128 {
        u128::MAX >> (128 - self.size())
    }

    fn with_address(self, address: u128) -> Network {
        Network { address, ..self }
    }

    fn whole(self, address: u128) -> Network {
        Network { address, bits: self.size(), ..self }
    }

    fn base(self) -> Network {
        self.with_address(self.address & !self.host_mask())
    }

    fn host(self) -> String {
        if !self.is_v6 {
            let bytes = u32::try_from(self.address).unwrap_or(0).to_be_bytes();
            return bytes.map(|byte| byte.to_string()).join(".");
        }
        let address = Ipv6Addr::from(self.address);
        let segments = address.segments();
        if segments[..6] == [0; 6] && segments[6] != 0 {
            let bytes = u32::try_from(self.address).unwrap_or(0).to_be_bytes();
            return format!("::{}", bytes.map(|byte| byte.to_string()).join("."));
        }
        address.to_string()
    }

    /// As `inet` shows it: without the bits if there are no others.
    fn shown(self) -> String {
        if self.bits == self.size() { self.host() } else { self.with_bits() }
    }

    fn with_bits(self) -> String {
        format!("{}/{}", self.host(), self.bits)
    }

    /// Whether the other lies inside, or is the same.
    fn covers(self, other: Network) -> bool {
        self.is_v6 == other.is_v6
            && self.bits <= other.bits
            && self.base().address == (Network { bits: self.bits, ..other }).base().address
    }
}

fn read(text: &str, is_cidr: bool) -> Result<Network> {
    let name = if is_cidr { "cidr" } else { "inet" };
    let wrong = || Error::new("22P02", format!("invalid input syntax for type {name}: \"{text}\""));
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => {
            let digits = bits.bytes().all(|byte| byte.is_ascii_digit()) && !bits.is_empty();
            (address, Some(bits.parse::<u32>().ok().filter(|_| digits).ok_or_else(wrong)?))
        }
        None => (text, None),
    };
    let network = if address.contains(':') {
        let parsed: Ipv6Addr = address.parse().map_err(|_| wrong())?;
        Network { is_v6: true, address: u128::from(parsed), bits: bits.unwrap_or(128) }
    } else {
        let mut bytes = Vec::new();
        for part in address.split('.') {
            let digits = part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty();
            bytes.push(part.parse::<u8>().ok().filter(|_| digits).ok_or_else(wrong)?);
        }
        let n = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if n > 4 || (n < 4 && bits.is_none() && !is_cidr) {
            return Err(wrong());
        }
        let first = bytes[0];
        // the old classes of networks
        let class = match first {
            240.. => 32,
            224.. => 8,
            192.. => 24,
            128.. => 16,
            _ => 8,
        };
        let implied = if n == 4 { 32 } else { class.max(n * 8) };
        let address =
            bytes.iter().fold(0_u32, |address, byte| (address << 8) | u32::from(*byte)) << (8 * (4 - n).min(3));
        Network { is_v6: false, address: u128::from(address), bits: bits.unwrap_or(implied) }
    };
    if network.bits > network.size() {
        return Err(wrong());
    }
    if is_cidr && network.address & network.host_mask() != 0 {
        return Err(Error::new("22P02", format!("invalid cidr value: \"{text}\""))
            .with_detail("Value has bits set to right of mask."));
    }
    Ok(network)
}

/// A text as the type shows it. Errors: 22P02.
pub fn parse(text: &str, is_cidr: bool) -> Result<Value> {
    let network = read(text, is_cidr)?;
    Ok(Value::text(if is_cidr { network.with_bits() } else { network.shown() }))
}

/// Values were read before.
fn network(value: &Value) -> Network {
    read(text(value), false).unwrap_or(Network { is_v6: false, address: 0, bits: 0 })
}

/// By what both have of the network, then by how much they have, then by the rest.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (Ok(left), Ok(right)) = (read(left, false), read(right, false)) else { return left.cmp(right) };
    let bits = left.bits.min(right.bits);
    let common = |network: Network| (Network { bits, ..network }).base().address;
    left.is_v6
        .cmp(&right.is_v6)
        .then_with(|| common(left).cmp(&common(right)))
        .then_with(|| left.bits.cmp(&right.bits))
        .then_with(|| left.address.cmp(&right.address))
}

fn same_size(left: Network, right: Network, what: &str) -> Result<()> {
    if left.is_v6 != right.is_v6 {
        return Err(wrong_argument(format!("cannot {what} inet values of different sizes")));
    }
    Ok(())
}

fn moved(from: Network, by: i128) -> Result<Value> {
    let out_of_range = || Error::new("22003", "result is out of range");
    let address =
        if by < 0 { from.address.checked_sub(by.unsigned_abs()) } else { from.address.checked_add(by.unsigned_abs()) };
    let address = address.filter(|address| *address <= from.all()).ok_or_else(out_of_range)?;
    Ok(Value::text(from.with_address(address).shown()))
}

pub fn function(proc: &Proc) -> Option<Function> {
    let of_one =
        |call: fn(Network) -> Value| Some(Function::new("network", move |_, values| Ok(call(network(&values[0])))));
    let of_two = |call: fn(Network, Network) -> Result<Value>| {
        Some(Function::new("networks", move |_, values| call(network(&values[0]), network(&values[1]))))
    };
    match proc.source {
        "inet_abbrev" => of_one(|network| Value::text(network.shown())),
        "cidr_abbrev" => of_one(|network| {
            if network.is_v6 {
                return Value::text(network.with_bits());
            }
            let n = network.bits.div_ceil(8).max(1);
            let host = network.host();
            let parts: Vec<&str> = host.split('.').take(usize::try_from(n).unwrap_or(4)).collect();
            Value::text(format!("{}/{}", parts.join("."), network.bits))
        }),
        "inet_set_masklen" | "cidr_set_masklen" => {
            let is_cidr = proc.source == "cidr_set_masklen";
            Some(Function::new("set_masklen", move |_, values| {
                let from = network(&values[0]);
                let bits = if int(&values[1]) == -1 { i64::from(from.size()) } else { int(&values[1]) };
                let bits = u32::try_from(bits).ok().filter(|bits| *bits <= from.size());
                let bits = bits.ok_or_else(|| wrong_argument(format!("invalid mask length: {}", int(&values[1]))))?;
                let network = Network { bits, ..from };
                Ok(Value::text(if is_cidr { network.base().with_bits() } else { network.shown() }))
            }))
        }
        "network_network" | "inet_to_cidr" => of_one(|network| Value::text(network.base().with_bits())),
        "network_netmask" => of_one(|network| Value::text(network.whole(network.all() & !network.host_mask()).shown())),
        "network_hostmask" => of_one(|network| Value::text(network.whole(network.host_mask()).shown())),
        "network_broadcast" => {
            of_one(|network| Value::text(network.with_address(network.address | network.host_mask()).shown()))
        }
        "network_masklen" => of_one(|network| Value::Int(i64::from(network.bits))),
        "network_host" => of_one(|network| Value::text(network.host())),
        "network_show" => of_one(|network| Value::text(network.with_bits())),
        "network_family" => of_one(|network| Value::Int(if network.is_v6 { 6 } else { 4 })),
        "network_sub" => of_two(|left, right| Ok(Value::Bool(right.covers(left) && right.bits < left.bits))),
        "network_subeq" => of_two(|left, right| Ok(Value::Bool(right.covers(left)))),
        "network_sup" => of_two(|left, right| Ok(Value::Bool(left.covers(right) && left.bits < right.bits))),
        "network_supeq" => of_two(|left, right| Ok(Value::Bool(left.covers(right)))),
        "network_overlap" => of_two(|left, right| Ok(Value::Bool(left.covers(right) || right.covers(left)))),
        "inet_same_family" => of_two(|left, right| Ok(Value::Bool(left.is_v6 == right.is_v6))),
        "inet_merge" => of_two(|left, right| {
            if left.is_v6 != right.is_v6 {
                return Err(wrong_argument("cannot merge addresses from different families"));
            }
            let most = left.bits.min(right.bits);
            let differing = (left.address ^ right.address) << (128 - left.size());
            let bits = differing.leading_zeros().min(most);
            Ok(Value::text((Network { bits, ..left }).base().with_bits()))
        }),
        "inetnot" => of_one(|network| Value::text(network.with_address(!network.address & network.all()).shown())),
        "inetand" | "inetor" => {
            let is_and = proc.source == "inetand";
            Some(Function::new("networks", move |_, values| {
                let (left, right) = (network(&values[0]), network(&values[1]));
                same_size(left, right, if is_and { "AND" } else { "OR" })?;
                let address = if is_and { left.address & right.address } else { left.address | right.address };
                let bits = left.bits.max(right.bits);
                Ok(Value::text((Network { address, bits, ..left }).shown()))
            }))
        }
        "inetpl" => {
            Some(Function::new("inet_add", |_, values| moved(network(&values[0]), i128::from(int(&values[1])))))
        }
        "int8pl_inet" => {
            Some(Function::new("inet_add", |_, values| moved(network(&values[1]), i128::from(int(&values[0])))))
        }
        "inetmi_int8" => {
            Some(Function::new("inet_sub", |_, values| moved(network(&values[0]), -i128::from(int(&values[1])))))
        }
        "inetmi" => of_two(|left, right| {
            same_size(left, right, "subtract")?;
            let between = i128::try_from(left.address.max(right.address) - left.address.min(right.address));
            let between = between.ok().map(|between| if left.address < right.address { -between } else { between });
            let between = between.and_then(|between| i64::try_from(between).ok());
            between.map(Value::Int).ok_or_else(|| Error::new("22003", "result is out of range"))
        }),
        _ => None,
    }
}
