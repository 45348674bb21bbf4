//! The real program under what a machine does to it: killed at any instant, its power cut, its disk
//! full, slow or failing.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod cut_short;
mod failing;
mod full;
mod kills;
mod medium;
mod power;
mod slow;
mod strace;
