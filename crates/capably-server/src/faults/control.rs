//! An HTTP server for rules and the log.

use std::{fmt, net::SocketAddr, sync::Arc};

use capably_protocol::{ErrorInfo, Format};
use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, StatusCode, body::Incoming, header};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet};

use super::{Faults, RuleId, json as language};
use crate::{
    ServerError,
    front::http::{
        connection::{Handle, serve_http},
        query,
        reply::{Reply, Response},
    },
    hub::error,
    service::{Listener, Service, Sockets, Stop, accept},
};

/// Largest request, in bytes.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// An HTTP server with which other programs add rules to [`Faults`] and read the log. Dropping it stops it.
///
/// | request | response |
/// |---|---|
/// | `GET /rules` | all rules in order, each with its `id` and how often it was `applied` |
/// | `POST /rules` | adds a rule, an array of rules, or `{"rules": […], "position": "prepend"}`; 201 with the `ids` |
/// | `DELETE /rules`, `DELETE /rules/{id}` | removes all rules, or one; 204, or 404 when the rule does not exist |
/// | `POST /actions` | applies an action at once to all open connections, or to the one of this `connection` number; 200 with the numbers of the `connections` |
/// | `GET /connections` | the numbers of the open `connections` |
/// | `GET /log` | the `events` in the log, and how many older ones are `forgotten` |
/// | `DELETE /log` | removes all events; 204 |
///
/// Rules, actions and events are those of Ably's test proxy, [described here](super#from-outside):
///
/// ```json
/// { "match": { "type": "ws_frame_to_client", "action": "CONNECTED", "count": 2 },
///   "action": { "type": "replace", "message": { "action": 9, "error": { "code": 50000 } } },
///   "times": 1, "comment": "the second connection fails" }
/// ```
///
/// | match | its conditions; all but `delayMs` are optional |
/// |---|---|
/// | `ws_connect` | `count`, `connection`, `queryContains` (`{"resume": "*"}`: any value) |
/// | `ws_frame_to_client`, `ws_frame_to_server` | those of `ws_connect`, and `action` (a name or a number), `channel` |
/// | `delay_after_ws_connect` | those of `ws_connect`, and `delayMs` |
/// | `http_request` | `count`, `method`, `pathContains` |
///
/// | match | actions |
/// |---|---|
/// | `ws_connect` | `refuse_connection`, `accept_and_close` (`closeCode`), `disconnect`, `delay` (`delayMs`), `http_respond` (`status`, `body`, `headers`) |
/// | frames | `suppress`, `suppress_onwards`, `replace` (`message`), `delay`, and those of the next row |
/// | `delay_after_ws_connect`, `POST /actions` | `inject_to_client` and `inject_to_server` (`message`), `inject_to_client_and_close`, `close` (`closeCode`), `disconnect` |
/// | `http_request` | `http_respond`, `http_replace_response`, `http_delay` (`delayMs`), `http_drop` |
///
/// Every match may have the action `passthrough`. `action` may be an array of actions. A `message` may also be
/// `{"text": "…"}` or `{"binary": "<base64>"}`, which is sent as it is.
///
/// The log does not show keys and tokens. It shows connection keys, because they tell which connection was resumed.
/// Requests from web pages are refused.
pub struct FaultControl(Service);

impl FaultControl {
    /// Starts to listen on this address; port 0 takes a free port. Use a loopback address: there is no authentication.
    ///
    /// # Errors
    /// A [`ServerError`] when the port is in use.
    pub async fn start(address: SocketAddr, faults: &Faults) -> Result<Self, ServerError> {
        let control = Control(faults.clone());
        let listener = Listener::bind(address)?;
        Ok(Self(Service::start(listener, |socket, stop| serve(socket, stop, control))))
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.address()
    }
}

impl fmt::Debug for FaultControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultControl").field("address", &self.0.address()).finish_non_exhaustive()
    }
}

