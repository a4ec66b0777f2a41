//! Frames that are answered with a frame of their own, and not with an ACK.

use capably_protocol::{ClientFrame, ServerFrame, Str};

use super::{End, Receiver};
use crate::hub::{Output, Turn, channel::order::Origin, connection::error_frame};

impl Receiver<'_> {
    pub(super) fn control(&mut self, frame: ClientFrame, turn: &mut Turn<'_>) {
        let transport = self.transport;
        match frame {
            ClientFrame::Heartbeat { id } => {
                turn.outputs.push(Output::Frame(transport, ServerFrame::Heartbeat { id }));
            }
            ClientFrame::Attach(attach) => {
                let session = &mut self.connection.session(transport);
                self.channels.attach(session, &attach, turn);
            }
            ClientFrame::Detach { channel } => self.detach(channel, turn),
            ClientFrame::Sync { channel } => {
                let session = &self.connection.session(transport);
                self.channels.sync(session, &channel, turn.outputs);
            }
            ClientFrame::ObjectSync { channel } => {
                let session = &mut self.connection.session(transport);
                self.channels.request_objects_sync(session, &channel, turn);
            }
            ClientFrame::Auth(auth) => self.renew_token(&auth.access_token, turn),
            ClientFrame::Close => self.received.end = Some(End::Closed),
            ClientFrame::Disconnect => {
                let frame = ServerFrame::Disconnected { error: None };
                turn.outputs.push(Output::Frame(transport, frame));
                turn.outputs.push(Output::Close(transport));
            }
            _ => {}
        }
    }

    /// Ends an attachment. DETACHED follows when the departure of the members is committed: a client that is told that they have
    /// left may attach again, in a cluster at another node, and must not find them.
    fn detach(&mut self, channel: Str, turn: &mut Turn<'_>) {
        let session = &mut self.connection.session(self.transport);
        let departure = self.channels.detach(session, &channel, turn);
        if let Some(ticket) = departure {
            let origin = Origin::Detach(self.connection.id.clone(), channel);
            self.channels.set_origin(ticket, origin);
            self.connection.detaching(ticket);
        } else {
            let frame = ServerFrame::Detached { channel, error: None };
            turn.outputs.push(Output::Frame(self.transport, frame));
        }
    }

    /// Replaces the token of the connection (RTC8). An invalid token ends the connection.
    fn renew_token(&mut self, token: &Str, turn: &mut Turn<'_>) {
        let client_id = self.connection.identity.client.name().cloned();
        match self.access.authenticate_text(token, client_id, turn.now) {
            Ok(identity) => {
                self.connection.identity = identity;
                let connected = self.connection.connected(turn.settings, None);
                turn.outputs.push(Output::Frame(self.transport, connected));
                let session = &mut self.connection.session(self.transport);
                self.channels.reconsider(session, turn);
                self.received.renewed = true;
            }
            Err(error) => {
                turn.outputs.push(Output::Frame(self.transport, error_frame(error)));
                self.received.end = Some(End::Failed);
            }
        }
    }
}
