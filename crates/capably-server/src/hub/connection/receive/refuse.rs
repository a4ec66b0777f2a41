//! Frames that cannot be decoded. Each is refused by itself, and the connection continues.

use bytes::Bytes;
use capably_protocol::{
    DecodeError, ErrorInfo, Format, Limits, ServerFrame, Str, codec,
    frame::{Action, ErrorFrame},
};

use crate::hub::{
    Output, TransportId,
    connection::{
        Arrival, Connection,
        ack::{Acks, Outcome},
    },
    error,
};

/// The answer to a frame that cannot be decoded.
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
}

impl Connection {
    /// Answers a frame of this transport that cannot be decoded.
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
