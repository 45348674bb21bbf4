//! What a deployment is: its id, its states, and one attempt to run it. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The two bits of a UUID that say how the others are laid out, where the number stands.
const VARIANT_BITS: u64 = 0b11 << 62;

/// A deployment: the application, and which of its deployments, counted from 1 in the order of acceptance.
///
/// Its text is a UUID of version 8 (RFC 9562, section 5.8): the first half of the application's id, then the
/// number. So it is read back where the application is known, and there is no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentId {
    pub app: [u8; 16],
    pub number: u64,
}

impl DeploymentId {
    /// Reads the text of a deployment of `app`; `None` if none of it is called that.
    pub fn parse(app: [u8; 16], text: &str) -> Option<Self> {
        let uuid = Uuid::try_parse(text).ok()?;
        let (_, number) = uuid.as_u64_pair();
        let id = Self {
            app,
            number: number & !VARIANT_BITS,
        };
        (id.to_string() == text).then_some(id)
    }

    pub fn as_uuid(self) -> Uuid {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.app[..8]);
        bytes[8..].copy_from_slice(&self.number.to_be_bytes());
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    fn from_bytes(bytes: [u8; 24]) -> Self {
        let mut id = Self {
            app: [0; 16],
            number: 0,
        };
        id.app.copy_from_slice(&bytes[..16]);
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[16..]);
        id.number = u64::from_be_bytes(number);
        id
    }

    /// The application's id, then the number.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.app);
        bytes[16..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_uuid().as_hyphenated(), f)
    }
}

/// One attempt to run a deployment, by the runner that claimed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    pub deployment: DeploymentId,
    /// Tells it from one whose runner never confirmed it.
    pub nonce: Nonce,
}

/// Random bytes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(#[serde(with = "hex::serde")] pub [u8; 8]);

impl Attempt {
    pub const BYTES: usize = 32;

    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..24].copy_from_slice(&self.deployment.to_bytes());
        bytes[24..].copy_from_slice(&self.nonce.0);
        bytes
    }

    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut deployment = [0; 24];
        deployment.copy_from_slice(&bytes[..24]);
        let mut nonce = [0; 8];
        nonce.copy_from_slice(&bytes[24..]);
        Self {
            deployment: DeploymentId::from_bytes(deployment),
            nonce: Nonce(nonce),
        }
    }
}

/// The states of a deployment, in the words of the platform: clients take any other for a failure.
///
/// ```text
/// queued ──> building ──> pushing ──> starting ──> success · build-error · crashed-error ·
///    │           │           │            │        timeout-error · hook-error · aborted
///    └───────────┴───────────┴────────────┴──────> (each may come at any time, once)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Queued,
    Building,
    Pushing,
    Starting,
    Success,
    BuildError,
    CrashedError,
    TimeoutError,
    HookError,
    Aborted,
}

impl Status {
    /// As it stands in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Building => "building",
            Self::Pushing => "pushing",
            Self::Starting => "starting",
            Self::Success => "success",
            Self::BuildError => "build-error",
            Self::CrashedError => "crashed-error",
            Self::TimeoutError => "timeout-error",
            Self::HookError => "hook-error",
            Self::Aborted => "aborted",
        }
    }

    /// Is it one that stays?
    pub const fn is_end(self) -> bool {
        match self {
            Self::Queued | Self::Building | Self::Pushing | Self::Starting => false,
            Self::Success
            | Self::BuildError
            | Self::CrashedError
            | Self::TimeoutError
            | Self::HookError
            | Self::Aborted => true,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn states_are_written_as_they_are_called() {
        for status in [
            Status::Queued,
            Status::Building,
            Status::Pushing,
            Status::Starting,
            Status::Success,
            Status::BuildError,
            Status::CrashedError,
            Status::TimeoutError,
            Status::HookError,
            Status::Aborted,
        ] {
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(json, format!("\"{status}\""));
        }
    }

    #[test]
    fn an_id_is_of_its_application_and_has_one_spelling() {
        let id = DeploymentId {
            app: [0xab; 16],
            number: 7,
        };
        let text = id.to_string();
        assert_eq!(text, "abababab-abab-8bab-8000-000000000007");
        assert_eq!(DeploymentId::parse([1; 16], &text), None);
        for other in [text.to_uppercase(), text.replace('-', ""), String::new()] {
            assert_eq!(DeploymentId::parse(id.app, &other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn ids_and_attempts_are_read_back(app: [u8; 16], number in 0u64..(1 << 62), nonce: [u8; 8]) {
            let deployment = DeploymentId { app, number };
            prop_assert_eq!(DeploymentId::parse(app, &deployment.to_string()), Some(deployment));
            let attempt = Attempt { deployment, nonce: Nonce(nonce) };
            prop_assert_eq!(Attempt::from_bytes(&attempt.to_bytes()), attempt);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,64}") {
            prop_assert_eq!(DeploymentId::parse([0; 16], &text), None);
        }
    }
}
