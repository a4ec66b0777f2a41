//! Payloads from the command line, and messages as lines of output.

use base64::{Engine, prelude::BASE64_STANDARD};
use capably::{
    Annotation, AnnotationAction, Data, Message, MessageAction, Millis, PresenceAction,
    PresenceMessage,
};
use serde_json::{Map, Value, json};

use crate::{style::Style, time::show, visible::visible};

/// The form of a payload on the command line or in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    Base64,
    Bytes,
}

/// Reads a payload. An error is a text for the user.
pub(crate) fn read(form: Form, bytes: Vec<u8>) -> Result<Data, String> {
    let text = |bytes| {
        String::from_utf8(bytes)
            .map_err(|_| "the data is not UTF-8 text: publish bytes with --binary".to_owned())
    };
    match form {
        Form::Text => Ok(Data::from(text(bytes)?)),
        Form::Json => match serde_json::from_slice(&bytes) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => Ok(Data::from(value)),
            Ok(_) => Err("JSON data must be an object or an array".to_owned()),
            Err(error) => Err(format!("the data is not JSON: {error}")),
        },
        Form::Base64 => match BASE64_STANDARD.decode(text(bytes)?.trim()) {
            Ok(bytes) => Ok(Data::from(bytes)),
            Err(error) => Err(format!("the data is not base64: {error}")),
        },
        Form::Bytes => Ok(Data::from(bytes)),
    }
}

/// A message as one JSON object, with the field names of the protocol. JSON data is not quoted; binary data is base64, with
/// `"encoding": "base64"`.
pub(crate) fn json_line(channel: &str, message: &Message) -> Value {
    let mut line = Map::new();
    let mut put = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            line.insert(field.to_owned(), value);
        }
    };
    let (data, encoding) = data_fields(&message.data, message.encoding.as_deref());
    put("channel", Some(Value::from(channel)));
    put("id", message.id.as_deref().map(Value::from));
    put("name", message.name.as_deref().map(Value::from));
    put("data", data);
    put("encoding", encoding.map(Value::from));
    put("clientId", message.client_id.as_deref().map(Value::from));
    put("connectionId", message.connection_id.as_deref().map(Value::from));
    put("timestamp", message.timestamp.map(Value::from));
    put("extras", message.extras.clone().map(Value::Object));
    put("action", message.action.map(|action| Value::from(action.number())));
    put("serial", message.serial.as_deref().map(Value::from));
    // A message that was never changed is its own first version.
    let changed = message.version.as_ref().filter(|version| version.serial != message.serial);
    put("version", changed.map(|version| json!(version)));
    let summary = message.summary();
    put("annotations", (!summary.is_empty()).then(|| json!({ "summary": summary })));
    Value::Object(line)
}

/// A payload as the fields `data` and `encoding` of a line.
fn data_fields(data: &Data, encoding: Option<&str>) -> (Option<Value>, Option<String>) {
    let (data, base64) = match data {
        Data::None => (None, false),
        Data::Text(text) => (Some(Value::from(&**text)), false),
        Data::Json(value) => (Some(value.clone()), false),
        Data::Binary(bytes) => (Some(Value::from(BASE64_STANDARD.encode(bytes))), true),
    };
    // Encodings that the client could not decode stay in the list, before the base64 that is added here.
    let encoding = match (encoding, base64) {
        (left, false) => left.map(str::to_owned),
        (None, true) => Some("base64".to_owned()),
        (Some(left), true) => Some(format!("{left}/base64")),
    };
    (data, encoding)
}

