//! The client: what it packs, and how it gets that to a server and back, whatever happens on the way.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod broken_lines;
mod client_secrets;
mod deploys;
mod ignore_rules;
mod in_between;
mod logins;
mod odd_trees;
mod output_snapshots;
mod parts_uploads;
mod platform;
mod pushes;
mod same_bytes;
mod scripted_host;
mod terminals;
mod user;
