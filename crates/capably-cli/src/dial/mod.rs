//! A connection to a service, in its steps: name, proxy, TCP, TLS. A failure says in which step it happened.

#[cfg(feature = "tls")]
mod tls;

use std::{fmt, io, net::SocketAddr, time::Duration};

use capably::{ClientOptions, http::HttpProxy};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::timeout,
};

/// How long each step may take.
const STEP_LIMIT: Duration = Duration::from_secs(10);

/// The longest answer of a proxy to CONNECT, in bytes.
const MAX_PROXY_HEAD: usize = 16 * 1024;

/// The place of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// Certificates in PEM that are trusted besides the usual ones.
    pub(crate) roots: Option<Vec<u8>>,
}

impl Address {
    /// Host and port, as in a URL: an IPv6 address has brackets.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// The value of the Host header: without the default port.
    pub(crate) fn host_header(&self) -> String {
        let authority = self.authority();
        let default = if self.tls { ":443" } else { ":80" };
        authority.strip_suffix(default).map(str::to_owned).unwrap_or(authority)
    }
}

/// A step of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Proxy,
    Name,
    Tcp,
    Tls,
}

/// The reason why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DialError {
    pub(crate) step: Step,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl DialError {
    fn new(step: Step, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { step, message: message.into(), remedy: remedy.into() }
    }
}

/// A stream of bytes to a service.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The stream of a finished connection.
pub(crate) type BoxedStream = Box<dyn Stream>;

/// Connects through all steps.
///
/// # Errors
/// The step that failed.
pub(crate) async fn connect(address: &Address) -> Result<BoxedStream, DialError> {
    let stream = match proxy(address)? {
        Some(proxy) => tunnel(&proxy, address).await?,
        None => tcp(&resolve(&address.host, address.port).await?).await?,
    };
    secure(stream, address).await.map(|(stream, _)| stream)
}

/// The proxy that a client would use for an address.
pub(crate) fn proxy(address: &Address) -> Result<Option<HttpProxy>, DialError> {
    let options = ClientOptions::default().tls(address.tls);
    let options = options.port(address.port).tls_port(address.port);
    options.proxy_for(&address.host).map_err(|error| {
        let remedy = "set HTTPS_PROXY to a URL such as http://proxy.example:3128, or name the service in NO_PROXY";
        DialError::new(Step::Proxy, error.message(), remedy)
    })
}

/// The addresses of a name.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    let failed = |why: String| {
        DialError::new(
            Step::Name,
            format!("the name {host} cannot be resolved: {why}"),
            "check the spelling of --endpoint, and the DNS server and the network of this machine",
        )
    };
    match timeout(STEP_LIMIT, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.collect();
            if addresses.is_empty() {
                return Err(failed("it has no address".to_owned()));
            }
            Ok(addresses)
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("the DNS server does not answer".to_owned())),
    }
}

/// A TCP connection to the first address that accepts.
pub(crate) async fn tcp(addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
    let mut last = None;
    for address in addresses {
        let why = match timeout(STEP_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        last = Some((address, why));
    }
    let remedy = match &last {
        Some((_, Some(error))) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "check --port; nothing listens there, or a firewall refuses the connection"
        }
        _ => "check --endpoint and --port, and whether a firewall allows the connection",
    };
    let message = match last {
        Some((address, Some(error))) => format!("cannot connect to {address}: {error}"),
        Some((address, None)) => {
            format!("cannot connect to {address}: no answer in {} s", STEP_LIMIT.as_secs())
        }
        None => "there is no address to connect to".to_owned(),
    };
    Err(DialError::new(Step::Tcp, message, remedy))
}

/// A tunnel through a proxy.
pub(crate) async fn tunnel(proxy: &HttpProxy, address: &Address) -> Result<TcpStream, DialError> {
    let name = format!("the proxy {}:{}", proxy.host(), proxy.port());
    let failed = |why: String| {
        let remedy = "check HTTPS_PROXY, or name the service in NO_PROXY if it can be reached without the proxy";
        DialError::new(Step::Proxy, format!("{name} {why}"), remedy)
    };
    let addresses = resolve(proxy.host(), proxy.port()).await;
    let addresses = addresses.map_err(|error| failed(format!("cannot be reached: {error}")))?;
    let stream = tcp(&addresses).await;
    let mut stream = stream.map_err(|error| failed(format!("cannot be reached: {error}")))?;
    let exchange = async {
        let authority = address.authority();
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(authorization) = proxy.authorization() {
            request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_PROXY_HEAD {
            head.push(stream.read_u8().await?);
        }
        io::Result::Ok(head)
    };
    let head = match timeout(STEP_LIMIT, exchange).await {
        Ok(Ok(head)) => head,
        Ok(Err(error)) => return Err(failed(format!("opens no tunnel: {error}"))),
        Err(_) => return Err(failed("opens no tunnel: no answer in time".to_owned())),
    };
    let head = String::from_utf8_lossy(&head);
    let status = head.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => Ok(stream),
        Some("407") => Err(DialError::new(
            Step::Proxy,
            format!("{name} refuses the tunnel: it wants a user and a password"),
            "write them into the URL of HTTPS_PROXY: http://user:password@host:port",
        )),
        _ => Err(failed(format!("refuses the tunnel: {}", crate::visible::visible(status)))),
    }
}

/// Whether the port of an address without TLS speaks TLS: it answers HTTP with an alert.
pub(crate) async fn speaks_tls(address: &Address) -> bool {
    const ALERT: u8 = 0x15;
    let asked = async {
        let mut stream = tcp(&resolve(&address.host, address.port).await.ok()?).await.ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
        stream.read_u8().await.ok()
    };
    !address.tls && timeout(STEP_LIMIT, asked).await == Ok(Some(ALERT))
}

/// The dates between which a certificate is valid, in ms since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_after: i64,
}

/// TLS over the stream, where the address wants it.
#[cfg(feature = "tls")]
pub(crate) async fn secure(
    stream: TcpStream,
    address: &Address,
) -> Result<(BoxedStream, Option<Validity>), DialError> {
    if !address.tls {
        return Ok((Box::new(stream), None));
    }
    tls::handshake(stream, &address.host, tls::roots(address.roots.as_deref())?).await
}

/// TLS over the stream: this command was built without it.
#[cfg(not(feature = "tls"))]
pub(crate) async fn secure(
    stream: TcpStream,
    address: &Address,
) -> Result<(BoxedStream, Option<Validity>), DialError> {
    if !address.tls {
        return Ok((Box::new(stream), None));
    }
    let message = "this command was built without TLS";
    Err(DialError::new(Step::Tls, message, "build it with the feature `tls`"))
}
