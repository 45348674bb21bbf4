//! Several servers on one bucket: the real program, and a real object store under it.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod bucket_commands;
mod deployments_across;
mod direct;
mod node_kills;
mod node_kills_in_builds;
mod outage;
mod parts_across;
mod quirks;
mod rolling_restart;
mod shared_store;
mod starts;
mod transfer_memory;
mod wrong_clock;
