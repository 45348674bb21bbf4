//! What must hold whatever bytes come: one function for each target of `fuzz/`.
//!
//! The programs of `fuzz/` try them on any bytes, and the tests below on those that were found worth
//! keeping. Each takes bytes, most of them as text that a person could have written, and panics if
//! something does not hold. A word in braces stands for a secret that no random text would hit, like
//! `{upload}` for an upload token.

mod archives;
mod bucket;
mod connections;
mod folder;
mod requests;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use waystation::clock::Timestamp;
use waystation::config::{MIN_LIFETIME, ServeSettings, StorePlace};
use waystation::keys::{KeyRing, MAX_KEYS};
use waystation::media::{MAGIC_BYTES, MediaType};
use waystation::secret::Secret;
use waystation::service::api_tokens::{ApiToken, TokenId, parse_api_token, spell_api_token};
use waystation::service::jwt::{BearerKeys, Caller};
use waystation::service::users::{User, UserId};
use waystation::source::{MAX_LIFETIME, SourceId};

pub use archives::archives;
pub use connections::connections;
pub use requests::{conditions, digest_headers, proxies, queries};

/// What holds for all bytes.
pub type Property = fn(&[u8]);

/// Every target, by its name in `fuzz/`.
pub const TARGETS: [(&str, Property); 11] = [
    ("archives", archives),
    ("bearers", bearers),
    ("conditions", conditions),
    ("connections", connections),
    ("digest_headers", digest_headers),
    ("key_files", key_files),
    ("names", names),
    ("proxies", proxies),
    ("queries", queries),
    ("records", records),
    ("settings", settings),
];

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_500);

/// A name that is read is written back as it was: no two names are one thing.
pub fn names(bytes: &[u8]) {
    assert_eq!(
        MediaType::of(bytes),
        MediaType::of(&bytes[..bytes.len().min(MAGIC_BYTES)])
    );
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(source) = text.parse::<SourceId>() {
        assert_eq!(source.to_string(), text);
        let expires_at = source.expires_at();
        let ms = u64::from_str_radix(&text.replace('-', "")[..12], 16).expect("hex digits");
        assert_eq!(expires_at, Timestamp::from_ms(ms));
        assert!(source.is_expired(expires_at));
        assert!(ms == 0 || !source.is_expired(Timestamp::from_ms(expires_at.as_ms() - 1)));
    }
    if let Ok(id) = text.parse::<UserId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(id) = text.parse::<TokenId>() {
        assert_eq!(id.to_string(), text.to_lowercase());
    }
    if let Some((id, secret)) = parse_api_token(text) {
        assert_eq!(spell_api_token(id, &secret).reveal(), text);
    }
    folder::names(text);
    bucket::names(text);
}

/// A record that is read means the same once it has been written and read again.
pub fn records(bytes: &[u8]) {
    is_kept::<User>(bytes);
    is_kept::<ApiToken>(bytes);
    is_kept::<Timestamp>(bytes);
    folder::footers(bytes);
    bucket::records(bytes);
}

fn is_kept<T>(bytes: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    if let Ok(read) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_vec(&read).expect("records can be written");
        let again: T = serde_json::from_slice(&written).expect("what was written can be read");
        assert_eq!(again, read);
    }
}

/// Keys are what stands in the file, in its order, and no refusal repeats any of it.
pub fn key_files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<_> = text
        .split(['\n', ','])
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    match KeyRing::from_text(&Secret::new(text.clone().into_owned()), "the test") {
        Ok(ring) => {
            let keys = ring.derive("use");
            assert!((1..=MAX_KEYS).contains(&keys.len()));
            assert_eq!(keys.len(), lines.len());
            for (line, key) in lines.iter().zip(keys) {
                let alone = KeyRing::from_text(&Secret::new((*line).to_owned()), "the test");
                assert_eq!(alone.ok().map(|ring| ring.derive("use")), Some(vec![key]));
            }
        }
        Err(error) => {
            let said: String = error.to_string().replace(char::is_numeric, "");
            let known = [
                "line  of the key file the test is not base of at least  bytes (it is not base); a good line comes from 'head -c  /dev/urandom | base'",
                "line  of the key file the test is not base of at least  bytes (it has  bytes); a good line comes from 'head -c  /dev/urandom | base'",
                "the key file the test holds  keys; it needs  to , one a line, the first of which signs",
            ];
            assert!(known.contains(&said.as_str()), "{said}");
        }
    }
}

