//! Hostile clients, all at once, against one honest client that must not notice.
//!
//! The attack is one of connections and of state: many, slow, broken, odd. It is paced, so that the
//! attackers, which run on the same machine as their victim, do not win by using up its processors:
//! that would show nothing about the server. As it measures times, it is for a build with optimisations, and runs
//! alone: `cargo test --config profile.dev.package.waystation.opt-level=3 --test load -- --test-threads 1`.
//!
//! `WAYSTATION_SOAK_SECONDS` makes the attack last as long as that.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod all_at_once;
mod attack;
mod guesses;
mod honest;
mod slow_clients;
mod victim;
