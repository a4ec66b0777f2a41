//! Frames of a client that cannot be read: each is refused by itself, and the connection goes on.

use bytes::Bytes;
use capably_protocol::{
    DecodeError, ErrorInfo, Format, Limits, ServerFrame, Str, codec,
    frame::{Action, ErrorFrame},
};

use super::{ack::Acks, receive::receive_once};
use crate::hub::{App, Now, Output, TransportId, error, log::volume::Volume, stats::tally::Way};

/// The answer to a frame that cannot be read.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A NACK of this frame.
    Publish { msg_serial: u64, error: ErrorInfo },
    /// An ERROR of this channel.
    Channel { channel: Str, error: ErrorInfo },
    /// Nothing: a frame that asks for no answer.
    Ignored,
}

impl Refusal {
    /// The answer to a client's frame that cannot be read; `None` when it cannot be known what the frame
    /// is about, so that the connection fails.
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
            Some(Action::Attach | Action::Detach | Action::Sync) => {
                Some(Self::Channel { channel: frame.channel?, error })
            }
            Some(Action::Auth) => None,
            _ => Some(Self::Ignored),
        }
    }
}

impl App {
    /// A frame arrived that cannot be read.
    pub(crate) fn refuse(
        &mut self,
        transport: TransportId,
        refusal: Refusal,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let connection =
            self.transports.get(&transport).and_then(|id| self.connections.get_mut(id));
        let Some(connection) = connection else { return };
        let sent = outputs.len();
        match refusal {
            Refusal::Publish { msg_serial, error } => {
                let mut acks = Acks::new(transport);
                let refused = |_: &_| Err(error);
                let (_, outcome) =
                    receive_once(connection, msg_serial, &mut Volume::default(), refused);
                acks.add(msg_serial, outcome, outputs);
                acks.flush(outputs);
            }
            Refusal::Channel { channel, error } => {
                let error = ErrorFrame { channel: Some(channel), error: Some(error) };
                outputs.push(Output::Frame(transport, ServerFrame::Error(error)));
            }
            Refusal::Ignored => {}
        }
        self.count_publish(Way::Realtime, Volume::default(), &outputs[sent..], now);
    }
}
