//! Certificates that a test makes for itself.

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

use crate::store_folder::Store;

/// A certificate for `localhost`, in files.
pub struct Certificate {
    pub cert_file: String,
    pub key_file: String,
}

impl Certificate {
    /// Makes one. Made again in the same store, it takes the place of the one before.
    pub fn make(store: &Store) -> Self {
        let made = generate_simple_self_signed(["localhost".to_owned()]);
        let CertifiedKey { cert, signing_key }: CertifiedKey<KeyPair> = made.unwrap();
        Self {
            cert_file: store.write_file("cert.pem", cert.pem().as_bytes()),
            key_file: store.write_file("key.pem", signing_key.serialize_pem().as_bytes()),
        }
    }

    /// The flags that make a server use it.
    pub fn flags(&self) -> [&str; 4] {
        ["--tls-cert", &self.cert_file, "--tls-key", &self.key_file]
    }
}
