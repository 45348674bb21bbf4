//! The client of a server, its own or the platform's: calls of the API, uploads that are tried again, downloads that go on
//! where they broke off. It knows nothing of terminals, and nothing of what archives hold.

mod download;
mod error;
mod http;
mod progress;
mod server;
mod upload;

pub use download::{Downloaded, download};
pub use error::ClientError;
pub use http::{Http, HttpParts, ProxyRules};
pub use progress::Progress;
pub use server::{Repeat, Server};
pub use upload::{Archive, upload};
