//! The client at the other end: the peer itself, or, behind a proxy that is trusted, the client that the
//! proxy speaks for.
//!
//! Anybody can send `X-Forwarded-…`. These headers are read only from peers in the networks that the
//! operator trusts, and from right to left: each trusted hop vouches for the one before it, and what
//! stands to the left of the first stranger is that stranger's own tale.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::uri::Authority;
use http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::public_url::{PublicUrl, Scheme};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub address: IpAddr,
    pub scheme: Scheme,
}

impl Peer {
    /// The peer of a request. A request without a connection, as in a test, is from this machine.
    pub fn of(extensions: &Extensions) -> Self {
        let local = Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            scheme: Scheme::Http,
        };
        extensions.get().copied().unwrap_or(local)
    }
}

/// The networks of proxies that say truly which clients they speak for.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// The address of the client on whose behalf `peer` calls.
    pub fn client_of(&self, peer: Peer, headers: &HeaderMap) -> IpAddr {
        self.walk(peer, headers).0
    }

    /// The URL at which the client reached this service, which its request says is at `host`; `None` if
    /// nobody says where that is.
    pub fn asked_url(
        &self,
        peer: Peer,
        headers: &HeaderMap,
        host: Option<Authority>,
    ) -> Option<PublicUrl> {
        let (_, Some(hop)) = self.walk(peer, headers) else {
            return PublicUrl::of_host(peer.scheme, &host?, "");
        };
        let scheme = nearest(headers, &FORWARDED_PROTO, hop).and_then(parse_scheme);
        let scheme = scheme.unwrap_or(peer.scheme);
        let forwarded = nearest(headers, &FORWARDED_HOST, hop).and_then(|text| text.parse().ok());
        let mut host: Authority = forwarded.or(host)?;
        let port: Option<u16> =
            nearest(headers, &FORWARDED_PORT, hop).and_then(|text| text.parse().ok());
        if let (None, Some(port)) = (host.port(), port)
            && port != scheme.default_port()
        {
            host = format!("{host}:{port}").parse().ok()?;
        }
        PublicUrl::of_host(scheme, &host, &prefix_of(headers))
    }

    /// Goes from hop to hop for as long as they are trusted: the client's address, and how many hops
    /// lie between the peer and the trusted one that is nearest to the client; none if not even the
    /// peer is trusted.
    fn walk(&self, peer: Peer, headers: &HeaderMap) -> (IpAddr, Option<usize>) {
        let mut address = peer.address.to_canonical();
        let mut hops = 0_usize;
        let mut clients = elements_from_right(headers, &FORWARDED_FOR);
        // Trust is checked first: a stranger's headers are not even read.
        while self.trusts(address) {
            hops += 1;
            match clients.next().and_then(parse_address) {
                Some(client) => address = client.to_canonical(),
                None => break,
            }
        }
        (address, hops.checked_sub(1))
    }

    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// What the trusted hop that many from the right says. Proxies that replace a header leave a shorter
/// list: its first element then stands for all hops before it.
fn nearest<'a>(headers: &'a HeaderMap, name: &HeaderName, hop: usize) -> Option<&'a str> {
    elements_from_right(headers, name).take(hop + 1).last()
}

/// The elements of a header that is a list, over all its lines, the last one first. No more of a long list
/// is read than is needed, and nothing of it is copied.
fn elements_from_right<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
        .map(|element| str::from_utf8(element.trim_ascii()).unwrap_or("not a text"))
        .filter(|element| !element.is_empty())
}

/// An address, maybe with a port, as proxies write them.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    bare.parse().ok().or_else(with_port)
}

fn parse_scheme(text: &str) -> Option<Scheme> {
    [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|scheme| scheme.name().eq_ignore_ascii_case(text))
}

