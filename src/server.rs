//! Connections: accepting them, TLS, limits by address, slow clients, sendfile, stopping.
//!
//! Serves any router. Knows no route of it, and nothing of what the routes share.

mod accept;
mod client_io;
mod connection;
mod connection_state;
mod sendfile;
mod tls;
mod workers;

pub use accept::{AddressLimit, Server};
pub use connection::ConnectionLimits;
pub use tls::{Certificate, TlsError, TlsFiles};
