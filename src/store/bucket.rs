//! The store in a bucket of an object store, shared by any number of servers.
//!
//! No server knows of another. An upload's bytes go to keys of its own, in parts; it becomes visible
//! when its record, which names those keys and holds the facts, is created where none was: see
//! [`publish`]. A small archive has no parts: its [`record`] holds it. Keys sort by expiry, and only [`mod@sweep`]
//! deletes what has expired.
//!
//! Parts are objects of their own, not those of a multipart upload: so a server that is killed leaves
//! nothing that a listing does not show, and parts can be small, which bounds memory.

mod attempt_state;
mod attempt_upload;
mod attempts;
mod audit;
mod beginning;
mod client;
mod documents;
mod download;
mod download_pin;
mod errors;
mod filling;
mod journals;
pub mod keys;
mod links;
mod parts;
mod pins;
mod plan;
mod probe;
mod publish;
mod quirks;
mod read;
pub mod record;
mod requests;
mod shared;
mod sweep;
mod upload;
mod url;

pub use attempt_upload::BucketAttempt;
pub use download::BucketDownload;
pub use publish::StagedParts;
pub use requests::RequestMetrics;
pub use shared::{BucketStore, Overwrite};
pub(super) use sweep::GRACE;
pub use upload::BucketUpload;
pub use url::{BucketUrl, EndpointUrl, NotABucketUrl, NotAnEndpoint};