/// No bearer is let in that was not made here; what one that was made here says is not misread.
///
/// The text is a bearer, or, on two lines, a header and claims that are signed with the right key.
pub fn bearers(bytes: &[u8]) {
    let ring = KeyRing::of(&[[1; 32], [2; 32]]);
    let keys = BearerKeys::derive(&ring);
    let caller = Caller {
        user: UserId::of("ada"),
        token: "0123456789abcdef01234567"
            .parse()
            .expect("an id of a token"),
        secret: [5; 8],
    };
    let mint = |key: [u8; 32]| {
        let bearers = BearerKeys::derive(&KeyRing::of(&[key]));
        bearers.mint(caller, NOW, [3; 16]).reveal().to_owned()
    };
    let good = [mint([1; 32]), mint([2; 32])];
    let foreign = mint([9; 32]);
    let text = String::from_utf8_lossy(bytes);
    if let Some((header, claims)) = text.split_once('\n') {
        let kid = part_of(&good[0], 0)["kid"].to_string();
        let header = header.replace("{kid}", &kid);
        let claims = claims.replace("{user}", &caller.user.to_string());
        let signing = &ring.derive("waystation/bearers/v1")[0];
        if let Ok(let_in) = keys.verify(&sign(&header, &claims, signing.as_slice()), NOW) {
            let claims: Value = serde_json::from_str(&claims).expect("claims are JSON");
            assert_eq!(claims["iss"], "waystation");
            let user: UserId = claims["sub"]
                .as_str()
                .expect("a text")
                .parse()
                .expect("an id");
            assert_eq!(let_in.user, user);
            let jti = claims["jti"].as_str().expect("a text");
            let token = jti.split('-').next().expect("one at least");
            assert_eq!(let_in.token.to_string(), token.to_lowercase());
            let ahead = claims["exp"].as_u64().expect("a number") - NOW.as_seconds();
            assert!((1..=3900).contains(&ahead), "{ahead}");
            let secret = claims["sec"].as_str().unwrap_or("0000000000000000");
            let secret = u64::from_str_radix(secret, 16);
            assert_eq!(secret, Ok(u64::from_be_bytes(let_in.secret)));
            let header: Value = serde_json::from_str(&header).expect("a header is JSON");
            assert_eq!(header["alg"], "HS256");
        }
        return;
    }
    let mut text = text.into_owned();
    for (name, bearer) in [
        ("good", &good[0]),
        ("older", &good[1]),
        ("foreign", &foreign),
    ] {
        text = text.replace(&format!("{{{name}}}"), bearer);
        for (index, part) in bearer.split('.').enumerate() {
            text = text.replace(&format!("{{{name}.{index}}}"), part);
        }
    }
    if let Ok(let_in) = keys.verify(&text, NOW) {
        assert_eq!(let_in, caller);
        // The last digit of a signature has bits that mean nothing.
        let without_last = |bearer: &str| bearer[..bearer.len() - 1].to_owned();
        assert!(
            good.iter()
                .any(|bearer| without_last(bearer) == without_last(&text))
        );
    }
}

fn part_of(bearer: &str, index: usize) -> Value {
    let part = bearer.split('.').nth(index).expect("three parts");
    let part = URL_SAFE_NO_PAD.decode(part).expect("it was made here");
    serde_json::from_slice(&part).expect("it was made here")
}

fn sign(header: &str, claims: &str, key: &[u8]) -> String {
    let head = URL_SAFE_NO_PAD.encode(header);
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// `serve` and its flags, without the other commands.
#[derive(Parser)]
struct Serve {
    #[command(flatten)]
    settings: ServeSettings,
}

/// What is accepted on the command line is within its bounds; each line is an argument.
pub fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let arguments = std::iter::once("serve").chain(text.lines().take(16));
    let settings = match Serve::try_parse_from(arguments) {
        Ok(serve) => serve.settings,
        Err(error) => {
            assert!([0, 2].contains(&error.exit_code()));
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!((MIN_LIFETIME..=MAX_LIFETIME).contains(&settings.lifetime));
    assert!(settings.sweep_every.as_secs_f64() <= 5.0 && !settings.sweep_every.is_zero());
    assert!(!settings.header_timeout.is_zero() && !settings.idle_timeout.is_zero());
    assert!((8 * 1024..=1024 * 1024).contains(&settings.header_limit.as_u64()));
    for count in [settings.max_transfers, settings.max_connections] {
        assert!((1..=1_000_000).contains(&count));
    }
    if let StorePlace::Bucket(url) = &settings.store.store {
        assert_eq!(url.to_string().parse().as_ref(), Ok(url));
    }
    if let Some(url) = &settings.public_url {
        assert_eq!(url.to_string().parse().as_ref(), Ok(url));
        let source = SourceId::mint(NOW, [7; 10]);
        let link = url.link(source, &Secret::new("0".repeat(32)));
        let link: http::Uri = link.reveal().parse().expect("a link is a URL");
        assert!(link.path().ends_with(&format!("/v1/sources/{source}")));
        assert_eq!(
            link.query(),
            Some(format!("token={}", "0".repeat(32)).as_str())
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn entries(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn stems(folder: &Path) -> BTreeSet<String> {
        let stem = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        entries(folder).iter().map(stem).collect()
    }

    #[test]
    fn each_target_has_its_program_and_its_corpus() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let targets = TARGETS.iter().map(|(name, _)| (*name).to_owned());
        let targets: BTreeSet<_> = targets.collect();
        assert_eq!(stems(&fuzz.join("targets")), targets);
        assert_eq!(stems(&fuzz.join("corpus")), targets);
    }

    #[test]
    fn all_that_was_found_worth_keeping_still_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
        for (name, property) in TARGETS {
            for file in entries(&corpus.join(name)) {
                let bytes = fs::read(&file).unwrap();
                let held = std::panic::catch_unwind(|| property(&bytes));
                assert!(held.is_ok(), "{}", file.display());
            }
        }
    }
}
