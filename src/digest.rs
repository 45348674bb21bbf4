//! Digests of received bytes, and those that the client expects, which are checked before anything is
//! published. Pure; how they are spelled in headers is the matter of `api::sources::digest_headers`.

use std::fmt;

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::{DeserializeStateError, SerializableState};
use sha2::{Digest as _, Sha256, Sha512};

/// A SHA-256 digest; its text is 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sha256Digest(#[serde(with = "hex::serde")] pub [u8; 32]);

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).expect("64 digits for 32 bytes");
        f.write_str(std::str::from_utf8(&text).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The algorithms of the digests that a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// `sha-256` of RFC 9530.
    Sha256,
    /// `sha-512` of RFC 9530.
    Sha512,
    /// `md5`: weak against forgery, good enough against accidents, and asked for by old clients.
    Md5,
}

impl Algorithm {
    /// The name in the IANA registry of HTTP digest algorithms.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha512 => "sha-512",
            Self::Md5 => "md5",
        }
    }

    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Md5 => 16,
        }
    }
}

/// A digest that has not the length that its algorithm's digests have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {} digest has {} bytes, the one sent has {sent_bytes}", algorithm.name(), algorithm.digest_bytes())]
pub struct WrongLength {
    pub algorithm: Algorithm,
    pub sent_bytes: usize,
}

/// A header or a trailer that should hold a digest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header {header} cannot be read: {problem}")]
pub struct InvalidDigest {
    pub header: &'static str,
    pub problem: String,
}

/// The received bytes are not those that the client meant to send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {} digest sent is {expected_hex}, that of the bytes received is {received_hex}", algorithm.name())]
pub struct DigestMismatch {
    pub algorithm: Algorithm,
    pub expected_hex: String,
    pub received_hex: String,
}

/// What a client says the digests of its upload are; usually nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedDigests(Vec<(Algorithm, Vec<u8>)>);

impl ExpectedDigests {
    /// Adds one. There may be two of one algorithm: both must then be right.
    pub fn add(&mut self, algorithm: Algorithm, digest: Vec<u8>) -> Result<(), WrongLength> {
        if digest.len() != algorithm.digest_bytes() {
            return Err(WrongLength {
                algorithm,
                sent_bytes: digest.len(),
            });
        }
        self.0.push((algorithm, digest));
        Ok(())
    }

    /// Are all of them those of what was received?
    pub fn check(&self, received: &Digests) -> Result<(), DigestMismatch> {
        for (algorithm, expected) in &self.0 {
            let digest = received.get(*algorithm);
            if digest != Some(expected.as_slice()) {
                return Err(DigestMismatch {
                    algorithm: *algorithm,
                    expected_hex: hex::encode(expected),
                    received_hex: hex::encode(digest.unwrap_or_default()),
                });
            }
        }
        Ok(())
    }

    /// Adds digests that arrived after the bytes. Only algorithms that were computed can be compared then.
    pub fn add_late(&mut self, late: Self, computed: &[Algorithm]) {
        let is_computed = |(algorithm, _): &(Algorithm, Vec<u8>)| {
            *algorithm == Algorithm::Sha256 || computed.contains(algorithm)
        };
        self.0.extend(late.0.into_iter().filter(is_computed));
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Which algorithms they are of.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        self.0.iter().map(|(algorithm, _)| *algorithm).collect()
    }

    fn has(&self, algorithm: Algorithm) -> bool {
        self.0.iter().any(|(expected, _)| *expected == algorithm)
    }
}

/// Digests bytes as they arrive: SHA-256 always, others only where they are expected.
#[derive(Clone, Debug, Default)]
pub struct Digester {
    sha256: Sha256,
    sha512: Option<Sha512>,
    md5: Option<Md5>,
}

impl Digester {
    /// One that can tell whether the bytes have the `expected` digests.
    pub fn expecting(expected: &ExpectedDigests) -> Self {
        Self {
            sha256: Sha256::new(),
            sha512: expected.has(Algorithm::Sha512).then(Sha512::new),
            md5: expected.has(Algorithm::Md5).then(Md5::new),
        }
    }

