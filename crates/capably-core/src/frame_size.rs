//! How large and how deep a frame may be (CD2d).

use capably_protocol::{ClientFrame, ErrorInfo, Message, PresenceMessage, Str, codec};

use crate::{context::Cx, errors};

/// The most bytes that a byte of a value takes in a frame: in JSON a control character is `\u0001`.
const ESCAPED: usize = 6;

/// The most bytes that the field names, numbers and delimiters of an item take.
const AROUND: usize = 512;

/// The most digits that a serial may have more than the `0` it is encoded with here.
const SERIAL: usize = 19;

/// Refuses a frame that nests too deep or is too large.
pub(crate) fn check(frame: &ClientFrame, cx: &Cx<'_>) -> Result<(), ErrorInfo> {
    // The depth first: to measure a value takes as much of the stack as it is deep.
    check_depth(frame)?;
    check_size(frame, cx)
}

/// Refuses a frame that the service would not accept. Such a frame would be sent again after each resume, and
/// end every connection.
fn check_size(frame: &ClientFrame, cx: &Cx<'_>) -> Result<(), ErrorInfo> {
    let limit = cx.connection.max_frame_size;
    if bound(frame).is_some_and(|size| size as u64 <= limit) {
        return Ok(());
    }
    let mut encoded = Vec::new();
    codec::encode_client_frame(cx.config.format, frame, &mut encoded);
    let size = (encoded.len() + SERIAL) as u64;
    if size > limit { Err(errors::frame_too_large(size, limit)) } else { Ok(()) }
}

/// Refuses a frame whose items nest deeper than its receivers can decode.
fn check_depth(frame: &ClientFrame) -> Result<(), ErrorInfo> {
    match frame {
        ClientFrame::Message(publish) => {
            publish.items.iter().try_for_each(|item| codec::check_extras(item.extras.as_ref()))
        }
        ClientFrame::Presence(publish) => {
            publish.items.iter().try_for_each(|item| codec::check_extras(item.extras.as_ref()))
        }
        ClientFrame::Annotation(publish) => {
            publish.items.iter().try_for_each(|item| codec::check_extras(item.extras.as_ref()))
        }
        _ => Ok(()),
    }
}

/// The most bytes that the encoded frame takes. To encode each frame twice would be slow, so a bound that is cheap to
/// compute comes first; `None` where there is none.
fn bound(frame: &ClientFrame) -> Option<usize> {
    let (channel, params, items) = match frame {
        ClientFrame::Message(publish) => {
            let items: Option<usize> = publish.items.iter().map(message).sum();
            (&publish.channel, &publish.params, items?)
        }
        ClientFrame::Presence(publish) => {
            (&publish.channel, &publish.params, publish.items.iter().map(member).sum())
        }
        _ => return None,
    };
    let params: usize = params.iter().map(|(name, value)| name.len() + value.len() + AROUND).sum();
    Some(AROUND + ESCAPED * (channel.len() + params) + items)
}

fn message(message: &Message) -> Option<usize> {
    // The size of a message does not count these.
    if message.version.is_some() || message.annotations.is_some() {
        return None;
    }
    let Message { id, encoding, serial, connection_id, connection_key, .. } = message;
    let texts = [id, encoding, serial, connection_id, connection_key];
    Some(AROUND + ESCAPED * (message.size() + texts.into_iter().map(length).sum::<usize>()))
}

fn member(message: &PresenceMessage) -> usize {
    let texts = [&message.id, &message.encoding, &message.connection_id];
    AROUND + ESCAPED * (message.size() + texts.into_iter().map(length).sum::<usize>())
}

