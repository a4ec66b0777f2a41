//! The service that a command connects to, and the credentials that it uses.

use std::{
    env, fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use capably::{ApiKey, ClientOptions, Realtime, Rest};
use clap::{Args, ValueEnum};

use crate::{dial::Address, failure::Failure};

/// The default port of `capably serve`, and of a client with a local endpoint.
pub(crate) const DEFAULT_LOCAL_PORT: u16 = 8080;

/// Options of every command that connects to a service.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection options")]
pub(crate) struct Service {
    #[command(flatten)]
    place: Place,

    /// Format of the protocol
    #[arg(long, value_enum, default_value_t = Format::Msgpack)]
    format: Format,
}

/// The options without the format: `bench` measures both formats.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection options")]
pub(crate) struct Place {
    /// API key, such as appId.keyId:secret; ABLY_API_KEY is used if neither this nor CAPABLY_KEY is given
    #[arg(long, env = "CAPABLY_KEY", hide_env_values = true)]
    key: Option<String>,

    /// Host name, IP address or routing policy of the service [default: Ably]
    #[arg(long, env = "CAPABLY_ENDPOINT", value_name = "HOST")]
    endpoint: Option<String>,

    /// Port of the service [default: 8080 for a local endpoint, otherwise 443, or 80 without TLS]
    #[arg(long, env = "CAPABLY_PORT", value_parser = Port::read)]
    port: Option<Port>,

    /// Connect without TLS; a local endpoint (localhost or a loopback address) uses TLS only with --ca
    #[arg(long)]
    no_tls: bool,

    /// File with certificates in PEM to trust besides the usual ones: the root of a private authority, or the certificate of
    /// `capably serve --tls-self-signed`
    #[arg(long, env = "CAPABLY_CA", value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Client id, which identifies this client to others
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
}

/// The place of a service, for commands that need no key.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection options")]
pub(crate) struct Target {
    /// Host name, IP address or routing policy of the service [default: Ably]
    #[arg(long, env = "CAPABLY_ENDPOINT", value_name = "HOST")]
    endpoint: Option<String>,

    /// Port of the service [default: 8080 for a local endpoint, otherwise 443, or 80 without TLS]
    #[arg(long, env = "CAPABLY_PORT", value_parser = Port::read)]
    port: Option<Port>,

    /// Connect without TLS; a local endpoint (localhost or a loopback address) uses TLS only with --ca
    #[arg(long)]
    no_tls: bool,

    /// File with certificates in PEM to trust besides the usual ones: the root of a private authority, or the certificate of
    /// `capably serve --tls-self-signed`
    #[arg(long, env = "CAPABLY_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Target {
    /// The address that a client would connect to.
    pub(crate) fn address(&self) -> Result<Address, Failure> {
        let port = self.port.and_then(|Port(port)| port);
        let roots = roots(self.ca.as_deref(), self.no_tls)?;
        address(given(self.endpoint.as_deref()), port, self.no_tls, roots)
    }
}

/// The address of the first host of an endpoint.
pub(crate) fn address(
    endpoint: Option<&str>,
    port: Option<u16>,
    no_tls: bool,
    roots: Option<Vec<u8>>,
) -> Result<Address, Failure> {
    let local = endpoint.is_some_and(is_local);
    let tls = uses_tls(no_tls, local, roots.is_some());
    // A token, because a key needs TLS: here only the endpoint is checked.
    let mut options = with_roots(ClientOptions::default().token("none").tls(tls), roots.as_ref());
    if let Some(endpoint) = endpoint {
        options = options.endpoint(endpoint);
    }
    Rest::new(options.clone()).map_err(Failure::wrong_usage)?;
    let host = options.hosts().swap_remove(0);
    let default = match (local, tls) {
        (true, _) => DEFAULT_LOCAL_PORT,
        (false, true) => 443,
        (false, false) => 80,
    };
    Ok(Address { host, port: port.unwrap_or(default), tls, roots })
}

/// The certificates of a file. None without TLS, and for an environment variable that is set to nothing.
fn roots(ca: Option<&Path>, no_tls: bool) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = ca.filter(|path| !no_tls && !path.as_os_str().is_empty()) else {
        return Ok(None);
    };
    fs::read(path).map(Some).map_err(|why| {
        Failure::usage(format!("cannot read {}: {why}", path.display()))
            .remedy("give --ca (or CAPABLY_CA) a file with certificates in PEM")
    })
}

/// A server of `capably serve` on this machine has TLS only if it was asked for.
fn uses_tls(no_tls: bool, local: bool, has_roots: bool) -> bool {
    !no_tls && (!local || has_roots)
}

fn with_roots(options: ClientOptions, roots: Option<&Vec<u8>>) -> ClientOptions {
    match roots {
        Some(pem) => options.root_certificate(pem.as_slice()),
        None => options,
    }
}

/// A format of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Json,
    Msgpack,
}

impl Format {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Msgpack => "msgpack",
        }
    }
}

impl Service {
    /// Connects a client. The first failure to connect is an error, and not retried: a user at a prompt should see it.
    pub(crate) async fn connect(&self) -> Result<Realtime, Failure> {
        self.connect_with(|options| options).await
    }

