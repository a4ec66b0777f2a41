//! Inputs of the transport: each frame goes to the part of the client that it concerns.

use std::mem;

use capably_protocol::{
    ClientFrame, DecodeError, ErrorInfo, ServerFrame, codec::Damaged, frame::Publish,
};

use super::Client;
use crate::{
    Now, Outcome, TransportId, connection::Connection, outbox::Settled, presence::AttachmentId,
};

/// An event of a transport.
#[derive(Debug)]
pub enum TransportEvent<'a> {
    /// The WebSocket is open.
    Opened,
    /// A frame arrived. The client takes the contents out of it. The frame is passed by reference because
    /// moving it costs nearly as much as decoding it.
    Frame(&'a mut ServerFrame),
    /// A frame arrived of which a part cannot be read.
    Damaged {
        /// The part of the frame that can be read.
        damaged: Box<Damaged<ServerFrame>>,
        /// Why the rest cannot be read.
        error: DecodeError,
    },
    /// The bytes are no frame: the ends of its parts cannot be found. The transport may continue, unless the
    /// client [shuts](crate::Output::Shut) it.
    Broken(DecodeError),
    /// Something else arrived, such as a WebSocket ping: the service is alive (RTN23b).
    Activity,
    /// The transport ended: dialling failed, the socket closed, or the bytes that arrived were no frame. No
    /// event follows.
    Closed(ErrorInfo),
}

impl Client {
    /// An event of a transport. Events of any but the current transport are ignored.
    pub fn handle_transport(&mut self, id: TransportId, event: TransportEvent<'_>, now: Now) {
        if self.shared.connection.transport() != Some(id) {
            return;
        }
        self.shared.connection.active(now.instant);
        match event {
            TransportEvent::Opened => self.shared.connection.transport_opened(),
            TransportEvent::Activity => {}
            TransportEvent::Closed(error) => {
                self.ended_by_frame(&error);
                self.drive(now, |connection, cx| connection.transport_closed(error, cx));
            }
            TransportEvent::Damaged { damaged, error } => self.damaged(*damaged, &error, now),
            TransportEvent::Broken(error) => self.broken(&error, now),
            // The most frequent frame goes the shortest way, and is not moved.
            TransportEvent::Frame(ServerFrame::Message(delivery)) => {
                let cx = &mut self.shared.cx(now);
                if let Some(channel) = self.channels.addressed(&delivery.channel, cx) {
                    channel.deliver(delivery, Vec::new(), cx);
                }
            }
            TransportEvent::Frame(frame) => {
                self.handle_frame(mem::replace(frame, ServerFrame::Closed), now);
            }
        }
    }