async fn serve(listener: Sockets, mut stop: Stop, control: Control) {
    let mut tasks = JoinSet::new();
    let control = Arc::new(control);
    let stopping = stop.clone();
    accept(listener, &mut tasks, &mut stop, |stream| {
        serve_stream(stream, stopping.clone(), Arc::clone(&control))
    })
    .await;
}

async fn serve_stream(stream: TcpStream, stop: Stop, control: Arc<Control>) {
    serve_http(stream, stop, &*control).await;
}

struct Control(Faults);

impl Handle for Control {
    type Upgrade = ();

    async fn handle(&self, request: Request<Incoming>, _: &mut Option<()>) -> Option<Response> {
        let reply = self.answer(request).await;
        Some(reply.unwrap_or_else(|error| Reply::error(Format::Json, &error)).into_response())
    }
}

impl Control {
    async fn answer(&self, request: Request<Incoming>) -> Result<Reply, ErrorInfo> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY)
            .collect()
            .await
            .map_err(|_| error::body_too_large(MAX_BODY))?
            .to_bytes();
        if head.headers.contains_key(header::ORIGIN) {
            return Err(ErrorInfo::new(
                40300.into(),
                403,
                "the control port refuses requests from web pages",
            ));
        }
        let segments = query::path_segments(head.uri.path())?;
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        answer(&self.0, &head.method, &segments, &body)
    }
}

/// Answers a request whose path has these segments.
///
/// # Errors
/// Code 40400 for another path or an unknown rule, 40000 for a body that cannot be read.
pub(crate) fn answer(
    faults: &Faults,
    method: &Method,
    segments: &[&str],
    body: &[u8],
) -> Result<Reply, ErrorInfo> {
    let json = |value: Value| Ok(Reply::value(StatusCode::OK, Format::Json, &value));
    let done = || Ok(Reply::empty(StatusCode::NO_CONTENT));
    match (method, segments) {
        (&Method::GET, ["rules"]) => json(language::rules_to_json(&faults.rules())),
        (&Method::POST, ["rules"]) => {
            let (rules, first) =
                language::rules_from_json(parsed(body)?).map_err(error::bad_request)?;
            let mut ids: Vec<RuleId> = if first {
                // Added in reverse, so that the first rule ends up in front of the others.
                rules.into_iter().rev().map(|rule| faults.add_first(rule)).collect()
            } else {
                rules.into_iter().map(|rule| faults.add(rule)).collect()
            };
            if first {
                ids.reverse();
            }
            let ids: Vec<u64> = ids.into_iter().map(|id| id.0).collect();
            Ok(Reply::value(StatusCode::CREATED, Format::Json, &json!({ "ids": ids })))
        }
        (&Method::DELETE, ["rules"]) => {
            faults.clear();
            done()
        }
        (&Method::DELETE, ["rules", id]) => {
            let id = id.parse().map_err(|_| error::not_found())?;
            if faults.remove(RuleId(id)) { done() } else { Err(error::not_found()) }
        }
        (&Method::POST, ["actions"]) => {
            let (number, strike) =
                language::strike_from_json(parsed(body)?).map_err(error::bad_request)?;
            let mut connections = faults.connections();
            if let Some(number) = number {
                connections = connections.number(number);
            }
            connections.strike(&strike);
            json(json!({ "connections": connections.numbers().collect::<Vec<_>>() }))
        }
        (&Method::GET, ["connections"]) => {
            json(json!({ "connections": faults.connections().numbers().collect::<Vec<_>>() }))
        }
        (&Method::GET, ["log"]) => json(language::log_to_json(&faults.log())),
        (&Method::DELETE, ["log"]) => {
            faults.clear_log();
            done()
        }
        _ => Err(error::not_found()),
    }
}

fn parsed(body: &[u8]) -> Result<Value, ErrorInfo> {
    serde_json::from_slice(body).map_err(|problem| error::bad_request(problem.to_string()))
}
