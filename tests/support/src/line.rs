//! One connection, with TLS or without, from any of this machine's own addresses.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::reply::Reply;

/// Where the victim is, and how it is spoken to.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Target {
    pub fn new(address: SocketAddr, cert_file: &str) -> Self {
        let connector = |protocol: &[u8]| {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(cert_file).unwrap())
                .unwrap();
            let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        Self {
            address,
            http1: connector(b"http/1.1"),
            http2: connector(b"h2"),
        }
    }

    /// A connection on which nothing has been said, from 127.0.0.`host`.
    pub async fn connect(&self, host: u8) -> io::Result<TcpStream> {
        socket_of(host)?.connect(self.address).await
    }

    pub async fn open(&self, host: u8) -> io::Result<Line> {
        let stream = self.connect(host).await?;
        secure(&self.http1, stream).await
    }

    /// A connection of a client that takes little at a time.
    pub async fn open_narrow(&self, host: u8) -> io::Result<Line> {
        let socket = socket_of(host)?;
        socket.set_recv_buffer_size(4 * 1024)?;
        secure(&self.http1, socket.connect(self.address).await?).await
    }

    pub async fn open_http2(&self, host: u8) -> io::Result<Line> {
        let stream = self.connect(host).await?;
        secure(&self.http2, stream).await
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
        next_reply(&mut self.stream, &mut self.received).await
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

    /// Ends it as a machine does that lost its memory: the system tells the other side so.
    pub fn reset(self) {
        let (stream, _) = self.stream.into_inner();
        let _ = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
    }

    pub fn into_stream(self) -> TlsStream<TcpStream> {
        self.stream
    }
}

/// Reads one answer of HTTP/1.1.
pub async fn next_reply(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    received: &mut Vec<u8>,
) -> io::Result<Reply> {
    loop {
        if let Some((reply, rest)) = Reply::parse(received) {
            *received = rest.to_vec();
            return Ok(reply);
        }
        received.reserve(64 * 1024);
        if stream.read_buf(received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
