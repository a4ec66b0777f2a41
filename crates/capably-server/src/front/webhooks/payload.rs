//! The body of a request, and the headers that depend on its events.

use std::fmt::Write;

use base64::{Engine, prelude::BASE64_STANDARD};
use capably_protocol::{Data, Format, Message, PresenceAction, PresenceMessage, Str, codec};
use hmac::{Hmac, KeyInit, Mac};
use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};
use sha2::Sha256;

use super::{
    event::{Event, Report},
    writer::Writer,
};
use crate::hub::{Occupancy, SITE};

/// The version of events and payloads.
pub(super) const VERSION: &str = "1.2";

/// What a payload says of the rule.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) app: Str,
    pub(super) rule: Str,
}

/// A request before it is sent. It has no `Debug`: the headers of a rule may have secrets.
pub(super) struct Payload {
    pub(super) body: Vec<u8>,
    pub(super) headers: HeaderMap,
}

impl Payload {
    fn new(body: Vec<u8>, content_type: &'static str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let version = HeaderName::from_static("x-ably-version");
        headers.insert(version, HeaderValue::from_static(VERSION));
        Self { body, headers }
    }

    /// Events as a batch.
    pub(super) fn batch(origin: &Origin, events: &[Event], format: Format) -> Self {
        let mut out = Writer::new(format);
        out.map(1);
        out.key("items");
        out.array(events.len());
        for event in events {
            batch_item(&mut out, origin, event, format);
        }
        out.end_array();
        out.end_map();
        Self::new(out.finish(), format.content_type())
    }

    /// One event in its envelope.
    pub(super) fn enveloped(origin: &Origin, event: &Event, format: Format) -> Self {
        Self::new(envelope(origin, event, format), format.content_type())
    }

    /// The data of one event, with the rest in headers.
    pub(super) fn bare(origin: &Origin, event: &Event) -> Self {
        match &event.report {
            Report::Messages(..) => {
                let Some(message) = event.messages().pop() else {
                    return Self::new(Vec::new(), TEXT);
                };
                let Message { id, name, client_id, connection_id, timestamp, .. } = &message;
                let timestamp = timestamp.map(|it| it.to_string());
                let fields = [
                    ("x-ably-message-id", id.as_deref()),
                    ("x-ably-message-name", name.as_deref()),
                    ("x-ably-message-client-id", client_id.as_deref()),
                    ("x-ably-message-connection-id", connection_id.as_deref()),
                    ("x-ably-message-timestamp", timestamp.as_deref()),
                ];
                Self::with_data(origin, event, &message.data, message.encoding.as_deref(), &fields)
            }
            Report::Presence(..) => {
                let Some(member) = event.members().pop() else {
                    return Self::new(Vec::new(), TEXT);
                };
                let PresenceMessage { id, action, client_id, connection_id, timestamp, .. } =
                    &member;
                let action = action.map(action_name);
                let timestamp = timestamp.map(|it| it.to_string());
                let fields = [
                    ("x-ably-message-id", id.as_deref()),
                    ("x-ably-message-name", action),
                    ("x-ably-message-action", action),
                    ("x-ably-message-client-id", client_id.as_deref()),
                    ("x-ably-message-connection-id", connection_id.as_deref()),
                    ("x-ably-message-timestamp", timestamp.as_deref()),
                ];
                Self::with_data(origin, event, &member.data, member.encoding.as_deref(), &fields)
            }
            Report::Opened(_) | Report::Closed | Report::Occupancy(_) => {
                let mut out = Writer::new(Format::Json);
                details(&mut out, event);
                let mut payload = Self::new(out.finish(), Format::Json.content_type());
                let timestamp = event.time.to_string();
                let fields = [
                    ("x-ably-message-name", Some(event.name())),
                    ("x-ably-message-id", Some(&*event.serial)),
                    ("x-ably-message-timestamp", Some(&*timestamp)),
                ];
                payload.describe(origin, event, &fields);
                payload
            }
        }
    }

