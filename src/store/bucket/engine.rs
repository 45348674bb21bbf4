//! The engine itself: which one, where, and what its errors mean.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::list::PaginatedListStore;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use crate::public_url::is_plain;
use crate::store::StoreError;

/// How often, and for how long in all, a request to the engine is tried again. A client waits for it.
const MAX_RETRIES: usize = 4;
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// How long a connection to the engine may take to open, and how long the engine may be silent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a bucket is: `s3://bucket/prefix`, `gs://…` or `az://container/prefix`. Credentials and region
/// come from the environment, by the names that each engine's own tools use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketUrl {
    kind: Kind,
    bucket: String,
    prefix: String,
    endpoint: Option<EndpointUrl>,
}

/// Where an engine can be reached: `http://` or `https://` and a host, maybe a port and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUrl(String);

/// A text that is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an endpoint is http:// or https:// and a host, maybe a port and a path, and no user or query, like http://127.0.0.1:8333"
)]
pub struct NotAnEndpoint;

impl FromStr for EndpointUrl {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let url: Uri = text.parse().map_err(|_| NotAnEndpoint)?;
        if is_plain(&url) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAnEndpoint)
        }
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    S3,
    Google,
    Azure,
}

impl Kind {
    const fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }
}

/// A text that names no bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bucket is s3://bucket/prefix, gs://bucket/prefix or az://container/prefix")]
pub struct NotABucketUrl;

impl FromStr for BucketUrl {
    type Err = NotABucketUrl;

