//! What a [`JetStream`] is told at its start.

use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, ServerAddr, rustls};
use percent_encoding::percent_decode_str;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use super::{super::EngineError, JetStream, events::Events, failure::setup, streams::Wanted};

/// How long to wait before another attempt to connect.
const RETRY: Duration = Duration::from_millis(250);
/// The most messages that wait for a subscription to read them.
const UNREAD: usize = 128 * 1024;

/// Configures and opens a [`JetStream`].
#[derive(Clone)]
pub struct JetStreamBuilder {
    urls: Vec<String>,
    prefix: String,
    replicas: usize,
    max_bytes: Option<u64>,
    credentials: Credentials,
    tls: Tls,
    open_timeout: Duration,
    append_timeout: Duration,
}

#[derive(Clone)]
enum Credentials {
    /// None, or those in the addresses.
    Addresses,
    Token(String),
    User {
        name: String,
        password: String,
    },
    File(PathBuf),
    NkeySeed(String),
}

#[derive(Clone, Debug, Default)]
struct Tls {
    is_required: bool,
    roots: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    fn files(&self) -> impl Iterator<Item = &Path> {
        let client = self.client.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.roots.iter().chain(client).map(PathBuf::as_path)
    }
}

impl JetStreamBuilder {
    pub(super) fn new(urls: Vec<String>) -> Self {
        Self {
            urls,
            prefix: "capably".into(),
            replicas: 1,
            max_bytes: None,
            credentials: Credentials::Addresses,
            tls: Tls::default(),
            open_timeout: Duration::from_secs(10),
            append_timeout: Duration::from_secs(10),
        }
    }

    /// The prefix of all streams and subjects: letters, digits, `_` and `-`. Engines with the same prefix share their
    /// data. `capably` by default.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How many brokers store each entry: 1 by default. With 3, the loss of one broker loses nothing, and stops nothing.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// The most bytes of entries, when this engine creates the stream. Beyond that, entries are refused with
    /// [`EngineError::Full`]. No limit by default.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Authenticates with a token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.credentials = Credentials::Token(token.into());
        self
    }

    /// Authenticates with a name and a password.
    #[must_use]
    pub fn user_and_password(
        mut self,
        name: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        self.credentials = Credentials::User { name: name.into(), password: password.into() };
        self
    }

    /// Authenticates with a file of credentials, as `nsc` writes it.
    #[must_use]
    pub fn credentials_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials = Credentials::File(path.into());
        self
    }

    /// Authenticates with the seed of an nkey.
    #[must_use]
    pub fn nkey_seed(mut self, seed: impl Into<String>) -> Self {
        self.credentials = Credentials::NkeySeed(seed.into());
        self
    }

    /// Requires TLS. Addresses with `tls://` require it too.
    #[must_use]
    pub fn require_tls(mut self) -> Self {
        self.tls.is_required = true;
        self
    }

    /// Trusts the certificates of a PEM file, instead of those of the system.
    #[must_use]
    pub fn root_certificates(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.roots = Some(path.into());
        self
    }

    /// Presents a certificate to the brokers: PEM files of the certificate and of its key.
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.tls.client = Some((certificate.into(), key.into()));
        self
    }

    /// How long [`open`](Self::open) waits for brokers that are away: 10 seconds by default.
    #[must_use]
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.open_timeout = timeout;
        self
    }

    /// How long an entry or a fact may wait for its commit, and a read for the leader of a stream: 10 seconds by default. The
    /// election of a new leader takes some seconds.
    #[must_use]
    pub fn append_timeout(mut self, timeout: Duration) -> Self {
        self.append_timeout = timeout;
        self
    }

    /// Connects, and creates the streams that are missing.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unavailable`] if no broker can be reached, or most of them are away;
    /// [`EngineError::Version`] if a stream was made by another version or program, or changed;
    /// [`EngineError::Other`] if the credentials, the addresses, the number of replicas, or the clock of this machine are
    /// wrong, or JetStream is off. The message says what to do.
    pub async fn open(self) -> Result<JetStream, EngineError> {
        let is_token = |text: &str| {
            !text.is_empty()
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        };
        if !is_token(&self.prefix) {
            return Err(setup(format!(
                "the prefix {:?} is not made of letters, digits, _ and -",
                self.prefix
            )));
        }
        let deadline = Instant::now() + self.open_timeout;
        let events = Arc::new(Events::default());
        let (client, changes) = connect(&self, Arc::clone(&events), deadline).await?;
        let wanted = Wanted { replicas: self.replicas, max_bytes: self.max_bytes };
        let parts = super::Parts {
            client,
            hosts: hosts(&self.addresses()?),
            changes,
            events,
            prefix: self.prefix,
            wanted,
            timeout: self.append_timeout,
        };
        JetStream::start(parts, deadline).await
    }

    async fn options(&self) -> Result<ConnectOptions, EngineError> {
        let options = ConnectOptions::new();
        let of_addresses = credentials(&self.addresses()?)?;
        let credentials = match &self.credentials {
            Credentials::Addresses => of_addresses.as_ref().unwrap_or(&self.credentials),
            given => given,
        };
        let mut options = match credentials {
            Credentials::Addresses => options,
            Credentials::Token(token) => options.token(token.clone()),
            Credentials::User { name, password } => {
                options.user_and_password(name.clone(), password.clone())
            }
            Credentials::File(path) => {
                let options = options.credentials_file(path).await;
                options.map_err(|error| unreadable("credentials", path, error))?
            }
            Credentials::NkeySeed(seed) => options.nkey(seed.clone()),
        };
        options = options.require_tls(self.tls.is_required);
        for path in self.tls.files() {
            // Otherwise the error would be one of TLS, and not name the file.
            let read = std::fs::File::open(path);
            read.map_err(|error| unreadable("certificates", path, error))?;
        }
        if let Some(roots) = &self.tls.roots {
            options = options.add_root_certificates(roots.clone());
        }
        if let Some((certificate, key)) = &self.tls.client {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options
            .name(format!("capably {}", self.prefix))
            .connection_timeout(Duration::from_secs(3))
            // A broker that is silent is noticed within two intervals.
            .ping_interval(Duration::from_secs(5))
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis(50 * u64::try_from(attempts.min(20)).unwrap_or(20))
            })
            .subscription_capacity(UNREAD)
            // More than the entries and requests under way, so that nothing waits while there is no connection.
            .client_capacity(8192)
            .skip_subject_validation(true))
    }

    fn addresses(&self) -> Result<Vec<ServerAddr>, EngineError> {
        if self.urls.is_empty() {
            return Err(setup(
                "there is no address of a broker; use one such as nats://host:4222".into(),
            ));
        }
        // Addresses can hold passwords, so that they are not part of the error.
        let parse = |url: &String| url.parse().map_err(|_| invalid_address());
        self.urls.iter().map(parse).collect()
    }
}

