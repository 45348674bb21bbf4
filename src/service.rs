//! The use cases, free of HTTP: sources, users, API tokens, bearers, applications; and what puts them together.

pub mod api_tokens;
pub mod apps;
pub mod first_start;
pub mod jwt;
pub mod sources;
pub mod users;

use api_tokens::ApiTokens;
use apps::Apps;
use jwt::BearerKeys;
use sources::{Limits, Sources};
use users::Users;

use crate::clock::Clock;
use crate::grant::GrantKeys;
use crate::keys::KeyRing;
use crate::store::Store;

/// All use cases, over one store, one ring of keys and one clock.
pub struct Service {
    pub sources: Sources,
    pub users: Users,
    pub api_tokens: ApiTokens,
    pub apps: Apps,
    pub bearers: BearerKeys,
    pub clock: Clock,
}

impl Service {
    /// Puts the service together, for a server and for tests alike. Links and bearers are signed with `keys`.
    pub fn build(keys: &KeyRing, limits: Limits, store: &Store, clock: Clock) -> Self {
        let grants = GrantKeys::derive(keys);
        Self {
            sources: Sources::new(store.clone(), grants, clock.clone(), limits),
            users: Users::new(store.clone()),
            api_tokens: ApiTokens::new(store.clone()),
            apps: Apps::new(store.clone()),
            bearers: BearerKeys::derive(keys),
            clock,
        }
    }
}
