//! waystation: a stop between a developer's machine and a deployment.
//!
//! Data flows one way, from the command line down to the clock; `docs/modules.md` lists which of these
//! modules uses which, and a test holds them to it.

pub mod api;
pub(crate) mod backoff;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod deployment;
pub mod digest;
pub mod error_chain;
pub mod file_sender;
pub mod grant;
pub(crate) mod http_client;
pub mod keys;
pub mod limits;
pub mod media;
pub(crate) mod mutex;
pub(crate) mod observed_body;
pub mod ops;
pub mod ownership;
pub mod pace;
pub mod pack;
pub mod proxies;
pub mod public_url;
pub mod runner;
pub mod seal;
pub mod secret;
pub mod server;
pub mod service;
pub mod source;
pub mod stopping;
pub mod store;
pub mod upgrade;
pub mod wire;
