//! What must hold whatever a client or a proxy sends.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Query;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512};

use waystation::api::page::{Page, PageQuery};
use waystation::api::problem::Problem;
use waystation::api::sources::conditions::{Selection, etag_text, last_modified_text, select};
use waystation::api::sources::digest_headers::{expected_digests, repr_digest};
use waystation::api::sources::token_of;
use waystation::clock::Timestamp;
use waystation::digest::{Digester, ExpectedDigests, Sha256Digest};
use waystation::grant::{Action, GrantError, GrantKeys};
use waystation::keys::KeyRing;
use waystation::media::MediaType;
use waystation::proxies::{Peer, TrustedProxies};
use waystation::public_url::Scheme;
use waystation::source::{Expired, Facts, SourceId};

/// The lines of `bytes` that can be headers.
fn headers_of(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(0));
        let name = HeaderName::from_bytes(name.trim_ascii());
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// Of all queries, only those with the one token that was minted open anything, and only until the
/// expiry; pages of a list are what was asked for. The text is a query.
pub fn queries(bytes: &[u8]) {
    let expires_at = Timestamp::from_ms(1_700_000_000_000);
    let before = Timestamp::from_ms(expires_at.as_ms() - 1);
    let source = SourceId::mint(expires_at, [5; 10]);
    let keys = GrantKeys::derive(&KeyRing::of(&[[1; 32], [2; 32]]));
    let upload = keys.mint(Action::Upload, source);
    let download = keys.mint(Action::Download, source);

    let query = String::from_utf8_lossy(bytes)
        .replace("{upload}", upload.reveal())
        .replace("{download}", download.reveal());
    let Ok(uri) = format!("/v1/sources/{source}?{query}").parse::<Uri>() else {
        return;
    };
    pages(&uri);
    let (parts, ()) = Request::get(uri)
        .body(())
        .expect("a URI makes a request")
        .into_parts();
    let token = token_of(&parts);
    let named = values_of(parts.uri.query().unwrap_or_default(), "token");
    match named.as_slice() {
        [only] => assert_eq!(token, *only),
        _ => assert_eq!(token, ""),
    }

    let expected = |minted: &str, now| {
        if token != minted {
            Err(GrantError::InvalidToken)
        } else if now < expires_at {
            Ok(source)
        } else {
            Err(GrantError::Expired(Expired {
                expired_at: expires_at,
                now,
            }))
        }
    };
    for now in [before, expires_at] {
        let verified = keys.verify_upload(source, &token, now);
        assert_eq!(
            verified.map(|grant| grant.source()),
            expected(upload.reveal(), now)
        );
        let verified = keys.verify_download(source, &token, now);
        assert_eq!(
            verified.map(|grant| grant.source()),
            expected(download.reveal(), now)
        );
    }
}

/// The values that a query has for `name`, read anew and not by the library.
fn values_of(query: &str, name: &str) -> Vec<String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let read = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    read.filter(|(key, _)| unescaped(key) == name)
        .map(|(_, value)| unescaped(value))
        .collect()
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => match (digit(0), digit(1)) {
                (Some(high), Some(low)) => {
                    rest = &after[2..];
                    u8::try_from(high * 16 + low).expect("two hex digits")
                }
                _ => b'%',
            },
            byte => *byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn pages(uri: &Uri) {
    const ITEMS: usize = 250;
    let Ok(Query(query)) = Query::<PageQuery>::try_from_uri(uri) else {
        return;
    };
    let Ok(page) = Page::of((0..ITEMS).collect(), &query) else {
        return;
    };
    let pages = page.meta.pagination;
    let (current, last) = (pages.current_page, pages.total_pages);
    assert_eq!(pages.total_count, ITEMS);
    assert_eq!(pages.prev_page, (current > 1).then(|| current - 1));
    assert_eq!(pages.next_page, (current < last).then(|| current + 1));
    assert_eq!(page.items.is_empty(), current > last);
    assert!(page.items.len() <= 100);
}

