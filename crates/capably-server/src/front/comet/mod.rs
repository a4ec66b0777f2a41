//! Comet: the realtime protocol in HTTP requests, for clients whose network lets no WebSocket through.
//!
//! `GET /comet/connect` opens a session and receives its first frames, as one stream or as one array. Later requests
//! name the session by its connection key: `GET /comet/{key}/recv` receives, `POST /comet/{key}/send` sends, `/close`
//! and `/disconnect` end it. The session is the same as that of a WebSocket; it runs in a task of its own, because no
//! request lasts as long. A client that stops to receive is disconnected as one that reads nothing, and can resume.
//!
//! - [`exchange`] has the frames on their way between a session and the requests;
//! - [`sessions`] finds the session of a key.

mod exchange;
pub(super) mod sessions;

use std::{future::poll_fn, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use capably_protocol::{
    ClientFrame, ErrorInfo, Format, ServerFrame,
    codec::{self, FrameBatch},
    frame::ErrorFrame,
};
use hyper::{
    Method, StatusCode,
    body::Incoming,
    header::{self, HeaderName},
    http::request::Parts,
};
use tokio::time::timeout;

pub(super) use self::exchange::Mailbox;
use self::{exchange::exchange, sessions::CometSession};
use super::{
    Shared, credentials,
    http::{
        query::{self, Query},
        reply::{self, Reply},
    },
    rest,
    socket::{Opening, carrier::Carrier, session::Session},
};
use crate::hub::{auth::Credentials, error};

/// A body of a request may be this many times as large as a frame: clients collect frames while a request is under way.
const FRAMES_IN_BODY: usize = 8;

/// How long `/close` and `/disconnect` wait for the end of the session.
const MAX_END: Duration = Duration::from_secs(8);

/// Whether comet answers a request.
pub(super) fn answers(head: &Parts) -> bool {
    head.method != Method::OPTIONS && head.uri.path().starts_with("/comet/")
}

/// Answers a request of the client at `peer`. The body of an error has a frame, as the body of every response does.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    head: &Parts,
    query: &Query,
    body: Incoming,
    peer: Option<SocketAddr>,
) -> Result<Reply, Refused> {
    let credentials = credentials::in_request(&head.headers, query);
    let path = query::path_segments(head.uri.path())?;
    let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
    let wants_stream = query.get("stream").map(|stream| stream != "false");
    match (&head.method, &path[..]) {
        (&Method::GET, ["comet", "connect"]) => {
            let opening = Opening::read(shared, head, query, credentials).over_http(shared, peer);
            connect(shared, opening, wants_stream.unwrap_or(true)).await
        }
        (&Method::GET, ["comet", key, "recv"]) => {
            let session = find(shared, key, credentials)?;
            receive(&session, wants_stream.unwrap_or(session.streams)).await
        }
        (&Method::POST, ["comet", key, "send"]) => {
            let session = find(shared, key, credentials)?;
            send(shared, &session, head, body).await
        }
        (&Method::GET, ["comet", key, "close"]) => {
            let session = find(shared, key, credentials)?;
            let format = session.exchange.format();
            let mut close = Vec::new();
            codec::encode_client_frame(format, &ClientFrame::Close, &mut close);
            session.exchange.send(vec![close.into()]).await;
            Ok(end(&session).await)
        }
        (&Method::GET, ["comet", key, "disconnect"]) => {
            let session = find(shared, key, credentials)?;
            session.exchange.disconnect();
            Ok(end(&session).await)
        }
        _ => Err(error::not_found().into()),
    }
}

/// Opens a session, and receives its first frames.
async fn connect(shared: &Arc<Shared>, opening: Opening, streams: bool) -> Result<Reply, Refused> {
    if !shared.operating.readiness.accepts_clients() {
        return Err(error::shutting_down().into());
    }
    let format = opening.format();
    let (mailbox, exchange) = exchange(format, shared.settings.max_frame_size);
    let client = opening.client_id();
    let session = Session::open(Arc::clone(shared), Carrier::Comet(mailbox), opening)
        .map_err(|refused| Refused { error: refused.error, format: Some(format) })?;
    let (key, app) = (session.connection_key(), session.app_id());
    let opened = CometSession { app, client, streams, exchange };
    let opened = shared.comets.run(session, key, opened).ok_or_else(error::shutting_down)?;
    receive(&opened, streams).await
}

