//! Who is at the other end: the peer itself, or, behind a proxy that is trusted, whom it speaks for.
//!
//! Anybody can send `Forwarded` and `X-Forwarded-…`. They are read only from peers in the networks
//! that the operator trusts, and from right to left: each trusted hop vouches for the one before it,
//! and what stands to the left of the first stranger is that stranger's own tale.
//!
//! A proxy writes one family of headers and passes on what a client sent of the other. So where the
//! operator does not say which one is believed, `Forwarded` is believed only if there is no
//! `X-Forwarded-For`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::uri::Authority;
use http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::api::App;
use crate::public_url::Scheme;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: IpAddr,
    /// How it is connected.
    pub(crate) scheme: Scheme,
}

impl Peer {
    /// The one that a request came from. A request that came by no connection, as in a test, is from
    /// this machine.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let local = Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            scheme: Scheme::Http,
        };
        extensions.get().copied().unwrap_or(local)
    }
}

/// The address of the client that a request is from.
pub(crate) fn client_of(headers: &HeaderMap, extensions: &Extensions, app: &App) -> IpAddr {
    app.proxies.client_of(Peer::of(extensions), headers)
}

/// What the client asked for, as far as headers other than `Host` say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) scheme: Scheme,
    pub(crate) host: Option<Authority>,
    /// The path below which a proxy serves this service; empty, or beginning with a slash.
    pub(crate) prefix: String,
}

/// Which headers of a trusted proxy are believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProxyHeaders {
    /// X-Forwarded-*, or Forwarded where there is no X-Forwarded-For
    #[default]
    Any,
    /// Forwarded alone
    Forwarded,
    /// X-Forwarded-* alone
    XForwarded,
}

/// The networks of proxies that say truly whom they speak for, and how they say it.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    headers: ProxyHeaders,
}

/// What one hop says of the one before it.
#[derive(Clone, Debug, Default)]
struct Hop {
    client: Option<IpAddr>,
    scheme: Option<Scheme>,
    host: Option<Authority>,
}

impl TrustedProxies {
    /// Those in `networks`, which write `headers`.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>, headers: ProxyHeaders) -> Self {
        Self { networks, headers }
    }

    /// The address of the client on whose behalf `peer` calls.
    pub(crate) fn client_of(&self, peer: Peer, headers: &HeaderMap) -> IpAddr {
        self.walk(peer, headers).0
    }

    /// How, and as which host, the client asked.
    pub(crate) fn asked_of(&self, peer: Peer, headers: &HeaderMap) -> Asked {
        let (_, hop) = self.walk(peer, headers);
        let prefix = if self.trusts(peer.address) {
            prefix_of(headers)
        } else {
            String::new()
        };
        Asked {
            scheme: hop.scheme.unwrap_or(peer.scheme),
            host: hop.host,
            prefix,
        }
    }

    /// Goes from hop to hop for as long as they are trusted: the client's address, and what the hop
    /// nearest to the client says.
    fn walk(&self, peer: Peer, headers: &HeaderMap) -> (IpAddr, Hop) {
        let mut address = peer.address.to_canonical();
        let mut said = Hop::default();
        for hop in hops(headers, self.headers).into_iter().rev() {
            if !self.trusts(address) {
                break;
            }
            let client = hop.client;
            said = hop;
            match client {
                Some(client) => address = client.to_canonical(),
                None => break,
            }
        }
        (address, said)
    }

    /// Is it the address of such a proxy?
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }
}

/// All that the headers say, the hop nearest to us last.
fn hops(headers: &HeaderMap, believed: ProxyHeaders) -> Vec<Hop> {
    let is_standard = match believed {
        ProxyHeaders::Any => {
            headers.contains_key(FORWARDED) && !headers.contains_key(FORWARDED_FOR)
        }
        ProxyHeaders::Forwarded => true,
        ProxyHeaders::XForwarded => false,
    };
    if is_standard {
        return list_of(headers, &FORWARDED)
            .iter()
            .map(|hop| parse_hop(hop))
            .collect();
    }
    let clients = list_of(headers, &FORWARDED_FOR);
    let schemes = list_of(headers, &FORWARDED_PROTO);
    let hosts = list_of(headers, &FORWARDED_HOST);
    let count = clients.len().max(schemes.len()).max(hosts.len());
    (0..count)
        .rev()
        .map(|from_end| Hop {
            client: nearest(&clients, from_end).and_then(|text| parse_address(text)),
            scheme: nearest(&schemes, from_end).and_then(|text| parse_scheme(text)),
            host: nearest(&hosts, from_end).and_then(|text| text.parse().ok()),
        })
        .collect()
}

/// The element that many from the end. Proxies that replace a header leave a shorter list: its first
/// element then stands for all hops before it.
fn nearest(list: &[String], from_end: usize) -> Option<&String> {
    list.get(list.len().checked_sub(1)?.saturating_sub(from_end))
}

/// The elements of a header that is a list, over all its lines.
fn list_of(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|element| String::from_utf8_lossy(element).trim().to_owned())
        .filter(|element| !element.is_empty())
        .collect()
}

/// One element of `Forwarded` (RFC 7239).
fn parse_hop(element: &str) -> Hop {
    let Some(Ok(hop)) = rfc7239::parse(element).next() else {
        return Hop::default();
    };
    Hop {
        client: hop.forwarded_for.and_then(|node| node.ip().copied()),
        scheme: hop.protocol.and_then(parse_scheme),
        host: hop.host.and_then(|host| host.parse().ok()),
    }
}

/// An address, maybe with a port, as proxies write them.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    bare.parse().ok().or_else(with_port)
}

