//! Several servers on one engine: the real program, and a real object store under it.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod balance;
mod bucket_commands;
#[path = "../faults/clients.rs"]
mod clients;
#[path = "../faults/dice.rs"]
mod dice;
mod direct;
#[path = "../engine/mod.rs"]
mod engine;
mod engines;
mod fleet;
#[path = "../harness/mod.rs"]
#[allow(dead_code, reason = "the tests of one server need all of it")]
mod harness;
mod node_kills;
mod outage;
mod skew;
mod starts;
mod traffic;
mod transfer_memory;
mod upheaval;