/// Counts the connections and their losses.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    pub(super) connects: watch::Receiver<u64>,
    pub(super) disconnects: watch::Receiver<u64>,
}

/// Connects to one of the brokers.
async fn connect(
    builder: &JetStreamBuilder,
    events: Arc<Events>,
    deadline: Instant,
) -> Result<(Client, Changes), EngineError> {
    // The client logs addresses, and has credentials from its options alone.
    let addresses: Vec<_> =
        builder.addresses()?.into_iter().map(without_credentials).collect::<Result<_, _>>()?;
    let options = builder.options().await?;
    let (connected, connects) = watch::channel(0);
    let (disconnected, disconnects) = watch::channel(0);
    let counters = Arc::new((connected, disconnected));
    let options = options.event_callback(move |event| {
        let (counters, events) = (Arc::clone(&counters), Arc::clone(&events));
        async move { report(&event, &counters, &events) }
    });
    let mut reason = "no answer".to_owned();
    loop {
        let attempt = timeout_at(deadline, options.clone().connect(&addresses)).await;
        match attempt {
            Ok(Ok(client)) => return Ok((client, Changes { connects, disconnects })),
            Ok(Err(error)) => match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    return Err(setup(
                            "the brokers refuse the credentials; check the user, token or file of credentials"
                                .into(),
                        ));
                }
                ConnectErrorKind::Tls => return Err(tls_fails(&error)),
                // The client does not tell a failed handshake from a connection that is lost.
                ConnectErrorKind::Io if is_of_tls(&error) => return Err(tls_fails(&error)),
                ConnectErrorKind::ServerParse
                | ConnectErrorKind::Dns
                | ConnectErrorKind::TimedOut
                | ConnectErrorKind::Io
                | ConnectErrorKind::MaxReconnects => reason = error.to_string(),
            },
            // The last attempt has no time to fail as those before it.
            Err(_) => {}
        }
        if Instant::now() + RETRY >= deadline {
            return Err(EngineError::Unavailable(format!(
                "no broker at {}: {reason}; start nats-server with -js, or check the addresses",
                hosts(&addresses)
            )));
        }
        sleep(RETRY).await;
    }
}

/// The credentials in addresses: a user and a password, or a user alone, which is a token.
fn credentials(addresses: &[ServerAddr]) -> Result<Option<Credentials>, EngineError> {
    let parts = addresses.iter().filter_map(|it| Some((it.username()?, it.password())));
    let mut parts: Vec<_> = parts.collect();
    parts.dedup();
    let (user, password) = match parts[..] {
        [] => return Ok(None),
        [one] => one,
        _ => {
            return Err(setup(
                "the addresses of the brokers have different credentials; use the same ones".into(),
            ));
        }
    };
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().map(String::from);
        decoded.map_err(|_| setup("the credentials in an address are not UTF-8".into()))
    };
    Ok(Some(match password {
        Some(password) => Credentials::User { name: decode(user)?, password: decode(password)? },
        None => Credentials::Token(decode(user)?),
    }))
}

