//! What a URL allows: tokens are minted and verified here and nowhere else. Pure.
//!
//! A token is the first 128 bits of HMAC-SHA-256 over a domain label, the action, and the id of a source or
//! of an attempt to run a deployment. Granting is arithmetic: nothing is written, read or locked, and any node that has the key
//! ring can verify what any other handed out. Neither host nor scheme is covered, so links work
//! behind any proxy.
//!
//! An [`UploadGrant`], [`DownloadGrant`], [`ReportGrant`] or [`FetchGrant`] can only come from [`GrantKeys`];
//! holding one *is* the permission.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use crate::clock::{CLOCK_SKEW, Timestamp};
use crate::deployment::Attempt;
use crate::keys::KeyRing;
use crate::secret::Secret;
use crate::source::{Expired, MAX_LIFETIME, SourceId};

/// The use for which grant keys are derived from the ring.
const KEY_LABEL: &str = "waystation/grants/v1";
/// Separates these signatures from any other made with the same key.
const DOMAIN: &[u8] = b"waystation/grant/v1\0";
/// 128 bits cannot be guessed; the rest of the HMAC would only make URLs longer.
const TOKEN_BYTES: usize = 16;

/// What a token lets its holder do with one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Upload,
    Download,
}

impl Action {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Upload => b"upload\0",
            Self::Download => b"download\0",
        }
    }
}

/// What a link of a runner lets its holder do for one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptAction {
    /// Append to the log, and say how it goes.
    Report,
    /// Read the archive.
    Fetch,
}

impl AttemptAction {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Report => b"report\0",
            Self::Fetch => b"fetch\0",
        }
    }
}

/// Leave to upload to one source, until it expires.
#[derive(Debug)]
pub struct UploadGrant(SourceId);

/// Leave to download one source, until it expires.
#[derive(Debug)]
pub struct DownloadGrant(SourceId);

impl UploadGrant {
    pub const fn source(&self) -> SourceId {
        self.0
    }
}

impl DownloadGrant {
    pub const fn source(&self) -> SourceId {
        self.0
    }
}

/// Leave to report what becomes of one attempt, until it has ended.
#[derive(Clone, Copy, Debug)]
pub struct ReportGrant(Attempt);

/// Leave to read the archive of one attempt, until it has ended.
#[derive(Clone, Copy, Debug)]
pub struct FetchGrant(Attempt);

impl ReportGrant {
    pub const fn attempt(&self) -> Attempt {
        self.0
    }
}

impl FetchGrant {
    pub const fn attempt(&self) -> Attempt {
        self.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Missing, malformed, for another source, for the other action, or signed by no known key.
    /// Clients do not learn which, or whether the source was ever created.
    #[error("the token is not valid for this")]
    InvalidToken,
    #[error(transparent)]
    Expired(#[from] Expired),
}

/// The keys that sign and verify tokens: the first signs, all verify.
#[derive(Clone)]
pub struct GrantKeys(Vec<Hmac<Sha256>>);

impl GrantKeys {
    pub fn derive(ring: &KeyRing) -> Self {
        Self(
            ring.derive(KEY_LABEL)
                .iter()
                .map(|key| {
                    Hmac::new_from_slice(key.as_slice()).expect("HMAC takes keys of any length")
                })
                .collect(),
        )
    }

    /// The token that allows `action` on `source`: 32 lower-case hex digits.
    pub fn mint(&self, action: Action, source: SourceId) -> Secret {
        let signer = self.0.first().expect("a ring has at least one key");
        Secret::new(hex::encode(sign(signer, action.label(), source.as_bytes())))
    }

    /// What allows `action` for an attempt, to stand in the path of a URL: 96 lower-case hex digits, the attempt and
    /// then its token.
    pub fn mint_for(&self, action: AttemptAction, attempt: Attempt) -> Secret {
        let signer = self.0.first().expect("a ring has at least one key");
        let attempt = attempt.to_bytes();
        let token = sign(signer, action.label(), &attempt);
        Secret::new(hex::encode([attempt.as_slice(), &token].concat()))
    }

    /// Leave to report, if `text` gives it.
    pub fn verify_report(&self, text: &str) -> Result<ReportGrant, GrantError> {
        let attempt = self.verify_attempt(AttemptAction::Report, text);
        attempt.map(ReportGrant)
    }

    /// Leave to read the archive, if `text` gives it.
    pub fn verify_fetch(&self, text: &str) -> Result<FetchGrant, GrantError> {
        let attempt = self.verify_attempt(AttemptAction::Fetch, text);
        attempt.map(FetchGrant)
    }

    fn verify_attempt(&self, action: AttemptAction, text: &str) -> Result<Attempt, GrantError> {
        let (attempt, token) = text
            .split_at_checked(2 * Attempt::BYTES)
            .ok_or(GrantError::InvalidToken)?;
        let attempt = parse(attempt).ok_or(GrantError::InvalidToken)?;
        let sent = parse(token).ok_or(GrantError::InvalidToken)?;
        self.check(action.label(), &attempt, sent)?;
        Ok(Attempt::from_bytes(&attempt))
    }

    /// Leave to upload, if `token` gives it and the source has not expired.
    pub fn verify_upload(
        &self,
        source: SourceId,
        token: &str,
        now: Timestamp,
    ) -> Result<UploadGrant, GrantError> {
        self.verify(Action::Upload, source, token, now)
            .map(|()| UploadGrant(source))
    }

    /// Leave to download, if `token` gives it and the source has not expired.
    pub fn verify_download(
        &self,
        source: SourceId,
        token: &str,
        now: Timestamp,
    ) -> Result<DownloadGrant, GrantError> {
        self.verify(Action::Download, source, token, now)
            .map(|()| DownloadGrant(source))
    }

    fn verify(
        &self,
        action: Action,
        source: SourceId,
        token: &str,
        now: Timestamp,
    ) -> Result<(), GrantError> {
        let sent = parse(token).ok_or(GrantError::InvalidToken)?;
        self.check(action.label(), source.as_bytes(), sent)?;
        // Minted by a clock that was far ahead: it would stay good for long after the clock is right again.
        if source.expires_at() > now.after(MAX_LIFETIME + CLOCK_SKEW) {
            return Err(GrantError::InvalidToken);
        }
        // Only after the token check: without a valid token, nobody learns whether it has expired.
        Ok(source.check_expiry(now)?)
    }

    fn check(
        &self,
        label: &[u8],
        subject: &[u8],
        sent: [u8; TOKEN_BYTES],
    ) -> Result<(), GrantError> {
        // Every key is tried and every byte compared, whatever matches: the time taken tells nothing.
        let is_valid = self.0.iter().fold(Choice::from(0), |found, key| {
            found | sign(key, label, subject).ct_eq(&sent)
        });
        if is_valid.into() {
            Ok(())
        } else {
            Err(GrantError::InvalidToken)
        }
    }
}

fn sign(key: &Hmac<Sha256>, label: &[u8], subject: &[u8]) -> [u8; TOKEN_BYTES] {
    let mut mac = key.clone();
    mac.update(DOMAIN);
    mac.update(label);
    mac.update(subject);
    let mut token = [0; TOKEN_BYTES];
    token.copy_from_slice(&mac.finalize().into_bytes()[..TOKEN_BYTES]);
    token
}

/// Tokens and attempts have one spelling: lower-case hex digits.
fn parse<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; BYTES];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const EXPIRY: Timestamp = Timestamp::from_ms(1_700_000_000_000);
    const BEFORE: Timestamp = Timestamp::from_ms(1_699_999_999_999);

