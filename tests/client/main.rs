//! The client: what it packs, and how it gets that to a server and back, whatever happens on the way.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod ignore_rules;
mod logins;
mod odd_trees;
mod pushes;
mod same_bytes;
mod user;
