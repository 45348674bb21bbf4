//! How digests are spelled in headers, sent and received. Pure.
//!
//! | header | form |
//! |---|---|
//! | `Repr-Digest`, `Content-Digest` | a dictionary of byte sequences (RFC 9530); unknown algorithms are passed over |
//! | `Content-MD5` | base64 (RFC 1864) |
//! | `x-amz-checksum-sha256` | base64, as S3 clients send it |

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::TRAILER;
use http::{HeaderMap, HeaderValue};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::digest::{Algorithm, ExpectedDigests, InvalidDigest, Sha256Digest};

const OF_WHOLE: &str = "repr-digest";
const OF_BODY: &str = "content-digest";
const DICTIONARIES: [&str; 2] = [OF_WHOLE, OF_BODY];
const PLAIN: [(&str, Algorithm); 2] = [
    ("content-md5", Algorithm::Md5),
    ("x-amz-checksum-sha256", Algorithm::Sha256),
];
const KNOWN: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Md5];

/// What a request says the digests of its body are, in its headers or in its trailers.
pub fn expected_digests(headers: &HeaderMap) -> Result<ExpectedDigests, InvalidDigest> {
    read_digests(headers, &DICTIONARIES, &PLAIN)
}

/// Where a body is a part of an archive: the digests of the part.
pub(super) fn digest_of_part(headers: &HeaderMap) -> Result<ExpectedDigests, InvalidDigest> {
    read_digests(headers, &[OF_BODY], &PLAIN)
}

/// The same: those of all of it.
pub(super) fn digest_of_whole(headers: &HeaderMap) -> Result<ExpectedDigests, InvalidDigest> {
    read_digests(headers, &[OF_WHOLE], &[])
}

fn read_digests(
    headers: &HeaderMap,
    dictionaries: &[&'static str],
    plain: &[(&'static str, Algorithm)],
) -> Result<ExpectedDigests, InvalidDigest> {
    let mut expected = ExpectedDigests::default();
    let invalid = |header| move |problem| InvalidDigest { header, problem };
    for header in dictionaries {
        if headers.contains_key(*header) {
            add_dictionary(&mut expected, headers, header).map_err(invalid(header))?;
        }
    }
    for &(header, algorithm) in plain {
        for value in headers.get_all(header) {
            add_plain(&mut expected, algorithm, value).map_err(invalid(header))?;
        }
    }
    Ok(expected)
}

/// The algorithms of the digests that may come in trailers, as far as `Trailer` (RFC 9110, section 6.6.2) announces
/// them: it names fields, and those of RFC 9530 do not name their algorithms.
pub(super) fn trailing_algorithms(headers: &HeaderMap) -> Vec<Algorithm> {
    let announced = headers.get_all(TRAILER).iter();
    let names = announced.filter_map(|value| value.to_str().ok());
    let names = names.flat_map(|value| value.split(',')).map(str::trim);
    let algorithms = names.flat_map(|name| {
        let is_dictionary = DICTIONARIES
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
        let plain = PLAIN
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known));
        let plain = plain.map(|(_, algorithm)| *algorithm);
        let of_dictionary = KNOWN.into_iter().filter(move |_| is_dictionary);
        of_dictionary.chain(plain)
    });
    algorithms.collect()
}

/// Several lines of one header are one dictionary (RFC 9651, section 4.2).
fn add_dictionary(
    expected: &mut ExpectedDigests,
    headers: &HeaderMap,
    header: &'static str,
) -> Result<(), String> {
    let lines: Vec<&[u8]> = headers
        .get_all(header)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let dictionary: Dictionary = Parser::new(&lines.join(b", ".as_slice()))
        .parse()
        .map_err(|error| format!("{error}; it looks like sha-256=:<base64>:"))?;
    for algorithm in KNOWN {
        if let Some(entry) = dictionary.get(algorithm.name()) {
            add_entry(expected, algorithm, entry)?;
        }
    }
    Ok(())
}

fn add_entry(
    expected: &mut ExpectedDigests,
    algorithm: Algorithm,
    entry: &ListEntry,
) -> Result<(), String> {
    match entry {
        ListEntry::Item(sfv::Item {
            bare_item: BareItem::ByteSequence(digest),
            ..
        }) => expected
            .add(algorithm, digest.clone())
            .map_err(|error| error.to_string()),
        ListEntry::Item(_) | ListEntry::InnerList(_) => Err(format!(
            "{name} is no byte sequence; it looks like {name}=:<base64>:",
            name = algorithm.name()
        )),
    }
}

fn add_plain(
    expected: &mut ExpectedDigests,
    algorithm: Algorithm,
    value: &HeaderValue,
) -> Result<(), String> {
    let digest = STANDARD
        .decode(value.as_bytes().trim_ascii())
        .map_err(|_| "it is not base64".to_owned())?;
    expected
        .add(algorithm, digest)
        .map_err(|error| error.to_string())
}

/// The value of `Repr-Digest` for an archive.
pub fn repr_digest(sha256: Sha256Digest) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha256.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256_OF_ABC: &str = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";

    fn read(name: &'static str, values: &[&str]) -> Result<ExpectedDigests, InvalidDigest> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        expected_digests(&headers)
    }

    fn digest_of_abc() -> ExpectedDigests {
        let mut expected = ExpectedDigests::default();
        let digest = STANDARD.decode(SHA256_OF_ABC).unwrap();
        expected.add(Algorithm::Sha256, digest).unwrap();
        expected
    }

    #[test]
    fn unknown_algorithms_are_passed_over_beside_known_ones_on_other_lines() {
        let line = format!("sha-256=:{SHA256_OF_ABC}:");
        let found = read("repr-digest", &["unixsum=:AQ==:", &line]).unwrap();
        assert_eq!(found, digest_of_abc());
        assert_eq!(
            read("repr-digest", &["id-sha=:AQ==:"]).unwrap(),
            ExpectedDigests::default()
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (name, value) in [
            ("repr-digest", "sha-256=abc"),
            ("repr-digest", "sha-256=:AQ==:"),
            ("repr-digest", "sha-256=(:AQ==:)"),
            ("repr-digest", "="),
            ("content-md5", "!"),
            ("content-md5", "AQ=="),
            ("x-amz-checksum-sha256", SHA256_OF_ABC.trim_end_matches('=')),
        ] {
            assert!(read(name, &[value]).is_err(), "{name}: {value}");
        }
    }
}
