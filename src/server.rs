//! Connections: accepting them, TLS, limits by address, slow clients, sendfile, stopping. Knows no
//! route.

pub mod admission;
mod client_io;
pub mod connection;
mod connection_state;
mod malformed;
pub(crate) mod sendfile;
pub mod tls;
pub mod workers;
