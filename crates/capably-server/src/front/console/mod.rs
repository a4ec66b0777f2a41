//! The console: a web page to watch and operate the server, and the API behind it.
//!
//! - [`files`] are the files of the page, [`page`] serves them;
//! - [`origin`] keeps foreign pages out, [`sessions`] strangers;
//! - [`api`] is the table of the API's requests, with a file for each resource: [`overview`], [`channels`],
//!   [`connections`], [`faults`] and [`frames`].
//!
//! It works on the main port. Nobody's requests to it count in metrics or statistics.

mod api;
mod channels;
mod connections;
mod faults;
mod files;
mod frames;
mod origin;
mod overview;
mod page;
mod rates;
mod relayed;
mod sessions;

use std::{net::IpAddr, sync::Arc, time::Duration};

use hyper::{StatusCode, body::Incoming, http::request::Parts};

pub(crate) use self::faults::FaultAccess;
pub(in crate::front) use self::frames::Recorder;
pub(crate) use self::relayed::Note;
use self::{overview::Overview, relayed::Relayed, sessions::Sessions};
use super::{
    Shared,
    http::reply::{Reply, Response},
};
use crate::hub::{Now, secret::Secret};

/// The path of the page. Everything else of the console is below it.
pub(crate) const PATH: &str = "/console/";

/// The console of a server.
#[derive(Debug)]
pub(crate) struct Console {
    sessions: Sessions,
    /// The app whose operators operate the server.
    first_app: String,
    first_key_id: String,
    /// Whether the server listens on a loopback address only.
    is_loopback: bool,
    engine: &'static str,
    /// When the server was started, by the steady clock.
    started: Duration,
    overview: Overview,
    channels: channels::Watch,
    faults: Option<FaultAccess>,
    pub(in crate::front) frames: Arc<Recorder>,
    /// The clients behind the server's own faults.
    pub(crate) relayed: Arc<Relayed>,
}

/// The parts of a [`Console`] that the builder of the server knows.
#[derive(Debug)]
pub(crate) struct ConsoleSettings {
    pub(crate) token: Secret,
    pub(crate) first_app: String,
    pub(crate) first_key_id: String,
    pub(crate) is_loopback: bool,
    /// The name of the engine, as the page shows it.
    pub(crate) engine: &'static str,
    pub(crate) faults: Option<FaultAccess>,
}

impl Console {
    pub(crate) fn new(settings: ConsoleSettings, now: Now) -> Self {
        let ConsoleSettings { token, first_app, first_key_id, is_loopback, engine, faults } =
            settings;
        Self {
            sessions: Sessions::new(token),
            first_app,
            first_key_id,
            is_loopback,
            engine,
            started: now.steady,
            overview: Overview::default(),
            channels: channels::Watch::default(),
            faults,
            frames: Arc::default(),
            relayed: Arc::default(),
        }
    }

    /// The path of the page, with the one-time token if it was not used.
    pub(crate) fn path(&self) -> String {
        let token = self.sessions.token();
        token.map_or_else(|| PATH.to_owned(), |token| format!("{PATH}#{}", token.reveal()))
    }

    /// Whether new connections go through the faults.
    pub(crate) fn has_armed_faults(&self) -> bool {
        self.faults.as_ref().is_some_and(FaultAccess::is_armed)
    }
}

/// Whether the console answers requests for this path.
pub(crate) fn answers(shared: &Shared, path: &str) -> bool {
    shared.console.is_some() && (path.starts_with(PATH) || path == PATH.trim_end_matches('/'))
}

/// Answers a request of the client at `peer` that the console [`answers`].
pub(crate) async fn respond(
    shared: &Arc<Shared>,
    head: Parts,
    body: Incoming,
    peer: Option<IpAddr>,
) -> Response {
    let Some(console) = &shared.console else {
        return Reply::empty(StatusCode::OK).into_response();
    };
    let reply = if let Err(error) = origin::check(&head.headers, console.is_loopback) {
        api::refuse(&error)
    } else {
        match head.uri.path().strip_prefix(PATH) {
            None => page::redirect(),
            Some(path) => match path.strip_prefix("api/") {
                Some(path) => api::answer(shared, console, &head, path, body, peer).await,
                None => page::answer(&head.method, path, &head.headers),
            },
        }
    };
    reply.into_response()
}
