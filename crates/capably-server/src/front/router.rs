//! HTTP requests and where they lead.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Format, Limits, PROTOCOL_VERSION, codec};
use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode, body::Incoming, header, http::request::Parts};
use serde_json::json;
use tokio::time::timeout;

use super::{
    Shared, annotations,
    app::AppHandle,
    apps as provision, batch, channels, cors, credentials, messages, push,
    query::{self, Query},
    reply::{self, Reply, Response},
    stats, tokens,
    upgrade::{self, Upgrade},
};
use crate::hub::{RequestKind, error};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a body beyond the limit is read and thrown away.
const MAX_UNWANTED: usize = 8 * 1024 * 1024;

/// Answers one request. A WebSocket to be opened after the answer is left in `upgrade`.
pub(crate) async fn handle(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    upgrade: &mut Option<Upgrade>,
) -> Response {
    let (head, body) = request.into_parts();
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let format = reply::accepted(&head.headers, query.get("format"));
    let call = Call { shared, head, query, format };
    let app = call.app();
    let epoch = app.as_ref().map_or(0, |(app, _)| app.epoch());
    let mut answered = call.route(body, upgrade).await;
    if let Some((app, kind)) = app {
        // Nobody is told of what may be lost yet.
        if answered.is_ok()
            && let Err(error) = app.settled(epoch).await
        {
            answered = Err(error);
        }
        let now = shared.clock.now();
        app.with(|hub, _| hub.count_request(kind, answered.is_ok(), now));
    }
    let mut response = match answered {
        Ok(response) => response,
        Err(error) => {
            let reply = Reply::error(format, &error);
            let reply = if matches!(error.status_code, 408 | 413) {
                // What is left of the body will not be read.
                reply.header(header::CONNECTION, "close")
            } else {
                reply
            };
            reply.into_response()
        }
    };
    cors::open(&call.head.headers, &mut response);
    response
}

/// A request without its body.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) head: Parts,
    pub(crate) query: Query,
    /// Of the response.
    pub(crate) format: Format,
}

impl Call<'_> {
    async fn route(
        &self,
        body: Incoming,
        upgrade: &mut Option<Upgrade>,
    ) -> Result<Response, ErrorInfo> {
        let segments = query::path_segments(self.head.uri.path());
        if self.head.method == Method::GET && self.head.uri.path() == "/" {
            let (response, accepted) = upgrade::accept(self.shared, &self.head, &self.query)?;
            *upgrade = Some(accepted);
            return Ok(response);
        }
        let body = timeout(BODY_TIMEOUT, read_body(body, self.max_body()))
            .await
            .map_err(|_| error::request_timeout())?;
        if let Some(reply) = cors::preflight(&self.head) {
            return Ok(reply.into_response());
        }
        let segments = segments?;
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let reply = match (&self.head.method, &segments[..]) {
            (&Method::GET | &Method::HEAD, ["time"]) => {
                let now = self.shared.clock.now().wall;
                Reply::value(StatusCode::OK, self.format, &json!([now]))
            }
            (&Method::POST, ["apps"]) => provision::create(self, body?).await?,
            (&Method::DELETE, ["apps", id]) => provision::delete(self, id)?,
            (&Method::POST, ["keys", key_name, "requestToken"]) => {
                tokens::request(self, key_name, &body?)?
            }
            (&Method::POST, ["keys", key_name, "revokeTokens"]) => {
                tokens::revoke(self, key_name, &body?)?
            }
            (&Method::POST, ["stats"]) => stats::post(self, &body?)?,
            (&Method::GET, ["stats"]) => stats::get(self)?,
            (&Method::POST, ["channels", channel, "messages"]) => {
                channels::publish(self, channel, body?)?
            }
            (&Method::GET, ["channels", channel, word @ ("messages" | "history")]) => {
                channels::history(self, channel, word)?
            }
            (&Method::GET, ["channels", channel, "messages", serial]) => {
                messages::get(self, channel, serial)?
            }
            (&Method::PATCH, ["channels", channel, "messages", serial]) => {
                messages::change(self, channel, serial, body?)?
            }
            (&Method::GET, ["channels", channel, "messages", serial, "versions"]) => {
                messages::versions(self, channel, serial)?
            }
            (&Method::POST, ["channels", channel, "messages", serial, "annotations"]) => {
                annotations::publish(self, channel, serial, body?)?
            }
            (&Method::GET, ["channels", channel, "messages", serial, "annotations"]) => {
                annotations::list(self, channel, serial)?
            }
            (&Method::POST, ["messages"]) => batch::publish(self, &body?)?,
            (&Method::GET, ["presence"]) => batch::presence(self)?,
            (_, ["push", rest @ ..]) => push::answer(self, rest, &body?)?,
            (&Method::GET, ["channels"]) => channels::channels(self)?,
            (&Method::GET, ["channels", channel]) => channels::status(self, channel)?,
            (&Method::GET, ["channels", channel, "presence"]) => channels::members(self, channel)?,
            (&Method::GET, ["channels", channel, "presence", "history"]) => {
                channels::presence_history(self, channel)?
            }
            _ => return Err(error::not_found()),
        };
        Ok(reply.into_response())
    }

    /// The version of the protocol that the client speaks; the latest unless it says otherwise.
    pub(crate) fn version(&self) -> f64 {
        let version = self.head.headers.get("x-ably-version").and_then(|it| it.to_str().ok());
        let version = version.or_else(|| self.query.get("v")).and_then(|it| it.parse().ok());
        version.unwrap_or(f64::from(PROTOCOL_VERSION))
    }

    /// The app whose credentials the request has, or whose token it asks for.
    fn app(&self) -> Option<(Arc<AppHandle>, RequestKind)> {
        let path = self.head.uri.path();
        let key_name = path.strip_prefix("/keys/").and_then(|it| it.strip_suffix("/requestToken"));
        let (app, kind) = match key_name {
            Some(name) => {
                let app_id = name.split('.').next().unwrap_or_default();
                (self.shared.app(app_id), RequestKind::Token)
            }
            None if path == "/" || self.head.method == Method::OPTIONS => return None,
            None => {
                let app = credentials::app(self.shared, &self.head.headers, &self.query);
                let is_push = path.starts_with("/push/");
                (app, if is_push { RequestKind::Push } else { RequestKind::Other })
            }
        };
        Some((app?, kind))
    }

    /// The format of the request's body, and how it may be built.
    pub(crate) fn body_format(&self) -> (Format, Limits) {
        let limits = Limits { max_size: self.max_body(), max_depth: codec::MAX_PUBLISH_DEPTH };
        (reply::content_type(&self.head.headers), limits)
    }

    fn max_body(&self) -> usize {
        self.shared.settings.max_frame_size
    }
}

/// Reads a body of at most `limit` bytes.
///
/// Whatever the answer, the body is read first: a connection that is closed with some of it unread may
/// take the answer with it. Only of a body far beyond the limit the rest is left.
async fn read_body(mut body: Incoming, limit: usize) -> Result<Bytes, ErrorInfo> {
    let mut bytes = Vec::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| error::bad_request("the body ended early"))?;
        let Some(data) = frame.data_ref() else { continue };
        size += data.len();
        if size <= limit {
            bytes.extend_from_slice(data);
        } else if size > limit.saturating_add(MAX_UNWANTED) {
            break;
        }
    }
    if size > limit { Err(error::body_too_large(limit)) } else { Ok(bytes.into()) }
}
