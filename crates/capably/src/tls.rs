//! TLS for every connection: rustls with ring, the Mozilla roots, and the roots of the options.

#[cfg(feature = "tls")]
use std::sync::{Arc, OnceLock};

#[cfg(feature = "tls")]
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The configuration for HTTP and WebSocket connections. They share it, so that they also share session tickets.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    #[cfg(feature = "tls")]
    pub(crate) config: Arc<ClientConfig>,
}

impl Tls {
    /// A configuration that trusts these certificates, in PEM, besides the Mozilla roots. An error says what is wrong.
    pub(crate) fn with_roots(pems: &[Vec<u8>]) -> Result<Self, String> {
        if pems.is_empty() {
            return Ok(Self::default());
        }
        #[cfg(feature = "tls")]
        {
            let mut roots = mozilla_roots();
            for pem in pems {
                let mut any = false;
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|why| format!("it is no PEM: {why}"))?;
                    roots
                        .add(certificate)
                        .map_err(|why| format!("a certificate cannot be read: {why}"))?;
                    any = true;
                }
                if !any {
                    return Err("it has no section CERTIFICATE".to_owned());
                }
            }
            Ok(Self { config: config(roots) })
        }
        #[cfg(not(feature = "tls"))]
        Err("this build has no TLS".to_owned())
    }
}

impl Default for Tls {
    /// The Mozilla roots alone. All clients share this configuration.
    fn default() -> Self {
        #[cfg(feature = "tls")]
        {
            static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
            Self { config: Arc::clone(CONFIG.get_or_init(|| config(mozilla_roots()))) }
        }
        #[cfg(not(feature = "tls"))]
        Self {}
    }
}

#[cfg(feature = "tls")]
fn mozilla_roots() -> RootCertStore {
    RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned())
}

#[cfg(feature = "tls")]
fn config(roots: RootCertStore) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring's provider has suites for the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
