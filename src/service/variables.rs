//! The variables of applications: what a build is configured with. Each is a document, under an id made from its
//! application and its name, so that a name exists once.
//!
//! Values may be secrets: they are in the answers to their owner, in the claims of runners, and nowhere else. The store
//! has them unencrypted: under the key ring they would be lost with their key, and keys are dropped when the links that
//! they signed have expired.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::secret::Secret;
use crate::service::apps::AppId;
use crate::service::users::uuid_of;
use crate::store::{Collection, DocumentKey, Expected, Store, StoreError, Updated, Written};

/// How many variables an application may have.
pub const MAX_VARIABLES: usize = 500;
pub const MAX_NAME_CHARS: usize = 64;
pub const MAX_VALUE_BYTES: usize = 8_192;
/// What the names of variables that runners set begin with.
pub const RESERVED_PREFIX: &str = "WAYSTATION_";
/// How many documents are written or deleted at once.
const AT_ONCE: usize = 8;

/// The id of a variable, made from its application and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VariableId(Uuid);

impl VariableId {
    fn of(app: AppId, name: &str) -> Self {
        let label = b"waystation/variable/v1\0";
        Self(uuid_of(&[label, app.as_bytes(), name.as_bytes()]))
    }

    fn key(self, app: AppId) -> DocumentKey {
        Collection::Variables(*app.as_bytes()).key(self.0.as_bytes())
    }
}

impl fmt::Display for VariableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for VariableId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

/// A variable, as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Variable {
    pub id: VariableId,
    pub name: String,
    #[serde(serialize_with = "reveal", deserialize_with = "conceal")]
    pub value: Secret,
}

fn reveal<S: Serializer>(value: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.reveal())
}

fn conceal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

#[derive(Debug, thiserror::Error)]
pub enum VariableError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error(
        "the name of a variable has 1 to {MAX_NAME_CHARS} letters, digits and '_', does not begin with a digit, nor with {RESERVED_PREFIX}"
    )]
    BadName { name: String },
    #[error("the value of {name} has {bytes} bytes; {MAX_VALUE_BYTES} is the limit")]
    TooLong { name: String, bytes: usize },
    #[error("the value of {name} has a NUL, which no environment can hold")]
    Nul { name: String },
    #[error("there is a variable {name} already")]
    Exists { name: String },
    #[error("the variable {name} appears twice")]
    Twice { name: String },
    #[error("an app has at most {MAX_VARIABLES} variables")]
    TooMany,
    #[error("there is no such variable")]
    Unknown,
}

/// What setting some variables has changed.
#[derive(Debug)]
pub struct Changes {
    /// All that were set, in the order in which they were given.
    pub variables: Vec<Variable>,
    pub created: Vec<String>,
    pub updated: Vec<String>,
}

/// The variables of all applications. Clones are the same variables.
#[derive(Clone, Debug)]
pub struct Variables {
    store: Store,
    /// Held while variables are counted and some are added.
    adding: Arc<tokio::sync::Mutex<()>>,
}

impl Variables {
    pub fn new(store: Store) -> Self {
        Self {
            store,
            adding: Arc::default(),
        }
    }

    /// The variables of an application, by name.
    pub async fn list(&self, app: AppId) -> Result<Vec<Variable>, StoreError> {
        let collection = Collection::Variables(*app.as_bytes());
        let mut variables: Vec<Variable> = self.store.read_documents(collection).await?;
        variables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(variables)
    }

    /// The same, as a runner takes them.
    pub async fn all(&self, app: AppId) -> Result<BTreeMap<String, Secret>, StoreError> {
        let variables = self.list(app).await?.into_iter();
        Ok(variables
            .map(|variable| (variable.name, variable.value))
            .collect())
    }

    pub async fn create(
        &self,
        app: AppId,
        name: &str,
        value: Secret,
    ) -> Result<Variable, VariableError> {
        let variable = checked(app, name, value)?;
        let _turn = self.adding.lock().await;
        let ids = self.ids(app).await?;
        if !ids.contains(&variable.id) && ids.len() >= MAX_VARIABLES {
            return Err(VariableError::TooMany);
        }
        let key = variable.id.key(app);
        let write = self.store.write_document(&key, &variable, Expected::Absent);
        match write.await? {
            Written::Done => Ok(variable),
            Written::Conflict => Err(VariableError::Exists {
                name: variable.name,
            }),
        }
    }

