//! Applications: what deployments are of, each with one owner and a name that no other has.
//!
//! An application is a document; its name is an entry beside those of all others (`apps/names.rs`). Both are
//! written in an order that leaves no name to two applications, and none lost when a call is cut short:
//!
//! * to create: the name is taken, then the application is written, where none may be;
//! * to rename: the application is read, the new name is taken, the application is replaced if it is
//!   still what was read, then the old name is given back;
//! * to delete: the application is deleted, then its name is given back.
//!
//! So a name is held if it is that of the application that took it. If it is not, its holder was interrupted, or is
//! about to write: the next one who wants the name makes that write fail ([`Apps::settle`]), then takes the name.

mod id;
mod names;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error_chain::chain;
use crate::service::users::UserId;
use crate::store::{Collection, Expected, Store, StoreError, Updated, Versioned, Written};

pub use id::AppId;
use names::{AppNames, NameClaim, Taken};

/// How many applications a user may have.
pub const MAX_APPS: usize = 1_000;
pub const MIN_NAME_CHARS: usize = 6;
pub const MAX_NAME_CHARS: usize = 48;
/// How often others may come between before a call gives up.
const ATTEMPTS: u32 = 5;

/// An application, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    pub id: AppId,
    pub owner: UserId,
    pub name: String,
    /// How it got its name.
    claim: NameClaim,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The deployment that ended last.
    #[serde(default)]
    pub last_deployment: Option<LastDeployment>,
    /// Whether any deployment has succeeded so far.
    #[serde(default)]
    pub is_running: bool,
}

/// What an application keeps of the deployment that ended last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDeployment {
    pub id: String,
    /// Which of the application's it is, in the order of acceptance.
    pub number: u64,
    pub ended_at: Timestamp,
    /// The name of the user who asked for it.
    pub by: String,
    pub has_succeeded: bool,
}

/// What stands where an application may be.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Record {
    App(App),
    /// Another took the name of an application that was being created: it must not come any more.
    GivenUp {
        given_up: AppId,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error(
        "the name of an app has {MIN_NAME_CHARS} to {MAX_NAME_CHARS} characters of a-z, 0-9 and '-', with no hyphen at its ends and no two beside each other"
    )]
    BadName,
    #[error("the name {name} has already been taken")]
    NameTaken { name: String },
    #[error("a user has at most {MAX_APPS} apps")]
    TooMany,
    /// It is not what the caller says it is.
    #[error("the app is called {name}")]
    OtherName { name: String },
    /// There is none, or it is another's.
    #[error("there is no app {asked}")]
    Unknown { asked: String },
}

/// The applications of a store. Clones are the same applications.
#[derive(Clone, Debug)]
pub struct Apps {
    store: Store,
    names: AppNames,
    /// Held while applications are counted and one is added.
    making: Arc<tokio::sync::Mutex<()>>,
}

impl Apps {
    pub fn new(store: Store) -> Self {
        Self {
            names: AppNames::new(store.clone()),
            store,
            making: Arc::default(),
        }
    }

    pub async fn create(&self, owner: UserId, name: &str, now: Timestamp) -> Result<App, AppError> {
        check_name(name)?;
        let _turn = self.making.lock().await;
        self.check_count(owner).await?;
        let app = Self::draft(owner, name, now);
        self.take_name(name, app.claim).await?;
        let (key, record) = (app.id.key(), Record::App(app.clone()));
        let write = self.store.write_document(&key, &record, Expected::Absent);
        match write.await? {
            Written::Done => Ok(app),
            Written::Conflict => {
                // Only this call could have written there, and does not any more.
                self.store.delete_document(&key).await?;
                Err(name_taken(name))
            }
        }
    }

    /// All checks of a creation, and what it would make.
    pub async fn rehearse(
        &self,
        owner: UserId,
        name: &str,
        now: Timestamp,
    ) -> Result<App, AppError> {
        check_name(name)?;
        self.check_count(owner).await?;
        match self.holder_of(name).await? {
            Some(_) => Err(name_taken(name)),
            None => Ok(Self::draft(owner, name, now)),
        }
    }