    fn keys() -> GrantKeys {
        GrantKeys::derive(&KeyRing::of(&[[1; 32]]))
    }

    fn source() -> SourceId {
        SourceId::mint(EXPIRY, [5; 10])
    }

    #[test]
    fn what_was_minted_by_a_clock_far_ahead_is_not_taken() {
        let longest = MAX_LIFETIME + CLOCK_SKEW;
        let token = keys().mint(Action::Upload, source());
        for (earlier_ms, is_taken) in [(0, true), (1, false)] {
            let now = EXPIRY.before(longest + Duration::from_millis(earlier_ms));
            let verified = keys().verify_upload(source(), token.reveal(), now);
            assert_eq!(verified.is_ok(), is_taken, "{earlier_ms}");
        }
    }

    #[test]
    fn after_a_rotation_the_old_key_verifies_and_the_new_one_signs() {
        let old = GrantKeys::derive(&KeyRing::of(&[[1; 32]]));
        let rotated = GrantKeys::derive(&KeyRing::of(&[[2; 32], [1; 32]]));
        let old_token = old.mint(Action::Upload, source());
        let new_token = rotated.mint(Action::Upload, source());
        assert_ne!(old_token.reveal(), new_token.reveal());
        assert!(
            rotated
                .verify_upload(source(), old_token.reveal(), BEFORE)
                .is_ok()
        );
        assert!(
            rotated
                .verify_upload(source(), new_token.reveal(), BEFORE)
                .is_ok()
        );
        assert!(
            old.verify_upload(source(), new_token.reveal(), BEFORE)
                .is_err()
        );
    }

    fn attempt() -> Attempt {
        Attempt::from_bytes(&[7; Attempt::BYTES])
    }

    #[test]
    fn a_link_of_a_runner_allows_its_own_action_only() {
        let keys = keys();
        let report = keys.mint_for(AttemptAction::Report, attempt());
        let fetch = keys.mint_for(AttemptAction::Fetch, attempt());
        assert_eq!(report.reveal().len(), 96);
        assert_eq!(
            keys.verify_report(report.reveal()).unwrap().attempt(),
            attempt()
        );
        assert_eq!(
            keys.verify_fetch(fetch.reveal()).unwrap().attempt(),
            attempt()
        );
        assert!(keys.verify_report(fetch.reveal()).is_err());
        assert!(keys.verify_fetch(report.reveal()).is_err());
        let upper = report.reveal().to_uppercase().replace('0', "A");
        for other in [
            "",
            &report.reveal()[..95],
            &format!("{}0", report.reveal()),
            &upper,
            &"ä".repeat(48),
        ] {
            assert!(keys.verify_report(other).is_err(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_of_a_link_of_a_runner_fails(bit in 0usize..384) {
            let link = keys().mint_for(AttemptAction::Report, attempt());
            let mut bytes = hex::decode(link.reveal()).unwrap();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(keys().verify_report(&hex::encode(bytes)).is_err());
        }

        #[test]
        fn any_flipped_bit_of_the_token_fails(bit in 0usize..128) {
            let token = keys().mint(Action::Upload, source());
            let mut bytes = hex::decode(token.reveal()).unwrap();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(keys().verify_upload(source(), &hex::encode(bytes), BEFORE).is_err());
        }

        #[test]
        fn any_flipped_bit_of_the_id_fails(bit in 0usize..128) {
            let token = keys().mint(Action::Download, source());
            let mut bytes = *source().as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let other = uuid::Uuid::from_bytes(bytes).to_string().parse().unwrap();
            prop_assert!(keys().verify_download(other, token.reveal(), BEFORE).is_err());
        }

        #[test]
        fn no_text_makes_verification_panic(text in ".{0,40}") {
            prop_assert!(keys().verify_upload(source(), &text, BEFORE).is_err());
        }
    }
}