    fn from_str(text: &str) -> Result<Self, NotABucketUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(NotABucketUrl)?;
        let kind = match scheme {
            "s3" => Kind::S3,
            "gs" => Kind::Google,
            "az" => Kind::Azure,
            _ => return Err(NotABucketUrl),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if bucket.is_empty() || !bucket.chars().all(is_plain) || Path::parse(prefix).is_err() {
            return Err(NotABucketUrl);
        }
        Ok(Self {
            kind,
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            endpoint: None,
        })
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.kind.scheme(), self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

impl BucketUrl {
    /// The same bucket, at an engine that speaks S3 under another address than Amazon's.
    #[must_use]
    pub fn at(self, endpoint: Option<EndpointUrl>) -> Self {
        Self { endpoint, ..self }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// An engine that can be asked.
pub(super) struct Engine {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// The same, asked for its keys page by page.
    pub(super) pages: Option<Arc<dyn PaginatedListStore>>,
    signer: Option<Arc<dyn Signer>>,
    /// What it is called in errors.
    pub(super) name: String,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Engine {
    pub(super) fn connect(url: &BucketUrl) -> Result<Self, StoreError> {
        let cannot = |source| StoreError::Bucket {
            bucket: url.to_string(),
            problem: "it cannot be addressed: check the URL, the region, and the variables that hold the credentials",
            source,
        };
        let (connected, endpoint) = match url.kind {
            Kind::S3 => connect_s3(url)?,
            Kind::Google => connect_google(url)?,
            Kind::Azure => connect_azure(url)?,
        };
        let engine = connected.map_err(cannot)?;
        let name = match endpoint {
            Some(endpoint) => format!("{url} at {endpoint}"),
            None => url.to_string(),
        };
        Ok(Self { name, ..engine })
    }

    pub(super) fn of(objects: Arc<dyn ObjectStore>) -> Self {
        Self {
            name: objects.to_string(),
            objects,
            pages: None,
            signer: None,
        }
    }

    pub(super) async fn sign(
        &self,
        method: http::Method,
        key: &Path,
        lifetime: Duration,
    ) -> Result<String, StoreError> {
        let doing = "sign a link";
        match &self.signer {
            Some(signer) => signer
                .signed_url(method, key, lifetime)
                .await
                .map(String::from)
                .map_err(failed(doing)),
            None => Err(failed(doing)(object_store::Error::NotImplemented {
                operation: "signing".to_owned(),
                implementer: self.name.clone(),
            })),
        }
    }
}

/// An engine, or why there is none; and the endpoint, if it is not the usual one.
type Connected = (object_store::Result<Engine>, Option<EndpointUrl>);

fn connected<S: ObjectStore + PaginatedListStore + Signer>(
    store: object_store::Result<S>,
    endpoint: Option<EndpointUrl>,
) -> Connected {
    let engine = store.map(|store| {
        let store = Arc::new(store);
        Engine {
            pages: Some(store.clone()),
            signer: Some(store.clone()),
            ..Engine::of(store)
        }
    });
    (engine, endpoint)
}

/// The library panics at an endpoint that is no URL, also at one that it finds in the environment.
fn check_endpoint(
    variable: &'static str,
    text: Option<String>,
) -> Result<Option<EndpointUrl>, StoreError> {
    let parsed = text.map(|text| text.parse()).transpose();
    parsed.map_err(|source| StoreError::Endpoint { variable, source })
}

fn connect_s3(url: &BucketUrl) -> Result<Connected, StoreError> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&url.bucket)
        .with_retry(retries())
        .with_client_options(options());
    if let Some(EndpointUrl(endpoint)) = &url.endpoint {
        // This one wins over all that the environment may say.
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    let mut endpoint = None;
    for (key, variable) in [
        (AmazonS3ConfigKey::Endpoint, "AWS_ENDPOINT_URL"),
        (AmazonS3ConfigKey::S3Endpoint, "AWS_ENDPOINT_URL_S3"),
    ] {
        let checked = check_endpoint(variable, builder.get_config_value(&key))?;
        endpoint = checked.or(endpoint);
    }
    for (key, variable) in [
        (AmazonS3ConfigKey::StsEndpoint, "AWS_ENDPOINT_URL_STS"),
        (AmazonS3ConfigKey::MetadataEndpoint, "AWS_METADATA_ENDPOINT"),
    ] {
        check_endpoint(variable, builder.get_config_value(&key))?;
    }
    Ok(connected(builder.build(), endpoint))
}

fn connect_google(url: &BucketUrl) -> Result<Connected, StoreError> {
    let builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(&url.bucket)
        .with_retry(retries())
        .with_client_options(options());
    let base_url = builder.get_config_value(&GoogleConfigKey::BaseUrl);
    let endpoint = check_endpoint("GOOGLE_BASE_URL", base_url)?;
    Ok(connected(builder.build(), endpoint))
}

fn connect_azure(url: &BucketUrl) -> Result<Connected, StoreError> {
    let builder = MicrosoftAzureBuilder::from_env()
        .with_container_name(&url.bucket)
        .with_retry(retries())
        .with_client_options(options());
    let of_identities = builder.get_config_value(&AzureConfigKey::MsiEndpoint);
    check_endpoint("AZURE_IDENTITY_ENDPOINT", of_identities)?;
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
    let endpoint = check_endpoint("AZURE_STORAGE_ENDPOINT", endpoint)?;
    Ok(connected(builder.build(), endpoint))
}

/// An operator who gives an address with http:// means it.
fn options() -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(true)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(REQUEST_TIMEOUT)
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            max_backoff: MAX_BACKOFF,
            ..BackoffConfig::default()
        },
        max_retries: MAX_RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    }
}

/// An error of the engine while the server runs.
pub(super) fn failed(doing: &'static str) -> impl Fn(object_store::Error) -> StoreError {
    move |source| StoreError::Unreachable { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_read_with_and_without_a_prefix() {
        for (text, told) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("gs://b-1/a/b/", "gs://b-1/a/b"),
            ("az://container/p", "az://container/p"),
        ] {
            assert_eq!(text.parse::<BucketUrl>().unwrap().to_string(), told);
        }
    }

    #[test]
    fn what_names_no_bucket_is_refused() {
        for text in ["", "s3://", "s3:///p", "ftp://b", "s3://u@b", "s3://b/a//b"] {
            assert_eq!(text.parse::<BucketUrl>(), Err(NotABucketUrl), "{text}");
        }
    }
}
