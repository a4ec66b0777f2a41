//! The frames that a client sends.

mod control;
mod publish;
mod rate;
pub(in crate::hub) mod refuse;

use std::ops::ControlFlow;

use capably_protocol::{ClientFrame, ErrorInfo};

use super::{
    Connection,
    ack::{Acks, Outcome},
};
use crate::hub::{
    Output, TransportId, Turn, access::Access, channel::Channels, error, log::volume::Volume,
    message::publish::Accepted,
};

/// Receives a batch of frames from one transport.
pub(crate) struct Receiver<'a> {
    connection: &'a mut Connection,
    transport: TransportId,
    access: &'a Access,
    channels: &'a mut Channels,
    acks: Acks,
    received: Received,
}

/// The effects of a batch of frames beyond its channels.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// The messages and annotations that were accepted.
    pub(crate) messages: Volume,
    /// The presence events that were accepted.
    pub(crate) presence: Volume,
    /// Whether the client has presented a new token.
    pub(crate) renewed: bool,
    /// Whether the client or an error has ended the connection.
    pub(crate) ended: bool,
}

impl<'a> Receiver<'a> {
    pub(crate) fn new(
        connection: &'a mut Connection,
        transport: TransportId,
        access: &'a Access,
        channels: &'a mut Channels,
    ) -> Self {
        let (acks, received) = (Acks::new(transport), Received::default());
        Self { connection, transport, access, channels, acks, received }
    }

    /// Handles a frame. Breaks when the connection has ended: later frames are dropped.
    pub(crate) fn receive(&mut self, frame: ClientFrame, turn: &mut Turn<'_>) -> ControlFlow<()> {
        if let Some((error, msg_serial)) = self.check_rate(&frame, turn) {
            self.once(msg_serial, turn, |_, _| Err(error));
            return ControlFlow::Continue(());
        }
        match frame {
            ClientFrame::Message(publish) => {
                self.once(publish.msg_serial, turn, |it, turn| it.publish(publish, turn));
            }
            ClientFrame::Annotation(publish) => {
                self.once(publish.msg_serial, turn, |it, turn| it.annotate(publish, turn));
            }
            ClientFrame::Presence(publish) => self.publish_presence(publish, turn),
            ClientFrame::Object(publish) => {
                let refused =
                    |_: &mut Self, _: &mut Turn<'_>| Err(error::not_supported("objects are"));
                self.once(publish.msg_serial, turn, refused);
            }
            other => {
                // Answers are in the order of the frames.
                self.acks.flush(turn.outputs);
                self.control(other, turn);
            }
        }
        if self.received.ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Sends the gathered acknowledgements, and returns the effects of the batch.
    pub(crate) fn finish(mut self, turn: &mut Turn<'_>) -> Received {
        self.acks.flush(turn.outputs);
        self.received
    }

    /// Handles a frame that is acknowledged. A repeated frame has no effect, and the same acknowledgement.
    fn once(
        &mut self,
        msg_serial: u64,
        turn: &mut Turn<'_>,
        handle: impl FnOnce(&mut Self, &mut Turn<'_>) -> Result<Accepted, ErrorInfo>,
    ) {
        let outcome = match self.connection.earlier_outcome(msg_serial) {
            Some(outcome) => outcome,
            None => {
                let result = handle(self, turn);
                self.connection.remember(msg_serial, result)
            }
        };
        self.acknowledge(msg_serial, outcome, turn.outputs);
    }

    fn acknowledge(&mut self, msg_serial: u64, outcome: Outcome, outputs: &mut Vec<Output>) {
        if self.connection.acknowledges(msg_serial) {
            self.acks.add(msg_serial, outcome, outputs);
        }
    }
}
