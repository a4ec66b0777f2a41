//! How the events of a stream are written: as server-sent events, or as a line of JSON each.

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{Data, ErrorInfo, Format, Message, PresenceMessage, codec, frame::Delivery};
use serde_json::json;

/// The form of a stream's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::front) struct Framing {
    /// Server-sent events, or else lines of JSON.
    pub(in crate::front) as_events: bool,
    /// Whether the data of an event is the whole message, or else its payload only.
    pub(in crate::front) enveloped: bool,
    /// Whether keepalives are events.
    pub(in crate::front) heartbeats: bool,
}

/// The data of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::front) enum EventData<'a> {
    /// JSON, without line breaks.
    Json(&'a str),
    Text(&'a str),
}

impl Framing {
    pub(super) fn content_type(self) -> &'static str {
        if self.as_events { "text/event-stream" } else { "application/x-ndjson" }
    }

    /// Writes an event.
    pub(in crate::front) fn write(
        self,
        out: &mut Vec<u8>,
        id: Option<&str>,
        event: &str,
        data: EventData<'_>,
    ) {
        if self.as_events {
            if let Some(id) = id {
                put(out, &["id: ", id, "\n"]);
            }
            put(out, &["event: ", event, "\n"]);
            match data {
                EventData::Json(json) => put(out, &["data: ", json, "\n"]),
                EventData::Text(text) => {
                    lines(text).for_each(|line| put(out, &["data: ", line, "\n"]));
                }
            }
            put(out, &["\n"]);
        } else {
            put(out, &["{"]);
            if let Some(id) = id {
                put(out, &["\"id\":\"", id, "\","]);
            }
            put(out, &["\"event\":\"", event, "\",\"data\":"]);
            match data {
                EventData::Json(json) => put(out, &[json]),
                EventData::Text(text) => put(out, &[&json!(text).to_string()]),
            }
            put(out, &["}\n"]);
        }
    }

    /// Writes the id alone. A client of server-sent events remembers it, and gets no event.
    pub(super) fn write_id(self, out: &mut Vec<u8>, id: &str) {
        if self.as_events {
            put(out, &["id: ", id, "\n\n"]);
        }
    }

    pub(super) fn write_error(self, out: &mut Vec<u8>, error: &ErrorInfo) {
        let error = json!({
            "message": &*error.message,
            "code": error.code.0,
            "statusCode": error.status_code,
            "href": format!("https://help.ably.io/error/{}", error.code.0),
        });
        self.write(out, None, "error", EventData::Json(&error.to_string()));
    }

    /// Writes a sign of life.
    pub(super) fn write_keepalive(self, out: &mut Vec<u8>) {
        put(
            out,
            &[match (self.as_events, self.heartbeats) {
                // An event without data would not reach the application.
                (true, true) => "event: heartbeat\ndata: {}\n\n",
                (true, false) => ":keepalive\n\n",
                (false, true) => "{\"event\":\"heartbeat\"}\n",
                (false, false) => "\n",
            }],
        );
    }
}

/// The messages of a frame as JSON, each with the fields that it inherits from the frame, and with its channel.
pub(super) fn messages(delivery: &Delivery<Message>) -> Vec<String> {
    let Delivery { id, connection_id, timestamp, .. } = delivery;
    let whole = delivery.items.iter().enumerate().map(|(index, item)| {
        let mut item = item.clone();
        item.inherit(id.as_ref(), index, connection_id.as_ref(), *timestamp);
        with_channel(&delivery.channel, &codec::encode_item(Format::Json, &item))
    });
    whole.collect()
}

/// As [`messages`], for presence events.
pub(super) fn members(delivery: &Delivery<PresenceMessage>) -> Vec<String> {
    let Delivery { id, connection_id, timestamp, .. } = delivery;
    let whole = delivery.items.iter().enumerate().map(|(index, item)| {
        let mut item = item.clone();
        item.inherit(id.as_ref(), index, connection_id.as_ref(), *timestamp);
        with_channel(&delivery.channel, &codec::encode_item(Format::Json, &item))
    });
    whole.collect()
}

/// The payload alone: text as it is, JSON as text, bytes in base64.
pub(super) fn payload(data: &Data) -> String {
    match data {
        Data::None => String::new(),
        Data::Text(text) => text.to_string(),
        Data::Json(value) => value.to_string(),
        Data::Binary(bytes) => STANDARD.encode(bytes),
    }
}

/// A JSON object with the member `channel` in front.
fn with_channel(channel: &str, object: &[u8]) -> String {
    let members = String::from_utf8_lossy(object);
    let members = members.strip_prefix('{').unwrap_or("}");
    let comma = if members == "}" { "" } else { "," };
    format!("{{\"channel\":{}{comma}{members}", json!(channel))
}

/// The lines of a text, by the line ends of server-sent events: CR LF, LF and CR.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\r', '\n']) else { return rest.take() };
        let width = if text[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&text[end + width..]);
        Some(&text[..end])
    })
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(framing: Framing, write: impl FnOnce(Framing, &mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(framing, &mut out);
        String::from_utf8(out).unwrap()
    }

    const EVENTS: Framing = Framing { as_events: true, enveloped: true, heartbeats: false };
    const LINES: Framing = Framing { as_events: false, ..EVENTS };

    #[test]
    fn a_payload_cannot_break_out_of_its_event() {
        let data = EventData::Text("a\nevent: b\r\n\r\rid: c\n");
        let event = written(EVENTS, |it, out| it.write(out, Some("x"), "message", data));
        let expected = "id: x\nevent: message\ndata: a\ndata: event: b\ndata: \ndata: \ndata: id: c\ndata: \n\n";
        assert_eq!(event, expected);
        let line = written(LINES, |it, out| it.write(out, Some("x"), "message", data));
        assert_eq!(
            line,
            "{\"id\":\"x\",\"event\":\"message\",\"data\":\"a\\nevent: b\\r\\n\\r\\rid: c\\n\"}\n"
        );
    }

    #[test]
    fn an_envelope_has_the_channel_and_the_inherited_fields() {
        let items = vec![Message::new("n", "d"), Message::default()];
        let delivery = Delivery {
            id: Some("c:0".into()),
            timestamp: Some(5),
            ..Delivery::new("quo\"te", items)
        };
        let rendered = messages(&delivery);
        let whole: Vec<serde_json::Value> =
            rendered.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        assert_eq!(
            whole[0],
            json!({ "channel": "quo\"te", "id": "c:0:0", "name": "n", "data": "d", "timestamp": 5 })
        );
        assert_eq!(whole[1], json!({ "channel": "quo\"te", "id": "c:0:1", "timestamp": 5 }));
        assert_eq!(with_channel("a", b"{}"), "{\"channel\":\"a\"}");
    }

    #[test]
    fn keepalives_are_events_only_when_they_are_asked_for() {
        let with = |framing| Framing { heartbeats: true, ..framing };
        for (framing, expected) in [
            (EVENTS, ":keepalive\n\n"),
            (LINES, "\n"),
            (with(EVENTS), "event: heartbeat\ndata: {}\n\n"),
            (with(LINES), "{\"event\":\"heartbeat\"}\n"),
        ] {
            assert_eq!(written(framing, |it, out| it.write_keepalive(out)), expected);
        }
    }
}
