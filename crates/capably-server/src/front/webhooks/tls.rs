//! TLS with the endpoints of webhooks: the roots that it trusts, and what its failures mean.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore, crypto::ring, pki_types::CertificateDer,
};

use crate::{TlsError, tls::read_certificates};

/// The roots of the web, and those of the operator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roots {
    additional: Vec<CertificateDer<'static>>,
    /// Made when it is first used.
    config: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl Roots {
    /// Trusts these certificates too, in PEM.
    ///
    /// # Errors
    /// [`TlsError::Certificate`].
    pub(crate) fn add(&mut self, pem: &[u8]) -> Result<(), TlsError> {
        let read = read_certificates(pem)?;
        let mut roots = RootCertStore::empty();
        for certificate in &read {
            let added = roots.add(certificate.clone());
            added.map_err(|why| TlsError::Certificate(why.to_string()))?;
        }
        self.additional.extend(read);
        self.config = Arc::default();
        Ok(())
    }

    /// The configuration of connections.
    ///
    /// # Errors
    /// The provider has no protocol version of TLS.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in &self.additional {
            roots.add(certificate.clone())?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }
}

/// Why the handshake with an endpoint failed, and what to do.
pub(super) fn explain(problem: &io::Error) -> String {
    let tls = problem.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let remedy = match tls {
        Some(Error::InvalidCertificate(problem)) => match problem {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "renew the certificate of the endpoint, or check the clock of the server"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "check the clock of the server"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "use a name of the certificate in `target.url`"
            }
            CertificateError::UnknownIssuer => {
                "let the endpoint send its whole chain, or give the root of a private authority to --webhook-ca"
            }
            _ => "mend the certificate of the endpoint",
        },
        Some(Error::InvalidMessage(_)) => {
            "the port of the endpoint may have no TLS: then use http in `target.url`"
        }
        _ => "check whether the port of `target.url` has TLS",
    };
    format!("TLS: {problem}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_no_certificate_is_refused_and_changes_nothing() {
        let mut roots = Roots::default();
        for pem in
            ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            let refused = roots.add(pem.as_bytes()).unwrap_err();
            assert!(matches!(refused, TlsError::Certificate(_)), "{refused}");
        }
        assert_eq!(roots.additional, []);
        roots.config().unwrap();
    }
}
