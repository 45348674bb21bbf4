//! Events: what users did, and its outcome. Each is a document of its user, whose name sorts the newest first and has the
//! application, so that a list reads no more than its page.
//!
//! An event is a note: if it cannot be written, that goes to the log, and what it is about stays done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::error_chain::chain;
use crate::service::apps::{App, AppId};
use crate::service::users::UserId;
use crate::store::{Collection, DocumentKey, DocumentName, Expected, Store, StoreError};

/// How many events of a user are kept, the newest.
pub const MAX_EVENTS: usize = 1_000;
/// After how many events older ones are deleted: looking costs a list.
const PRUNE_EVERY: usize = 16;

/// An event, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub id: Uuid,
    pub created_at: Timestamp,
    pub user: UserId,
    pub app: Option<EventApp>,
    pub kind: EventKind,
}

/// The application of an event, as it was called then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventApp {
    pub id: AppId,
    pub name: String,
}

/// What happened: `type` and `type_data`, as the platform calls them. No value of a variable is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "type_data", rename_all = "snake_case")]
pub enum EventKind {
    NewApp {
        /// Always null: nothing is deployed from there.
        git_source: Option<String>,
    },
    RenameApp {
        old_name: String,
        new_name: String,
    },
    DeleteApp {},
    Deployment(DeploymentEnd),
    NewVariable(VariableName),
    EditVariable(VariableName),
    DeleteVariable(VariableName),
    EditVariables {
        new_vars: Vec<VariableName>,
        updated_vars: Vec<VariableName>,
        deleted_vars: Vec<VariableName>,
    },
    NewToken(TokenNote),
    DeleteToken(TokenNote),
}

/// How a deployment ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentEnd {
    pub deployment_id: String,
    pub deployment_uuid: String,
    /// The name of the user who asked for it.
    pub pusher: String,
    pub git_ref: Option<String>,
    pub status: String,
    /// In whole seconds.
    pub duration: u64,
    pub finished_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariableName {
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenNote {
    pub token_name: String,
    pub token_id: String,
}

impl Event {
    /// An event of `user` that is about no application.
    pub fn of_user(user: UserId, kind: EventKind, now: Timestamp) -> Self {
        Self {
            id: uuid::Builder::from_random_bytes(rand::random()).into_uuid(),
            created_at: now,
            user,
            app: None,
            kind,
        }
    }

    /// An event of the owner of `app`.
    pub fn of_app(app: &App, kind: EventKind, now: Timestamp) -> Self {
        Self {
            app: Some(EventApp {
                id: app.id,
                name: app.name.clone(),
            }),
            ..Self::of_user(app.owner, kind, now)
        }
    }

    /// The same under an id of the caller's: recorded again, with the same time, it is still one event.
    pub fn with_id(self, id: Uuid) -> Self {
        Self { id, ..self }
    }

    fn key(&self) -> DocumentKey {
        let newest_first = u64::MAX - self.created_at.as_ms();
        let app = self.app.as_ref().map_or([0; 16], |app| *app.id.as_bytes());
        let bytes = [
            &newest_first.to_be_bytes(),
            &app[..],
            &self.id.as_bytes()[..],
        ];
        collection_of(self.user).key(&bytes.concat())
    }
}

impl VariableName {
    pub fn each(names: Vec<String>) -> Vec<Self> {
        names.into_iter().map(|name| Self { name }).collect()
    }
}

/// The events of all users. Clones are the same events.
#[derive(Clone, Debug)]
pub struct Events {
    store: Store,
    recorded: Arc<AtomicUsize>,
}

impl Events {
    pub fn new(store: Store) -> Self {
        Self {
            store,
            recorded: Arc::default(),
        }
    }

    /// Writes an event down. If that fails, it is only logged: what it is about is done.
    pub async fn record(&self, event: Event) {
        if let Err(error) = self.write(&event).await {
            let (error, user) = (chain(&error), event.user);
            tracing::warn!(error, %user, event = %event.id, "an event was not recorded");
        }
    }

    async fn write(&self, event: &Event) -> Result<(), StoreError> {
        // It is there if the same was recorded before.
        let (store, key) = (&self.store, event.key());
        store.write_document(&key, event, Expected::Absent).await?;
        let recorded = self.recorded.fetch_add(1, Ordering::Relaxed);
        if recorded.is_multiple_of(PRUNE_EVERY) {
            self.prune(event.user).await?;
        }
        Ok(())
    }

    /// Deletes the oldest beyond what is kept.
    async fn prune(&self, user: UserId) -> Result<(), StoreError> {
        let collection = collection_of(user);
        let listed = self.store.list_all_documents(collection).await?;
        for name in listed.into_iter().skip(MAX_EVENTS) {
            let key = DocumentKey { collection, name };
            self.store.delete_document(&key).await?;
        }
        Ok(())
    }

    /// Names of the events of a user that are kept, the newest first; of those that are about `app`, if one is given.
    pub async fn names(
        &self,
        user: UserId,
        app: Option<AppId>,
    ) -> Result<Vec<DocumentName>, StoreError> {
        let collection = collection_of(user);
        let mut names = self
            .store
            .list_documents(collection, None, MAX_EVENTS)
            .await?;
        if let Some(app) = app {
            names.retain(|name| name.to_bytes().get(8..24) == Some(app.as_bytes()));
        }
        Ok(names)
    }

    /// The events of these names that are still kept.
    pub async fn read(
        &self,
        user: UserId,
        names: Vec<DocumentName>,
    ) -> Result<Vec<Event>, StoreError> {
        self.store.read_named(collection_of(user), names).await
    }
}

fn collection_of(user: UserId) -> Collection {
    Collection::Events(*user.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

    fn events() -> (tempfile::TempDir, Events) {
        let (folder, store) = Store::temporary();
        (folder, Events::new(store))
    }

    fn ada() -> UserId {
        UserId::of("ada")
    }

    fn token_made(number: usize) -> Event {
        let kind = EventKind::NewToken(TokenNote {
            token_name: number.to_string(),
            token_id: String::new(),
        });
        let later = Duration::from_millis(number as u64);
        Event::of_user(ada(), kind, NOW.after(later))
    }

    #[tokio::test]
    async fn the_newest_come_first_and_no_more_are_kept_than_the_limit() {
        let (_folder, events) = events();
        let total = MAX_EVENTS + 2 * PRUNE_EVERY;
        for number in 0..total {
            events.record(token_made(number)).await;
        }
        let names = events.names(ada(), None).await.unwrap();
        assert_eq!(names.len(), MAX_EVENTS);
        let read = events.read(ada(), names[..2].to_vec()).await.unwrap();
        let made = [total - 1, total - 2].map(|number| token_made(number).kind);
        assert_eq!(
            read.iter()
                .map(|event| event.kind.clone())
                .collect::<Vec<_>>(),
            made
        );
        let collection = collection_of(ada());
        let kept = events.store.list_documents(collection, None, usize::MAX);
        assert!(kept.await.unwrap().len() < MAX_EVENTS + PRUNE_EVERY);
        assert!(
            events
                .names(UserId::of("bob"), None)
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn an_event_that_is_recorded_again_is_one() {
        let (_folder, events) = events();
        let event = token_made(1).with_id(Uuid::from_bytes([5; 16]));
        for _ in 0..2 {
            events.record(event.clone()).await;
        }
        let names = events.names(ada(), None).await.unwrap();
        assert_eq!(events.read(ada(), names).await.unwrap(), [event]);
    }
}
