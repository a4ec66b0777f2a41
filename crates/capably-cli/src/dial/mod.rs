//! A connection to a service, in its steps: name, proxy, TCP, TLS. A failure says in which step it happened.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
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

/// The proxy that the environment names for an address, as the SDK chooses it: none for this machine.
pub(crate) struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    authorization: Option<String>,
}

pub(crate) fn proxy(address: &Address) -> Result<Option<Proxy>, DialError> {
    let is_loopback = address.host.eq_ignore_ascii_case("localhost")
        || address.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if is_loopback {
        return Ok(None);
    }
    let scheme = if address.tls { "https" } else { "http" };
    let Ok(target) = format!("{scheme}://{}/", address.authority()).parse::<Uri>() else {
        return Ok(None);
    };
    let Some(found) = Matcher::from_env().intercept(&target) else { return Ok(None) };
    let uri = found.uri();
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(host)) => Ok(Some(Proxy {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            authorization: found.basic_auth().and_then(|auth| Some(auth.to_str().ok()?.to_owned())),
        })),
        (scheme, _) => Err(DialError::new(
            Step::Proxy,
            format!(
                "the proxy of the environment has the protocol `{}`, and only `http` is supported",
                scheme.unwrap_or_default()
            ),
            "set HTTPS_PROXY to a URL such as http://proxy.example:3128, or name the service in NO_PROXY",
        )),
    }
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
pub(crate) async fn tunnel(proxy: &Proxy, address: &Address) -> Result<TcpStream, DialError> {
    let name = format!("the proxy {}:{}", proxy.host, proxy.port);
    let failed = |why: String| {
        let remedy = "check HTTPS_PROXY, or name the service in NO_PROXY if it can be reached without the proxy";
        DialError::new(Step::Proxy, format!("{name} {why}"), remedy)
    };
    let addresses = resolve(&proxy.host, proxy.port).await;
    let addresses = addresses.map_err(|error| failed(format!("cannot be reached: {error}")))?;
    let stream = tcp(&addresses).await;
    let mut stream = stream.map_err(|error| failed(format!("cannot be reached: {error}")))?;
    let exchange = async {
        let authority = address.authority();
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(authorization) = &proxy.authorization {
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
    use rustls::pki_types::ServerName;

    if !address.tls {
        return Ok((Box::new(stream), None));
    }
    let failed = |message: String, remedy: &str| Err(DialError::new(Step::Tls, message, remedy));
    let Ok(name) = ServerName::try_from(address.host.clone()) else {
        let remedy = "check the spelling of --endpoint";
        return failed(format!("{} is no name for a certificate", address.host), remedy);
    };
    let connector = tokio_rustls::TlsConnector::from(tls::config());
    match timeout(STEP_LIMIT, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates();
            let first = certificates.and_then(|all| all.first());
            let validity = first.and_then(|certificate| tls::validity(certificate));
            Ok((Box::new(stream), validity))
        }
        Ok(Err(error)) => {
            let (message, remedy) = tls::explain(&error);
            failed(message, remedy)
        }
        Err(_) => failed(
            "the TLS handshake does not end in time".to_owned(),
            "the port may have no TLS (then use --no-tls), or a firewall holds the handshake up",
        ),
    }
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

#[cfg(feature = "tls")]
mod tls {
    use std::{io, sync::Arc};

    use rustls::{CertificateError, ClientConfig, Error, RootCertStore, crypto::ring};

    use super::Validity;

    /// As the SDK: ring, and the Mozilla roots.
    pub(super) fn config() -> Arc<ClientConfig> {
        let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring's provider has suites for the default protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// The failure for a TLS handshake that did not succeed: its likely cause, and a remedy.
    pub(super) fn explain(error: &io::Error) -> (String, &'static str) {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let message = format!("the TLS handshake fails: {error}");
        match tls {
            Some(Error::InvalidMessage(_)) => (
                "the port answers without TLS".to_owned(),
                "use --no-tls if the service has no TLS, or check --port",
            ),
            Some(Error::InvalidCertificate(problem)) => match problem {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                    format!("the certificate has expired: {problem}"),
                    "check the clock of this machine; if it is right, the operator of the service must renew the certificate",
                ),
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
                    format!("the certificate is not valid yet: {problem}"),
                    "check the clock of this machine",
                ),
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => (
                    format!("the certificate is for another name: {problem}"),
                    "check --endpoint; a captive portal or a DNS server may also lead to another machine",
                ),
                CertificateError::UnknownIssuer => (
                    "the issuer of the certificate is unknown".to_owned(),
                    "a proxy or an antivirus program that inspects TLS may be in between; exempt the service from it",
                ),
                _ => (message, "the operator of the service must mend the certificate"),
            },
            _ if error.kind() == io::ErrorKind::UnexpectedEof
                || error.kind() == io::ErrorKind::ConnectionReset =>
            {
                (
                    "the peer ends the connection during the TLS handshake".to_owned(),
                    "use --no-tls if the service has no TLS; otherwise a firewall may block TLS",
                )
            }
            _ => (message, "check --endpoint and --port, and whether a firewall inspects TLS"),
        }
    }

    /// The end of a certificate's validity, read from its DER.
    pub(super) fn validity(certificate: &[u8]) -> Option<Validity> {
        let (_, certificate, _) = element(certificate)?;
        let (_, mut rest, _) = element(certificate)?;
        // An optional version, then serial number, signature algorithm and issuer come before the validity.
        let mut skip = if rest.first() == Some(&0xa0) { 4 } else { 3 };
        while skip > 0 {
            rest = element(rest)?.2;
            skip -= 1;
        }
        let (_, validity, _) = element(rest)?;
        let (_, _, after) = element(validity)?;
        let (tag, time, _) = element(after)?;
        Some(Validity { not_after: millis(tag, std::str::from_utf8(time).ok()?)? })
    }

    /// The tag, the content and what follows of the first element.
    fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
        let (&tag, rest) = der.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let digits = usize::from(first & 0x7f);
            if digits > 4 {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(digits)?;
            length = bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        Some((tag, content, after))
    }

    /// A UTCTime (tag 23, two digits of the year) or a GeneralizedTime.
    fn millis(tag: u8, text: &str) -> Option<i64> {
        let digits = text.strip_suffix('Z')?;
        let (year, rest) = digits.split_at_checked(if tag == 23 { 2 } else { 4 })?;
        let mut year: i64 = year.parse().ok()?;
        if tag == 23 {
            year += if year < 50 { 2000 } else { 1900 };
        }
        let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
        let (month, day) = (part(0)?, part(2)?);
        // Days since the epoch, of a calendar that begins its years in March.
        let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = 365 * years + years.div_euclid(4) - years.div_euclid(100)
            + years.div_euclid(400)
            + (153 * months + 2) / 5
            + day
            - 1
            - 719_468;
        Some((((days * 24 + part(4)?) * 60 + part(6)?) * 60 + part(8)?) * 1000)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_end_of_a_validity_is_read_in_both_forms() {
            assert_eq!(millis(23, "261129180500Z"), Some(1_795_975_500_000));
            assert_eq!(millis(24, "20000229000000Z"), Some(951_782_400_000));
            assert_eq!(millis(23, "26"), None);
            let time = |tag: u8, text: &str| [&[tag, text.len() as u8], text.as_bytes()].concat();
            let sequence = |content: &[u8]| [&[0x30, content.len() as u8], content].concat();
            let dates = [time(23, "250101000000Z"), time(23, "261129180500Z")].concat();
            let signed = [&[0xa0, 0, 2, 0, 0x30, 0, 0x30, 0][..], &sequence(&dates)].concat();
            let certificate = sequence(&sequence(&signed));
            assert_eq!(validity(&certificate), Some(Validity { not_after: 1_795_975_500_000 }));
            assert_eq!(validity(&certificate[..20]), None);
        }
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// The error of a handshake with a server that answers so.
    async fn handshake(listener: TcpListener, answer: &'static [u8]) -> Option<DialError> {
        let port = listener.local_addr().ok()?.port();
        tokio::spawn(async move {
            if let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer).await;
            }
        });
        let address = Address { host: "localhost".to_owned(), port, tls: true };
        connect(&address).await.err()
    }

    #[tokio::test]
    async fn tls_to_a_port_without_tls_is_explained() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = handshake(listener, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        assert_eq!(
            (error.step, error.message.as_str()),
            (Step::Tls, "the port answers without TLS")
        );
        assert!(error.remedy.contains("--no-tls"), "{}", error.remedy);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = handshake(listener, b"").await.unwrap();
        assert_eq!(error.step, Step::Tls);
        assert!(error.message.contains("ends the connection"), "{}", error.message);
    }
}
