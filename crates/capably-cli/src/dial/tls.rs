//! The TLS handshake, and what its failures mean.

use std::{io, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{BoxedStream, DialError, STEP_LIMIT, Step, Validity};

/// The roots that the SDK trusts.
pub(super) fn mozilla_roots() -> RootCertStore {
    RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned())
}

/// The roots that the SDK trusts, with those of `--ca`.
pub(super) fn roots(additional: Option<&[u8]>) -> Result<RootCertStore, DialError> {
    let mut roots = mozilla_roots();
    for certificate in additional.into_iter().flat_map(CertificateDer::pem_slice_iter) {
        let added = certificate
            .map_err(|why| why.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|why| why.to_string()));
        added.map_err(|why| {
            let message = format!("a certificate of --ca cannot be read: {why}");
            DialError::new(Step::Tls, message, "give --ca a file with certificates in PEM")
        })?;
    }
    Ok(roots)
}

/// Opens TLS, and returns how long the certificate of the peer is valid.
pub(super) async fn handshake(
    stream: TcpStream,
    host: &str,
    roots: RootCertStore,
) -> Result<(BoxedStream, Option<Validity>), DialError> {
    let failed = |message: String, remedy: &str| Err(DialError::new(Step::Tls, message, remedy));
    let Ok(name) = ServerName::try_from(host.to_owned()) else {
        return failed(
            format!("{host} is no name for a certificate"),
            "check the spelling of --endpoint",
        );
    };
    match timeout(STEP_LIMIT, TlsConnector::from(config(roots)).connect(name, stream)).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates();
            let validity = certificates.and_then(|all| all.first()).and_then(|it| validity(it));
            Ok((Box::new(stream), validity))
        }
        Ok(Err(error)) => {
            let (message, remedy) = explain(&error);
            failed(message, remedy)
        }
        Err(_) => failed(
            "the TLS handshake does not end in time".to_owned(),
            "the port may have no TLS (then use --no-tls), or a firewall holds the handshake up",
        ),
    }
}

/// As the SDK: with ring.
fn config(roots: RootCertStore) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring's provider has suites for the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// The failure for a TLS handshake that did not succeed: its likely cause, and a remedy.
fn explain(error: &io::Error) -> (String, &'static str) {
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
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                (
                    format!("the certificate is for another name: {problem}"),
                    "check --endpoint; a captive portal or a DNS server may also lead to another machine",
                )
            }
            CertificateError::UnknownIssuer => (
                "the issuer of the certificate is unknown".to_owned(),
                "a proxy or an antivirus program that inspects TLS may be in between: exempt the service from it; \
                 if the service has its own authority, give its root to --ca",
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
fn validity(certificate: &[u8]) -> Option<Validity> {
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
    use rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const ROOT: &[u8] = include_bytes!("../../tests/certificates/root.pem");
    const KEY: &[u8] = include_bytes!("../../tests/certificates/key.pem");

    fn roots() -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ROOT).unwrap()).unwrap();
        roots
    }

    /// The result of a handshake with a server that has this certificate, for the name service.example.test.
    async fn greet(
        certificate: &[u8],
        roots: RootCertStore,
    ) -> Result<Option<Validity>, DialError> {
        let certificate = CertificateDer::from_pem_slice(certificate).unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(stream).await;
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let greeted = handshake(stream, "service.example.test", roots).await;
        greeted.map(|(_, validity)| validity)
    }

    #[tokio::test]
    async fn each_fault_of_a_certificate_is_named_with_a_remedy() {
        let good = include_bytes!("../../tests/certificates/good.pem");
        let validity = greet(good, roots()).await.unwrap().unwrap();
        assert_eq!(validity.not_after, 253_402_300_799_000);
        for (certificate, roots, message, remedy) in [
            (
                &good[..],
                mozilla_roots(),
                "the issuer of the certificate is unknown",
                "inspects TLS",
            ),
            (
                include_bytes!("../../tests/certificates/expired.pem"),
                roots(),
                "the certificate has expired: ",
                "must renew the certificate",
            ),
            (
                include_bytes!("../../tests/certificates/early.pem"),
                roots(),
                "the certificate is not valid yet: ",
                "check the clock",
            ),
            (
                include_bytes!("../../tests/certificates/other-name.pem"),
                roots(),
                "the certificate is for another name: ",
                "check --endpoint",
            ),
        ] {
            let error = greet(certificate, roots).await.unwrap_err();
            assert_eq!(error.step, Step::Tls);
            assert!(error.message.starts_with(message), "{}", error.message);
            assert!(error.remedy.contains(remedy), "{}", error.remedy);
        }
    }

    #[tokio::test]
    async fn a_port_without_tls_is_named() {
        for (answer, message) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "the port answers without TLS"),
            (b"", "the peer ends the connection during the TLS handshake"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer).await;
            });
            let stream = TcpStream::connect(address).await.unwrap();
            let error = handshake(stream, "localhost", roots()).await.map(drop).unwrap_err();
            assert_eq!((error.step, error.message.as_str()), (Step::Tls, message));
            assert!(error.remedy.contains("--no-tls"), "{}", error.remedy);
        }
    }

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