/// A range lies within the archive, and every answer has the header that asked for it. The first line
/// is the archive's size and when it came, the others are headers.
pub fn conditions(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let (size, uploaded_at) = first.split_once(' ').unwrap_or((first, ""));
    let facts = Facts {
        size_bytes: size.parse().unwrap_or(10),
        sha256: Sha256Digest([0xab; 32]),
        media_type: MediaType::Gzip,
        uploaded_at: Timestamp::from_ms(uploaded_at.parse().unwrap_or(1_700_000_000_123)),
    };
    let rest = rest
        .replace("{etag}", &etag_text(&facts))
        .replace("{modified}", &last_modified_text(&facts));
    let headers = headers_of(rest.as_bytes());
    let has = |name| headers.contains_key(name);

    let head = select(&Method::HEAD, &headers, &facts);
    let get = select(&Method::GET, &headers, &facts);
    // Ranges are for GET alone.
    match status_of(&get) {
        200 => assert_eq!(status_of(&head), 200),
        206 | 416 => assert!(has(RANGE) && status_of(&head) == 200),
        304 => {
            assert!(has(IF_NONE_MATCH) || has(IF_MODIFIED_SINCE));
            assert_eq!(status_of(&head), 304);
        }
        412 => {
            assert!(has(IF_MATCH) || has(IF_UNMODIFIED_SINCE));
            assert_eq!(status_of(&head), 412);
        }
        other => panic!("{other}"),
    }
    if let Ok(Selection::Part(range)) = &get {
        assert!(range.start < range.end && range.end <= facts.size_bytes);
    }

    let conditions = [
        IF_MATCH,
        IF_UNMODIFIED_SINCE,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_RANGE,
    ];
    if conditions.into_iter().any(has) || headers.get_all(RANGE).iter().count() != 1 {
        return;
    }
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    if let Some(expected) = range.and_then(|text| plain_range(text, facts.size_bytes)) {
        match get {
            Ok(Selection::Part(range)) => assert_eq!(Some((range.start, range.end)), expected),
            other => assert_eq!((status_of(&other), expected), (416, None)),
        }
    }
}

fn status_of(selected: &Result<Selection, Problem>) -> u16 {
    match selected {
        Ok(Selection::Whole) => 200,
        Ok(Selection::Part(_)) => 206,
        Ok(Selection::NotModified) => 304,
        Err(problem) => problem.render("", true).status().as_u16(),
    }
}

/// What one range of plain digits selects of `size` bytes (RFC 9110, section 14.1.2), read anew and
/// not by the library: `None` if it is no such range, `Some(None)` if it cannot be satisfied.
#[expect(
    clippy::option_option,
    reason = "no such range and a range of nothing are two answers"
)]
fn plain_range(text: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(first) || !is_number(last) {
        return None;
    }
    // The limit on digits.
    if first.len() > 30 || last.len() > 30 {
        return Some(None);
    }
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let selected = match (first, last) {
        ("", "") => return Some(None),
        ("", suffix) => (size.saturating_sub(number(suffix)), size),
        (first, "") => (number(first), size),
        // Two numbers that no u64 holds are compared as texts would be, which is not worth it.
        (first, last) if first.len() > 19 && last.len() > 19 => return None,
        (first, last) if number(last) < number(first) => return Some(None),
        (first, last) => (number(first), number(last).saturating_add(1).min(size)),
    };
    Some((selected.0 < selected.1).then_some(selected))
}

