//! Bearers that need no look-up: JWTs (RFC 7519) that say who calls, for an hour. Pure.
//!
//! An API token is exchanged for one; any node that has the key ring can verify it. HS256 under a
//! key of their own; the header's `kid` says which key of the ring, so that a rotation breaks none.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::clock::{CLOCK_SKEW, Timestamp};
use crate::keys::{DerivedKey, KeyRing};
use crate::secret::Secret;
use crate::service::api_tokens::{SecretTag, TokenId};
use crate::service::users::UserId;

/// How long a bearer is good. Clients read `exp` and renew five minutes before.
pub const BEARER_LIFETIME: Duration = Duration::from_hours(1);

/// The use for which bearer keys are derived from the ring.
const KEY_LABEL: &str = "waystation/bearers/v1";
const ISSUER: &str = "waystation";
const KEY_ID_BYTES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    #[error("it is malformed")]
    Malformed,
    /// It was not made with a key of the ring, or changed since.
    #[error("it is unknown")]
    Unknown,
    #[error("expired at {expired_at}")]
    Expired { expired_at: Timestamp },
}

/// What a bearer says. Times are seconds since the epoch.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    iat: u64,
    exp: u64,
    jti: String,
    /// Which secret of the API token was exchanged for it. A bearer of an earlier version has none.
    #[serde(default, with = "hex::serde")]
    sec: SecretTag,
}

/// The caller: a user, by one of their API tokens or by the JWT that it was exchanged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub user: UserId,
    pub token: TokenId,
    /// Which secret of the API token it was: a renewal gives it another.
    pub secret: SecretTag,
}

impl Claims {
    fn caller(&self) -> Option<Caller> {
        let (token, _unique) = self.jti.split_once('-')?;
        Some(Caller {
            user: self.sub.parse().ok()?,
            token: token.parse().ok()?,
            secret: self.sec,
        })
    }
}

/// The keys that sign and verify bearers: the first signs, all verify.
pub struct BearerKeys(Vec<BearerKey>);

struct BearerKey {
    /// The first part of every bearer that this key signs. Its `kid` tells the keys of a ring apart,
    /// and says nothing about the key.
    encoded_header: String,
    mac: Hmac<Sha256>,
}

impl BearerKey {
    fn new(key: &DerivedKey) -> Self {
        let id = hex::encode(&Sha256::digest(key.as_slice())[..KEY_ID_BYTES]);
        let header = format!(r#"{{"typ":"JWT","alg":"HS256","kid":"{id}"}}"#);
        Self {
            encoded_header: URL_SAFE_NO_PAD.encode(header),
            mac: Hmac::new_from_slice(key.as_slice()).expect("HMAC takes keys of any length"),
        }
    }

    fn sign(&self, message: &str) -> Hmac<Sha256> {
        self.mac.clone().chain_update(message)
    }
}

impl BearerKeys {
    pub fn derive(ring: &KeyRing) -> Self {
        Self(ring.derive(KEY_LABEL).iter().map(BearerKey::new).collect())
    }

    /// A bearer for the owner of an API token, made at `now`. `unique` tells it from all others.
    pub fn mint(&self, caller: Caller, now: Timestamp, unique: [u8; 16]) -> Secret {
        let signer = self.0.first().expect("a ring has at least one key");
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: caller.user.to_string(),
            iat: now.as_seconds(),
            exp: now.as_seconds() + BEARER_LIFETIME.as_secs(),
            jti: format!("{}-{}", caller.token, hex::encode(unique)),
            sec: caller.secret,
        };
        let claims = serde_json::to_vec(&claims).expect("the claims are strings and numbers");
        let claims = URL_SAFE_NO_PAD.encode(claims);
        let message = format!("{}.{claims}", signer.encoded_header);
        let signature = URL_SAFE_NO_PAD.encode(signer.sign(&message).finalize().into_bytes());
        Secret::new(format!("{message}.{signature}"))
    }

