//! What a source is: an id that carries the instant it expires, and the facts of its archive. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::{Uuid, Variant};

use crate::clock::Timestamp;
use crate::digest::Sha256Digest;
use crate::media::MediaType;

/// The longest that a source lives.
pub const MAX_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// A source's id: a UUID of version 8 (RFC 9562, section 5.8) whose leading 48 bits are the
/// milliseconds since the epoch at which the source expires; 74 of the others are random.
///
/// So ids sort by expiry, and nothing needs to be looked up to know that one has expired. An id is
/// no secret, and holding one allows nothing: see [`crate::grant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(Uuid);

impl SourceId {
    /// A new id that expires at `expires_at`, unlike all others as far as `random` is random.
    pub fn mint(expires_at: Timestamp, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&expires_at.as_ms().to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The 16 bytes of the UUID, as in its text.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The instant from which on this source is gone.
    pub fn expires_at(&self) -> Timestamp {
        let mut ms = [0; 8];
        ms[2..].copy_from_slice(&self.as_bytes()[..6]);
        Timestamp::from_ms(u64::from_be_bytes(ms))
    }

    /// An error once it has expired.
    pub fn check_expiry(&self, now: Timestamp) -> Result<(), Expired> {
        let expired_at = self.expires_at();
        if self.is_expired(now) {
            return Err(Expired { expired_at, now });
        }
        Ok(())
    }

    /// Could it have been minted here? A UUID of another version was not, whatever instant its bits say.
    pub fn is_ours(&self) -> bool {
        self.0.get_version_num() == 8 && self.0.get_variant() == Variant::RFC4122
    }

    /// Has it expired at `now`? The one predicate: requests are refused and bytes are deleted by it.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at()
    }
}

/// A source had its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expired at {expired_at} (now {now})")]
pub struct Expired {
    pub expired_at: Timestamp,
    pub now: Timestamp,
}

/// A text that is not a source id in its one spelling: 36 characters, lower case, hyphens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a source id: it is a UUID of 36 characters in lower case, like 123e4567-e89b-82d3-a456-426655440000"
)]
pub struct NotASourceId;

impl FromStr for SourceId {
    type Err = NotASourceId;

    /// Takes the hyphenated lower-case spelling only, so that a source has one name everywhere.
    fn from_str(text: &str) -> Result<Self, NotASourceId> {
        let id = Self(Uuid::try_parse(text).map_err(|_| NotASourceId)?);
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(NotASourceId)
        }
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0.as_hyphenated(), f)
    }
}

/// What is known of an uploaded archive; as unchangeable as its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub size_bytes: u64,
    pub sha256: Sha256Digest,
    pub media_type: MediaType,
    pub uploaded_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id_expiring_at(ms: u64) -> SourceId {
        SourceId::mint(Timestamp::from_ms(ms), [0xff; 10])
    }

    #[test]
    fn an_id_is_a_uuid_of_version_8() {
        let text = id_expiring_at(0x0123_4567_89ab).to_string();
        assert_eq!(text, "01234567-89ab-8fff-bfff-ffffffffffff");
        assert!(text.parse::<SourceId>().unwrap().is_ours());
        for other in [
            "01234567-89ab-4fff-bfff-ffffffffffff",
            "01234567-89ab-8fff-ffff-ffffffffffff",
        ] {
            assert!(!other.parse::<SourceId>().unwrap().is_ours());
        }
    }

    #[test]
    fn only_the_one_spelling_is_an_id() {
        let text = id_expiring_at(0x0123_4567_89ab).to_string();
        for other in [
            format!("{{{text}}}"),
            text.to_uppercase(),
            text.replace('-', ""),
            format!("urn:uuid:{text}"),
            format!("{text}0"),
            text[1..].to_owned(),
            String::new(),
            "../../etc/passwd".to_owned(),
        ] {
            assert_eq!(other.parse::<SourceId>(), Err(NotASourceId), "{other}");
        }
    }

    proptest! {
        #[test]
        fn an_id_says_when_it_expires(ms in 0u64..(1 << 47), random: [u8; 10]) {
            let id = SourceId::mint(Timestamp::from_ms(ms), random);
            prop_assert_eq!(id.expires_at(), Timestamp::from_ms(ms));
            prop_assert_eq!(id.to_string().parse::<SourceId>().unwrap(), id);
        }

        #[test]
        fn ids_sort_by_expiry(a in 0u64..(1 << 47), b in 0u64..(1 << 47), random: [[u8; 10]; 2]) {
            prop_assume!(a < b);
            let earlier = SourceId::mint(Timestamp::from_ms(a), random[0]);
            let later = SourceId::mint(Timestamp::from_ms(b), random[1]);
            prop_assert!(earlier.to_string() < later.to_string());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,64}") {
            if let Ok(id) = text.parse::<SourceId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
