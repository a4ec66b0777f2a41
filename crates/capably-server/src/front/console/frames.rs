//! Recording of the frames between the server and the clients of an app.
//!
//! It is off until an operator turns it on, and ends when nobody reads any more: then it costs one look at a flag for
//! each batch of frames.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use capably_protocol::{ClientFrame, ErrorInfo, Millis, ServerFrame, frame::Action};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::api::{Call, reply};
use crate::{
    faults,
    front::{http::reply::Reply, operating::ClientFacts},
    hub::{Now, error},
};

/// Most frames of an app, and most bytes of their texts.
const MAX_FRAMES: usize = 5_000;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A longer text is cut, in bytes.
const MAX_TEXT: usize = 4 * 1024;

/// A recording that nobody reads for this long ends.
const UNREAD: Duration = Duration::from_secs(60);

const USUAL_LIMIT: usize = 500;
const MAX_LIMIT: usize = 1000;

const REDACTED: &str = "[redacted]";

/// The recordings of all apps.
#[derive(Debug, Default)]
pub(in crate::front) struct Recorder {
    /// Whether there is any recording.
    is_on: AtomicBool,
    recordings: Mutex<HashMap<String, Recording>>,
}

/// The last frames of an app.
#[derive(Debug, Default)]
struct Recording {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// The number of the newest frame. Numbers begin with 1.
    newest: u64,
    /// When it was read last, by the steady clock.
    read: Duration,
}

#[derive(Clone, Debug)]
struct Frame {
    number: u64,
    time: Millis,
    client: Arc<ClientFacts>,
    is_to_client: bool,
    action: Value,
    channel: Option<String>,
    bytes: usize,
    text: Arc<str>,
}

