//! waystation: a stop between a developer's machine and a deployment.

pub mod clock;
pub mod digest;
pub mod grant;
pub mod keys;
pub mod media;
pub mod secret;
pub mod source;
pub mod store;
pub mod telemetry;
