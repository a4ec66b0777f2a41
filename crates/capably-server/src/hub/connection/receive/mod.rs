//! The frames that a client sends.

mod control;
mod publish;
mod rate;
pub(in crate::hub) mod refuse;

use std::ops::ControlFlow;

use capably_protocol::{ClientFrame, ErrorInfo, ServerFrame, frame::ErrorFrame};

use super::{
    Arrival, Connection,
    ack::{Acks, Outcome},
};
use crate::hub::{
    Output, TransportId, Turn,
    access::Access,
    channel::{
        Channels,
        need::Need,
        order::{Origin, Proposed},
    },
    log::volume::Volume,
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
    /// The operations on objects that were accepted.
    pub(crate) objects: Volume,
    /// The presence events that were accepted.
    pub(crate) presence: Volume,
    /// Whether the client has presented a new token.
    pub(crate) renewed: bool,
    /// Why the connection has ended, if it has.
    pub(crate) end: Option<End>,
    /// Why the transport is to be closed. The client resumes the connection on another.
    pub(crate) disconnected: Option<ErrorInfo>,
}

/// The reason for the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client has sent CLOSE.
    Closed,
    /// The client was sent an ERROR.
    Failed,
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

    /// Handles frames up to the first that needs something from the engine. `refused` says why what the first frame needs
    /// cannot be had.
    pub(crate) fn receive_all(
        &mut self,
        frames: &mut Vec<ClientFrame>,
        refused: Option<ErrorInfo>,
        turn: &mut Turn<'_>,
    ) -> Option<Need> {
        if !self.channels.has_engine() {
            for frame in frames.drain(..) {
                if self.receive(frame, turn).is_break() {
                    break;
                }
            }
            return None;
        }
        if let (Some(error), false) = (refused, frames.is_empty()) {
            self.refuse(&frames.remove(0), error, turn);
            if self.received.disconnected.is_some() {
                frames.clear();
                return None;
            }
        }
        let mut need = None;
        let mut handled = 0;
        for frame in &mut *frames {
            need = self.need_of(frame, turn);
            if need.is_some() {
                break;
            }
            handled += 1;
            // Any other frame takes its place until the frames that are handled are removed.
            let frame = std::mem::replace(frame, ClientFrame::Disconnect);
            if self.receive(frame, turn).is_break() {
                frames.clear();
                return None;
            }
        }
        frames.drain(..handled);
        need
    }

    /// Handles a frame. Breaks when the connection has ended: later frames are dropped.
    fn receive(&mut self, frame: ClientFrame, turn: &mut Turn<'_>) -> ControlFlow<()> {
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
                self.once(publish.msg_serial, turn, |it, turn| it.publish_objects(publish, turn));
            }
            other => {
                // Answers are in the order of the frames.
                self.acks.flush(turn.outputs);
                self.control(other, turn);
            }
        }
        if self.received.end.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
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
        handle: impl FnOnce(&mut Self, &mut Turn<'_>) -> Result<Proposed, ErrorInfo>,
    ) {
        let outcome = match self.connection.arrived(msg_serial) {
            Arrival::Repeated(outcome) => self.connection.repeat(msg_serial, outcome, false),
            Arrival::Unsettled => None,
            Arrival::First => {
                let result = handle(self, turn);
                self.remember(msg_serial, result)
            }
        };
        if let Some(outcome) = outcome {
            self.acknowledge(msg_serial, outcome, turn.outputs);
        }
    }

    /// Remembers the result of a frame. Returns the outcome if it is time to answer.
    fn remember(
        &mut self,
        msg_serial: u64,
        result: Result<Proposed, ErrorInfo>,
    ) -> Option<Outcome> {
        let outcome = match result {
            Ok(Proposed::Committed(accepted)) => Some(Outcome::from(Ok(accepted))),
            Ok(Proposed::Waiting(ticket)) => {
                let origin = Origin::Frame(self.connection.id.clone(), msg_serial);
                self.channels.set_origin(ticket, origin);
                None
            }
            Err(error) => Some(Outcome::Refused(error)),
        };
        self.connection.remember(msg_serial, outcome)
    }

    /// The need of a frame, if it cannot be handled at once.
    fn need_of(&self, frame: &ClientFrame, turn: &Turn<'_>) -> Option<Need> {
        let is_answered_in_order = matches!(
            frame,
            ClientFrame::Message(_)
                | ClientFrame::Presence(_)
                | ClientFrame::Annotation(_)
                | ClientFrame::Object(_)
        );
        if is_answered_in_order && self.connection.is_full() {
            return Some(Need::Answers);
        }
        let Connection { attached, start, .. } = &*self.connection;
        let start = start.as_ref().map(|(name, _)| name);
        let settled = self.connection.is_settled();
        self.channels.need_of_frame(frame, settled, attached, start, turn.now.steady)
    }

    /// Refuses a frame whose need could not be met.
    fn refuse(&mut self, frame: &ClientFrame, error: ErrorInfo, turn: &mut Turn<'_>) {
        let msg_serial = match frame {
            ClientFrame::Message(publish) => publish.msg_serial,
            ClientFrame::Annotation(publish) => publish.msg_serial,
            ClientFrame::Presence(publish) => publish.msg_serial,
            ClientFrame::Object(publish) => publish.msg_serial,
            ClientFrame::Attach(attach) => {
                self.acks.flush(turn.outputs);
                let channel = attach.channel.clone();
                let frame = if error.status_code >= 500 {
                    // An ERROR would be final. A client that receives DETACHED attaches again later (RTL13b).
                    ServerFrame::Detached { channel, error: Some(error) }
                } else {
                    ServerFrame::Error(ErrorFrame { channel: Some(channel), error: Some(error) })
                };
                turn.outputs.push(Output::Frame(self.transport, frame));
                return;
            }
            ClientFrame::Detach { .. } if error.status_code >= 500 => {
                // The members may be known elsewhere. The client sends the DETACH again when it has resumed.
                self.received.disconnected = Some(error);
                return;
            }
            ClientFrame::Detach { .. } => {
                self.acks.flush(turn.outputs);
                self.control(frame.clone(), turn);
                return;
            }
            _ => return,
        };
        self.once(msg_serial, turn, |_, _| Err(error));
    }

    /// Answers a frame that has no effect again, behind those that wait.
    fn acknowledge_again(&mut self, msg_serial: u64, outcome: Outcome, outputs: &mut Vec<Output>) {
        if let Some(outcome) = self.connection.repeat(msg_serial, outcome, false) {
            self.acknowledge(msg_serial, outcome, outputs);
        }
    }

    fn acknowledge(&mut self, msg_serial: u64, outcome: Outcome, outputs: &mut Vec<Output>) {
        if self.connection.acknowledges(msg_serial) {
            self.acks.add(msg_serial, outcome, outputs);
        }
    }
}
