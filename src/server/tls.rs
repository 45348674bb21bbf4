//! TLS: the certificate and its key from PEM files, and their renewal while the server runs.
//!
//! Connections that are open keep the certificate that they began with; each new one gets the newest
//! that could be read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use crate::error_chain::chain;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What stands in the PEM of a key that needs a passphrase: in its first line, or in the header of an older one.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// Where certificate and key are, as PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, then those that vouch for it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of the kind that is needed.
    #[error("cannot read {what} from {}", path.display())]
    Pem {
        /// What should be in it.
        what: &'static str,
        path: PathBuf,
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("there is no certificate in {}; it needs a certificate chain in PEM", path.display())]
    NoCertificate { path: PathBuf },
    /// The key needs a passphrase, which nobody could type in at a start.
    #[error("the key in {} is encrypted; decrypt it with 'openssl pkey', and give the file that it writes", path.display())]
    EncryptedKey { path: PathBuf },
    /// The key is none that TLS can be spoken with here.
    #[error("the key in {} cannot be used; RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, and Ed25519 can", path.display())]
    UnusableKey {
        path: PathBuf,
        source: rustls::Error,
    },
    /// Key and certificate are not of one another.
    #[error("the key in {} does not match the certificate in {}", key.display(), cert.display())]
    Mismatch {
        cert: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
    /// The library has no protocol version to offer.
    #[error("cannot set TLS up")]
    Config(#[source] rustls::Error),
}

/// The certificate that new connections are given.
#[derive(Debug)]
pub struct Certificate {
    files: TlsFiles,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads it from its files.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(read(&files)?);
        Ok(Arc::new(Self { files, current }))
    }

    /// How TLS is spoken with it: versions 1.2 and 1.3, for HTTP/1.1.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Config)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Uses the files anew whenever they have changed, forever. Files that are no good, as they may be while
    /// they are being written, are logged and looked at again when they change.
    pub async fn follow(self: Arc<Self>) {
        let mut seen = self.contents().await;
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let found = self.contents().await;
            if found != seen {
                seen = found;
                self.reload();
            }
        }
    }

    /// What is in the files, by which a change is known: a renewed certificate may be as long, and be said to be
    /// as old, as the one before. A disk that is slow holds up nobody else.
    async fn contents(&self) -> Option<[Vec<u8>; 2]> {
        let TlsFiles { cert, key } = self.files.clone();
        let read = spawn_blocking(move || Some([fs::read(cert).ok()?, fs::read(key).ok()?]));
        read.await.ok().flatten()
    }

    /// Uses what is in the files now.
    pub fn reload(&self) {
        match read(&self.files) {
            Ok(renewed) => {
                *self.current.write().expect("no panic while it is held") = renewed;
                tracing::info!("the certificate was reloaded");
            }
            Err(error) => tracing::error!(
                error = chain(&error),
                "the certificate was not reloaded; the previous one stays in use"
            ),
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().expect("no panic while it is held");
        Some(Arc::clone(&current))
    }
}

fn read(files: &TlsFiles) -> Result<Arc<CertifiedKey>, TlsError> {
    let pem_error = |what, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Pem { what, path, source }
    };
    let certificates = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem_error("a certificate", &files.cert))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate {
            path: files.cert.clone(),
        });
    }
    let text = fs::read(&files.key).map_err(pem::Error::Io);
    let text = text.map_err(pem_error("a private key", &files.key))?;
    if text.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED) {
        return Err(TlsError::EncryptedKey {
            path: files.key.clone(),
        });
    }
    let key =
        PrivateKeyDer::from_pem_slice(&text).map_err(pem_error("a private key", &files.key))?;
    let provider: CryptoProvider = default_provider();
    CertifiedKey::from_der(certificates, key, &provider)
        .map(Arc::new)
        .map_err(|source| {
            let key = files.key.clone();
            if matches!(source, rustls::Error::InconsistentKeys(_)) {
                let cert = files.cert.clone();
                return TlsError::Mismatch { cert, key, source };
            }
            TlsError::UnusableKey { path: key, source }
        })
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::SupportedCipherSuite;
    use tokio_rustls::rustls::crypto::KeyExchangeAlgorithm;

    use super::*;

    /// Forward secrecy: the key does not decrypt recorded traffic.
    #[test]
    fn every_suite_makes_a_key_of_its_own_for_each_connection() {
        let suites = default_provider().cipher_suites;
        assert!(!suites.is_empty());
        for suite in suites {
            let is_forward_secret = match suite {
                SupportedCipherSuite::Tls13(_) => true,
                SupportedCipherSuite::Tls12(suite) => suite.kx == KeyExchangeAlgorithm::ECDHE,
            };
            assert!(is_forward_secret, "{suite:?}");
        }
    }
}
