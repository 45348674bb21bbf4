//! The store in a folder of this machine.
//!
//! Bytes become durable in [`publish`], and only [`mod@sweep`] deletes an archive. One server runs on a
//! store at a time; it holds the folder's lock. Commands that read, sweep or keep documents may work
//! beside it, since none of them publishes an archive.

mod audit;
mod documents;
mod download;
mod faults;
pub mod footer;
pub mod layout;
mod open;
mod publish;
mod room;
mod seconds;
mod shared;
mod stage;
mod sweep;
mod threads;
mod turns;
mod upload;

pub use download::{FilePart, FolderDownload, MAX_PART_BYTES, Piece, PieceStream};
pub use faults::{Faults, Hook, Verdict};
pub use publish::StagedFile;
pub use shared::{FolderStore, Sync};
pub use threads::BLOCKING_THREADS;
pub use upload::FolderUpload;
