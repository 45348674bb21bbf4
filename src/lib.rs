//! waystation: a stop between a developer's machine and a deployment.
//!
//! Data flows one way, from the command line down to the clock; `ARCHITECTURE.md` has the table of
//! allowed edges between these modules, and a test holds them to it.

pub mod account;
pub mod accounts;
pub mod bearer;
pub mod cli;

pub mod clock;
pub mod config;
pub mod digest;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod grant;
pub mod http;
pub mod keys;
pub mod limiter;
pub mod media;
pub mod metrics;
pub mod pace;
pub mod public_url;
pub mod reaper;
pub mod secret;
pub mod source;
pub mod sources;
pub mod store;
pub mod telemetry;
pub mod tls;