fn length(text: &Option<Str>) -> usize {
    text.as_ref().map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, iter};

    use capably_protocol::{Data, Format, PresenceAction, frame::Publish};
    use fastrand::Rng;
    use serde_json::json;

    use super::*;

    fn text(rng: &mut Rng) -> Str {
        let length = rng.usize(..60);
        let character = |rng: &mut Rng| match rng.u8(..5) {
            0 => rng.char('\0'..' '),
            1 => '"',
            2 => rng.char('\u{7f}'..),
            _ => rng.alphanumeric(),
        };
        iter::repeat_with(|| character(rng)).take(length).collect::<String>().into()
    }

    fn some(rng: &mut Rng) -> Option<Str> {
        rng.bool().then(|| text(rng))
    }

    fn any_data(rng: &mut Rng) -> Data {
        match rng.u8(..3) {
            0 => Data::None,
            1 => text(rng).into(),
            _ => Data::Binary(vec![7; rng.usize(..90)].into()),
        }
    }

    fn any_message(rng: &mut Rng) -> Message {
        Message {
            id: some(rng),
            name: some(rng),
            data: any_data(rng),
            encoding: some(rng),
            client_id: some(rng),
            serial: some(rng),
            extras: json!({ &*text(rng): [rng.f64(), { "a": &*text(rng) }] }).as_object().cloned(),
            timestamp: rng.bool().then(|| rng.i64(..)),
            ..Message::default()
        }
    }

    fn any_member(rng: &mut Rng) -> PresenceMessage {
        PresenceMessage {
            id: some(rng),
            action: Some(PresenceAction::Update),
            client_id: some(rng),
            connection_id: some(rng),
            data: any_data(rng),
            encoding: some(rng),
            extras: json!({ &*text(rng): rng.f64() }).as_object().cloned(),
            timestamp: rng.bool().then(|| rng.i64(..)),
        }
    }

    fn any_params(rng: &mut Rng) -> BTreeMap<String, String> {
        let param = |rng: &mut Rng| (text(rng).to_string(), text(rng).to_string());
        (0..rng.usize(..4)).map(|_| param(rng)).collect()
    }

    fn publish<T>(items: Vec<T>, channel: Str, params: BTreeMap<String, String>) -> Publish<T> {
        Publish { channel, msg_serial: u64::MAX, items: items.into(), params }
    }

    /// The bound of a frame is one, and is not so far above its size that the frame has to be encoded to know that it fits.
    #[track_caller]
    fn is_bounded(frame: &ClientFrame) {
        let (items, params) = match frame {
            ClientFrame::Message(publish) => (publish.items.len(), publish.params.len()),
            ClientFrame::Presence(publish) => (publish.items.len(), publish.params.len()),
            other => panic!("no publish: {other:?}"),
        };
        let bound = bound(frame).expect("nothing in it is of unknown size");
        let largest = [Format::Json, Format::MsgPack].map(|format| {
            let mut encoded = Vec::new();
            codec::encode_client_frame(format, frame, &mut encoded);
            encoded.len()
        });
        let largest = largest.into_iter().fold(0, usize::max);
        assert!(largest <= bound, "{largest} > {bound}: {frame:?}");
        let most = ESCAPED * largest + AROUND * (1 + items + ESCAPED * params);
        assert!(bound <= most, "{bound} > {most}: {frame:?}");
    }

    #[test]
    fn no_frame_is_larger_than_its_bound() {
        let mut rng = Rng::with_seed(11);
        for _ in 0..3_000 {
            let messages = (0..rng.usize(1..4)).map(|_| any_message(&mut rng)).collect();
            let messages = publish(messages, text(&mut rng), any_params(&mut rng));
            is_bounded(&ClientFrame::Message(messages));
            let members = (0..rng.usize(1..4)).map(|_| any_member(&mut rng)).collect();
            let members = publish(members, text(&mut rng), any_params(&mut rng));
            is_bounded(&ClientFrame::Presence(members));
        }
    }

    #[test]
    fn no_frame_with_the_most_escapes_or_the_least_contents_is_larger_than_its_bound() {
        let escapes = "\u{1}".repeat(10_000);
        let few = || BTreeMap::from([(escapes.clone(), escapes.clone())]);
        let message = Message::new("n", escapes.clone());
        is_bounded(&ClientFrame::Message(publish(vec![message], "ch".into(), few())));
        let member = PresenceMessage {
            client_id: Some(escapes.clone().into()),
            connection_id: Some(escapes.clone().into()),
            ..PresenceMessage::default()
        };
        let channel = escapes.clone().into();
        is_bounded(&ClientFrame::Presence(publish(vec![member], channel, BTreeMap::new())));
        let least = Message { timestamp: Some(i64::MIN), ..Message::default() };
        let least = publish(vec![least; 1_000], "ch".into(), BTreeMap::new());
        is_bounded(&ClientFrame::Message(least));
    }

    /// The size of a message does not count these fields, so that a bound cannot be derived from it.
    #[test]
    fn a_message_with_a_version_or_a_summary_has_no_bound() {
        let version = Message { version: Some(Box::default()), ..Message::default() };
        let annotations = Message { annotations: Some(Box::default()), ..Message::default() };
        for message in [version, annotations] {
            let items = vec![Message::default(), message];
            assert_eq!(
                bound(&ClientFrame::Message(publish(items, "ch".into(), BTreeMap::new()))),
                None
            );
        }
    }
}
