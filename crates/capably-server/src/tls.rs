//! TLS of a server: its certificate, which can be replaced while it serves, and the handshake with each client.

use std::{
    fmt, io,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::front::socket::closing::end_stream;

/// How long a client may take for the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// The certificate and the key of a server, for [`Builder::tls`](crate::Builder::tls).
///
/// Clones are the same: [`replace`](Self::replace) a certificate before it expires, and new connections get the new one.
/// `Debug` shows nothing of the key.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use capably_server::{Server, Tls};
///
/// let tls = Tls::self_signed(["localhost", "127.0.0.1"])?;
/// let server = Server::builder().tls(&tls).start().await?;
/// // Clients trust this certificate as an additional root.
/// let root = tls.certificate_pem();
/// # assert!(root.starts_with("-----BEGIN CERTIFICATE-----"));
/// # server.shutdown().await;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Tls {
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// A certificate with its chain, the server's own first, and its key, both in PEM. The key may be PKCS #8, PKCS #1 or
    /// SEC 1.
    ///
    /// # Errors
    /// A [`TlsError`] when the PEM has no certificate or no key, or when the two do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let certified = certified(certificates, key, &provider)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring's provider has suites for the default protocol versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { current, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// A new certificate for these names and addresses, signed by its own new key: for development. Clients trust it as an
    /// additional root, see [`certificate_pem`](Self::certificate_pem).
    ///
    /// # Errors
    /// A [`TlsError`] for a text that is neither a name nor an address.
    pub fn self_signed(
        names: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, TlsError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let made = rcgen::generate_simple_self_signed(names);
        let made = made.map_err(|why| TlsError::Certificate(why.to_string()))?;
        Self::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes())
    }

    /// Replaces the certificate and the key. Connections that are open stay as they are.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem). The server goes on with the certificate that it had.
    pub fn replace(&self, certificates: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let certified = certified(certificates, key, self.acceptor.config().crypto_provider())?;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
        Ok(())
    }

    /// The certificate with its chain, in PEM.
    pub fn certificate_pem(&self) -> String {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let mut pem = String::new();
        for certificate in &self.current.get().cert {
            let text = STANDARD.encode(certificate);
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            for line in text.as_bytes().chunks(64) {
                pem.push_str(&String::from_utf8_lossy(line));
                pem.push('\n');
            }
            pem.push_str("-----END CERTIFICATE-----\n");
        }
        pem
    }

    /// Opens TLS with a client. `None` for a client that does not succeed in time.
    pub(crate) async fn accept(&self, mut tcp: TcpStream) -> Option<TlsStream<TcpStream>> {
        let accepted = async {
            let mut first = [0];
            if tcp.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
                refuse_plain(&mut tcp).await?;
                return Err(io::Error::other("the client does not speak TLS"));
            }
            self.acceptor.accept(tcp).await
        };
        match timeout(HANDSHAKE_TIMEOUT, accepted).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(problem)) => {
                tracing::debug!(%problem, "a TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!("a TLS handshake took too long");
                None
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates = self.current.get().cert.len();
        f.debug_struct("Tls").field("certificates", &certificates).finish_non_exhaustive()
    }
}

/// Tells a client of plain HTTP what is wrong, in the words that it understands.
async fn refuse_plain(tcp: &mut TcpStream) -> io::Result<()> {
    const BODY: &str = "{\"error\":{\"message\":\"this port speaks TLS only: use https or wss\",\
        \"code\":40000,\"statusCode\":400}}";
    let response = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nx-ably-errorcode: 40000\r\n\
         x-ably-errormessage: this port speaks TLS only: use https or wss\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    tcp.write_all(response.as_bytes()).await?;
    end_stream(tcp).await
}

/// The certificate in use.
struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    fn get(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

fn certified(
    certificates: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = read_certificates(certificates)?;
    // Without the text of the parser: it could quote the key.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
    let key = provider.key_provider.load_private_key(key).map_err(|_| TlsError::Key)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch),
        Err(why) => Err(TlsError::Certificate(why.to_string())),
    }
}

/// The certificates in a PEM, of which there is at least one.
///
/// # Errors
/// [`TlsError::Certificate`].
pub(crate) fn read_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let read = read.map_err(|why| TlsError::Certificate(why.to_string()))?;
    if read.is_empty() {
        return Err(TlsError::Certificate("it has no section CERTIFICATE".to_owned()));
    }
    Ok(read)
}

/// Why a certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate cannot be read.
    Certificate(String),
    /// The key is not a private key in PEM, or is of a type that is not supported: use ECDSA (P-256, P-384), Ed25519 or RSA.
    Key,
    /// The key is not that of the certificate.
    Mismatch,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(why) => write!(f, "the certificate cannot be read: {why}"),
            Self::Key => {
                f.write_str("the key is not a private key in PEM that the server supports")
            }
            Self::Mismatch => f.write_str("the key is not that of the certificate"),
        }
    }
}

impl std::error::Error for TlsError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_needs_its_own_key() {
        let ((certificate, key), (other, _)) = (pem(), pem());
        let tls = Tls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let shown = |pem: &str| pem.replace("\r\n", "\n");
        assert_eq!(tls.certificate_pem(), shown(&certificate));
        let refused = |certificate: &str, key: &str| {
            tls.replace(certificate.as_bytes(), key.as_bytes()).unwrap_err()
        };
        assert_eq!(refused(&other, &key), TlsError::Mismatch);
        assert_eq!(refused(&certificate, "nonsense"), TlsError::Key);
        assert_eq!(refused(&certificate, &certificate), TlsError::Key);
        assert!(matches!(refused("nonsense", &key), TlsError::Certificate(_)));
        assert_eq!(tls.certificate_pem(), shown(&certificate), "a bad replacement changes nothing");
        assert_eq!(format!("{tls:?}"), "Tls { certificates: 1, .. }");
    }
}