/// The session of a connection key, for credentials that may use it.
///
/// # Errors
/// Codes 40101, 40142, 40144, 40400 for the credentials; 80018 when this server has no session with the key, so that
/// the client must resume; 40102 when the session is of another app or client.
fn find(
    shared: &Shared,
    key: &str,
    credentials: Result<Option<Credentials>, ErrorInfo>,
) -> Result<Arc<CometSession>, ErrorInfo> {
    let credentials = credentials?.ok_or_else(credentials::missing)?;
    let (app, identity) = credentials::admit(shared, &credentials, None)?;
    let session = shared.comets.get(key).ok_or_else(error::no_comet)?;
    if *session.app != *app.id() {
        return Err(error::other_app());
    }
    match (&session.client, identity.client.name()) {
        (Some(own), Some(other)) if own != other => Err(error::incompatible_client()),
        _ => Ok(session),
    }
}

/// Receives frames: until the session ends or a newer request takes over, or one array.
async fn receive(session: &CometSession, streams: bool) -> Result<Reply, Refused> {
    let format = session.exchange.format();
    let no_session = || Refused { error: error::no_comet(), format: Some(format) };
    let mut receiver = session.exchange.receive().ok_or_else(no_session)?;
    if streams {
        let reply = Reply::stream(format.content_type(), Box::new(receiver.into_stream()));
        // A reverse proxy that knows the header forwards each piece at once.
        let unbuffered = HeaderName::from_static("x-accel-buffering");
        return Ok(reply.header(header::CACHE_CONTROL, "no-store").header(unbuffered, "no"));
    }
    let frames = poll_fn(|cx| receiver.poll_frames(cx)).await;
    Ok(array(format, frames))
}

/// Gives the frames in the body to the session. The answers are among the frames that the client receives, so that
/// they stay in the order of their causes.
async fn send(
    shared: &Shared,
    session: &CometSession,
    head: &Parts,
    body: Incoming,
) -> Result<Reply, Refused> {
    let format = session.exchange.format();
    let refused = |error| Refused { error, format: Some(format) };
    let limit = shared.settings.max_frame_size.saturating_mul(FRAMES_IN_BODY);
    let body = rest::body(body, limit).await.map_err(refused)?;
    let named = reply::named_type(&head.headers).unwrap_or(format);
    let frames =
        codec::split_frames(named, &body).filter(|_| named == format).ok_or_else(|| {
            refused(error::protocol(format!("the body is no array of frames in {}", format.name())))
        })?;
    match session.exchange.send(frames).await {
        true => Ok(array(format, None)),
        false => Err(refused(error::no_comet())),
    }
}

/// Waits for the end of the session. Its last frames are in the reply if no other request receives them.
async fn end(session: &CometSession) -> Reply {
    let exchange = &session.exchange;
    // The end may have to wait for the engine. The client need not.
    let ended = timeout(MAX_END, exchange.ended()).await;
    array(exchange.format(), ended.ok().map(|()| exchange.rest()))
}

fn array(format: Format, frames: Option<Bytes>) -> Reply {
    let frames = frames.unwrap_or_else(|| FrameBatch::new(format).take());
    Reply::encoded(StatusCode::OK, format, frames).header(header::CACHE_CONTROL, "no-store")
}

/// Why a request is refused.
pub(super) struct Refused {
    pub(super) error: ErrorInfo,
    /// The format of the session, if it is known.
    format: Option<Format>,
}

impl From<ErrorInfo> for Refused {
    fn from(error: ErrorInfo) -> Self {
        Self { error, format: None }
    }
}

impl Refused {
    /// The reply: an ERROR, or a DISCONNECTED for an error after which the client may connect again. It is in the
    /// format of the session, or else in `format`.
    pub(super) fn into_reply(self, format: Format) -> Reply {
        let Self { error, format: own } = self;
        let format = own.unwrap_or(format);
        let mut batch = FrameBatch::new(format);
        let own = Some(error.clone());
        let is_final = error.status_code < 500 && !may_connect_again(&error);
        let frame = match is_final {
            true => ServerFrame::Error(ErrorFrame { channel: None, error: own }),
            false => ServerFrame::Disconnected { error: own },
        };
        batch.push_with(|out| codec::encode_server_frame(format, &frame, out));
        let status = StatusCode::from_u16(error.status_code);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Reply::encoded(status, format, batch.take())
            .header(HeaderName::from_static("x-ably-errorcode"), error.code.0.to_string())
            .header(HeaderName::from_static("x-ably-errormessage"), reply::in_ascii(&error.message))
    }
}

/// Whether the client may connect again: with a new token (RSA4b), or to resume.
fn may_connect_again(error: &ErrorInfo) -> bool {
    (40_140..40_150).contains(&error.code.0) || *error == error::no_comet()
}