/// The path prefix, with a slash before it and none after it; nothing if it is no plain path.
fn prefix_of(headers: &HeaderMap) -> String {
    let prefix = nearest(headers, &FORWARDED_PREFIX, 0).unwrap_or_default();
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
        TrustedProxies::new(networks.to_vec())
    }

    fn peer(address: &str) -> Peer {
        Peer {
            address: address.parse().unwrap(),
            scheme: Scheme::Http,
        }
    }

    fn client(from: &str, forwarded_for: &[&str]) -> String {
        let lines = forwarded_for.iter().map(|line| ("x-forwarded-for", *line));
        let lines: Vec<_> = lines.collect();
        let client = proxies().client_of(peer(from), &headers(&lines));
        client.to_string()
    }

    /// Where a client reached the service, whose request names a host itself.
    fn asked(from: &str, headers: &HeaderMap) -> String {
        let own = Some(Authority::from_static("own.example"));
        let url = proxies().asked_url(peer(from), headers, own);
        url.unwrap().to_string()
    }

    #[test]
    fn a_stranger_speaks_for_itself_whatever_it_says() {
        assert_eq!(client("203.0.113.9", &["192.0.2.1"]), "203.0.113.9");
        let lines = headers(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-port", "666"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/evil"),
        ]);
        assert_eq!(asked("203.0.113.9", &lines), "http://own.example");
    }

    #[test]
    fn a_trusted_proxy_vouches_for_one_hop() {
        for lines in [
            &["192.0.2.1"][..],
            &["6.6.6.6, 192.0.2.1"],
            &["6.6.6.6, 192.0.2.1, 10.1.1.1"],
            &["6.6.6.6", "192.0.2.1", "10.1.1.1"],
            &["192.0.2.1:4711"],
        ] {
            assert_eq!(client("10.0.0.1", lines), "192.0.2.1", "{lines:?}");
        }
        assert_eq!(client("::ffff:10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(client("::1", &["[2001:db8::1]:4711"]), "2001:db8::1");
    }

    #[test]
    fn a_prefix_that_is_no_plain_path_is_passed_over() {
        for prefix in [
            "/a b", "/a?b", "/../a", "/a//b", "/\"a", "/{a}", "/a%2f", "/\u{e9}",
        ] {
            let mut lines = headers(&[("x-forwarded-for", "192.0.2.1")]);
            let value = http::HeaderValue::from_bytes(prefix.as_bytes()).unwrap();
            lines.insert("x-forwarded-prefix", value);
            assert_eq!(asked("10.0.0.1", &lines), "http://own.example", "{prefix}");
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

    /// 31 KiB of elements, or of nothing between commas: read whole for each request, they keep a thread busy.
    #[test]
    fn nothing_of_what_a_stranger_or_a_hop_before_the_client_says_is_copied() {
        for long in ["192.0.2.7, ".repeat(2_800), ",".repeat(31 * 1024)] {
            let lines = headers(&[("x-forwarded-for", &long)]);
            for from in ["203.0.113.9", "10.0.0.1"] {
                let allocated = allocation_counter::measure(|| {
                    proxies().client_of(peer(from), &lines);
                });
                let baseline = allocation_counter::measure(|| drop(proxies()));
                assert_eq!(allocated.count_total, baseline.count_total, "{from}");
            }
        }
    }

    #[test]
    fn a_hop_that_hides_its_client_is_taken_for_the_client() {
        for lines in [&["garbage"][..], &["192.0.2.1, unknown"], &[]] {
            assert_eq!(client("10.0.0.1", lines), "10.0.0.1", "{lines:?}");
        }
    }

    #[test]
    fn a_trusted_proxy_says_how_it_was_asked() {
        let lines = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "HTTPS"),
            ("x-forwarded-host", "x.example"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-prefix", "/deploy/"),
        ];
        let expected = "https://x.example/deploy";
        assert_eq!(asked("10.0.0.1", &headers(&lines)), expected);
        assert_eq!(asked("10.0.0.1", &headers(&lines[1..])), expected);
        let mut port = vec![("x-forwarded-proto", "http"), ("x-forwarded-port", "8443")];
        assert_eq!(
            asked("10.0.0.1", &headers(&port)),
            "http://own.example:8443"
        );
        port.push(("x-forwarded-host", "x.example:99"));
        assert_eq!(asked("10.0.0.1", &headers(&port)), "http://x.example:99");
    }

    /// The nearest trusted hop to the client is the one that counts, and its own elements.
    #[test]
    fn what_stands_left_of_a_stranger_is_not_believed() {
        let lines = headers(&[
            ("x-forwarded-for", "10.0.0.9, 192.0.2.1, 10.1.1.1"),
            ("x-forwarded-host", "evil.example, x.example, inner.example"),
        ]);
        assert_eq!(asked("10.0.0.1", &lines), "http://x.example");
    }
}
