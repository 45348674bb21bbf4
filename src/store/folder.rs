//! The store in a folder of this machine.
//!
//! Archives become durable in [`publish`], journals in [`journals`], and only [`mod@sweep`] deletes an
//! archive. One server runs on a store at a time; it holds the folder's lock. Commands that read, sweep or
//! keep documents may work beside it, since none of them publishes an archive or appends to a journal.

mod attempt_book;
mod attempt_files;
mod attempt_state;
mod attempts;
mod audit;
mod documents;
mod download;
mod faults;
pub mod footer;
mod hold;
mod journals;
pub mod layout;
mod open;
mod pins;
mod publish;
mod room;
mod seconds;
mod shared;
mod slot;
mod stage;
mod sweep;
mod threads;
mod turns;
mod upload;

pub use attempts::FolderAttempt;
pub use download::{FilePart, FolderDownload, MAX_PART_BYTES, Piece, PieceStream};
pub use faults::{Faults, Hook, Verdict};
pub use publish::StagedFile;
pub use shared::{FolderStore, Sync};
pub use threads::BLOCKING_THREADS;
pub use upload::FolderUpload;
