//! What operators see and what keeps a server tidy: metrics, the log, the sweeps, and the routes for
//! health checks.

pub mod admin;
pub mod log;
pub mod metrics;
mod ongoing_failure;
pub mod reaper;
