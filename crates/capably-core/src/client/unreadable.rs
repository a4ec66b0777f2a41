//! Frames of which a part cannot be read, or nothing: the readable part is delivered, the rest becomes a gap.
//!
//! The service sends such a frame again after each resume. So the client must either skip it, or end the connection
//! for it at most once.

use capably_protocol::{DecodeError, ErrorInfo, ServerFrame, codec::Damaged, frame::Action};

use super::Client;
use crate::{ChannelState, ConnectionState, Gap, Now, errors};

impl Client {
    /// A frame arrived of which a part cannot be read.
    pub(super) fn damaged(&mut self, damaged: Damaged<ServerFrame>, error: &DecodeError, now: Now) {
        let Damaged { frame, action, channel, gaps, .. } = damaged;
        let connected = self.connection_state() == ConnectionState::Connected;
        match frame {
            Some(frame) if gaps.is_empty() => {
                tracing::warn!(action, channel = channel.as_deref(), %error, "a part of a frame cannot be read");
                self.handle_frame(frame, now);
            }
            // Before CONNECTED no message can be lost, and the next attempt may succeed.
            _ if !connected => self.broken(error, now),
            Some(frame) => self.deliver_around(frame, &gaps, error, now),
            None => match action.and_then(Action::from_number) {
                // Skipping it would leave publishes waiting for ever: on the next transport the service
                // acknowledges them again.
                Some(Action::Ack | Action::Nack) => self.broken(error, now),
                Some(
                    Action::Message
                    | Action::Presence
                    | Action::Sync
                    | Action::Annotation
                    | Action::Object
                    | Action::ObjectSync,
                ) => self.frame_lost(&errors::unreadable(error), now),
                _ => {
                    let channel = channel.as_deref();
                    tracing::error!(action, channel, %error, "a frame cannot be read, and is ignored");
                }
            },
        }
    }

    /// Bytes arrived that are no frame, so their channel is not known. The first time, the transport ends: after the
    /// resume the service may send a good frame instead. The next time, the bytes are skipped and every channel gets
    /// a gap, since the same bytes may come after every resume.
    pub(super) fn broken(&mut self, error: &DecodeError, now: Now) {
        let error = errors::broken_frame(error);
        if self.connection_state() == ConnectionState::Connected
            && self.shared.connection.end_for_frame()
        {
            return self.frame_lost(&error, now);
        }
        self.drive(now, |connection, cx| connection.shut_for_frame(error, cx));
    }

    /// A transport ended. If a frame that cannot be read ended it, and not for the first time on this connection, the
    /// frame comes after every resume: the next connection is a new one, and its channels have a gap.
    pub(super) fn ended_by_frame(&mut self, error: &ErrorInfo) {
        if error.code != errors::PROTOCOL
            || self.connection_state() != ConnectionState::Connected
            || !self.shared.connection.end_for_frame()
        {
            return;
        }
        tracing::error!(%error, "the connection is not resumed: the same frame would end it again");
        self.shared.connection.begin_anew();
        for channel in self.channels.iter_mut() {
            channel.begin_anew(error);
        }
    }

    /// Delivers the readable items of a frame, with gaps in place of the others.
    fn deliver_around(
        &mut self,
        frame: ServerFrame,
        gaps: &[usize],
        error: &DecodeError,
        now: Now,
    ) {
        let error = errors::unreadable(error);
        let Some(name) = frame.channel().cloned() else { return };
        let cx = &mut self.shared.cx(now);
        let Some(channel) = self.channels.addressed(&name, cx) else { return };
        if !matches!(channel.state(), ChannelState::Attached | ChannelState::Detaching) {
            return self.handle_frame(frame, now);
        }
        tracing::error!(channel = &*name, code = error.code.0, %error, "a part of a frame is missing");
        let missing = |gap: Gap| gaps.iter().map(|index| (*index, gap.clone())).collect();
        match frame {
            ServerFrame::Message(mut delivery) => {
                let gap = channel.unreadable_gap(&error, delivery.channel_serial.as_ref(), cx);
                channel.deliver(&mut delivery, missing(gap), cx);
            }
            ServerFrame::Annotation(delivery) => {
                let gap = channel.unreadable_gap(&error, delivery.channel_serial.as_ref(), cx);
                channel.deliver_annotations(delivery, missing(gap), cx);
            }
            ServerFrame::Presence(delivery) => {
                let gap = channel.unreadable_gap(&error, delivery.channel_serial.as_ref(), cx);
                channel.deliver_presence(delivery, missing(gap), cx);
            }
            ServerFrame::Sync(delivery) => {
                // The serial of a page of a sync is no channel serial, so the channel's position takes its place.
                let gap = channel.unreadable_gap(&error, channel.channel_serial(), cx);
                channel.deliver_sync(delivery, missing(gap), cx);
            }
            frame => {
                channel.unreadable(&error, cx);
                self.handle_frame(frame, now);
            }
        }
    }

    /// A frame is lost, and its channel is not known: any may have been the one.
    fn frame_lost(&mut self, error: &ErrorInfo, now: Now) {
        tracing::error!(code = error.code.0, %error, "a frame cannot be read, and is skipped");
        self.each_channel(now, |channel, cx| channel.frame_lost(error, cx));
    }
}
