//! Links of the object store itself (`--transfers direct`) that come back to us: which source one is of, and whether
//! it opens the archive.

use std::time::Duration;

use http::header::RANGE;
use http::{Method, Uri};
use object_store::Error;
use reqwest::redirect::Policy;

use super::errors::failed;
use super::keys::Role;
use super::shared::BucketStore;
use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::source::SourceId;
use crate::store::archive::LinkState;
use crate::store::error::{Result, StoreError};

/// How long the object store may take to say what a link opens.
const TIMEOUT: Duration = Duration::from_secs(10);
/// For how long the link is signed that another is held against, and never handed out.
const MOMENT: Duration = Duration::from_mins(1);

impl BucketStore {
    /// The source whose archive stands where `link` leads; `None` if that is no place of this store.
    pub(crate) async fn linked_source(&self, link: &str) -> Result<Option<SourceId>> {
        let (Some(signer), Ok(link)) = (&self.client.signer, link.parse::<Uri>()) else {
            return Ok(None);
        };
        let mut segments = link.path().rsplit('/').skip(1);
        let Some(source) = segments.next().and_then(|id| id.parse::<SourceId>().ok()) else {
            return Ok(None);
        };
        let key = self.keys.of(source, Role::Direct);
        let ours = signer.signed_url(Method::GET, &key, MOMENT).await;
        let ours: String = ours.map_err(failed("sign a link"))?.into();
        let ours: Uri = ours.parse().map_err(|_| StoreError::Contended)?;
        let is_same = link.scheme() == ours.scheme()
            && link.authority() == ours.authority()
            && link.path() == ours.path();
        Ok(is_same.then_some(source))
    }

    /// Asks the object store with the link itself, since only it can tell whether it gave the link out. It leads to the
    /// object store and nowhere else, as [`Self::linked_source`] has found.
    pub(crate) async fn try_link(&self, link: &Secret) -> Result<LinkState> {
        let unreachable = |error: reqwest::Error| StoreError::Unreachable {
            doing: "try a link",
            source: Error::Generic {
                store: "S3",
                // The URL holds a signature.
                source: Box::new(error.without_url()),
            },
        };
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .build()
            .map_err(unreachable)?;
        let asked = client.get(link.reveal()).header(RANGE, "bytes=0-0");
        let answer = asked.send().await.map_err(unreachable)?;
        match answer.status().as_u16() {
            200 | 206 => Ok(LinkState::Opens),
            404 => Ok(LinkState::NothingThere),
            400..500 => Ok(LinkState::Denied),
            _ => Err(StoreError::Unreachable {
                doing: "try a link",
                source: Error::NotImplemented {
                    operation: format!("an answer of {}", answer.status()),
                    implementer: self.client.name.clone(),
                },
            }),
        }
    }

    /// How large the archive is that was uploaded to the object store directly; `None` if there is none.
    pub(crate) async fn direct_size(&self, source: SourceId) -> Result<Option<u64>> {
        self.size_of(source, Role::Direct).await
    }

    /// A link of the object store to the archive that is uploaded to it directly.
    pub(crate) async fn sign(
        &self,
        source: SourceId,
        method: Method,
        until: Timestamp,
    ) -> Result<Option<Secret>> {
        let Some(signer) = &self.client.signer else {
            return Ok(None);
        };
        let key = self.keys.of(source, Role::Direct);
        let lifetime = until.since(self.clock.now());
        let link = signer.signed_url(method, &key, lifetime).await;
        let link = link.map_err(failed("sign a link"))?;
        Ok(Some(Secret::new(link.into())))
    }
}