/// A presence event as one JSON object, as [`json_line`].
pub(crate) fn member_json_line(channel: &str, member: &PresenceMessage) -> Value {
    let (data, encoding) = data_fields(&member.data, member.encoding.as_deref());
    let fields = [
        ("channel", Some(Value::from(channel))),
        ("id", member.id.as_deref().map(Value::from)),
        ("action", member.action.map(|action| Value::from(action.number()))),
        ("clientId", member.client_id.as_deref().map(Value::from)),
        ("connectionId", member.connection_id.as_deref().map(Value::from)),
        ("data", data),
        ("encoding", encoding.map(Value::from)),
        ("timestamp", member.timestamp.map(Value::from)),
        ("extras", member.extras.clone().map(Value::Object)),
    ];
    fields.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
}

/// A presence event as a line for people.
pub(crate) fn member_human_line(member: &PresenceMessage) -> String {
    let client = visible(member.client_id.as_deref().unwrap_or("-"));
    let action = match member.action {
        Some(PresenceAction::Present) => "is present",
        Some(PresenceAction::Enter) => "enters",
        Some(PresenceAction::Leave) => "leaves",
        Some(PresenceAction::Update) => "changes",
        _ => "sends an unknown action",
    };
    format!("{client} {action}: {}", describe(&member.data))
}

/// A message as a line for people: its name, its sender and its payload.
pub(crate) fn human_line(message: &Message) -> String {
    let name = visible(message.name.as_deref().unwrap_or("-"));
    let from = message.client_id.as_deref();
    let from = from.map_or(String::new(), |id| format!(" from {}", visible(id)));
    format!("{name}{from}: {}", describe(&message.data))
}

/// A stored message as a line for people: its time, the message, and whether it was changed or deleted.
pub(crate) fn stored_line(message: &Message, style: Style) -> String {
    let changed = message.version.as_ref().is_some_and(|it| it.serial != message.serial);
    let note = match message.action {
        Some(MessageAction::Delete) => " (deleted)",
        _ if changed => " (changed)",
        _ => "",
    };
    format!("{}  {}{}", time_cell(message.timestamp, style), human_line(message), style.dim(note))
}

/// A time at the begin of a line.
pub(crate) fn time_cell(time: Option<Millis>, style: Style) -> String {
    style.dim(time.map_or("-".to_owned(), show))
}

/// An annotation as one JSON object, as [`json_line`].
pub(crate) fn annotation_json_line(channel: &str, annotation: &Annotation) -> Value {
    let (data, encoding) = data_fields(&annotation.data, annotation.encoding.as_deref());
    let text = |field: &Option<capably::Str>| field.as_deref().map(Value::from);
    let fields = [
        ("channel", Some(Value::from(channel))),
        ("id", text(&annotation.id)),
        ("action", annotation.action.map(|action| Value::from(action.number()))),
        ("type", text(&annotation.annotation_type)),
        ("name", text(&annotation.name)),
        ("count", annotation.count.map(Value::from)),
        ("messageSerial", text(&annotation.message_serial)),
        ("serial", text(&annotation.serial)),
        ("clientId", text(&annotation.client_id)),
        ("connectionId", text(&annotation.connection_id)),
        ("data", data),
        ("encoding", encoding.map(Value::from)),
        ("timestamp", annotation.timestamp.map(Value::from)),
        ("extras", annotation.extras.clone().map(Value::Object)),
    ];
    fields.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
}

/// An annotation as a line for people.
pub(crate) fn annotation_human_line(annotation: &Annotation) -> String {
    let client = visible(annotation.client_id.as_deref().unwrap_or("-"));
    let action = match annotation.action {
        Some(AnnotationAction::Create) => "annotates",
        Some(AnnotationAction::Delete) => "removes from",
        _ => "sends an unknown action on",
    };
    let serial = visible(annotation.message_serial.as_deref().unwrap_or("-"));
    let kind = visible(annotation.annotation_type.as_deref().unwrap_or("-"));
    let mut line = format!("{client} {action} {serial}: {kind}");
    if let Some(name) = annotation.name.as_deref() {
        line.extend([" ", &visible(name)]);
    }
    if let Some(count) = annotation.count {
        line.push_str(&format!(" × {count}"));
    }
    if !annotation.data.is_none() {
        line.extend([": ", &describe(&annotation.data)]);
    }
    line
}

