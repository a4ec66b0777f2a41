//! A recording as the script of a server: which recorded connection or response a client gets.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use hyper::{
    Request, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use serde_json::json;

use super::{compare::Tally, play};
use crate::{
    local::{self, Handle, Reply},
    output::notice,
    trace::{self, Body, Event, FrameFormat, Line, Pairs, Recording},
    visible::visible,
};

/// The recorded connections and responses that are left.
#[derive(Debug)]
pub(super) struct Script {
    speed: f64,
    tally: Arc<Tally>,
    connections: Mutex<VecDeque<(u64, Vec<Line>)>>,
    exchanges: Mutex<Vec<Exchange>>,
}

/// A recorded request with its response.
#[derive(Debug)]
struct Exchange {
    request: u64,
    method: String,
    path: String,
    outcome: Option<Event>,
    used: bool,
}

impl Script {
    pub(super) fn new(recording: Recording, speed: f64) -> Self {
        let mut connections = BTreeMap::<u64, Vec<Line>>::new();
        let mut exchanges = Vec::<Exchange>::new();
        for line in recording.lines {
            match &line.event {
                Event::Connect { connection, .. }
                | Event::Opened { connection }
                | Event::Refused { connection, .. }
                | Event::Frame { connection, .. }
                | Event::Unreadable { connection, .. }
                | Event::Closed { connection, .. }
                | Event::Unreachable { connection: Some(connection), .. } => {
                    connections.entry(*connection).or_default().push(line);
                }
                Event::Request { request, method, path, .. } => exchanges.push(Exchange {
                    request: *request,
                    method: method.clone(),
                    path: path.clone(),
                    outcome: None,
                    used: false,
                }),
                Event::Response { request, .. }
                | Event::Unreachable { request: Some(request), .. } => {
                    let asked = exchanges.iter_mut().find(|asked| asked.request == *request);
                    if let Some(asked) = asked {
                        asked.outcome = Some(line.event);
                    }
                }
                Event::Unreachable { .. } | Event::Start { .. } | Event::End => {}
            }
        }
        let connections = Mutex::new(connections.into_iter().collect());
        let tally = Arc::default();
        Self { speed, tally, connections, exchanges: Mutex::new(exchanges) }
    }

    /// The numbers of recorded connections and of requests.
    pub(super) fn counts(&self) -> (usize, usize) {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner).len();
        (connections, self.exchanges.lock().unwrap_or_else(PoisonError::into_inner).len())
    }

    /// How the frames of the client compare to the recorded ones so far.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The next recorded connection.
    fn open(&self, request: Request<Incoming>) -> io::Result<Reply> {
        let next = self.connections.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((number, lines)) = next else {
            notice("The client connects once more than in the recording.");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(error(status, 50300, "the recording has no more connections"));
        };
        let query = request.uri().query().unwrap_or_default();
        let is_msgpack = query.split('&').any(|pair| pair == "format=msgpack");
        let format = if is_msgpack { FrameFormat::Msgpack } else { FrameFormat::Json };
        for line in &lines {
            match &line.event {
                Event::Refused { status, headers, body, .. } => {
                    notice(format_args!("Connection {number} is refused, as recorded."));
                    return Ok(answer(*status, headers, body));
                }
                Event::Unreachable { .. } => {
                    notice(format_args!("Connection {number} is cut, as recorded."));
                    return Err(io::Error::other("the service was unreachable"));
                }
                Event::Opened { .. } => {
                    notice(format_args!("Connection {number} is replayed."));
                    let (speed, tally) = (self.speed, Arc::clone(&self.tally));
                    return Ok(local::upgrade(request, move |socket| {
                        play::run(number, socket, lines, format, speed, tally)
                    }));
                }
                _ => {}
            }
        }
        Err(io::Error::other("the recording has no answer"))
    }

    /// The next recorded response for a request.
    fn respond(&self, request: &Request<Incoming>) -> io::Result<Reply> {
        let (method, path) = (request.method().as_str(), request.uri().path());
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |exchange: &Exchange| {
            exchange.method == method && exchange.path == path && exchange.outcome.is_some()
        };
        // When all were given, the last one is repeated.
        let found = exchanges
            .iter()
            .position(|exchange| fits(exchange) && !exchange.used)
            .or_else(|| exchanges.iter().rposition(fits));
        let Some(found) = found else {
            let asked = format!("{method} {path}");
            notice(format_args!("The recording has no response to {}.", visible(&asked)));
            let text = format!("the recording has no response to {asked}");
            return Ok(error(StatusCode::NOT_FOUND, 40400, &text));
        };
        exchanges[found].used = true;
        match &exchanges[found].outcome {
            Some(Event::Response { status, headers, body, .. }) => {
                Ok(answer(*status, headers, body))
            }
            _ => Err(io::Error::other("the service was unreachable")),
        }
    }
}

impl Handle for Script {
    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> BoxFuture<'static, io::Result<Reply>> {
        Box::pin(async move {
            match local::is_websocket(&request) {
                true => self.open(request),
                false => self.respond(&request),
            }
        })
    }
}

/// A recorded response.
fn answer(status: u16, headers: &Pairs, body: &Body) -> Reply {
    let bytes = match body {
        Body::Value { format, value } => trace::encode(*format, value),
        Body::Text { text } => text.clone().into_bytes(),
        Body::Bytes { .. } => Vec::new(),
    };
    let status = StatusCode::from_u16(status).ok().filter(|status| status.as_u16() >= 200);
    let mut reply = local::with_body(status.unwrap_or(StatusCode::BAD_GATEWAY), bytes);
    for (name, value) in headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
        else {
            continue;
        };
        // The length was that of the body with its secrets.
        if name != header::CONTENT_LENGTH && name != header::HOST && value != "[redacted]" {
            reply.headers_mut().append(name, value);
        }
    }
    reply
}

fn error(status: StatusCode, code: u32, message: &str) -> Reply {
    let body = json!({ "error": {
        "code": code, "statusCode": status.as_u16(), "message": message,
    } });
    let mut reply = local::with_body(status, body.to_string());
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(header::CONTENT_TYPE, json);
    reply.headers_mut().insert("x-ably-errorcode", code.into());
    reply
}
