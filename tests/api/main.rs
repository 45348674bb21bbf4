//! The HTTP contract, through the router in process: exact statuses, bodies and header names, and
//! after every rejected upload that nothing was stored.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod app;
mod apps;
mod credentials;
mod deploying;
mod deployments;
mod described;
mod downloads;
mod errors;
mod events;
mod expiry;
mod followers;
mod limits;
mod nodes;
mod parts;
mod platform_cli;
mod rate_limit;
mod refusals;
mod refused_calls;
mod ruby_library;
mod runner;
mod sources;
mod tokens;
mod uploads;
mod variables;
mod web_page;
