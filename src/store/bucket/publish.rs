//! Where an upload becomes visible: when its record is created where none was.
//!
//! ```text
//! parts, all durable ──> create record, if there is none ──> visible
//!                              │ there is one: the first upload stays, these parts go
//! ```

use std::sync::Arc;

use bytes::Bytes;
use object_store::{Error, PutMode, PutPayload};

use super::errors::failed;
use super::keys::Role;
use super::parts::Parts;
use super::record::Record;
use super::shared::Overwrite;
use crate::source::Facts;
use crate::store::archive::Published;
use crate::store::error::{Result, StoreError};

/// How often the record is tried to be created while the object store says that others do.
const CREATE_ATTEMPTS: u32 = 3;

/// An upload whose last byte has been taken in.
#[derive(Debug)]
pub struct StagedParts {
    /// Durable, and maybe none.
    pub(super) parts: Parts,
    /// What is in no part: it goes into the record.
    pub(super) rest: Vec<Bytes>,
    /// Set if another upload is known to have been first.
    pub(super) first: Option<Facts>,
}

impl StagedParts {
    pub(crate) async fn publish(mut self, facts: Facts) -> Result<Published> {
        if let Some(first) = self.first_known().await? {
            self.parts.give_way().await;
            return Ok(Published::AlreadyUploaded(first));
        }
        let record = Record {
            attempt: self.parts.attempt,
            parts: self.parts.lengths.clone(),
            tail_bytes: self.parts.tail_bytes,
            facts,
        };
        let head = Bytes::from(record.encode());
        let content: PutPayload = [head].into_iter().chain(self.rest.drain(..)).collect();
        // From here on the record may exist, whatever the answer says or whether one comes.
        self.parts.keep();
        let (source, store) = (self.parts.source, Arc::clone(&self.parts.store));
        let key = store.keys.of(source, Role::Record);
        for _ in 0..CREATE_ATTEMPTS {
            match store.put_if(PutMode::Create, &key, content.clone()).await {
                Ok(_) => return Ok(Published::New(facts)),
                Err(Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(failed("create a record")(error)),
            }
            match store.read_record(source).await? {
                // A request was sent twice because the answer to the first was lost.
                Some(first) if first.attempt == record.attempt => {
                    return Ok(Published::New(facts));
                }
                Some(first) => {
                    self.parts.give_way().await;
                    return Ok(Published::AlreadyUploaded(first.facts));
                }
                // Object stores also say so when two create at once, and neither has yet.
                None => {}
            }
        }
        Err(StoreError::Contended)
    }

    /// Where conditions may mean nothing, those who upload one after the other are kept apart by a look.
    async fn first_known(&self) -> Result<Option<Facts>> {
        if self.first.is_some() || self.parts.store.overwrite == Overwrite::Refuse {
            return Ok(self.first);
        }
        let found = self.parts.store.read_record(self.parts.source).await?;
        Ok(found.map(|record| record.facts))
    }

    pub(crate) async fn abandon(mut self) {
        self.parts.abandon().await;
    }
}