    fn with_data(
        origin: &Origin,
        event: &Event,
        data: &Data,
        encoding: Option<&str>,
        fields: &[(&'static str, Option<&str>)],
    ) -> Self {
        let is_json = encoding.is_some_and(|it| it == "json" || it.ends_with("/json"));
        let mut payload = match data {
            Data::Text(text) if is_json => Self::new(text.as_bytes().to_vec(), JSON),
            Data::Text(text) => Self::new(text.as_bytes().to_vec(), TEXT),
            Data::Binary(bytes) => Self::new(bytes.to_vec(), BINARY),
            _ => Self::new(Vec::new(), TEXT),
        };
        payload.describe(origin, event, fields);
        payload
    }

    fn describe(
        &mut self,
        origin: &Origin,
        event: &Event,
        fields: &[(&'static str, Option<&str>)],
    ) {
        let common = [
            ("x-ably-envelope-appid", Some(&*origin.app)),
            ("x-ably-envelope-channel", Some(&*event.channel)),
            ("x-ably-envelope-rule-id", Some(&*origin.rule)),
            ("x-ably-envelope-site", Some(SITE)),
            ("x-ably-envelope-source", Some(event.source().name())),
        ];
        for (name, value) in common.iter().chain(fields) {
            if let Some(value) =
                value.and_then(|value| HeaderValue::from_str(&in_header(value)).ok())
            {
                self.headers.insert(HeaderName::from_static(name), value);
            }
        }
    }

    /// Adds the signature of the body with a key.
    pub(super) fn sign(&mut self, key_name: &str, secret: &str) {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
        let mut mac = mac.expect("a key of HMAC has any length");
        mac.update(&self.body);
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        for (name, value) in [("x-ably-key", key_name), ("x-ably-signature", &signature)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                self.headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const BINARY: &str = "application/octet-stream";

/// An event in its envelope.
pub(super) fn envelope(origin: &Origin, event: &Event, format: Format) -> Vec<u8> {
    let mut out = Writer::new(format);
    let is_entry = matches!(event.report, Report::Messages(..) | Report::Presence(..));
    out.map(if is_entry { 7 } else { 8 });
    out.text("source", event.source().name());
    out.text("appId", &origin.app);
    out.text("channel", &event.channel);
    out.text("site", SITE);
    out.text("ruleId", &origin.rule);
    out.number("timestamp", event.time);
    match &event.report {
        Report::Messages(..) => {
            out.key("messages");
            out.raw(&codec::encode_items(format, &event.messages()));
        }
        Report::Presence(..) => {
            out.key("presence");
            out.raw(&codec::encode_items(format, &event.members()));
        }
        Report::Opened(_) | Report::Closed | Report::Occupancy(_) => {
            out.text("name", event.name());
            status(&mut out, event);
        }
    }
    out.end_map();
    out.finish()
}

fn batch_item(out: &mut Writer, origin: &Origin, event: &Event, format: Format) {
    out.map(6);
    out.text("webhookId", &origin.rule);
    out.text("source", event.source().name());
    out.text("serial", &event.serial);
    out.number("timestamp", event.time);
    out.text("name", event.name());
    out.key("data");
    match &event.report {
        Report::Messages(..) => {
            out.map(3);
            out.text("channelId", &event.channel);
            out.text("site", SITE);
            out.key("messages");
            out.raw(&codec::encode_items(format, &event.messages()));
            out.end_map();
        }
        Report::Presence(..) => {
            out.map(3);
            out.text("channelId", &event.channel);
            out.text("site", SITE);
            out.key("presence");
            out.raw(&codec::encode_items(format, &event.members()));
            out.end_map();
        }
        Report::Opened(_) | Report::Closed | Report::Occupancy(_) => details(out, event),
    }
    out.end_map();
}

/// The details of the event's channel (CHD).
fn details(out: &mut Writer, event: &Event) {
    out.map(3);
    out.text("channelId", &event.channel);
    out.text("name", &event.channel);
    status(out, event);
    out.end_map();
}

fn status(out: &mut Writer, event: &Event) {
    let occupancy = match &event.report {
        Report::Opened(occupancy) | Report::Occupancy(occupancy) => *occupancy,
        Report::Messages(..) | Report::Presence(..) | Report::Closed => Occupancy::default(),
    };
    let metrics = occupancy.metrics();
    out.key("status");
    out.map(2);
    out.flag("isActive", !matches!(event.report, Report::Closed));
    out.key("occupancy");
    out.map(1);
    out.key("metrics");
    out.map(metrics.len());
    for (name, count) in metrics {
        out.number(name, i64::from(count));
    }
    out.end_map();
    out.end_map();
    out.end_map();
}

fn action_name(action: PresenceAction) -> &'static str {
    match action {
        PresenceAction::Absent => "absent",
        PresenceAction::Present => "present",
        PresenceAction::Enter => "enter",
        PresenceAction::Leave => "leave",
        _ => "update",
    }
}

/// Text as the value of a header: bytes other than visible ASCII and spaces are percent-encoded, and so is the percent sign.
fn in_header(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte != b'%' && (byte == b' ' || byte.is_ascii_graphic()) {
            value.push(char::from(byte));
        } else {
            let _ = write!(value, "%{byte:02X}");
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_a_header() {
        assert_eq!(in_header("a b:c"), "a b:c");
        assert_eq!(in_header("a\r\nX-B: c"), "a%0D%0AX-B: c");
        assert_eq!(in_header("50% é"), "50%25 %C3%A9");
        assert!(HeaderValue::from_str(&in_header("\u{0}\u{7f}\n")).is_ok());
    }

    #[test]
    fn the_signature_is_the_hmac_of_the_body() {
        // The second test case of RFC 4231.
        let mut payload = Payload::new(b"what do ya want for nothing?".to_vec(), TEXT);
        payload.sign("app.key", "Jefe");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let bytes = BASE64_STANDARD.decode(&payload.headers["x-ably-signature"]).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
        assert_eq!(payload.headers["x-ably-key"], "app.key");
    }
}
