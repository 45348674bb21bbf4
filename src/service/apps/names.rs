//! Which application has which name: of all users, since a name is of one application alone.
//!
//! A document can be replaced on the condition that it is still what was read, and not deleted so. Were each
//! name a document, one that is given back could be deleted just after another had taken it. So names are
//! entries in a fixed number of documents, and each change of one is a replacement.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::id::AppId;
use crate::store::{Collection, DocumentKey, Expected, Store, StoreError, Updated, Versioned};

/// How many names a document has at most, each of up to 48 characters beside two ids: within 64 KiB. There are
/// 4,096 of these documents, so it takes someone who looks for such names to fill one.
const MAX_NAMES_PER_SLOT: usize = 400;

/// Says who took a name, and when: no two are the same, also of one application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NameClaim {
    pub(super) app: AppId,
    #[serde(with = "hex::serde")]
    nonce: [u8; 8],
}

impl NameClaim {
    pub(super) fn new(app: AppId) -> Self {
        Self {
            app,
            nonce: rand::random(),
        }
    }
}

/// How taking a name ended.
pub(super) enum Taken {
    Done,
    HeldBy(NameClaim),
    /// There are too many names like this one.
    Full,
}

#[derive(Default, Serialize, Deserialize)]
struct Slot {
    names: BTreeMap<String, NameClaim>,
}

#[derive(Clone, Debug)]
pub(super) struct AppNames {
    store: Store,
}

impl AppNames {
    pub(super) const fn new(store: Store) -> Self {
        Self { store }
    }

    pub(super) async fn find(&self, name: &str) -> Result<Option<NameClaim>, StoreError> {
        let slot: Option<Versioned<Slot>> = self.store.read_document(&slot_of(name)).await?;
        Ok(slot.and_then(|slot| slot.value.names.get(name).copied()))
    }

    /// Takes `name` where nobody has it, or just the one whose claim `instead_of` is.
    pub(super) async fn take(
        &self,
        name: &str,
        claim: NameClaim,
        instead_of: Option<NameClaim>,
    ) -> Result<Taken, StoreError> {
        let key = slot_of(name);
        loop {
            let mut refused = Taken::Done;
            let take = |mut slot: Slot| match slot.names.get(name) {
                Some(holder) if Some(*holder) != instead_of => {
                    refused = Taken::HeldBy(*holder);
                    None
                }
                None if slot.names.len() >= MAX_NAMES_PER_SLOT => {
                    refused = Taken::Full;
                    None
                }
                Some(_) | None => {
                    slot.names.insert(name.to_owned(), claim);
                    Some(slot)
                }
            };
            match self.store.update_document(&key, take).await? {
                Updated::Done(_) => return Ok(Taken::Done),
                Updated::Declined => return Ok(refused),
                // No slot is ever deleted, so this comes once.
                Updated::Missing => {
                    let (store, empty) = (&self.store, Slot::default());
                    store.write_document(&key, &empty, Expected::Absent).await?;
                }
            }
        }
    }

    /// Gives `name` back, unless it was taken anew since `claim`.
    pub(super) async fn give_back(&self, name: &str, claim: NameClaim) -> Result<(), StoreError> {
        let give_back = |mut slot: Slot| {
            let is_ours = slot.names.get(name) == Some(&claim);
            is_ours.then(|| {
                slot.names.remove(name);
                slot
            })
        };
        let key = slot_of(name);
        let updated = self.store.update_document(&key, give_back);
        updated.await.map(drop)
    }
}

/// The document that has `name` if any has: one of 4,096.
fn slot_of(name: &str) -> DocumentKey {
    let digest = Sha256::digest(name);
    Collection::AppNames.key(&[digest[0], digest[1] & 0xf0])
}