impl Recorder {
    /// Whether any app is recorded.
    pub(in crate::front) fn is_recording(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether the app is recorded.
    pub(super) fn is_on(&self, app: &str) -> bool {
        self.is_recording() && self.lock().contains_key(app)
    }

    fn set(&self, app: &str, on: bool, now: Now) {
        let mut recordings = self.lock();
        if on {
            recordings.entry(app.to_owned()).or_default().read = now.steady;
        } else {
            recordings.remove(app);
        }
        self.is_on.store(!recordings.is_empty(), Ordering::Relaxed);
    }

    /// A client has sent a WebSocket message of `bytes` bytes. `None` for one that is no frame: it may have secrets in it, so it
    /// is not shown.
    pub(in crate::front) fn received(
        &self,
        app: &str,
        client: &Arc<ClientFacts>,
        frame: Option<&ClientFrame>,
        bytes: usize,
        now: Now,
    ) {
        self.record(app, client, false, bytes, now, || {
            frame.map_or(Value::Null, faults::client_frame_to_json)
        });
    }

    /// A client was sent a frame of `bytes` bytes.
    pub(in crate::front) fn sent(
        &self,
        app: &str,
        client: &Arc<ClientFacts>,
        frame: &ServerFrame,
        bytes: usize,
        now: Now,
    ) {
        self.record(app, client, true, bytes, now, || faults::server_frame_to_json(frame));
    }

    fn record(
        &self,
        app: &str,
        client: &Arc<ClientFacts>,
        is_to_client: bool,
        bytes: usize,
        now: Now,
        to_json: impl FnOnce() -> Value,
    ) {
        if !self.is_on(app) {
            return;
        }
        let mut json = to_json();
        redact(&mut json);
        let number = json["action"].as_u64();
        let action = number.and_then(|it| u32::try_from(it).ok()).map(action_name);
        let channel = json["channel"].as_str().map(str::to_owned);
        let text = if json.is_null() { String::new() } else { json.to_string() };
        let frame = Frame {
            number: 0,
            time: now.wall,
            client: Arc::clone(client),
            is_to_client,
            action: action.into(),
            channel,
            bytes,
            text: cut(&text).into(),
        };
        let mut recordings = self.lock();
        let Some(recording) = recordings.get_mut(app) else { return };
        if now.steady.saturating_sub(recording.read) > UNREAD {
            recordings.remove(app);
            self.is_on.store(!recordings.is_empty(), Ordering::Relaxed);
            return;
        }
        recording.push(frame);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Recording>> {
        self.recordings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recording {
    fn push(&mut self, frame: Frame) {
        self.newest += 1;
        self.bytes += frame.text.len();
        self.frames.push_back(Frame { number: self.newest, ..frame });
        while self.frames.len() > MAX_FRAMES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
    }

    /// The first `limit` frames after the number that match, how many before them are lost, and where to go on.
    fn after(
        &self,
        after: u64,
        limit: usize,
        matches: impl Fn(&Frame) -> bool,
    ) -> (Vec<Frame>, u64, u64) {
        let first = self.newest - self.frames.len() as u64 + 1;
        // A cursor of an earlier recording begins anew.
        let after = if after > self.newest { 0 } else { after };
        let lost = first.saturating_sub(after + 1);
        let mut found = Vec::new();
        for frame in self.frames.iter().filter(|frame| frame.number > after) {
            if matches(frame) {
                found.push(frame.clone());
                if found.len() == limit {
                    return (found, lost, frame.number);
                }
            }
        }
        (found, lost, self.newest)
    }
}

/// `GET frames`.
pub(super) fn get(call: &Call<'_>) -> Result<Reply, ErrorInfo> {
    call.session.require_operator()?;
    let after = call.query.number("after")?.unwrap_or(0);
    let limit = call.limit(USUAL_LIMIT, MAX_LIMIT)?;
    let (connection, channel) = (call.query.get("connection"), call.query.get("channel"));
    let matches = |frame: &Frame| {
        connection.is_none_or(|id| frame.client.connection.as_deref() == Some(id))
            && channel.is_none_or(|name| frame.channel.as_deref() == Some(name))
    };
    let (frames, dropped, next) = {
        let mut recordings = call.console.frames.lock();
        match recordings.get_mut(&call.session.app) {
            None => Default::default(),
            Some(recording) => {
                recording.read = call.now.steady;
                recording.after(after, limit, matches)
            }
        }
    };
    let frames: Vec<_> = frames.iter().map(details).collect();
    let found = json!({ "frames": frames, "dropped": dropped, "next": next });
    Ok(reply(StatusCode::OK, &found))
}

/// `PUT frames`.
pub(super) fn put(call: &Call<'_>) -> Result<Reply, ErrorInfo> {
    call.session.require_operator()?;
    let on = call.json()?.get("on").and_then(Value::as_bool);
    let on = on.ok_or_else(|| error::bad_request("`on` must be true or false"))?;
    call.console.frames.set(&call.session.app, on, call.now);
    Ok(reply(StatusCode::OK, &json!({ "on": on })))
}

fn details(frame: &Frame) -> Value {
    json!({
        "n": frame.number,
        "time": frame.time,
        "connectionId": frame.client.connection.as_deref(),
        "direction": if frame.is_to_client { "toClient" } else { "toServer" },
        "action": frame.action,
        "channel": frame.channel,
        "bytes": frame.bytes,
        "text": &*frame.text,
    })
}

/// The name of an action, as `MESSAGE`, or its number.
fn action_name(action: u32) -> String {
    Action::from_number(action).map_or_else(|| action.to_string(), |it| it.name().to_owned())
}

/// The first [`MAX_TEXT`] bytes of a text, or a few less: characters stay whole.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Removes tokens and connection keys: with them, others could take over the client.
fn redact(frame: &mut Value) {
    for path in ["/auth/accessToken", "/connectionKey", "/connectionDetails/connectionKey"] {
        if let Some(secret) = frame.pointer_mut(path) {
            *secret = REDACTED.into();
        }
    }
}