fn parse_scheme(text: &str) -> Option<Scheme> {
    match text {
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        _ => None,
    }
}

/// The path prefix, with a slash before it and none after it; nothing if it is no plain path.
fn prefix_of(headers: &HeaderMap) -> String {
    let prefix = list_of(headers, &FORWARDED_PREFIX)
        .pop()
        .unwrap_or_default();
    let prefix = prefix.trim_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    let is_odd = |part: &str| matches!(part, "" | "." | "..");
    if prefix.split('/').any(is_odd) || !prefix.chars().all(is_plain) {
        String::new()
    } else {
        format!("/{prefix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn proxies() -> TrustedProxies {
        let networks = ["10.0.0.0/8", "::1/128"];
        let networks = networks.map(|network| network.parse().unwrap());
        TrustedProxies::new(networks.to_vec(), ProxyHeaders::Any)
    }

    fn peer(address: &str) -> Peer {
        Peer {
            address: address.parse().unwrap(),
            scheme: Scheme::Http,
        }
    }

    fn client(from: &str, lines: &[(&'static str, &str)]) -> String {
        let client = proxies().client_of(peer(from), &headers(lines));
        client.to_string()
    }

    #[test]
    fn a_stranger_speaks_for_itself_whatever_it_says() {
        for line in [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=192.0.2.1;host=evil.example"),
        ] {
            assert_eq!(client("203.0.113.9", &[line]), "203.0.113.9");
        }
        let lines = headers(&[
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/evil"),
        ]);
        let asked = proxies().asked_of(peer("203.0.113.9"), &lines);
        let nothing = Asked {
            scheme: Scheme::Http,
            host: None,
            prefix: String::new(),
        };
        assert_eq!(asked, nothing);
    }

    #[test]
    fn a_trusted_proxy_vouches_for_one_hop() {
        for line in [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "6.6.6.6, 192.0.2.1"),
            ("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.1.1.1"),
            ("x-forwarded-for", "192.0.2.1:4711"),
            ("forwarded", "for=192.0.2.1;proto=https"),
            ("forwarded", "for=6.6.6.6, for=192.0.2.1"),
            ("forwarded", "for=\"192.0.2.1:4711\""),
        ] {
            assert_eq!(client("10.0.0.1", &[line]), "192.0.2.1", "{line:?}");
        }
        let ipv6 = [("forwarded", "for=\"[2001:db8::1]:4711\"")];
        assert_eq!(client("::1", &ipv6), "2001:db8::1");
        let bracketed = [("x-forwarded-for", "[2001:db8::1]")];
        assert_eq!(client("::ffff:10.0.0.1", &bracketed), "2001:db8::1");
    }

    #[test]
    fn what_a_client_sends_of_the_other_family_is_not_believed() {
        let both = [
            ("forwarded", "for=6.6.6.6;host=evil.example;proto=http"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(client("10.0.0.1", &both), "192.0.2.1");
        let asked = proxies().asked_of(peer("10.0.0.1"), &headers(&both));
        assert_eq!((asked.scheme, asked.host), (Scheme::Https, None));

        let networks = vec!["10.0.0.0/8".parse().unwrap()];
        let standard = TrustedProxies::new(networks, ProxyHeaders::Forwarded);
        let said = standard.client_of(peer("10.0.0.1"), &headers(&both));
        assert_eq!(said.to_string(), "6.6.6.6");
        let said = standard.client_of(peer("10.0.0.1"), &headers(&both[1..]));
        assert_eq!(said.to_string(), "10.0.0.1");
    }

    #[test]
    fn a_prefix_that_is_no_plain_path_is_passed_over() {
        for prefix in [
            "/a b", "/a?b", "/../a", "/a//b", "/\"a", "/{a}", "/a%2f", "/\u{e9}",
        ] {
            let mut lines = headers(&[("x-forwarded-for", "192.0.2.1")]);
            let value = http::HeaderValue::from_bytes(prefix.as_bytes()).unwrap();
            lines.insert("x-forwarded-prefix", value);
            let asked = proxies().asked_of(peer("10.0.0.1"), &lines);
            assert_eq!(asked.prefix, "", "{prefix}");
        }
    }

    #[test]
    fn an_odd_byte_hides_its_own_element_only() {
        let mut lines = HeaderMap::new();
        let value = http::HeaderValue::from_bytes(b"\xff, 192.0.2.1").unwrap();
        lines.insert("x-forwarded-for", value);
        let said = proxies().client_of(peer("10.0.0.1"), &lines);
        assert_eq!(said.to_string(), "192.0.2.1");
    }

    #[test]
    fn a_hop_that_hides_its_client_is_taken_for_the_client() {
        for line in [
            ("forwarded", "for=unknown"),
            ("forwarded", "for=_hidden"),
            ("x-forwarded-for", "garbage"),
            ("forwarded", "garbage"),
        ] {
            assert_eq!(client("10.0.0.1", &[line]), "10.0.0.1", "{line:?}");
        }
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn a_trusted_proxy_says_how_it_was_asked() {
        for lines in [
            &[
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "x.example"),
                ("x-forwarded-prefix", "/deploy/"),
            ][..],
            &[
                ("forwarded", "for=192.0.2.1;proto=https;host=x.example"),
                ("x-forwarded-prefix", "deploy"),
            ],
            &[
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "x.example"),
                ("x-forwarded-prefix", "/deploy"),
            ],
        ] {
            let asked = proxies().asked_of(peer("10.0.0.1"), &headers(lines));
            let expected = Asked {
                scheme: Scheme::Https,
                host: Some("x.example".parse().unwrap()),
                prefix: "/deploy".to_owned(),
            };
            assert_eq!(asked, expected, "{lines:?}");
        }
    }
}
