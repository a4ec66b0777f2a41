//! A client of HTTP/2, and one that sends frames of its own making.

use std::{collections::VecDeque, sync::Arc};

use bytes::{BufMut, Bytes};
use capably_server::{Server, Tls};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{Answer, PATIENCE};

/// A connection of HTTP/2.
pub(crate) struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Http2 {
    /// Connects without TLS, with prior knowledge.
    pub(crate) async fn connect(server: &Server) -> Self {
        let tcp = TcpStream::connect(server.local_addr()).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Self::over(tcp).await
    }

    pub(crate) async fn over<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = timeout(PATIENCE, handshake).await.unwrap().unwrap();
        Self { sender, connection: tokio::spawn(connection) }
    }

    /// Sends a request with these headers, and returns the head of its response.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> hyper::Result<Response<Incoming>> {
        let mut request =
            Request::builder().method(method).uri(format!("http://localhost{target}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let mut sender = self.sender.clone();
        timeout(PATIENCE, sender.ready()).await.expect("the connection is never ready")?;
        timeout(PATIENCE, sender.send_request(request)).await.expect("no answer")
    }

    /// Sends a request, and returns its whole response.
    pub(crate) async fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let response = self.send(method, target, headers, body).await.unwrap();
        let (head, body) = response.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.expect("the body ends").unwrap();
        let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        Answer {
            status: head.status.as_u16(),
            headers: head.headers.iter().map(header).collect(),
            body: body.to_bytes().to_vec(),
        }
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[], b"").await
    }

    /// Waits until the server has ended the connection.
    pub(crate) async fn end(self) {
        let Self { sender, connection } = self;
        let ended = timeout(PATIENCE, connection).await.expect("the connection ends");
        // A connection that is cut ends with an error.
        let _ = ended.unwrap();
        drop(sender);
    }
}

/// Opens TLS as a client that trusts this server, and that speaks these protocols.
pub(crate) async fn tls(server: &Server, tls: &Tls, protocols: &[&str]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(tls.certificate_pem().as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let tcp = TcpStream::connect(server.local_addr()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

/// The protocol that client and server have chosen.
pub(crate) fn protocol(stream: &TlsStream<TcpStream>) -> Option<&str> {
    stream.get_ref().1.alpn_protocol().map(|name| str::from_utf8(name).unwrap())
}

/// The data of a response, piece by piece.
pub(crate) struct Pieces {
    body: Incoming,
    unread: VecDeque<u8>,
}

impl Pieces {
    pub(crate) fn of(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), unread: VecDeque::new() }
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn piece(&mut self) -> Option<Bytes> {
        loop {
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("nothing arrived")?;
            if let Ok(data) = frame.unwrap().into_data()
                && !data.is_empty()
            {
                return Some(data);
            }
        }
    }

    /// Reads until the response has had this text since the last call.
    pub(crate) async fn until(&mut self, text: &str) {
        loop {
            let unread = self.unread.make_contiguous();
            let found = unread.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                self.unread.drain(..at + text.len());
                return;
            }
            let piece = self.piece().await.expect("the response goes on");
            self.unread.extend(piece);
        }
    }
}

/// What every connection begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

/// The flag of the last frame of a stream, and of an acknowledgement.
pub(crate) const END_STREAM: u8 = 1;
/// The flag of the last frame of a head.
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame, as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Bytes,
}

impl Frame {
    /// The code of `RST_STREAM` or `GOAWAY`.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A client that does as it likes.
pub(crate) struct Raw {
    tcp: TcpStream,
    unread: Vec<u8>,
}

impl Raw {
    /// Connects, and sends the preface and settings, of which each is an identifier with its value.
    pub(crate) async fn connect(server: &Server, settings: &[(u16, u32)]) -> Self {
        let tcp = TcpStream::connect(server.local_addr()).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut own = Self { tcp, unread: Vec::new() };
        let mut payload = Vec::new();
        for (identifier, value) in settings {
            payload.put_u16(*identifier);
            payload.put_u32(*value);
        }
        own.write(PREFACE).await.unwrap();
        own.send(SETTINGS, 0, 0, &payload).await.unwrap();
        own
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.tcp.write_all(bytes).await
    }

    pub(crate) async fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> std::io::Result<()> {
        self.write(&frame(kind, flags, stream, payload)).await
    }

    /// Sends a whole request with the method GET.
    pub(crate) async fn get(&mut self, stream: u32, target: &str) {
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &head(target)).await.unwrap();
    }

    /// The next frame; `None` when the server has ended the connection.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let [a, b, c, ..] = self.unread[..] {
                let size = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
                if self.unread.len() >= size {
                    let frame: Vec<u8> = self.unread.drain(..size).collect();
                    return Some(Frame {
                        kind: frame[3],
                        flags: frame[4],
                        stream: u32::from_be_bytes(frame[5..9].try_into().unwrap()),
                        payload: Bytes::copy_from_slice(&frame[9..]),
                    });
                }
            }
            match self.tcp.read_buf(&mut self.unread).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next frame of this type.
    pub(crate) async fn frame_of(&mut self, kind: u8) -> Frame {
        self.frame_that(|frame| frame.kind == kind).await
    }

    /// The next frame for which the condition holds.
    pub(crate) async fn frame_that(&mut self, condition: impl Fn(&Frame) -> bool) -> Frame {
        let found = async {
            loop {
                let frame = self.frame().await.expect("the connection goes on");
                if condition(&frame) {
                    return frame;
                }
            }
        };
        timeout(10 * PATIENCE, found).await.expect("no such frame")
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + payload.len());
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend([kind, flags]);
    bytes.put_u32(stream);
    bytes.extend_from_slice(payload);
    bytes
}

/// The fields of a request with the method GET, encoded without Huffman codes and without the table.
pub(crate) fn head(target: &str) -> Vec<u8> {
    // :method GET, :scheme http
    let mut block = vec![0x82, 0x86];
    field(&mut block, ":authority", "localhost");
    field(&mut block, ":path", target);
    block
}

/// Adds a literal field that no table keeps.
pub(crate) fn field(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        let mut length = text.len();
        if length < 127 {
            block.push(length as u8);
        } else {
            block.push(127);
            length -= 127;
            while length >= 128 {
                block.push((length % 128) as u8 | 128);
                length /= 128;
            }
            block.push(length as u8);
        }
        block.extend_from_slice(text.as_bytes());
    }
}
