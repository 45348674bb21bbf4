//! The client of an object store: where it connects to, and with what.

use std::env;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use tokio_rustls::rustls::crypto::ring;

use super::requests::{Connector, MAX_RETRIES, RequestMetrics};
use super::url::{BucketUrl, EndpointUrl, Kind};
use crate::source::MAX_LIFETIME;
use crate::store::error::{Result, StoreError};

/// How long a connection may take to open, and how long the object store may be silent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Client {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// The same where keys are deleted one by one, for object stores of S3 that cannot do it otherwise.
    pub(super) one_by_one: Option<Arc<dyn ObjectStore>>,
    pub(super) signer: Option<Arc<dyn Signer>>,
    /// What the bucket is called in errors.
    pub(super) name: String,
    pub(super) metrics: RequestMetrics,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Prepares a client; nothing is asked yet.
    pub(super) fn connect(url: &BucketUrl) -> Result<Self> {
        // The HTTP client uses the provider of the process. An error means that it has one already.
        let _ = ring::default_provider().install_default();
        match url.kind {
            Kind::S3 => connect_s3(url),
            Kind::Google => connect_google(url),
            Kind::Azure => connect_azure(url),
        }
    }

    /// A client that the caller has made.
    pub(super) fn of(objects: Arc<dyn ObjectStore>) -> Self {
        Self {
            name: objects.to_string(),
            objects,
            one_by_one: None,
            signer: None,
            metrics: RequestMetrics::default(),
        }
    }
}

/// `endpoint` is `None` if it is the usual one.
fn connected<S: ObjectStore + Signer>(
    url: &BucketUrl,
    metrics: RequestMetrics,
    endpoint: Option<EndpointUrl>,
    store: object_store::Result<S>,
) -> Result<Client> {
    let store = store.map_err(|source| StoreError::Bucket {
        bucket: url.to_string(),
        problem: "it cannot be addressed: check the URL, the region, and the variables that hold the credentials",
        source,
    })?;
    let store = Arc::new(store);
    Ok(Client {
        objects: store.clone(),
        one_by_one: None,
        signer: Some(store),
        name: match endpoint {
            Some(endpoint) => format!("{url} at {endpoint}"),
            None => url.to_string(),
        },
        metrics,
    })
}

/// What the environment sets for an object store. Secrets come from files that end in a newline, which the library
/// would panic at, as at any other control character; an empty variable is not set.
fn settings<K: FromStr>(prefix: &str) -> Result<Vec<(K, String)>> {
    let mut set = Vec::new();
    for (variable, value) in env::vars_os() {
        let (Some(variable), Some(value)) = (variable.to_str(), value.to_str()) else {
            continue;
        };
        let value = value.trim();
        if let Ok(key) = variable.to_ascii_lowercase().parse()
            && variable.starts_with(prefix)
            && !value.is_empty()
        {
            if value.contains(char::is_control) {
                let variable = variable.to_owned();
                return Err(StoreError::Variable { variable });
            }
            set.push((key, value.to_owned()));
        }
    }
    Ok(set)
}

/// The library panics at an endpoint that is no URL, also one from the environment.
fn check_endpoint(variable: &'static str, text: Option<String>) -> Result<Option<EndpointUrl>> {
    let parsed = text.map(|text| text.parse()).transpose();
    parsed.map_err(|source| StoreError::Endpoint { variable, source })
}

/// A builder with what the environment sets, and how we connect. The builders have no trait in common.
macro_rules! prepared {
    ($builder:ident, $prefix:literal, $metrics:expr) => {
        settings($prefix)?
            .into_iter()
            .fold($builder::new(), |builder, (key, value)| {
                builder.with_config(key, value)
            })
            .with_http_connector(Connector::counting($metrics))
            .with_retry(retries())
            .with_client_options(options())
    };
}

fn connect_s3(url: &BucketUrl) -> Result<Client> {
    let metrics = RequestMetrics::default();
    let mut builder = prepared!(AmazonS3Builder, "AWS_", &metrics).with_bucket_name(&url.bucket);
    if let Some(endpoint) = &url.endpoint {
        // This one wins over all that the environment may say.
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint.to_string());
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
    // Where nobody can change the bytes on their way, they need not be digested once more to be signed.
    let is_private = endpoint.as_ref().is_none_or(EndpointUrl::is_private);
    builder = builder.with_unsigned_payload(is_private);
    let one_by_one = builder.clone().with_disable_bulk_delete(true).build().ok();
    let client = connected(url, metrics, endpoint, builder.build())?;
    Ok(Client {
        one_by_one: one_by_one.map(|objects| Arc::new(objects) as _),
        ..client
    })
}

fn connect_google(url: &BucketUrl) -> Result<Client> {
    let metrics = RequestMetrics::default();
    let builder =
        prepared!(GoogleCloudStorageBuilder, "GOOGLE_", &metrics).with_bucket_name(&url.bucket);
    let base_url = builder.get_config_value(&GoogleConfigKey::BaseUrl);
    let endpoint = check_endpoint("GOOGLE_BASE_URL", base_url)?;
    connected(url, metrics, endpoint, builder.build())
}

fn connect_azure(url: &BucketUrl) -> Result<Client> {
    let metrics = RequestMetrics::default();
    let builder =
        prepared!(MicrosoftAzureBuilder, "AZURE_", &metrics).with_container_name(&url.bucket);
    let of_identities = builder.get_config_value(&AzureConfigKey::MsiEndpoint);
    check_endpoint("AZURE_IDENTITY_ENDPOINT", of_identities)?;
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
    let endpoint = check_endpoint("AZURE_STORAGE_ENDPOINT", endpoint)?;
    connected(url, metrics, endpoint, builder.build())
}

/// An operator who gives an address with http:// means it.
fn options() -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(true)
        .with_connect_timeout(CONNECT_TIMEOUT)
        // A download lasts as long as its client takes; silence is what must end.
        .with_timeout_disabled()
        .with_read_timeout(SILENCE_TIMEOUT)
}

/// How often the library goes on reading where a body broke off; all else is tried again by [`Connector`].
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            max_backoff: Duration::from_secs(1),
            ..BackoffConfig::default()
        },
        max_retries: MAX_RETRIES as usize,
        // Counted from the beginning of a download, which may take as long as its client does.
        retry_timeout: MAX_LIFETIME,
    }
}