    /// As [`connect`](Self::connect), with changed options.
    pub(crate) async fn connect_with(
        &self,
        options: impl FnOnce(ClientOptions) -> ClientOptions,
    ) -> Result<Realtime, Failure> {
        Ok(Realtime::connect(options(self.place.options(self.format)?)).await?)
    }

    /// The options for a client, checked.
    pub(crate) fn options(&self) -> Result<ClientOptions, Failure> {
        self.place.options(self.format)
    }

    /// The address that a client connects to.
    pub(crate) fn address(&self) -> Result<Address, Failure> {
        let Place { no_tls, .. } = self.place;
        let roots = roots(self.place.ca.as_deref(), no_tls)?;
        address(self.place.endpoint(), self.place.port(), no_tls, roots)
    }

    /// The text of the API key, from wherever it is given. It may be no key.
    pub(crate) fn key_text(&self) -> Option<String> {
        self.place.any_key()
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn rest(&self) -> Result<Rest, Failure> {
        Ok(Rest::new(self.place.options(self.format)?)?)
    }

    /// A client that has the key and no client id of its own: it makes tokens for any client id, `*` included.
    pub(crate) fn issuer(&self) -> Result<Rest, Failure> {
        let key = self.place.require_key()?;
        Ok(Rest::new(self.place.complete(ClientOptions::new(key), None, self.format)?)?)
    }

    /// A client that authenticates with this token instead of the key.
    pub(crate) fn with_token(&self, token: &str) -> Result<Rest, Failure> {
        let options = ClientOptions::default().token(token);
        Ok(Rest::new(self.place.complete(options, None, self.format)?)?)
    }

    /// The key, without a request.
    pub(crate) fn key(&self) -> Result<ApiKey, Failure> {
        let key = self.place.require_key()?;
        key.trim().parse::<ApiKey>().map_err(|error| Failure::wrong_usage(error.into()))
    }

    pub(crate) fn client_id(&self) -> Option<&str> {
        self.place.client_id.as_deref()
    }

    pub(crate) fn endpoint(&self) -> Option<&str> {
        self.place.endpoint()
    }
}

impl Place {
    /// The endpoint, if it is given.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        given(self.endpoint.as_deref())
    }

    fn key(&self) -> Option<&str> {
        given(self.key.as_deref())
    }

    fn any_key(&self) -> Option<String> {
        let other = env::var("ABLY_API_KEY").ok();
        self.key().or_else(|| given(other.as_deref())).map(str::to_owned)
    }

    fn port(&self) -> Option<u16> {
        self.port.and_then(|Port(port)| port)
    }

    /// Whether the user has named a service: then `bench` starts no server of its own.
    pub(crate) fn is_given(&self) -> bool {
        self.key().is_some() || self.endpoint().is_some() || self.port().is_some()
    }

    /// The options for a client, checked.
    pub(crate) fn options(&self, format: Format) -> Result<ClientOptions, Failure> {
        let key = self.require_key()?;
        self.complete(ClientOptions::new(key), self.client_id.as_deref(), format)
    }

    /// The text of the key.
    fn require_key(&self) -> Result<String, Failure> {
        self.any_key().ok_or_else(|| {
            Failure::usage("an API key is missing")
                .remedy("use --key, or set CAPABLY_KEY or ABLY_API_KEY")
        })
    }

    /// Adds the place of the service to options that have credentials, and checks them.
    fn complete(
        &self,
        credentials: ClientOptions,
        client_id: Option<&str>,
        format: Format,
    ) -> Result<ClientOptions, Failure> {
        let local = self.endpoint().is_some_and(is_local);
        let roots = roots(self.ca.as_deref(), self.no_tls)?;
        let tls = uses_tls(self.no_tls, local, roots.is_some());
        let credentials = with_roots(credentials, roots.as_ref());
        let mut options = credentials.tls(tls).use_binary_protocol(format == Format::Msgpack);
        if let Some(endpoint) = self.endpoint() {
            options = options.endpoint(endpoint);
        }
        if let Some(port) = self.port().or(local.then_some(DEFAULT_LOCAL_PORT)) {
            options = if tls { options.tls_port(port) } else { options.port(port) };
        }
        if let Some(client_id) = client_id {
            options = options.client_id(client_id);
        }
        // The options come from the command line, so a wrong option is wrong usage (exit code 2). Nothing was sent yet.
        Rest::new(options.clone()).map_err(Failure::wrong_usage)?;
        Ok(options)
    }
}

/// The text, unless it is empty: an environment variable that is set to nothing counts as not set.
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}

/// A port, or none for an environment variable that is set to nothing.
#[derive(Clone, Copy, Debug)]
struct Port(Option<u16>);

impl Port {
    fn read(text: &str) -> Result<Self, String> {
        let port = given(Some(text)).map(|text| text.trim().parse::<u16>()).transpose();
        port.map(Self).map_err(|_| "not a number from 1 to 65535".to_owned())
    }
}

/// Whether an endpoint is local: a server of `capably serve` usually has no TLS there.
fn is_local(endpoint: &str) -> bool {
    let bracketed = endpoint.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bracketed.unwrap_or(endpoint);
    endpoint.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_addresses_are_local() {
        for endpoint in ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_local(endpoint), "{endpoint}");
        }
        for endpoint in
            ["main", "localhost.example.com", "10.0.0.1", "::2", "[::1", "::1]", "[[::1]]"]
        {
            assert!(!is_local(endpoint), "{endpoint}");
        }
    }
}
