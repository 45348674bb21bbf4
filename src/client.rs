//! The client of this service or the platform: API calls, uploads that are retried, downloads that resume. It knows no
//! terminals and no archive contents.

mod archive;
mod download;
mod error;
mod follow;
mod http;
mod parts;
mod progress;
mod server;
mod upload;

pub use archive::Archive;
pub use download::{Downloaded, download};
pub use error::ClientError;
pub use follow::{DeploymentUpdate, follow};
pub use http::{Http, HttpParts, ProxyRules};
pub use parts::{Offer, ask};
pub use progress::Progress;
pub use server::{Retry, Server};
pub use upload::upload;