    /// The caller with the bearer `text`, if it is one of ours and has not expired at `now`.
    pub fn verify(&self, text: &str, now: Timestamp) -> Result<Caller, BearerError> {
        let (message, signature) = text.rsplit_once('.').ok_or(BearerError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(BearerError::Malformed)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| BearerError::Malformed)?;
        // The header is compared, never read: so no `alg` but ours is ever used, nor `none`.
        let key = self
            .0
            .iter()
            .find(|key| key.encoded_header == header)
            .ok_or(BearerError::Unknown)?;
        key.sign(message)
            .verify_slice(&signature)
            .map_err(|_| BearerError::Unknown)?;
        let claims = decode_claims(claims).ok_or(BearerError::Unknown)?;
        let expired_at = Timestamp::from_ms(claims.exp.saturating_mul(1000));
        if now >= expired_at {
            return Err(BearerError::Expired { expired_at });
        }
        // Minted by a clock that was far ahead: it would stay good for long after the clock is right again.
        if expired_at > now.after(BEARER_LIFETIME + CLOCK_SKEW) {
            return Err(BearerError::Unknown);
        }
        claims.caller().ok_or(BearerError::Unknown)
    }
}

/// Reads what one of our keys has signed: only another version of this program can have written what
/// is refused here.
fn decode_claims(encoded: &str) -> Option<Claims> {
    let json = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    let claims: Claims = serde_json::from_slice(&json).ok()?;
    (claims.iss == ISSUER).then_some(claims)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_500);

    fn keys() -> BearerKeys {
        BearerKeys::derive(&KeyRing::of(&[[1; 32]]))
    }

    fn caller() -> Caller {
        Caller {
            user: UserId::of("ada"),
            token: "0123456789abcdef01234567".parse().unwrap(),
            secret: [5; 8],
        }
    }

    fn bearer() -> String {
        keys().mint(caller(), NOW, [3; 16]).reveal().to_owned()
    }

    fn part(bearer: &str, index: usize) -> Value {
        let encoded = bearer.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap()
    }

    /// The bearer with its header or claims changed, and the old signature.
    fn changed(index: usize, name: &str, value: Value) -> String {
        let bearer = bearer();
        let mut part = part(&bearer, index);
        part[name] = value;
        let mut parts: Vec<_> = bearer.split('.').map(str::to_owned).collect();
        parts[index] = URL_SAFE_NO_PAD.encode(part.to_string());
        parts.join(".")
    }

    /// What a JWT library makes of the same header, claims and key.
    #[test]
    fn it_is_what_a_jwt_library_makes() {
        let expected = concat!(
            "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiIsImtpZCI6IjlmMzNhNzE4NTc3YTM1ZTMifQ",
            ".eyJpc3MiOiJ3YXlzdGF0aW9uIiwic3ViIjoidXMtZDhmNjQ5OWYtYzk1MS04MWYyLTgyZTItNDRlNWVhYjVkYmJmIiwiaWF0IjoxNzAwMDAw",
            "MDAwLCJleHAiOjE3MDAwMDM2MDAsImp0aSI6IjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Ny0wMzAzMDMwMzAzMDMwMzAzMDMwMzAzMDMwMzAzMDMwMyIs",
            "InNlYyI6IjA1MDUwNTA1MDUwNTA1MDUifQ",
            ".Xfj2wkya0Y98SCo9sVTIGAmn4_5Y7oPq3dN23kDR95I"
        );
        assert_eq!(bearer(), expected);
    }

    /// A new version takes the bearers that the one before gave out, for all but changing API tokens.
    #[test]
    fn one_of_an_earlier_version_says_no_secret() {
        let earlier = concat!(
            "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiIsImtpZCI6IjlmMzNhNzE4NTc3YTM1ZTMifQ",
            ".eyJpc3MiOiJ3YXlzdGF0aW9uIiwic3ViIjoidXMtZDhmNjQ5OWYtYzk1MS04MWYyLTgyZTItNDRlNWVhYjVkYmJmIiwiaWF0IjoxNzAwMDAw",
            "MDAwLCJleHAiOjE3MDAwMDM2MDAsImp0aSI6IjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Ny0wMzAzMDMwMzAzMDMwMzAzMDMwMzAzMDMwMzAzMDMwMyJ9",
            ".T96o5ohGe7d8p5woVZ_vyXFMD42COyBcXFGp8xk3f8o"
        );
        let secret = [0; 8];
        let expected = Caller { secret, ..caller() };
        assert_eq!(keys().verify(earlier, NOW), Ok(expected));
    }

    #[test]
    fn it_is_good_until_its_instant_and_not_at_it() {
        let expired_at = Timestamp::from_ms(1_700_003_600_000);
        let before = Timestamp::from_ms(expired_at.as_ms() - 1);
        assert_eq!(keys().verify(&bearer(), before), Ok(caller()));
        assert_eq!(
            keys().verify(&bearer(), expired_at),
            Err(BearerError::Expired { expired_at })
        );
    }

    #[test]
    fn one_of_a_clock_far_ahead_is_not_taken() {
        for (ahead, is_taken) in [
            (CLOCK_SKEW, true),
            (CLOCK_SKEW + Duration::from_secs(1), false),
        ] {
            let bearer = keys().mint(caller(), NOW.after(ahead), [3; 16]);
            assert_eq!(
                keys().verify(bearer.reveal(), NOW).is_ok(),
                is_taken,
                "{ahead:?}"
            );
        }
    }

    #[test]
    fn a_changed_claim_or_algorithm_is_not_taken() {
        let other = UserId::of("bob").to_string();
        for forged in [
            changed(1, "sub", json!(other)),
            changed(1, "exp", json!(9_999_999_999_u64)),
            changed(0, "alg", json!("none")),
            changed(0, "alg", json!("HS512")),
            changed(0, "alg", json!("RS256")),
            changed(0, "kid", json!("0000000000000000")),
            changed(0, "kid", Value::Null),
        ] {
            let refused = keys().verify(&forged, NOW).unwrap_err();
            assert!(!matches!(refused, BearerError::Expired { .. }), "{refused}");
        }
        let unsigned = bearer();
        let unsigned = unsigned.rsplit_once('.').unwrap().0;
        assert!(keys().verify(&format!("{unsigned}."), NOW).is_err());
    }

    #[test]
    fn one_of_another_key_is_unknown_and_one_of_an_older_key_is_good() {
        let other = BearerKeys::derive(&KeyRing::of(&[[2; 32]]));
        assert_eq!(other.verify(&bearer(), NOW), Err(BearerError::Unknown));
        let rotated = BearerKeys::derive(&KeyRing::of(&[[2; 32], [1; 32]]));
        assert_eq!(rotated.verify(&bearer(), NOW), Ok(caller()));
        let new = rotated.mint(caller(), NOW, [4; 16]);
        assert_eq!(other.verify(new.reveal(), NOW), Ok(caller()));
    }

    #[test]
    fn what_is_no_jwt_is_malformed() {
        for text in ["", "a", "a.b", "a.b.c", &format!("{}~", bearer())] {
            assert_eq!(keys().verify(text, NOW), Err(BearerError::Malformed));
        }
    }

    proptest! {
        #[test]
        fn any_changed_character_fails(at in 0usize..300, other in "[A-Za-z0-9_-]") {
            let mut forged = bearer();
            let at = at % (forged.len() - 1); // the last one has bits that mean nothing
            prop_assume!(forged[at..=at] != other);
            forged.replace_range(at..=at, &other);
            prop_assert!(keys().verify(&forged, NOW).is_err());
        }

        #[test]
        fn no_text_makes_verification_panic(text in ".{0,80}") {
            prop_assert!(keys().verify(&text, NOW).is_err());
        }
    }
}
