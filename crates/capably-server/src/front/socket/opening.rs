//! The parameters with which a client opens a transport.

use std::{net::SocketAddr, time::Duration};

use capably_protocol::{ErrorInfo, Format, Str};
use hyper::http::request::Parts;

use super::heartbeat::Heartbeat;
use crate::{
    front::{
        Shared,
        credentials::{self, Admitted},
        http::query::Query,
    },
    hub::{auth::Credentials, error},
    server::LONGEST,
};

/// The transport that a client opens. It has a secret, so it has no `Debug`.
pub(crate) struct Opening {
    pub(super) format: Format,
    pub(super) echo: bool,
    pub(super) heartbeat: Heartbeat,
    /// How long the client's members stay present after its connection was lost; none for the server's default.
    pub(super) remain: Option<Duration>,
    /// The longest silence towards the client.
    pub(super) max_idle_interval: Duration,
    /// The key of the connection that the client resumes or recovers.
    pub(super) resume: Option<Str>,
    /// The client's `agent` (RTN2g), if the server has a console.
    #[cfg(feature = "console")]
    pub(super) agent: Option<Box<str>>,
    /// The address from which the client has connected over HTTP. That of a WebSocket is the address of its socket.
    #[cfg(feature = "console")]
    pub(super) address: Option<SocketAddr>,
    /// The client, or why it is refused.
    pub(super) admitted: Result<Admitted, ErrorInfo>,
}

impl Opening {
    /// Reads the parameters in the query, and checks the credentials.
    pub(in crate::front) fn read(
        shared: &Shared,
        #[cfg_attr(
            not(feature = "console"),
            expect(unused_variables, reason = "only the console wants it")
        )]
        request: &Parts,
        query: &Query,
        credentials: Result<Option<Credentials>, ErrorInfo>,
    ) -> Self {
        let (format, valid) = parameters(query);
        let idle = idle_interval(query, shared.settings.max_idle_interval);
        let max_idle_interval = idle.clone().unwrap_or(shared.settings.max_idle_interval);
        let admitted = valid.and(idle.map(drop)).and_then(|()| admit(shared, query, credentials));
        Self {
            format,
            echo: query.get("echo") != Some("false"),
            heartbeat: Heartbeat::of(query.get("heartbeats")),
            remain: query
                .get("remainPresentFor")
                .and_then(|millis| millis.parse().ok())
                .map(|millis| Duration::from_millis(millis).min(LONGEST)),
            max_idle_interval,
            resume: query.get("resume").or_else(|| query.get("recover")).map(Str::from),
            #[cfg(feature = "console")]
            agent: shared.console.as_ref().and_then(|_| agent(request, query)),
            #[cfg(feature = "console")]
            address: None,
            admitted,
        }
    }

    /// As it is over HTTP requests: there are no pings, and what is between client and server ends requests that are
    /// silent for long.
    pub(in crate::front) fn over_http(
        mut self,
        shared: &Shared,
        #[cfg_attr(
            not(feature = "console"),
            expect(unused_variables, reason = "only the console wants it")
        )]
        address: Option<SocketAddr>,
    ) -> Self {
        #[cfg(feature = "console")]
        {
            self.address = address;
        }
        self.heartbeat = self.heartbeat.without_pings();
        self.max_idle_interval = self.max_idle_interval.min(shared.settings.max_idle_interval);
        self
    }

    pub(in crate::front) fn format(&self) -> Format {
        self.format
    }

    /// The client id, if the client has only one.
    pub(in crate::front) fn client_id(&self) -> Option<Str> {
        self.admitted.as_ref().ok()?.1.client.name().cloned()
    }
}

/// Checks the credentials, under the client id in the query.
///
/// # Errors
/// Codes 40101, 40142, 40144, 40400 for the credentials; 40012, 40102 for the client id.
fn admit(
    shared: &Shared,
    query: &Query,
    credentials: Result<Option<Credentials>, ErrorInfo>,
) -> Result<Admitted, ErrorInfo> {
    let credentials = credentials?.ok_or_else(credentials::missing)?;
    credentials::admit(shared, &credentials, query.get("clientId").map(Str::from))
}

/// The most characters of an agent that are kept.
#[cfg(feature = "console")]
const MAX_AGENT: usize = 256;

/// The library of the client, as it names it: in the query (RTN2g), or in a header.
#[cfg(feature = "console")]
fn agent(request: &Parts, query: &Query) -> Option<Box<str>> {
    let header = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
    let agent = query.get("agent").or_else(|| header("ably-agent")).or_else(|| query.get("lib"));
    let agent = agent.or_else(|| header("user-agent"))?;
    Some(agent.chars().take(MAX_AGENT).collect::<String>().into())
}

/// The shortest and the longest silence that a client can ask for.
const IDLE_INTERVALS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1800));

/// The longest silence towards the client: `heartbeatInterval` in ms, clamped, or the server's default (RTC1f).
///
/// # Errors
/// Code 40003 when `heartbeatInterval` is not a number.
fn idle_interval(query: &Query, usual: Duration) -> Result<Duration, ErrorInfo> {
    let (shortest, longest) = IDLE_INTERVALS;
    let wanted = query.number("heartbeatInterval")?.map(Duration::from_millis);
    // With a shorter default, the client may ask for as little as that: the server sends that often anyway.
    Ok(wanted.map_or(usual, |wanted| wanted.clamp(shortest.min(usual), longest)))
}

/// The format, and whether `format` and `v` are valid. An error for them is sent in JSON.
fn parameters(query: &Query) -> (Format, Result<(), ErrorInfo>) {
    let format = match query.get("format") {
        None | Some("json") => Format::Json,
        Some("msgpack") => Format::MsgPack,
        Some(_) => {
            let error = error::bad_parameter("the `format` is neither `json` nor `msgpack`");
            return (Format::Json, Err(error));
        }
    };
    let version = query.get("v").map(str::parse::<f64>);
    let valid = match version {
        None => Ok(()),
        Some(Ok(version)) if version >= 1.0 => Ok(()),
        Some(_) => Err(error::bad_version()),
    };
    (format, valid)
}
