//! Frames that cannot be decoded, and those that nobody may send. Each is refused by itself, and the connection continues.

use bytes::Bytes;
use capably_protocol::{
    ClientFrame, DecodeError, ErrorInfo, Format, Limits, ServerFrame, Str, codec,
    frame::{Action, ErrorFrame},
};

use crate::hub::{
    Output, TransportId,
    connection::{
        Arrival, Connection,
        ack::{Acks, Outcome},
    },
    error,
    log::position::MAX_ITEMS,
};

/// The answer to a frame that is not handled.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A NACK for the frame.
    Publish { msg_serial: u64, error: ErrorInfo },
    /// An ERROR for the channel.
    Channel { channel: Str, error: ErrorInfo },
    /// No answer: the client expects none.
    Ignored,
}

impl Refusal {
    /// The answer to a frame that cannot be decoded. `None` if not even its action and its channel or serial can be read:
    /// then the connection fails, as no answer could be matched to the frame.
    pub(crate) fn of(
        format: Format,
        bytes: &Bytes,
        limits: &Limits,
        why: &DecodeError,
    ) -> Option<Self> {
        let frame = codec::salvage_client_frame(format, bytes, limits)?;
        let error = error::unreadable(why);
        match Action::from_number(frame.action?) {
            Some(Action::Message | Action::Presence | Action::Annotation | Action::Object) => {
                Some(Self::Publish { msg_serial: frame.msg_serial?, error })
            }
            Some(Action::Attach | Action::Detach | Action::Sync | Action::ObjectSync) => {
                Some(Self::Channel { channel: frame.channel?, error })
            }
            Some(Action::Auth) => None,
            _ => Some(Self::Ignored),
        }
    }

    /// The answer to a frame with more items than a frame may have. It must not wait for anything: in memory, items without
    /// a payload take hundreds of times their bytes.
    pub(crate) fn of_too_many(frame: &ClientFrame) -> Option<Self> {
        let (msg_serial, _) = items_of(frame).filter(|(_, items)| *items > MAX_ITEMS)?;
        Some(Self::Publish { msg_serial, error: error::too_many_messages(MAX_ITEMS) })
    }
}

/// The serial of a frame with items, and how many it has.
pub(crate) fn items_of(frame: &ClientFrame) -> Option<(u64, usize)> {
    match frame {
        ClientFrame::Message(publish) => Some((publish.msg_serial, publish.items.len())),
        ClientFrame::Annotation(publish) => Some((publish.msg_serial, publish.items.len())),
        ClientFrame::Presence(publish) => Some((publish.msg_serial, publish.items.len())),
        ClientFrame::Object(publish) => Some((publish.msg_serial, publish.items.len())),
        _ => None,
    }
}

impl Connection {
    /// Answers a frame of this transport that is not handled.
    pub(crate) fn refuse(
        &mut self,
        transport: TransportId,
        refusal: Refusal,
        outputs: &mut Vec<Output>,
    ) {
        match refusal {
            Refusal::Publish { msg_serial, error } => {
                let outcome = match self.arrived(msg_serial) {
                    Arrival::Repeated(outcome) => Some(outcome),
                    Arrival::Unsettled => None,
                    Arrival::First => self.remember(msg_serial, Some(Outcome::Refused(error))),
                };
                let Some(outcome) = outcome else { return };
                let mut acks = Acks::new(transport);
                acks.add(msg_serial, outcome, outputs);
                acks.flush(outputs);
            }
            Refusal::Channel { channel, error } => {
                let error = ErrorFrame { channel: Some(channel), error: Some(error) };
                outputs.push(Output::Frame(transport, ServerFrame::Error(error)));
            }
            Refusal::Ignored => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use capably_protocol::{Annotation, Message, ObjectMessage, PresenceMessage, frame::Publish};

    use super::*;

    fn publish<T: Clone + Default>(items: usize) -> Publish<T> {
        let items = vec![T::default(); items].into();
        Publish { channel: "a".into(), msg_serial: 7, items, params: Default::default() }
    }

    #[test]
    fn a_frame_with_too_many_items_is_refused_by_its_serial() {
        let frames = |items| {
            [
                ClientFrame::Message(publish::<Message>(items)),
                ClientFrame::Annotation(publish::<Annotation>(items)),
                ClientFrame::Presence(publish::<PresenceMessage>(items)),
                ClientFrame::Object(publish::<ObjectMessage>(items)),
            ]
        };
        for frame in frames(MAX_ITEMS) {
            assert!(Refusal::of_too_many(&frame).is_none(), "{:?}", items_of(&frame));
        }
        for frame in frames(MAX_ITEMS + 1) {
            match Refusal::of_too_many(&frame) {
                Some(Refusal::Publish { msg_serial: 7, error }) => assert_eq!(error.code.0, 40034),
                other => panic!("{other:?}"),
            }
        }
        assert!(Refusal::of_too_many(&ClientFrame::Close).is_none());
    }
}