    fn draft(owner: UserId, name: &str, now: Timestamp) -> App {
        let id = AppId::new(owner, rand::random());
        App {
            id,
            owner,
            name: name.to_owned(),
            claim: NameClaim::new(id),
            created_at: now,
            updated_at: now,
            last_deployment: None,
            is_running: false,
        }
    }

    /// Several servers at once may let a user have a few more.
    async fn check_count(&self, owner: UserId) -> Result<(), AppError> {
        let collection = Collection::Apps(owner.prefix());
        let listed = self
            .store
            .list_documents(collection, None, MAX_APPS)
            .await?;
        // Another's may be among them, whose id begins alike.
        if listed.len() >= MAX_APPS && self.list(owner).await?.len() >= MAX_APPS {
            return Err(AppError::TooMany);
        }
        Ok(())
    }

    /// The applications of a user, by name.
    pub async fn list(&self, owner: UserId) -> Result<Vec<App>, StoreError> {
        let collection = Collection::Apps(owner.prefix());
        let records: Vec<Record> = self.store.read_documents(collection).await?;
        let apps = records.into_iter().filter_map(Record::into_app);
        let mut apps: Vec<_> = apps.filter(|app| app.owner == owner).collect();
        apps.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(apps)
    }

    /// The application of that id, whose ever it is.
    pub async fn get(&self, id: AppId) -> Result<Option<App>, StoreError> {
        Ok(self
            .read(id)
            .await?
            .and_then(|found| found.value.into_app()))
    }

    /// The application of `owner` that has that id or name.
    pub async fn find(&self, owner: UserId, id_or_name: &str) -> Result<App, AppError> {
        let found = self.find_any(id_or_name).await?;
        found
            .filter(|app| app.owner == owner)
            .ok_or_else(|| unknown(id_or_name))
    }

    /// The application that has that id or name, whose ever it is.
    pub async fn find_any(&self, id_or_name: &str) -> Result<Option<App>, StoreError> {
        if let Ok(id) = id_or_name.parse()
            && let Some(app) = self.get(id).await?
        {
            return Ok(Some(app));
        }
        self.holder_of(id_or_name).await
    }

    async fn holder_of(&self, name: &str) -> Result<Option<App>, StoreError> {
        if check_name(name).is_err() {
            return Ok(None);
        }
        let Some(claim) = self.names.find(name).await? else {
            return Ok(None);
        };
        let app = self.get(claim.app).await?;
        Ok(app.filter(|app| app.name == name))
    }

    pub async fn rename(
        &self,
        app: &App,
        current_name: &str,
        new_name: &str,
        now: Timestamp,
    ) -> Result<App, AppError> {
        check_name(new_name)?;
        for _ in 0..ATTEMPTS {
            let found = self.read(app.id).await?;
            let (app, version) = found
                .and_then(|found| Some((found.value.into_app()?, found.version)))
                .ok_or_else(|| unknown(current_name))?;
            app.check_current_name(current_name)?;
            if new_name == current_name {
                return Ok(app);
            }
            let claim = NameClaim::new(app.id);
            self.take_name(new_name, claim).await?;
            let renamed = App {
                name: new_name.to_owned(),
                claim,
                updated_at: now,
                ..app
            };
            let (key, record) = (app.id.key(), Record::App(renamed.clone()));
            let expected = Expected::Version(version);
            let write = self.store.write_document(&key, &record, expected);
            if write.await? == Written::Done {
                self.give_back(&app.name, app.claim).await;
                return Ok(renamed);
            }
        }
        Err(StoreError::Contended.into())
    }

    /// Deletes an application. What belongs to it is to be gone before.
    pub async fn delete(&self, app: &App) -> Result<(), StoreError> {
        self.store.delete_document(&app.id.key()).await?;
        self.give_back(&app.name, app.claim).await;
        Ok(())
    }

