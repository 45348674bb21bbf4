//! Texts that the store keeps and nobody may read there: sealed with ChaCha20-Poly1305 (RFC 8439) under a key that is
//! derived from the ring. Pure.
//!
//! Each is bound to a context, so that what is sealed for one place cannot be put in another.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::keys::KeyRing;
use crate::secret::Secret;

/// The keys for one use: the first seals, all open.
pub struct SealKeys(Vec<LessSafeKey>);

/// What was sealed under no key of the ring, or for another context, or has changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was sealed with a key that the ring does not hold any more, or has been changed since")]
pub struct CannotOpen;

impl SealKeys {
    pub fn derive(ring: &KeyRing, label: &str) -> Self {
        let keys = ring.derive(label);
        let keys = keys.iter().map(|key| {
            let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_slice());
            LessSafeKey::new(key.expect("a derived key has 32 bytes, as this cipher needs"))
        });
        Self(keys.collect())
    }

    /// A text in base64 that only [`SealKeys::open`] with the same `context` makes anything of.
    pub fn seal(&self, context: &[u8], secret: &Secret) -> String {
        let key = self.0.first().expect("a ring has at least one key");
        // Random: 2^32 of them may be used with one key before two are alike with a chance of 2^-33.
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = secret.reveal().as_bytes().to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut sealed,
        )
        .expect("a text in memory is shorter than 256 GiB");
        STANDARD_NO_PAD.encode([nonce.as_slice(), &sealed].concat())
    }

    pub fn open(&self, context: &[u8], sealed: &str) -> Result<Secret, CannotOpen> {
        let bytes = STANDARD_NO_PAD.decode(sealed).map_err(|_| CannotOpen)?;
        let (nonce, sealed) = bytes.split_first_chunk().ok_or(CannotOpen)?;
        let opened = self.0.iter().find_map(|key| {
            let mut sealed = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let opened = key.open_in_place(nonce, Aad::from(context), &mut sealed);
            let length = opened.ok()?.len();
            sealed.truncate(length);
            String::from_utf8(sealed).ok()
        });
        opened.map(Secret::new).ok_or(CannotOpen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ring: &[[u8; 32]]) -> SealKeys {
        SealKeys::derive(&KeyRing::of(ring), "test")
    }

    #[test]
    fn only_the_right_key_opens_and_only_in_the_right_place() {
        let old = keys(&[[1; 32]]);
        let secret = Secret::new("https://x.example/a?token=b".to_owned());
        let sealed = old.seal(b"here", &secret);
        assert!(!sealed.contains("example"));
        assert_ne!(sealed, old.seal(b"here", &secret));
        let rotated = keys(&[[2; 32], [1; 32]]);
        for keys in [&old, &rotated] {
            let opened = keys.open(b"here", &sealed).unwrap();
            assert_eq!(opened.reveal(), secret.reveal());
        }
        assert!(rotated.open(b"there", &sealed).is_err());
        assert!(keys(&[[2; 32]]).open(b"here", &sealed).is_err());
        for changed in ["", "AAAA", &sealed[1..], &sealed[..sealed.len() - 1]] {
            assert!(old.open(b"here", changed).is_err(), "{changed}");
        }
    }
}
