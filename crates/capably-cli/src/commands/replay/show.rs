//! A recording as a readable story.

use serde_json::Value;

use crate::{
    clock,
    failure::Failure,
    output::Output,
    trace::{Body, Event, Pairs, Peer, Recording, for_json},
    visible::visible,
};

/// The longest text of a line that tells more about an event.
const MAX_DETAIL: usize = 300;

/// Prints a recording: for people, or each event as JSON.
pub(super) fn print(recording: &Recording, json: bool, output: &mut Output) -> Result<(), Failure> {
    if !json {
        output.line(format_args!(
            "Recording of {}, begun on {} at {} UTC\n",
            visible(&recording.service),
            clock::date(recording.timestamp),
            clock::time_of_day(recording.timestamp),
        ))?;
    }
    for line in &recording.lines {
        match json {
            // A recording that was read can be written.
            true => output.json(serde_json::to_string(line).unwrap_or_default())?,
            false => {
                let (who, what) = story(&line.event);
                let seconds = format!("{}.{:03}", line.ms / 1000, line.ms % 1000);
                output.line(format_args!("{seconds:>9} s  {who:<14} {}", visible(&what)))?;
            }
        }
    }
    Ok(())
}

/// The connection or the request of an event, and what happened.
fn story(event: &Event) -> (String, String) {
    let connection = |number: &u64| format!("connection {number}");
    let request = |number: &u64| format!("request {number}");
    match event {
        Event::Connect { connection: number, path, query, .. } => {
            (connection(number), format!("→ opens a WebSocket: {path} {}", pairs(query)))
        }
        Event::Opened { connection: number } => (connection(number), "← opened".to_owned()),
        Event::Refused { connection: number, status, body, .. } => {
            (connection(number), format!("← refused with status {status}{}", detail(body)))
        }
        Event::Frame { connection: number, to, action, frame, .. } => {
            let arrow = arrow(*to);
            (connection(number), format!("{arrow} {action}{}", fields(frame)))
        }
        Event::Unreadable { connection: number, to, bytes } => {
            (connection(number), format!("{} {bytes} bytes that are no frame", arrow(*to)))
        }
        Event::Closed { connection: number, by, code } => {
            let by = match by {
                Peer::Client => "the client",
                Peer::Service => "the service",
            };
            let code = match code {
                Some(code) => format!("with code {code}"),
                None => "without a close frame".to_owned(),
            };
            (connection(number), format!("✕ {by} ends it, {code}"))
        }
        Event::Request { request: number, method, path, query, body, .. } => {
            let query = if query.is_empty() { String::new() } else { format!("?{}", pairs(query)) };
            (request(number), format!("→ {method} {path}{query}{}", detail(body)))
        }
        Event::Response { request: number, status, body, .. } => {
            (request(number), format!("← {status}{}", detail(body)))
        }
        Event::Unreachable { connection: number, request: other, error } => {
            let who = match (number, other) {
                (Some(number), _) => connection(number),
                (None, Some(number)) => request(number),
                (None, None) => String::new(),
            };
            (who, format!("✕ the service cannot be reached: {error}"))
        }
        Event::Start { .. } | Event::End => (String::new(), String::new()),
    }
}

fn arrow(to: Peer) -> &'static str {
    match to {
        Peer::Client => "←",
        Peer::Service => "→",
    }
}

fn pairs(pairs: &Pairs) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}

/// The channel of a frame, then its other fields.
fn fields(frame: &Value) -> String {
    let mut rest = for_json(frame.clone());
    let mut text = String::new();
    if let Some(fields) = rest.as_object_mut() {
        fields.remove("action");
        if let Some(Value::String(channel)) = fields.remove("channel") {
            text = format!(" {channel}");
        }
        if !fields.is_empty() {
            text = format!("{text} {}", shortened(&rest.to_string()));
        }
    }
    text
}

fn detail(body: &Body) -> String {
    match body {
        Body::Value { value, .. } => {
            format!(": {}", shortened(&for_json(value.clone()).to_string()))
        }
        Body::Text { text } => format!(": {}", shortened(text)),
        Body::Bytes { bytes: 0 } => String::new(),
        Body::Bytes { bytes } => format!(": {bytes} bytes"),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_DETAIL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