    pub(super) fn handle_frame(&mut self, frame: ServerFrame, now: Now) {
        let Self { channels, outbox, pings, shared, .. } = self;
        let cx = &mut shared.cx(now);
        match frame {
            ServerFrame::Message(mut delivery) => {
                if let Some(channel) = channels.addressed(&delivery.channel, cx) {
                    channel.deliver(&mut delivery, Vec::new(), cx);
                }
            }
            ServerFrame::Presence(delivery) => {
                if let Some(channel) = channels.addressed(&delivery.channel, cx) {
                    channel.deliver_presence(delivery, Vec::new(), cx);
                }
            }
            ServerFrame::Sync(delivery) => {
                if let Some(channel) = channels.addressed(&delivery.channel, cx) {
                    channel.deliver_sync(delivery, Vec::new(), cx);
                }
            }
            ServerFrame::Annotation(delivery) => {
                if let Some(channel) = channels.addressed(&delivery.channel, cx) {
                    channel.deliver_annotations(delivery, Vec::new(), cx);
                }
            }
            ServerFrame::Object(delivery) => {
                if let Some(channel) = channels.addressed(&delivery.channel, cx) {
                    channel.deliver_objects(delivery, cx);
                }
            }
            ServerFrame::ObjectSync(delivery) => {
                if let Some(channel) = channels.addressed(&delivery.channel, cx) {
                    channel.deliver_object_sync(delivery, cx);
                }
            }
            ServerFrame::Attached(attached) => {
                if let Some(channel) = channels.addressed(&attached.channel, cx) {
                    channel.handle_attached(*attached, outbox, cx);
                }
            }
            // The answer to a DETACH has no error. The service has refused an ATTACH, or has ended the attachment itself.
            ServerFrame::Detached { channel: name, error: error @ Some(_) } => {
                if let Some(channel) = channels.addressed(&name, cx) {
                    channel.handle_detached(error, cx);
                }
            }
            ServerFrame::Detached { channel: name, error: None } => {
                if !cx.detaches.take_answer(&name)
                    && let Some(channel) = channels.named(&name)
                {
                    channel.handle_detached(None, cx);
                }
            }
            ServerFrame::Error(error) => match error.channel {
                None => {
                    self.drive(now, |connection, cx| connection.connection_error(error.error, cx));
                }
                Some(name) => {
                    if let Some(channel) = channels.addressed(&name, cx) {
                        channel.handle_error(error.error, cx);
                    }
                }
            },
            ServerFrame::Ack(ack) => {
                let settled = outbox.acknowledge(ack, cx);
                self.handle_settled(settled, now);
            }
            ServerFrame::Nack(nack) => {
                let settled = outbox.refuse(nack, cx);
                self.handle_settled(settled, now);
            }
            ServerFrame::Heartbeat { id: Some(id) } => pings.answered(&id, cx),
            ServerFrame::Heartbeat { id: None } => {}
            // Answered even if the client asked for no heartbeats (RTN23c1, RTN23c2).
            ServerFrame::Ping { id } => cx.send(ClientFrame::Pong { id }),
            ServerFrame::Connected(connected) => {
                self.drive(now, |connection, cx| connection.connected(*connected, cx));
            }
            ServerFrame::Disconnected { error } => {
                self.drive(now, |connection, cx| connection.disconnected(error, cx));
            }
            ServerFrame::Closed => self.drive(now, Connection::closed_by_service),
            ServerFrame::Auth => self.drive(now, Connection::auth_requested),
            // Frames of later versions of the protocol are tolerated (RTF1).
            other => tracing::debug!(target: "capably::frames", frame = ?other, "ignored"),
        }
        // An acknowledgement, or a change of the connection's state, may have changed what is awaited.
        self.outbox.await_ack(&mut self.shared.cx(now));
    }

    /// Informs channels of settled frames that concern them, in order.
    pub(super) fn handle_settled(&mut self, settled: Vec<Settled>, now: Now) {
        for settled in settled {
            match settled {
                Settled::Unaccepted { frame, attachment, error } => {
                    self.handle_unaccepted(frame, attachment, error, now);
                }
                Settled::Objects { op, publish, result } => {
                    let Self { channels, shared, .. } = self;
                    let cx = &mut shared.cx(now);
                    match channels.named(&publish.channel) {
                        Some(channel) => channel.objects_acknowledged(op, &publish, result, cx),
                        None => cx.done(op, Ok(Outcome::Published(result))),
                    }
                }
                Settled::Presence { publish, attachment } => {
                    if let Some(channel) = self.channels.named(&publish.channel) {
                        let cx = &self.shared.cx(now);
                        channel.presence_acknowledged(&publish, attachment, cx);
                    }
                }
            }
        }
    }

    /// A frame that the client sent on its own was not accepted: it enters a member again.
    fn handle_unaccepted(
        &mut self,
        frame: ClientFrame,
        attachment: Option<AttachmentId>,
        error: ErrorInfo,
        now: Now,
    ) {
        let ClientFrame::Presence(Publish { channel: name, items, .. }) = frame else { return };
        let member = items.first().and_then(|item| item.client_id.as_deref());
        let client_id = member.unwrap_or_default();
        tracing::warn!(channel = &*name, client_id, %error, "a member could not be entered again");
        if let Some(channel) = self.channels.named(&name) {
            channel.reentry_failed(client_id, attachment, error, &mut self.shared.cx(now));
        }
    }
}
