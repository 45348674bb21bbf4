//! The use cases, free of HTTP: sources, users, API tokens, bearers; and what puts them together.

pub mod account;
pub mod accounts;
pub mod jwt;
pub mod sources;

use accounts::Accounts;
use jwt::BearerKeys;
use sources::{Limits, Sources};

use crate::clock::Clock;
use crate::grant::GrantKeys;
use crate::keys::KeyRing;
use crate::store::Store;

/// What can be set for the service.
pub struct Settings {
    /// What links and bearers are signed with.
    pub keys: KeyRing,
    /// The limits on sources and their transfers.
    pub limits: Limits,
}

/// All use cases, over one store, one ring of keys and one clock.
pub struct Service {
    /// Sources and their archives.
    pub sources: Sources,
    /// Users and their API tokens.
    pub accounts: Accounts,
    /// The keys of bearers.
    pub bearers: BearerKeys,
    /// What time it is.
    pub clock: Clock,
}

impl Service {
    /// Puts the service together, for a server and for tests alike.
    #[must_use]
    pub fn build(settings: &Settings, store: &Store, clock: Clock) -> Self {
        let grants = GrantKeys::derive(&settings.keys);
        Self {
            sources: Sources::new(store.clone(), grants, clock.clone(), settings.limits),
            accounts: Accounts::new(store.clone()),
            bearers: BearerKeys::derive(&settings.keys),
            clock,
        }
    }
}
