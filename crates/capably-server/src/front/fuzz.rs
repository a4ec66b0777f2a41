//! Fuzz targets of the front's private parsers, for the crate in `fuzz/`. Each must end for any bytes, without a panic, and
//! checks what has to hold of whatever the bytes are read as.

use hyper::{HeaderMap, header};
use serde_json::{Value, json};

use super::{
    http::query::{Query, path_segments},
    rest::form,
    stream::{
        framing::{EventData, Framing},
        request::StreamRequest,
    },
};

/// Paths, queries, forms, and the requests for event streams. The text before the first question mark is a path.
pub fn query(data: &[u8]) {
    let _ = form::message(data);
    let Ok(text) = str::from_utf8(data) else { return };
    let (path, text) = text.split_once('?').unwrap_or(("", text));
    let _ = path_segments(path);
    let query = Query::parse(text);
    let again = Query::parse(&query.encode());
    assert!(query.iter().eq(again.iter()), "{text} became {}", query.encode());
    let mut headers = HeaderMap::new();
    if let Ok(value) = text.parse() {
        headers.insert("last-event-id", value);
    }
    for scheme in ["", "Basic ", "Bearer "] {
        let authorization = match scheme {
            // "app.key:secret" in base64.
            "" => Ok(header::HeaderValue::from_static("Basic YXBwLmtleTpzZWNyZXQ=")),
            _ => format!("{scheme}{text}").parse(),
        };
        let Ok(authorization) = authorization else { continue };
        headers.insert(header::AUTHORIZATION, authorization);
        let _ = StreamRequest::read(&headers, path, &query);
    }
}

/// The text of an event in an event stream. Whatever it contains, a reader gets this event, and no other.
pub fn event_stream(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut framing = Framing { as_events: true, enveloped: false, heartbeats: false };
    let mut stream = Vec::new();
    framing.write(&mut stream, Some("id"), "message", EventData::Text(text));
    let stream = String::from_utf8(stream).expect("text is written as text");
    // The rules of the HTML standard: all three line ends count, and the lines of `data` are joined.
    let unix = |text: &str| text.replace("\r\n", "\n").replace('\r', "\n");
    let written = unix(&stream);
    let event = written.strip_suffix("\n\n").expect("an empty line ends the event");
    let (mut id, mut name, mut read) = (None, None, Vec::new());
    for line in event.split('\n') {
        match line.split_once(": ") {
            Some(("id", value)) => id = Some(value),
            Some(("event", value)) => name = Some(value),
            Some(("data", value)) => read.push(value),
            _ => panic!("{text:?} became {stream:?}"),
        }
    }
    assert_eq!((id, name), (Some("id"), Some("message")), "{text:?} became {stream:?}");
    assert_eq!(read.join("\n"), unix(text), "{text:?} became {stream:?}");

    framing.as_events = false;
    let mut line = Vec::new();
    framing.write(&mut line, Some("id"), "message", EventData::Text(text));
    let ends = line.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    assert_eq!(ends, 1, "{text:?} became {line:?}");
    let read: Value = serde_json::from_slice(&line).expect("a line of JSON");
    assert_eq!(read, json!({ "id": "id", "event": "message", "data": text }));
}
