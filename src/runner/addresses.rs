//! Which addresses a link of a user may lead to: those of the public internet, and what the operator allows.
//! Everything else is the inside of some network, which the runner can reach and the user should not.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::str::FromStr;

use ipnet::IpNet;

/// What the operator allows in addition: a host by its name, or a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    Host(String),
    Network(IpNet),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a host looks like git.example.com, a network like 10.1.0.0/16 or 10.1.2.3")]
pub struct NotAllowable;

impl FromStr for Allowed {
    type Err = NotAllowable;

    fn from_str(text: &str) -> Result<Self, NotAllowable> {
        let text = text.trim();
        if let Ok(network) = text.parse() {
            return Ok(Self::Network(network));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if text.is_empty() || !text.chars().all(is_plain) {
            return Err(NotAllowable);
        }
        Ok(Self::Host(text.trim_end_matches('.').to_ascii_lowercase()))
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => f.write_str(host),
            Self::Network(network) => network.fmt(f),
        }
    }
}

/// Is that an address of the public internet, and none of this machine?
pub(super) fn is_public(address: IpAddr) -> bool {
    let is_public = match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    };
    is_public && !is_own(address)
}

/// Only an address of this machine can be bound to. What listens there may trust the machine.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// By the registry of special addresses (RFC 6890 and what was added to it).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_unspecified()
        || a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        // Of carriers behind NAT.
        || (a == 100 && (64..128).contains(&b))
        // Of protocols, and the relays of 6to4.
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        // Of benchmarks.
        || (a == 198 && (b == 18 || b == 19))
        // Reserved, and broadcast.
        || a >= 240)
}

/// Only those that are handed out. What holds an address of IPv4 is as good as that one.
fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = embedded(address) {
        return is_public_v4(inner);
    }
    let [a, b, ..] = address.segments();
    let is_handed_out = a & 0xe000 == 0x2000;
    // Of protocols (Teredo among them), and of documentation.
    let is_special = (a == 0x2001 && (b < 0x0200 || b == 0x0db8)) || (a == 0x3fff && b < 0x1000);
    is_handed_out && !is_special
}

/// The address of IPv4 that one of IPv6 leads to: mapped, compatible, translated (RFC 2765), by NAT64 (RFC 6052) or
/// 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_reached() {
        for (addresses, expected) in [
            (
                "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 192.167.0.1 198.17.0.1 198.20.0.1 \
                 223.255.255.255 2606:4700::1111 2a00:1450::1 2001:4860:4860::8888 2001:200::1 \
                 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1",
                true,
            ),
            (
                "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.255 \
                 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.1 \
                 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 \
                 255.255.255.255 \
                 :: ::1 ::127.0.0.1 ::10.0.0.1 ::ffff:10.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 \
                 ::ffff:0:10.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::1 2002:a00:1::1 \
                 2002:7f00:1::1 2001::1 2001:0:a00:1::1 2001:10::1 2001:db8::1 3fff::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 \
                 ff02::1 100::1 5f00::1 4000::1",
                false,
            ),
        ] {
            for text in addresses.split_whitespace() {
                assert_eq!(is_public(text.parse().unwrap()), expected, "{text}");
            }
        }
    }

    #[test]
    fn addresses_of_this_machine_are_known() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own(Ipv4Addr::new(8, 8, 8, 8).into()));
    }

    #[test]
    fn a_host_a_network_and_an_address_can_be_allowed() {
        for (text, spelled) in [
            ("Git.example.com", "git.example.com"),
            ("10.1.0.0/16", "10.1.0.0/16"),
            (" 10.1.2.3", "10.1.2.3/32"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(text.parse::<Allowed>().unwrap().to_string(), spelled);
        }
        for text in ["", "a b", "https://a", "a:443", "10.0.0.0/33", "*.a"] {
            assert_eq!(text.parse::<Allowed>(), Err(NotAllowable), "{text}");
        }
    }
}
