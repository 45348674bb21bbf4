//! What a machine does to the service, one file for each kind: killed at any instant, power cut, a disk
//! that is full, slow or failing; and the model, for all that can be done in process.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod failing;
mod full;
mod gone;
mod kills;
mod kills_in_builds;
mod kills_in_parts;
mod medium;
mod model;
mod power;
mod read_only;
mod slow;
mod small_disk;
mod staging;
mod strace;
mod torn;
