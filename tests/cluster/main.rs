//! Several servers on one engine: the real program, and a real object store under it.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod balance;
mod bucket_commands;
mod direct;
mod engines;
mod fleet;
mod node_kills;
mod outage;
mod skew;
mod starts;
mod traffic;
mod transfer_memory;
mod upheaval;
