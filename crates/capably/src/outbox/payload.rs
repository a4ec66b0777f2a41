//! A publish as the payload of an entry, and the reason of a refusal.

use bytes::Bytes;
use capably_protocol::{
    ClientFrame, ErrorCode, ErrorInfo, Format, Limits, Message,
    codec::{decode_body, decode_client_frame, encode_body, encode_client_frame},
    frame::Publish,
};

use crate::{Error, Result, random};

/// The version of the payload's form.
const VERSION: u8 = 1;

/// The payload of a publish that is ready for the wire: the version of this form, and its frame.
pub(super) fn encode(publish: Publish<Message>) -> Bytes {
    let mut out = vec![VERSION];
    encode_client_frame(Format::MsgPack, &ClientFrame::Message(publish), &mut out);
    out.into()
}

/// Reads a payload; `None` if it is not readable.
pub(super) fn decode(payload: &Bytes) -> Option<Publish<Message>> {
    if *payload.first()? != VERSION {
        return None;
    }
    let limits = Limits { max_size: payload.len(), ..Limits::default() };
    match decode_client_frame(Format::MsgPack, &payload.slice(1..), &limits) {
        Ok(ClientFrame::Message(publish)) => Some(publish),
        Ok(_) | Err(_) => None,
    }
}

/// Gives ids to messages, so that the service recognises a message that is sent again (RSL1k1).
///
/// # Errors
/// Code 40031 if only some of the messages have ids: the others could not be recognised.
pub(super) fn complete_ids(messages: &mut [Message]) -> Result<()> {
    let with_id =
        messages.iter().filter(|message| message.id.as_ref().is_some_and(|id| !id.is_empty()));
    match with_id.count() {
        0 => {
            let base = random::id()?;
            for (index, message) in messages.iter_mut().enumerate() {
                message.id = Some(format!("{base}:{index}").into());
            }
            Ok(())
        }
        count if count == messages.len() => Ok(()),
        _ => {
            let message = "only some of the messages have ids";
            Err(Error::new(ErrorCode::INVALID_CLIENT_SPECIFIED_MESSAGE_ID, 400, message)
                .with_remedy("set an id for the whole publish, or none"))
        }
    }
}

/// The form of a reason in the store.
pub(super) fn encode_reason(error: &ErrorInfo) -> Bytes {
    encode_body(Format::MsgPack, error).unwrap_or_default().into()
}

pub(super) fn decode_reason(reason: &Bytes) -> ErrorInfo {
    let limits = Limits { max_size: reason.len(), ..Limits::default() };
    decode_body(Format::MsgPack, reason, &limits)
        .unwrap_or_else(|_| ErrorInfo::new(ErrorCode(0), 0, "the reason is not readable"))
}