/// Digests are right for one body at most; what we say of a body is read back as such. The
/// lines are headers.
pub fn digest_headers(bytes: &[u8]) {
    const BODY: &[u8] = b"abc";
    let text = String::from_utf8_lossy(bytes)
        .replace("{sha-256}", &STANDARD.encode(Sha256::digest(BODY)))
        .replace("{sha-512}", &STANDARD.encode(Sha512::digest(BODY)))
        .replace("{md5}", &STANDARD.encode(Md5::digest(BODY)));
    match expected_digests(&headers_of(text.as_bytes())) {
        Ok(expected) => {
            let holds = holds_for(&expected, BODY) && holds_for(&expected, b"abd");
            assert_eq!(holds, expected == ExpectedDigests::default());
        }
        Err(invalid) => {
            let answer = Problem::from(invalid).render("", true);
            assert_eq!(answer.status(), 400);
        }
    }

    let ours = repr_digest(Sha256Digest(Sha256::digest(bytes).into()));
    let ours = HeaderValue::from_str(&ours).expect("it is sent as a header");
    let said = HeaderMap::from_iter([(HeaderName::from_static("repr-digest"), ours)]);
    let expected = expected_digests(&said).expect("what is said can be read");
    assert!(expected != ExpectedDigests::default() && holds_for(&expected, bytes));
}

fn holds_for(expected: &ExpectedDigests, body: &[u8]) -> bool {
    let mut digester = Digester::expecting(expected);
    digester.update(body);
    expected.check(&digester.finish()).is_ok()
}

/// A stranger is taken for itself; a trusted proxy names an address that it really wrote; what a
/// client put before that changes nothing; links that follow from it are links. The lines are headers.
pub fn proxies(bytes: &[u8]) {
    let headers = headers_of(bytes);
    let stranger = "203.0.113.9".parse().expect("an address");
    let proxy = "10.0.0.1".parse().expect("an address");
    let trusted: ipnet::IpNet = "10.0.0.0/8".parse().expect("a network");
    let peer = |address| Peer {
        address,
        scheme: Scheme::Http,
    };
    let proxies = TrustedProxies::new(vec![trusted]);
    assert_eq!(proxies.client_of(peer(stranger), &headers), stranger);
    let own = || Some(Authority::from_static("own.example"));
    let asked = proxies.asked_url(peer(stranger), &headers, own());
    assert_eq!(asked, "http://own.example".parse().ok());

    let client = proxies.client_of(peer(proxy), &headers);
    assert!(client == proxy || is_named(client, &headers), "{client}");
    if !trusted.contains(&client) {
        let spoofed = with_a_tale_before(&headers);
        assert_eq!(proxies.client_of(peer(proxy), &spoofed), client);
    }
    if let Some(base) = proxies.asked_url(peer(proxy), &headers, own()) {
        is_link(&base.to_string());
    }
}

/// Does any header have the address?
fn is_named(client: IpAddr, headers: &HeaderMap) -> bool {
    headers.values().any(|value| {
        String::from_utf8_lossy(value.as_bytes())
            .split([',', ' ', '\t'])
            .any(|word| {
                let bare = word.trim_matches(['[', ']']);
                let with_port = word.parse::<SocketAddr>().map(|address| address.ip());
                let address = bare.parse::<IpAddr>().or(with_port);
                address.is_ok_and(|address| address.to_canonical() == client)
            })
    })
}

/// The same headers, with what a client could have sent before the first proxy added to them.
fn with_a_tale_before(headers: &HeaderMap) -> HeaderMap {
    let mut spoofed = HeaderMap::new();
    // Proxies that do not write it are another matter.
    if headers.contains_key("x-forwarded-for") {
        spoofed.append("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
    }
    for (name, value) in headers {
        spoofed.append(name, value.clone());
    }
    spoofed
}

fn is_link(base: &str) {
    let link: Uri = base.parse().expect("a link begins with a URL");
    assert!(
        matches!(link.scheme_str(), Some("http" | "https")),
        "{base}"
    );
    assert!(
        link.authority().is_some() && link.query().is_none(),
        "{base}"
    );
    let prefix = link.path().trim_end_matches('/');
    let mut parts = prefix.split('/').skip(1);
    assert!(!parts.any(|part| ["", ".", ".."].contains(&part)), "{base}");
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "\"<>@#?\\".contains(c);
    assert!(!base.contains(is_odd), "{base}");
}