    /// Makes or changes each of these, and leaves the others. If it is cut short, some are set, and the same call
    /// again sets the rest.
    pub async fn set(
        &self,
        app: AppId,
        wanted: Vec<(String, Secret)>,
    ) -> Result<Changes, VariableError> {
        let variables = wanted.into_iter();
        let variables = variables.map(|(name, value)| checked(app, &name, value));
        let variables = variables.collect::<Result<Vec<_>, _>>()?;
        check_each_once(&variables)?;
        let _turn = self.adding.lock().await;
        let ids = self.ids(app).await?;
        let is_old = |variable: &&Variable| ids.contains(&variable.id);
        let (old, new): (Vec<_>, Vec<_>) = variables.iter().partition(is_old);
        if ids.len() + new.len() > MAX_VARIABLES {
            return Err(VariableError::TooMany);
        }
        let (updated, created) = (names_of(&old), names_of(&new));
        let writes = variables.iter().cloned();
        let writes = writes.map(|variable| async move { self.put(app, &variable).await });
        let writes = stream::iter(writes).buffer_unordered(AT_ONCE);
        writes.try_collect::<()>().await?;
        Ok(Changes {
            variables,
            created,
            updated,
        })
    }

    /// Gives a variable another value.
    pub async fn change(
        &self,
        app: AppId,
        id: VariableId,
        value: Secret,
    ) -> Result<Variable, VariableError> {
        check_value("this variable", &value)?;
        let change = |variable| {
            Some(Variable {
                value: value.clone(),
                ..variable
            })
        };
        match self.store.update_document(&id.key(app), change).await? {
            Updated::Done(variable) => Ok(variable),
            Updated::Missing | Updated::Declined => Err(VariableError::Unknown),
        }
    }

    /// Deletes a variable, and returns its name.
    pub async fn delete(&self, app: AppId, id: VariableId) -> Result<String, VariableError> {
        let key = id.key(app);
        let found = self.store.read_document::<Variable>(&key).await?;
        let name = found.ok_or(VariableError::Unknown)?.value.name;
        self.store.delete_document(&key).await?;
        Ok(name)
    }

    /// Deletes these variables, if all of them are there, and returns their names.
    pub async fn delete_some(
        &self,
        app: AppId,
        ids: &[VariableId],
    ) -> Result<Vec<String>, VariableError> {
        let ids: BTreeSet<_> = ids.iter().copied().collect();
        let variables = self.list(app).await?.into_iter();
        let found: Vec<_> = variables
            .filter(|variable| ids.contains(&variable.id))
            .collect();
        if found.len() < ids.len() {
            return Err(VariableError::Unknown);
        }
        self.delete_each(app, ids).await?;
        Ok(found.into_iter().map(|variable| variable.name).collect())
    }

    /// Deletes all variables of an application.
    pub async fn delete_all(&self, app: AppId) -> Result<(), StoreError> {
        let ids = self.ids(app).await?;
        self.delete_each(app, ids).await
    }

    async fn delete_each(&self, app: AppId, ids: BTreeSet<VariableId>) -> Result<(), StoreError> {
        let deletions = ids.into_iter().map(|id| async move {
            let key = id.key(app);
            self.store.delete_document(&key).await
        });
        let deletions = stream::iter(deletions).buffer_unordered(AT_ONCE);
        deletions.try_collect().await
    }

    /// Creates or changes a variable, whichever is to be done when it is.
    async fn put(&self, app: AppId, variable: &Variable) -> Result<(), StoreError> {
        let key = variable.id.key(app);
        let write = self.store.write_document(&key, variable, Expected::Absent);
        if write.await? == Written::Conflict {
            let change = |_: Variable| Some(variable.clone());
            self.store.update_document(&key, change).await?;
        }
        Ok(())
    }

    async fn ids(&self, app: AppId) -> Result<BTreeSet<VariableId>, StoreError> {
        let collection = Collection::Variables(*app.as_bytes());
        let listed = self.store.list_all_documents(collection).await?;
        let ids = listed.into_iter().filter_map(|name| {
            let bytes = name.to_bytes().try_into().ok()?;
            Some(VariableId(Uuid::from_bytes(bytes)))
        });
        Ok(ids.collect())
    }
}

fn checked(app: AppId, name: &str, value: Secret) -> Result<Variable, VariableError> {
    check_name(name)?;
    check_value(name, &value)?;
    Ok(Variable {
        id: VariableId::of(app, name),
        name: name.to_owned(),
        value,
    })
}

