//! The use cases, free of HTTP: sources, users, API tokens, bearers, applications with their variables, deployments,
//! events; and what puts them together.

pub mod api_tokens;
pub mod apps;
pub mod deployments;
pub mod events;
pub mod first_start;
pub mod jwt;
pub mod sources;
pub mod users;
pub mod variables;

use std::sync::Arc;

use api_tokens::ApiTokens;
use apps::{App, Apps};
use deployments::{DeploymentLimits, Deployments};
use events::Events;
use jwt::BearerKeys;
use sources::{Limits, Sources};
use users::Users;
use variables::Variables;

use crate::clock::Clock;
use crate::grant::GrantKeys;
use crate::keys::KeyRing;
use crate::store::{Store, StoreError};

/// All use cases, over one store, one ring of keys and one clock.
pub struct Service {
    pub sources: Sources,
    pub users: Users,
    pub api_tokens: ApiTokens,
    pub apps: Apps,
    pub variables: Variables,
    pub events: Events,
    pub deployments: Arc<Deployments>,
    pub bearers: BearerKeys,
    pub clock: Clock,
}

impl Service {
    /// Puts the service together, for a server and for tests alike. Links and bearers are signed with `keys`.
    pub fn build(
        keys: &KeyRing,
        limits: Limits,
        deployment_limits: DeploymentLimits,
        store: &Store,
        clock: Clock,
    ) -> Self {
        let grants = GrantKeys::derive(keys);
        let deployments = Deployments::new(store, keys, clock.clone(), deployment_limits);
        Self {
            sources: Sources::new(store.clone(), grants, clock.clone(), limits),
            users: Users::new(store.clone()),
            api_tokens: ApiTokens::new(store.clone()),
            apps: Apps::new(store.clone()),
            variables: Variables::new(store.clone()),
            events: Events::new(store.clone()),
            deployments: Arc::new(deployments),
            bearers: BearerKeys::derive(keys),
            clock,
        }
    }

    /// Deletes an application with all that belongs to it. The application itself goes last: if this is cut short, its
    /// owner still sees it, and deletes it again. Deployments that were accepted meanwhile follow.
    pub async fn delete_app(&self, app: &App) -> Result<(), StoreError> {
        self.deployments.end_all_of(app.id).await?;
        self.variables.delete_all(app.id).await?;
        self.apps.delete(app).await?;
        self.deployments.end_all_of(app.id).await
    }
}
