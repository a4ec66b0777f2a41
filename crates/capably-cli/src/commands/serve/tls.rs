//! The options of `capably serve` for TLS, and new certificates while the server runs.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use capably_server::{Tls, TlsError};
use clap::Args;
#[cfg(unix)]
use tokio::signal::unix;

use crate::{failure::Failure, output::notice};

/// The certificate of the server.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsOptions {
    /// File with the certificate of the server and its chain, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// File with the private key of --tls-cert, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Make a certificate for this start, and write it to FILE, which clients name with --ca [default:
    /// capably-certificate.pem]; its key is never written
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        default_missing_value = "capably-certificate.pem",
        conflicts_with = "tls_cert"
    )]
    tls_self_signed: Option<PathBuf>,
}

/// TLS of a server that runs.
pub(super) struct ServedTls {
    pub(super) identity: Tls,
    /// The file that clients need, if the certificate is signed by itself.
    pub(super) ca: Option<String>,
    files: Option<Files>,
}

/// The files of a certificate, to be read again.
#[cfg_attr(not(unix), expect(dead_code, reason = "only systems with SIGHUP read them again"))]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// Taken before the server serves: from then on, SIGHUP does not end the process.
    #[cfg(unix)]
    hangups: unix::Signal,
}

impl TlsOptions {
    /// Reads or makes the certificate. `None` without these options.
    pub(super) fn load(&self, bind: IpAddr) -> Result<Option<ServedTls>, Failure> {
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let identity = read(certificate, key, Tls::from_pem)?;
            let files = Files {
                certificate: certificate.clone(),
                key: key.clone(),
                #[cfg(unix)]
                hangups: unix::signal(unix::SignalKind::hangup())
                    .map_err(|why| Failure::failed(format!("cannot listen for signals: {why}")))?,
            };
            return Ok(Some(ServedTls { identity, ca: None, files: Some(files) }));
        }
        let Some(path) = &self.tls_self_signed else { return Ok(None) };
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
        if !bind.is_loopback() && !bind.is_unspecified() {
            names.push(bind.to_string());
        }
        let identity = Tls::self_signed(names).map_err(|why| Failure::failed(why.to_string()))?;
        fs::write(path, identity.certificate_pem()).map_err(|why| {
            Failure::failed(format!("cannot write {}: {why}", path.display()))
                .remedy("name another file with --tls-self-signed")
        })?;
        let ca = Some(path.display().to_string());
        Ok(Some(ServedTls { identity, ca, files: None }))
    }
}

/// Waits for `end`. Until then, SIGHUP reads the files of the certificate again.
#[cfg(unix)]
pub(super) async fn reloading<T>(tls: &mut Option<ServedTls>, end: impl Future<Output = T>) -> T {
    // Without files, SIGHUP ends the process as usual.
    let Some(ServedTls { identity, files: Some(files), .. }) = tls else { return end.await };
    let Files { certificate, key, hangups } = files;
    tokio::pin!(end);
    loop {
        tokio::select! {
            result = &mut end => return result,
            _ = hangups.recv() => {
                match read(certificate, key, |certificate, key| identity.replace(certificate, key)) {
                    Ok(()) => notice("The certificate was read again. New connections get it."),
                    Err(why) => notice(format!("The server goes on with the certificate that it has: {why}")),
                }
            }
        }
    }
}

/// Waits for `end`.
#[cfg(not(unix))]
pub(super) async fn reloading<T>(_: &mut Option<ServedTls>, end: impl Future<Output = T>) -> T {
    end.await
}

fn read<T>(
    certificate: &Path,
    key: &Path,
    load: impl FnOnce(&[u8], &[u8]) -> Result<T, TlsError>,
) -> Result<T, Failure> {
    let content = |path: &Path| {
        fs::read(path)
            .map_err(|why| Failure::failed(format!("cannot read {}: {why}", path.display())))
    };
    load(&content(certificate)?, &content(key)?).map_err(|why| {
        Failure::failed(format!("{} and {}: {why}", certificate.display(), key.display()))
            .remedy("give --tls-cert a chain in PEM, the server's own certificate first, and --tls-key its key")
    })
}
