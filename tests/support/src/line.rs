//! One connection, with TLS or without, from any of this machine's own addresses.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::reply::Reply;

/// Where the victim is, and how it is spoken to.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    tls: TlsConnector,
}

impl Target {
    pub fn new(address: SocketAddr, cert_file: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(cert_file).unwrap();
        roots.add(certificate).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            address,
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    /// A connection on which nothing has been said, from 127.0.0.`host`.
    pub async fn connect(&self, host: u8) -> io::Result<TcpStream> {
        socket_of(host)?.connect(self.address).await
    }

    pub async fn open(&self, host: u8) -> io::Result<Line> {
        let stream = self.connect(host).await?;
        secure(&self.tls, stream).await
    }

    /// A connection of a client that takes little at a time.
    pub async fn open_narrow(&self, host: u8) -> io::Result<Line> {
        let socket = socket_of(host)?;
        socket.set_recv_buffer_size(4 * 1024)?;
        secure(&self.tls, socket.connect(self.address).await?).await
    }
}

/// A socket of 127.0.0.`host`.
fn socket_of(host: u8) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0)))?;
    Ok(socket)
}

async fn secure(connector: &TlsConnector, stream: TcpStream) -> io::Result<Line> {
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, stream).await?;
    Ok(Line {
        stream,
        received: Vec::new(),
    })
}

/// An open connection within TLS.
pub struct Line {
    stream: TlsStream<TcpStream>,
    received: Vec<u8>,
}

impl Line {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// The next whole answer; an error if the connection ends before it.
    pub async fn next_reply(&mut self) -> io::Result<Reply> {
        loop {
            if let Some((reply, rest)) = Reply::parse(&self.received) {
                self.received = rest.to_vec();
                return Ok(reply);
            }
            self.received.reserve(64 * 1024);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Takes at most `bytes`, and says how many came: none at the end.
    pub async fn take(&mut self, bytes: usize) -> io::Result<usize> {
        let mut piece = vec![0; bytes];
        self.stream.read(&mut piece).await
    }

    /// Waits until the other side closes, and returns what it sent before.
    pub async fn into_rest(mut self) -> Vec<u8> {
        let mut received = self.received;
        // Some ends are less polite than others; all are ends.
        let _ = self.stream.read_to_end(&mut received).await;
        received
    }

    /// Ends it as a machine does that lost its memory: the other side gets a reset.
    pub fn reset(self) {
        let (stream, _) = self.stream.into_inner();
        let _ = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
    }
}
