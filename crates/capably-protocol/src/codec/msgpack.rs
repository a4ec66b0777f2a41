//! MessagePack: our own reader and writer for frames and items, rmp-serde for cold types.

mod frame;
pub(super) mod layout;
mod peek;
pub(crate) mod reader;
mod writer;

use bytes::Bytes;

use super::{DecodeError, Fault, Limits, Peek, delivery, frame::FrameIn};
use crate::{
    ClientFrame, ServerFrame,
    wire::{Read, Write, Writer},
};
use reader::Reader;
use writer::MsgPackWriter;

/// Appends a value to `out`.
pub(super) fn write(value: &impl Write, out: &mut Vec<u8>) {
    value.write(&mut MsgPackWriter { out });
}

/// Appends an array to `out`.
pub(super) fn write_array(items: &[impl Write], out: &mut Vec<u8>) {
    MsgPackWriter { out }.array(items, |w, item| item.write(w));
}

/// Reads a frame that a client sent.
pub(super) fn read_client_frame(
    bytes: &Bytes,
    limits: &Limits,
) -> Result<ClientFrame, DecodeError> {
    whole(bytes, limits, |r| {
        let mut frame = FrameIn::default();
        frame.read(r)?;
        Ok(frame.client()?)
    })
}

/// Reads a frame that a service sent into `frame`.
pub(super) fn read_server_frame(
    bytes: &Bytes,
    limits: &Limits,
    frame: &mut ServerFrame,
) -> Result<(), DecodeError> {
    whole(bytes, limits, |r| delivery::read_server_frame(r, frame))
}

/// Reads a value that must end where the bytes end.
#[inline]
fn whole<T>(
    bytes: &Bytes,
    limits: &Limits,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Fault>,
) -> Result<T, DecodeError> {
    limits.check_size(bytes)?;
    let mut reader = Reader::new(bytes, bytes, limits);
    let value = read(&mut reader).map_err(|fault| *fault)?;
    reader.finish().map_err(|fault| *fault)?;
    Ok(value)
}

/// Reads one item or an array of them.
pub(super) fn read_items<T: Read>(bytes: &Bytes, limits: &Limits) -> Result<Vec<T>, DecodeError> {
    whole(bytes, limits, |r| r.one_or_many())
}

/// Refuses bytes that are too many, too deep, or not one whole value. rmp-serde has no such limits.
pub(super) fn check(bytes: &[u8], limits: &Limits) -> Result<(), DecodeError> {
    limits.check_size(bytes)?;
    let empty = Bytes::new();
    let mut reader = Reader::new(&empty, bytes, limits);
    reader.skip().and_then(|()| reader.finish()).map_err(|fault| *fault)
}

/// Reads a frame's action and serial, and nothing else.
pub(super) fn peek(bytes: &[u8]) -> Option<Peek> {
    peek::peek(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Annotation, Message, ObjectMessage, PresenceMessage,
        codec::{Format, encode_server_frame},
        frame::Delivery,
    };

    /// Deliveries with every field, of every kind.
    fn deliveries() -> Vec<ServerFrame> {
        fn delivery<T: Clone>(item: &T) -> Delivery<T> {
            Delivery {
                channel_serial: Some("serial".into()),
                id: Some("frame".into()),
                connection_id: Some("connection".into()),
                timestamp: Some(1_700_000_000_000),
                flags: crate::Flags(3),
                ..Delivery::new("channel", vec![item.clone(); 2])
            }
        }
        let message = Message::new("name", "data");
        let presence = PresenceMessage { client_id: Some("me".into()), ..Default::default() };
        let annotation = Annotation { name: Some("👍".into()), ..Default::default() };
        let object = ObjectMessage { id: Some("object".into()), ..Default::default() };
        vec![
            ServerFrame::Message(delivery(&message)),
            ServerFrame::Presence(delivery(&presence)),
            ServerFrame::Sync(delivery(&presence)),
            ServerFrame::Annotation(delivery(&annotation)),
            ServerFrame::Object(delivery(&object)),
            ServerFrame::ObjectSync(delivery(&object)),
        ]
    }

    fn read(bytes: &[u8]) -> Result<ServerFrame, DecodeError> {
        let mut frame = ServerFrame::Closed;
        let limits = Limits::default();
        read_server_frame(&Bytes::copy_from_slice(bytes), &limits, &mut frame)?;
        Ok(frame)
    }

    /// The frame's action behind its other fields, where the short way is not taken.
    fn action_last(bytes: &[u8]) -> Vec<u8> {
        let (action, rest) = bytes[1..].split_at(b"\xa6action".len() + 1);
        [&bytes[..1], rest, action].concat()
    }

    #[test]
    fn a_delivery_reads_the_same_with_its_action_first_or_last() {
        for frame in deliveries() {
            let mut bytes = Vec::new();
            encode_server_frame(Format::MsgPack, &frame, &mut bytes);
            assert_eq!(&bytes[1..8], b"\xa6action");
            assert_eq!(read(&bytes), Ok(frame.clone()));
            assert_eq!(read(&action_last(&bytes)), Ok(frame));
        }
    }

    #[test]
    fn a_delivery_without_a_channel_is_refused() {
        let channel = b"\xa7channel\xa7channel";
        for frame in deliveries() {
            let mut bytes = Vec::new();
            encode_server_frame(Format::MsgPack, &frame, &mut bytes);
            let at = bytes.windows(channel.len()).position(|part| part == channel).unwrap();
            bytes.splice(at..at + channel.len(), []);
            bytes[0] -= 1;
            let missing = Err(DecodeError::Missing { field: "channel" });
            assert_eq!(read(&bytes), missing);
            assert_eq!(read(&action_last(&bytes)), missing);
        }
    }

    #[test]
    fn a_frame_read_after_another_keeps_nothing_of_it() {
        let limits = Limits::default();
        let mut place = ServerFrame::Closed;
        for frame in deliveries() {
            let bare = ServerFrame::Message(Delivery::new("other", vec![Message::default()]));
            for frame in [frame, bare] {
                let mut bytes = Vec::new();
                encode_server_frame(Format::MsgPack, &frame, &mut bytes);
                read_server_frame(&bytes.into(), &limits, &mut place).unwrap();
                assert_eq!(place, frame);
            }
        }
    }
}