    /// Notes how a deployment of an application ended. One that is deleted meanwhile does not come back.
    pub async fn note_end(&self, id: AppId, last: LastDeployment) -> Result<(), StoreError> {
        // What is done again after a crash may come behind the end of a later one, which then stays.
        let is_later =
            |known: &LastDeployment| known.number > last.number && known.ended_at >= last.ended_at;
        let note = |record| match record {
            Record::App(mut app) => {
                let known = app.last_deployment.take().filter(is_later);
                let newest = known.unwrap_or_else(|| last.clone());
                Some(Record::App(App {
                    is_running: app.is_running || last.has_succeeded,
                    updated_at: newest.ended_at,
                    last_deployment: Some(newest),
                    ..app
                }))
            }
            Record::GivenUp { .. } => None,
        };
        match self.store.update_document(&id.key(), note).await? {
            Updated::Done(_) | Updated::Missing | Updated::Declined => Ok(()),
        }
    }

    async fn read(&self, id: AppId) -> Result<Option<Versioned<Record>>, StoreError> {
        self.store.read_document(&id.key()).await
    }

    async fn take_name(&self, name: &str, claim: NameClaim) -> Result<(), AppError> {
        let mut instead_of = None;
        for _ in 0..ATTEMPTS {
            let holder = match self.names.take(name, claim, instead_of).await? {
                Taken::Done => return Ok(()),
                Taken::Full => return Err(name_taken(name)),
                Taken::HeldBy(holder) => holder,
            };
            // Of two renamings of one application, one finds it changed.
            if holder.app != claim.app && self.settle(holder.app, name).await? {
                return Err(name_taken(name));
            }
            instead_of = Some(holder);
        }
        Err(StoreError::Contended.into())
    }

    /// Is `name` the name of `app`? If it is not, no call that has taken the name for it already can give it
    /// that name any more.
    async fn settle(&self, app: AppId, name: &str) -> Result<bool, StoreError> {
        let key = app.key();
        for _ in 0..ATTEMPTS {
            let (record, expected) = match self.read(app).await? {
                None => (Record::GivenUp { given_up: app }, Expected::Absent),
                Some(found) => match found.value {
                    Record::GivenUp { .. } => return Ok(false),
                    Record::App(app) if app.name == name => return Ok(true),
                    // The same again is another version.
                    same @ Record::App(_) => (same, Expected::Version(found.version)),
                },
            };
            let write = self.store.write_document(&key, &record, expected);
            if write.await? == Written::Done {
                return Ok(false);
            }
        }
        Err(StoreError::Contended)
    }

    /// If that fails, the next who wants the name finds that nobody has it.
    async fn give_back(&self, name: &str, claim: NameClaim) {
        if let Err(error) = self.names.give_back(name, claim).await {
            tracing::warn!(error = chain(&error), app = %claim.app, "the name of an app was not released");
        }
    }
}

impl Record {
    fn into_app(self) -> Option<App> {
        match self {
            Self::App(app) => Some(app),
            Self::GivenUp { .. } => None,
        }
    }
}

impl App {
    /// Is it called `current_name`, as the caller says? What cannot be undone asks for that.
    pub fn check_current_name(&self, current_name: &str) -> Result<(), AppError> {
        if self.name == current_name {
            return Ok(());
        }
        Err(AppError::OtherName {
            name: self.name.clone(),
        })
    }
}

fn check_name(name: &str) -> Result<(), AppError> {
    let is_long_enough = (MIN_NAME_CHARS..=MAX_NAME_CHARS).contains(&name.len());
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let has_hyphens_inside = !name.starts_with('-') && !name.ends_with('-') && !name.contains("--");
    if is_long_enough && name.chars().all(is_plain) && has_hyphens_inside {
        Ok(())
    } else {
        Err(AppError::BadName)
    }
}

fn name_taken(name: &str) -> AppError {
    AppError::NameTaken {
        name: name.to_owned(),
    }
}

fn unknown(asked: &str) -> AppError {
    AppError::Unknown {
        asked: asked.to_owned(),
    }
}

#[cfg(test)]
mod tests;