    /// The same, computing `algorithms` too.
    pub fn computing(mut self, algorithms: &[Algorithm]) -> Self {
        if algorithms.contains(&Algorithm::Sha512) {
            self.sha512.get_or_insert_default();
        }
        if algorithms.contains(&Algorithm::Md5) {
            self.md5.get_or_insert_default();
        }
        self
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    /// The state so far, to resume from later. It contains up to 128 of the last bytes.
    pub fn save(&self) -> SavedDigester {
        SavedDigester {
            sha256: SavedState::of(&self.sha256),
            sha512: self.sha512.as_ref().map(SavedState::of),
            md5: self.md5.as_ref().map(SavedState::of),
        }
    }

    /// Goes on from there; `None` if that is nothing that was saved.
    pub fn restore(saved: &SavedDigester) -> Option<Self> {
        Some(Self {
            sha256: saved.sha256.restore().ok()?,
            sha512: restore_if_any(saved.sha512.as_ref()).ok()?,
            md5: restore_if_any(saved.md5.as_ref()).ok()?,
        })
    }

    pub fn finish(self) -> Digests {
        Digests {
            sha256: Sha256Digest(self.sha256.finalize().into()),
            sha512: self.sha512.map(|sha512| sha512.finalize().into()),
            md5: self.md5.map(|md5| md5.finalize().into()),
        }
    }
}

/// A [`Digester`] that has been put away: the states of its algorithms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedDigester {
    sha256: SavedState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha512: Option<SavedState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    md5: Option<SavedState>,
}

/// The state of one algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct SavedState(#[serde(with = "hex::serde")] Vec<u8>);

impl SavedState {
    fn of(state: &impl SerializableState) -> Self {
        Self(state.serialize().to_vec())
    }

    fn restore<T: SerializableState>(&self) -> Result<T, DeserializeStateError> {
        let state = self.0.as_slice().try_into();
        T::deserialize(&state.map_err(|_| DeserializeStateError)?)
    }
}

fn restore_if_any<T: SerializableState>(
    state: Option<&SavedState>,
) -> Result<Option<T>, DeserializeStateError> {
    state.map(SavedState::restore).transpose()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    pub sha256: Sha256Digest,
    sha512: Option<[u8; 64]>,
    md5: Option<[u8; 16]>,
}

impl Digests {
    fn get(&self, algorithm: Algorithm) -> Option<&[u8]> {
        match algorithm {
            Algorithm::Sha256 => Some(&self.sha256.0),
            Algorithm::Sha512 => self.sha512.as_ref().map(<[u8; 64]>::as_slice),
            Algorithm::Md5 => self.md5.as_ref().map(<[u8; 16]>::as_slice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests_of(bytes: &[u8], expected: &ExpectedDigests) -> Digests {
        let mut digester = Digester::expecting(expected);
        digester.update(bytes);
        digester.finish()
    }

    #[test]
    fn one_wrong_digest_among_right_ones_fails() {
        let mut expected = ExpectedDigests::default();
        expected
            .add(Algorithm::Sha256, Sha256::digest(b"abc").to_vec())
            .unwrap();
        expected
            .add(Algorithm::Sha256, Sha256::digest(b"abd").to_vec())
            .unwrap();
        let mismatch = expected.check(&digests_of(b"abc", &expected)).unwrap_err();
        assert_eq!(mismatch.expected_hex, hex::encode(Sha256::digest(b"abd")));
        assert_eq!(mismatch.received_hex, hex::encode(Sha256::digest(b"abc")));
    }

    #[test]
    fn a_digest_one_byte_short_or_long_is_refused() {
        for sent_bytes in [31, 33] {
            let refused = ExpectedDigests::default().add(Algorithm::Sha256, vec![0; sent_bytes]);
            assert_eq!(
                refused,
                Err(WrongLength {
                    algorithm: Algorithm::Sha256,
                    sent_bytes
                })
            );
        }
    }

    #[test]
    fn a_digester_that_was_put_away_at_any_byte_goes_on_as_if_it_had_not_been() {
        let bytes: Vec<u8> = (0..=250).cycle().take(300).collect();
        let all = || Digester::default().computing(&[Algorithm::Sha512, Algorithm::Md5]);
        let mut whole = all();
        whole.update(&bytes);
        let whole = whole.finish();
        for at in 0..=bytes.len() {
            let mut first = all();
            first.update(&bytes[..at]);
            let text = serde_json::to_string(&first.save()).unwrap();
            let mut rest = Digester::restore(&serde_json::from_str(&text).unwrap()).unwrap();
            rest.update(&bytes[at..]);
            assert_eq!(rest.finish(), whole, "{at}");
        }
        let short = r#"{"sha256":"00"}"#;
        assert!(Digester::restore(&serde_json::from_str(short).unwrap()).is_none());
    }

    #[test]
    fn the_text_of_a_digest_is_lower_case_hex() {
        let digests = digests_of(b"", &ExpectedDigests::default());
        assert_eq!(
            digests.sha256.to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
