//! How the frames of a client differ from the recorded ones.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::{Value, json};

use crate::trace::for_json;

/// The lists of a frame, and how an entry is called.
const LISTS: [(&str, &str); 4] = [
    ("messages", "message"),
    ("presence", "member"),
    ("state", "object message"),
    ("annotations", "annotation"),
];

/// Fields of an entry by which a reader recognises it. Payloads are not compared: they may be left out of a recording.
const FIELDS: [&str; 7] = ["id", "name", "clientId", "action", "serial", "type", "messageSerial"];

/// Fields of a frame, which decide about an attachment.
const FRAME_FIELDS: [&str; 2] = ["params", "flags"];

/// The numbers of a client's frames, over all connections.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) same: AtomicUsize,
    pub(super) different: AtomicUsize,
    pub(super) unexpected: AtomicUsize,
    pub(super) missing: AtomicUsize,
}

impl Tally {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "same": self.same.load(Relaxed),
            "different": self.different.load(Relaxed),
            "unexpected": self.unexpected.load(Relaxed),
            "missing": self.missing.load(Relaxed),
        })
    }

    pub(super) fn to_line(&self) -> String {
        format!(
            "Frames of the client: {} as recorded, {} different, {} not in the recording, {} missing.",
            self.same.load(Relaxed),
            self.different.load(Relaxed),
            self.unexpected.load(Relaxed),
            self.missing.load(Relaxed),
        )
    }
}

/// Whether a frame is for the same purpose as the recorded one: the same action on the same channel.
pub(super) fn is_like(recorded: &Value, sent: &Value) -> bool {
    recorded["action"] == sent["action"] && recorded["channel"] == sent["channel"]
}

/// The first messages with a serial of a connection: the recorded serial, and that of the client. Others are compared by
/// their distance from these.
pub(super) type FirstSerials = Option<(u64, u64)>;

/// The differences between a recorded frame and the frame that the client sent in its place. Each is a clause
/// about the client's frame, such as "it has 2 messages instead of 1".
pub(super) fn differences(recorded: &Value, sent: &Value, first: FirstSerials) -> Vec<String> {
    let (recorded, sent) = (for_json(recorded.clone()), for_json(sent.clone()));
    let mut found = Vec::new();
    if let (Some(theirs), Some(own)) = (recorded["msgSerial"].as_u64(), sent["msgSerial"].as_u64())
    {
        let (first_theirs, first_own) = first.unwrap_or((theirs, own));
        let (theirs, own) = (theirs.wrapping_sub(first_theirs), own.wrapping_sub(first_own));
        if theirs != own {
            let (theirs, own) = (theirs as i64 + 1, own as i64 + 1);
            found.push(format!("it is number {own} of the connection instead of number {theirs}"));
        }
    }
    for field in FRAME_FIELDS {
        found.extend(difference(field, &recorded[field], &sent[field]));
    }
    for (list, entry) in LISTS {
        let entries = |frame: &Value| frame[list].as_array().cloned().unwrap_or_default();
        let (theirs, own) = (entries(&recorded), entries(&sent));
        if theirs.len() != own.len() {
            found.push(format!("it has {} {list} instead of {}", own.len(), theirs.len()));
        }
        for (number, (theirs, own)) in (1..).zip(theirs.iter().zip(&own)) {
            let differences =
                FIELDS.iter().filter_map(|field| difference(field, &theirs[*field], &own[*field]));
            found.extend(differences.map(|it| format!("{entry} {number}: {it}")));
        }
    }
    found
}

/// The difference of a field. The recorder has replaced secrets, which are not compared.
fn difference(field: &str, recorded: &Value, sent: &Value) -> Option<String> {
    let is_replaced =
        recorded.as_str().is_some_and(|text| text.contains('[') && text.contains(']'));
    if recorded == sent || is_replaced {
        return None;
    }
    let show = |value: &Value| match value {
        Value::Null => "none".to_owned(),
        value => value.to_string(),
    };
    Some(format!("{field} is {} instead of {}", show(sent), show(recorded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(serial: u64, ids: &[&str]) -> Value {
        let messages: Vec<Value> =
            ids.iter().map(|id| json!({ "id": id, "name": "n", "data": id })).collect();
        json!({ "action": 15, "channel": "c", "msgSerial": serial, "messages": messages })
    }

    #[test]
    fn frames_with_the_same_ids_and_distances_of_serials_are_the_same() {
        let none = [""; 0];
        assert_eq!(differences(&frame(3, &["a"]), &frame(7, &["a"]), Some((1, 5))), none);
        assert_eq!(differences(&frame(3, &["a"]), &frame(7, &["a"]), None), none);
        let bytes = json!({ "action": 15, "messages": [{ "data": { "$binary": "/w==" } }] });
        let text = json!({ "action": 15, "messages": [{ "data": "/w==", "encoding": "base64" }] });
        assert_eq!(differences(&bytes, &text, None), none);
        let secret = json!({ "messages": [{ "id": "[token 1]" }] });
        assert_eq!(differences(&secret, &json!({ "messages": [{ "id": "x" }] }), None), none);
    }

    #[test]
    fn each_difference_is_named() {
        assert_eq!(
            differences(&frame(2, &["a", "b"]), &frame(1, &["a"]), Some((0, 0))),
            [
                "it is number 2 of the connection instead of number 3",
                "it has 1 messages instead of 2"
            ]
        );
        assert_eq!(
            differences(&frame(0, &["a"]), &frame(0, &["b"]), None),
            [r#"message 1: id is "b" instead of "a""#]
        );
        let attach = |params: Value| json!({ "action": 10, "channel": "c", "params": params });
        assert_eq!(
            differences(&attach(json!({ "rewind": "1" })), &attach(Value::Null), None),
            [r#"params is none instead of {"rewind":"1"}"#]
        );
        assert!(!is_like(&attach(Value::Null), &frame(0, &[])));
    }
}
