//! Ids of applications: UUIDs that begin like their owner's, so that a user's applications are one list.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::service::users::UserId;
use crate::store::{Collection, DocumentKey};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AppId(Uuid);

impl AppId {
    pub(super) fn new(owner: UserId, random: [u8; 12]) -> Self {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&owner.prefix());
        bytes[4..].copy_from_slice(&random);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The id that these are the bytes of.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    pub(super) fn key(self) -> DocumentKey {
        let [a, b, c, d, ..] = *self.as_bytes();
        Collection::Apps([a, b, c, d]).key(self.as_bytes())
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for AppId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_begins_like_its_owners_and_is_read_back() {
        let owner = UserId::of("ada");
        let id = AppId::new(owner, [0xff; 12]);
        assert_eq!(id.as_bytes()[..4], owner.prefix());
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(AppId::from_bytes(*id.as_bytes()), id);
        assert_ne!(id, AppId::new(owner, [0; 12]));
    }
}