/// A payload in a few words.
pub(crate) fn describe(data: &Data) -> String {
    match data {
        Data::None => "(no data)".to_owned(),
        Data::Text(text) => visible(text).into_owned(),
        Data::Json(value) => visible(&value.to_string()).into_owned(),
        Data::Binary(bytes) => describe_bytes(bytes),
    }
}

/// The number of bytes, and the first of them.
pub(crate) fn describe_bytes(bytes: &[u8]) -> String {
    const SHOWN: usize = 16;
    let hex: Vec<String> = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > SHOWN { " …" } else { "" };
    format!("{} bytes: {}{more}", bytes.len(), hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_read_in_each_form() {
        assert_eq!(read(Form::Text, b"[1]".to_vec()), Ok(Data::from("[1]")));
        assert_eq!(read(Form::Json, b" [1] ".to_vec()), Ok(Data::from(json!([1]))));
        assert_eq!(read(Form::Base64, b"/wD+\n".to_vec()), Ok(Data::from(vec![0xff, 0, 0xfe])));
        assert_eq!(read(Form::Bytes, vec![0xff]), Ok(Data::from(vec![0xff])));
    }

    #[test]
    fn a_payload_that_is_not_of_its_form_is_refused() {
        let error = |form, bytes: &[u8]| read(form, bytes.to_vec()).unwrap_err();
        assert_eq!(
            error(Form::Text, &[0xff]),
            "the data is not UTF-8 text: publish bytes with --binary"
        );
        assert_eq!(error(Form::Json, b"7"), "JSON data must be an object or an array");
        assert!(error(Form::Json, b"{").starts_with("the data is not JSON: EOF"));
        assert!(error(Form::Base64, b"*").starts_with("the data is not base64: Invalid symbol"));
    }

    #[test]
    fn a_line_keeps_text_binary_and_json_apart() {
        let line = |data: Data| json_line("c", &Message { data, ..Message::default() });
        assert_eq!(line(Data::None), json!({ "channel": "c" }));
        assert_eq!(line(Data::from("aGk=")), json!({ "channel": "c", "data": "aGk=" }));
        assert_eq!(line(Data::from(json!({"a": 1}))), json!({ "channel": "c", "data": {"a": 1} }));
        assert_eq!(
            line(Data::from(b"hi".to_vec())),
            json!({ "channel": "c", "data": "aGk=", "encoding": "base64" })
        );
    }

    #[test]
    fn a_line_shows_the_encodings_that_could_not_be_decoded() {
        let message = Message {
            data: Data::from(b"hi".to_vec()),
            encoding: Some("utf-8/cipher+aes-128-cbc".into()),
            ..Message::default()
        };
        assert_eq!(json_line("c", &message)["encoding"], "utf-8/cipher+aes-128-cbc/base64");
    }

    #[test]
    fn people_see_the_name_the_sender_and_the_payload() {
        let mut message = Message::new("hello", "world");
        assert_eq!(human_line(&message), "hello: world");
        message.client_id = Some("ada".into());
        message.data = Data::from(vec![0; 17]);
        assert_eq!(
            human_line(&message),
            format!("hello from ada: 17 bytes: {} …", ["00"; 16].join(" "))
        );
    }

    #[test]
    fn a_sender_does_not_control_the_terminal() {
        let mut message = Message::new("\x1b[2J", "a\nhello from ada: b");
        message.client_id = Some("eve\r".into());
        assert_eq!(human_line(&message), r"\u{1b}[2J from eve\r: a\nhello from ada: b");
        let member = PresenceMessage {
            client_id: Some("\x07".into()),
            data: Data::from(json!(["\u{9b}"])),
            ..PresenceMessage::default()
        };
        assert_eq!(member_human_line(&member), r#"\u{7} sends an unknown action: ["\u{9b}"]"#);
    }
}
