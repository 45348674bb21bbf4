//! Where an upload becomes visible: when its record is created where none was.
//!
//! ```text
//! parts, all durable ──> create record, if there is none ──> visible
//!                              │ there is one: the first upload stays, these parts go
//! ```

use std::sync::Arc;

use object_store::{Error, PutMode};

use super::errors::failed;
use super::keys::Role;
use super::parts::{PART_BYTES, Parts};
use super::record::Record;
use super::shared::Overwrite;
use crate::source::Facts;
use crate::store::archive::Published;
use crate::store::error::{Result, StoreError};

/// How often the record is tried to be created while the object store says that others do.
const CREATE_ATTEMPTS: u32 = 3;

impl Parts {
    pub(crate) async fn publish(mut self, facts: Facts) -> Result<Published> {
        let source = self.source;
        let store = Arc::clone(&self.store);
        if store.overwrite == Overwrite::Allow
            && let Some(first) = store.read_record(source).await?
        {
            self.abandon().await;
            return Ok(Published::AlreadyUploaded(first.facts));
        }
        // From here on the record may exist, whatever the answer says or whether one comes.
        self.keep();
        for _ in 0..CREATE_ATTEMPTS {
            match self.create_record(&facts).await {
                Ok(()) => return Ok(Published::New(facts)),
                Err(Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(failed("create a record")(error)),
            }
            match store.read_record(source).await? {
                // A request was sent twice because the answer to the first was lost.
                Some(first) if first.attempt == self.attempt => {
                    return Ok(Published::New(facts));
                }
                Some(first) => {
                    self.abandon().await;
                    return Ok(Published::AlreadyUploaded(first.facts));
                }
                // Object stores also say so when two create at once, and neither has yet.
                None => {}
            }
        }
        Err(StoreError::Contended)
    }

    async fn create_record(&self, facts: &Facts) -> object_store::Result<()> {
        let record = Record {
            attempt: self.attempt,
            part_bytes: PART_BYTES as u64,
            facts: *facts,
        };
        let key = self.store.keys.of(self.source, Role::Record);
        let create = PutMode::Create;
        self.store
            .put_if(create, &key, record.encode().into())
            .await
    }
}