fn check_name(name: &str) -> Result<(), VariableError> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_good = begins_well && name.chars().all(is_word) && name.len() <= MAX_NAME_CHARS;
    if is_good && !name.starts_with(RESERVED_PREFIX) {
        Ok(())
    } else {
        Err(VariableError::BadName {
            name: name.to_owned(),
        })
    }
}

fn check_value(name: &str, value: &Secret) -> Result<(), VariableError> {
    let (name, bytes) = (name.to_owned(), value.reveal().len());
    if bytes > MAX_VALUE_BYTES {
        Err(VariableError::TooLong { name, bytes })
    } else if value.reveal().contains('\0') {
        Err(VariableError::Nul { name })
    } else {
        Ok(())
    }
}

fn names_of(variables: &[&Variable]) -> Vec<String> {
    let names = variables.iter().map(|variable| variable.name.clone());
    names.collect()
}

/// Which of two values is meant could not be said.
fn check_each_once(variables: &[Variable]) -> Result<(), VariableError> {
    let mut seen = BTreeSet::new();
    for variable in variables {
        if !seen.insert(variable.id) {
            return Err(VariableError::Twice {
                name: variable.name.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: AppId = AppId::from_bytes([7; 16]);

    fn variables() -> (tempfile::TempDir, Variables) {
        let (folder, store) = Store::temporary();
        (folder, Variables::new(store))
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn many(count: usize) -> Vec<(String, Secret)> {
        let names = (0..count).map(|number| format!("NUMBER_{number}"));
        names.map(|name| (name, secret("1"))).collect()
    }

    #[test]
    fn names_have_a_shape() {
        let long = "A".repeat(64);
        for name in ["A", "_", "a_B9", "WAYSTATION", "waystation_x", &long] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let longer = "A".repeat(65);
        for name in [
            "",
            "9A",
            "A-B",
            "A=B",
            "A B",
            "Ä",
            "A\n",
            "WAYSTATION_APP",
            &longer,
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn nothing_shows_a_value() {
        let variable = checked(APP, "KEY", secret("s3cret")).unwrap();
        assert!(!format!("{variable:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn values_have_a_limit_however_they_are_spelled() {
        let (_folder, variables) = variables();
        // Written in JSON, each of these characters is six.
        for (bytes, is_good) in [(0, true), (8_192, true), (8_193, false)] {
            let value = "\u{1}".repeat(bytes);
            let wanted = vec![("KEY".to_owned(), secret(&value))];
            assert_eq!(variables.set(APP, wanted).await.is_ok(), is_good, "{bytes}");
            let name = format!("A_{bytes}");
            let created = variables.create(APP, &name, secret(&value)).await;
            assert_eq!(created.is_ok(), is_good, "{bytes}");
        }
        assert!(variables.create(APP, "NUL", secret("a\0b")).await.is_err());
        let kept = variables.all(APP).await.unwrap();
        assert_eq!(kept.len(), 3);
        assert_eq!(kept["KEY"].reveal().len(), 8_192);
    }

    #[tokio::test]
    async fn an_app_has_as_many_variables_as_the_limit_and_no_more() {
        let (_folder, variables) = variables();
        let set = variables.set(APP, many(MAX_VARIABLES + 1)).await;
        assert!(matches!(set, Err(VariableError::TooMany)));
        assert!(variables.list(APP).await.unwrap().is_empty());
        variables.set(APP, many(MAX_VARIABLES - 1)).await.unwrap();
        variables.create(APP, "LAST", secret("")).await.unwrap();
        let more = variables.create(APP, "MORE", secret("")).await;
        assert!(matches!(more, Err(VariableError::TooMany)));
        // What is there already is no more.
        let again = variables.create(APP, "LAST", secret("")).await;
        assert!(matches!(again, Err(VariableError::Exists { .. })));
        let changes = variables.set(APP, many(3)).await.unwrap();
        assert_eq!((changes.created.len(), changes.updated.len()), (0, 3));
        let other = AppId::from_bytes([8; 16]);
        variables.create(other, "MORE", secret("")).await.unwrap();
        variables.delete_all(APP).await.unwrap();
        assert!(variables.list(APP).await.unwrap().is_empty());
        assert_eq!(variables.list(other).await.unwrap().len(), 1);
    }
}
