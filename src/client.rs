//! The client of a server, its own or the platform's: calls of the API, uploads that are tried again, downloads that go on
//! where they broke off. It knows nothing of terminals, and nothing of what archives hold.

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
pub use follow::{News, follow};
pub use http::{Http, HttpParts, ProxyRules};
pub use parts::{Offer, ask};
pub use progress::Progress;
pub use server::{Repeat, Server};
pub use upload::upload;
