//! Frames that cannot be read, or not as a whole: what is left of them is used, what is missing is told as a
//! gap, and none of them comes again and again.

use std::mem;

use capably_protocol::{
    DecodeError, ErrorInfo, Message, ServerFrame, Str, codec::Damaged, frame::Action,
};

use crate::{
    Batch, Channel, ChannelId, ChannelState, Client, ConnectionState, Event, Gap, Now, Output,
    Place, errors,
};

impl Client {
    /// A frame arrived that cannot be read as a whole.
    pub(crate) fn damaged(&mut self, damaged: Damaged<ServerFrame>, error: &DecodeError, now: Now) {
        let Damaged { frame, action, channel, gaps, .. } = damaged;
        let connected = self.connection_state() == ConnectionState::Connected;
        match frame {
            Some(frame) if gaps.is_empty() => {
                tracing::warn!(action, channel = channel.as_deref(), %error, "a part of a frame cannot be read");
                self.handle_frame(frame, now);
            }
            // Nothing is lost yet, and the next attempt may go better.
            _ if !connected => self.broken(error, now),
            Some(frame) => self.deliver_around(frame, &gaps, error, now),
            None => match action.and_then(Action::from_number) {
                // Without it, whoever published would wait for ever: the next transport has another.
                Some(Action::Ack | Action::Nack) => self.broken(error, now),
                Some(
                    Action::Message
                    | Action::Presence
                    | Action::Sync
                    | Action::Annotation
                    | Action::Object
                    | Action::ObjectSync,
                ) => self.missing_anywhere(errors::unreadable(error), now),
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
    pub(crate) fn broken(&mut self, error: &DecodeError, now: Now) {
        let Some(transport) = self.shared.connection.transport() else { return };
        let error = errors::broken_frame(error);
        let connected = self.connection_state() == ConnectionState::Connected;
        if connected && mem::replace(&mut self.shared.connection.ended_by_frame, true) {
            return self.missing_anywhere(error, now);
        }
        self.push(Output::Shut { transport });
        self.transport_closed(error, now.instant);
    }

    /// A transport has ended. Had it to end for what it read, and not for the first time on this connection,
    /// then that comes after every resume, and cannot be passed over: the next connection begins anew, and its
    /// channels have a gap.
    pub(crate) fn ended_by_frame(&mut self, error: &ErrorInfo) {
        let connected = self.connection_state() == ConnectionState::Connected;
        if error.code != errors::PROTOCOL
            || !connected
            || !mem::replace(&mut self.shared.connection.ended_by_frame, true)
        {
            return;
        }
        tracing::error!(%error, "the connection is not resumed: it ends with the same again");
        self.shared.connection.key = None;
        for channel in self.channels.iter_mut() {
            channel.begin_anew(error);
        }
    }

    /// Delivers the items that a frame has left, and tells where others are missing.
    fn deliver_around(
        &mut self,
        frame: ServerFrame,
        gaps: &[usize],
        error: &DecodeError,
        now: Now,
    ) {
        let error = errors::unreadable(error);
        let Some(name) = frame.channel().cloned() else { return };
        let Some((id, channel)) = self.channel_named(&name) else { return };
        let after = channel.channel_serial().cloned();
        let hears = matches!(channel.state(), ChannelState::Attached | ChannelState::Detaching);
        if !hears {
            return self.handle_frame(frame, now);
        }
        let code = error.code.0;
        tracing::error!(channel = &*name, code, %error, "a part of a frame is missing");
        let missing = |until: &Option<Str>| {
            let (reason, until, time) = (Some(error.clone()), until.clone(), now.wall);
            let gap = Gap { reason, after: after.clone(), until, time };
            gaps.iter().map(|index| (*index, gap.clone())).collect::<Vec<_>>()
        };
        match frame {
            ServerFrame::Message(mut delivery) => {
                let missing = missing(&delivery.channel_serial);
                self.deliver_damaged(&mut delivery, missing, now.instant);
            }
            ServerFrame::Annotation(delivery) => {
                let missing = missing(&delivery.channel_serial);
                self.annotations_arrived(delivery, missing, now.instant);
            }
            ServerFrame::Presence(delivery) => {
                let missing = missing(&delivery.channel_serial);
                self.presence_arrived(delivery, missing, now.instant);
            }
            // The serial of a page of a sync is not one of the channel.
            ServerFrame::Sync(delivery) => {
                let missing = missing(&after);
                self.sync_arrived(delivery, missing, now);
            }
            frame => {
                self.unreadable(id, &error);
                self.handle_frame(frame, now);
            }
        }
    }

    /// Something is missing, and on which channel is not known.
    fn missing_anywhere(&mut self, error: ErrorInfo, now: Now) {
        tracing::error!(code = error.code.0, %error, "a frame cannot be read, and is passed over");
        let ids: Vec<_> = self.channels.iter().map(Channel::id).collect();
        for id in ids {
            let Some(channel) = self.channels.get(id) else { continue };
            if channel.state() != ChannelState::Attached {
                continue;
            }
            let after = channel.channel_serial().cloned();
            let reason = Some(error.clone());
            self.unreadable(id, &error);
            // A listener that is behind gets these messages in a replay; the others may lack something here.
            let place = Place { after: after.clone(), ..Place::default() };
            let gap = Gap { reason, after, until: None, time: now.wall };
            self.push(Output::Event(Event::Messages(id, Batch::missing(&gap, &place))));
            self.push(Output::Event(Event::Presence(id, Batch::missing(&gap, &place))));
            self.push(Output::Event(Event::Annotations(id, Batch::missing(&gap, &place))));
        }
    }

    /// Says that a channel has something that cannot be read.
    pub(crate) fn unreadable(&mut self, id: ChannelId, error: &ErrorInfo) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.error_reason = Some(error.clone());
        self.channel_lost(id, error.clone());
    }
}

/// Whether a message comes as what changed since another.
pub(crate) fn is_delta(message: &Message) -> bool {
    message.encoding.as_deref().is_some_and(|steps| steps.split('/').any(|step| step == "vcdiff"))
}
