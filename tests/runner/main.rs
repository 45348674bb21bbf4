//! Runners: archives that they unpack and links that they follow, in process; deployments and recipes, with real
//! servers and programs.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod archives;
mod foreign_links;
mod killed;
mod pack_and_unpack;
mod recipes;
mod refused;
mod runs;
mod site;