fn without_credentials(address: ServerAddr) -> Result<ServerAddr, EngineError> {
    let mut url = address.into_inner();
    let removed = url.set_username("").and_then(|()| url.set_password(None));
    let address = removed.ok().and_then(|()| ServerAddr::from_url(url).ok());
    address.ok_or_else(invalid_address)
}

fn invalid_address() -> EngineError {
    setup("the address of a broker is not valid; use one such as nats://host:4222".into())
}

fn unreadable(content: &str, path: &Path, error: std::io::Error) -> EngineError {
    let action = format!("read the {content} in {}", path.display());
    EngineError::Io { action, source: Arc::new(error) }
}

fn tls_fails(error: &ConnectError) -> EngineError {
    setup(format!(
        "TLS with the brokers fails: {error}; check the certificates, and that the addresses have the names in them"
    ))
}

/// Whether the handshake has failed.
fn is_of_tls(error: &ConnectError) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        source = error.source();
    }
    false
}

/// Addresses without credentials.
fn hosts(addresses: &[ServerAddr]) -> String {
    addresses.iter().map(host).collect::<Vec<_>>().join(", ")
}

/// An address without credentials.
fn host(address: &ServerAddr) -> String {
    format!("{}:{}", address.host(), address.port())
}

fn report(
    event: &async_nats::Event,
    counters: &(watch::Sender<u64>, watch::Sender<u64>),
    events: &Events,
) {
    match event {
        async_nats::Event::Connected => {
            tracing::debug!("connected to a broker");
            counters.0.send_modify(|count| *count += 1);
        }
        async_nats::Event::Disconnected => {
            counters.1.send_modify(|count| *count += 1);
            events.lost(&"the connection is lost");
        }
        async_nats::Event::SlowConsumer(_) => {
            tracing::debug!("this node reads too slowly; it reads from the stream what it missed");
        }
        async_nats::Event::ServerError(error) => {
            tracing::warn!(%error, "a broker reports an error")
        }
        async_nats::Event::ClientError(error) => tracing::warn!(%error, "the connection fails"),
        async_nats::Event::LameDuckMode
        | async_nats::Event::Draining
        | async_nats::Event::Closed => {}
    }
}

// Credentials are secret, and addresses can hold them.
impl fmt::Debug for JetStreamBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = match self.addresses() {
            Ok(addresses) => addresses.iter().map(host).collect(),
            Err(_) => vec!["not valid".into()],
        };
        f.debug_struct("JetStreamBuilder")
            .field("hosts", &hosts)
            .field("prefix", &self.prefix)
            .field("replicas", &self.replicas)
            .field("max_bytes", &self.max_bytes)
            .field("open_timeout", &self.open_timeout)
            .field("append_timeout", &self.append_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let builder = JetStreamBuilder::new(vec!["nats://user:s3cret@host:4333".into()]);
        for builder in [
            builder.clone(),
            builder.clone().token("s3cret"),
            builder.clone().user_and_password("u", "s3cret"),
            builder.nkey_seed("s3cret"),
        ] {
            let shown = format!("{builder:?}");
            assert!(shown.contains("host:4333") && !shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn addresses_have_credentials() {
        let of = |addresses: &[&str]| {
            let addresses: Vec<ServerAddr> =
                addresses.iter().map(|it| it.parse().unwrap()).collect();
            credentials(&addresses)
        };
        assert!(matches!(of(&["nats://a", "tls://b"]), Ok(None)));
        let Ok(Some(Credentials::User { name, password })) =
            of(&["nats://u%40x:p%C3%A4%2Fss%@a", "nats://b", "nats://u%40x:p%C3%A4%2Fss%@c"])
        else {
            panic!("no user")
        };
        assert_eq!((&*name, &*password), ("u@x", "pä/ss%"));
        assert!(
            matches!(of(&["nats://t0ken@a"]), Ok(Some(Credentials::Token(it))) if it == "t0ken")
        );
        for other in ["nats://u:q@b", "nats://u:%ff@b"] {
            let error = of(&["nats://u:%ff@a", other]).map(drop).unwrap_err().to_string();
            assert!(!error.contains("%ff"), "{error}");
        }
        let bare = without_credentials("tls://u:s3cret@[::1]:4333".parse().unwrap()).unwrap();
        assert_eq!(bare.as_url_str().trim_end_matches('/'), "tls://[::1]:4333");
    }

    #[tokio::test]
    async fn bad_options_are_refused() {
        let refused =
            async |builder: JetStreamBuilder| builder.open().await.err().unwrap().to_string();
        let address = JetStreamBuilder::new(vec!["nats://u:s3cret@[".into()]);
        let error = refused(address).await;
        assert!(error.contains("not valid") && !error.contains("s3cret"), "{error}");
        assert!(refused(JetStreamBuilder::new(Vec::new())).await.contains("no address"));
        let prefix = JetStreamBuilder::new(vec!["nats://host".into()]).prefix("a.b");
        assert!(refused(prefix).await.contains("prefix"));
    }
}
