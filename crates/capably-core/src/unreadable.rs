//! Frames that cannot be read, or not as a whole: what is left of them is used, what is missing is told as a
//! gap, and none of them comes again and again.

use std::mem;

use capably_protocol::{
    Annotation, DecodeError, ErrorInfo, Message, ServerFrame, Str,
    codec::Damaged,
    frame::{Action, Delivery},
};

use crate::{ChannelId, ChannelState, Client, ConnectionState, Event, Gap, Now, Output, errors};

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

    /// What arrived is no frame, so that it cannot be known for which channel it was. The first time the
    /// transport ends: what the service sends again after the resume may be better. Then it is passed over, and
    /// every channel has a gap: it may come after every resume.
    pub(crate) fn broken(&mut self, error: &DecodeError, now: Now) {
        let Some(transport) = self.connection.transport() else { return };
        let error = errors::broken_frame(error);
        let connected = self.connection_state() == ConnectionState::Connected;
        if connected && mem::replace(&mut self.connection.ended_by_frame, true) {
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
            || !mem::replace(&mut self.connection.ended_by_frame, true)
        {
            return;
        }
        tracing::error!(%error, "the connection is not resumed: it ends with the same again");
        self.connection.key = None;
        for channel in self.channels.values_mut() {
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
        let gap = |until: &Option<Str>| Gap {
            reason: Some(error.clone()),
            after: after.clone(),
            until: until.clone(),
            time: now.wall,
        };
        let code = error.code.0;
        tracing::error!(channel = &*name, code, %error, "a part of a frame is missing");
        self.unreadable(id, &error);
        match frame {
            ServerFrame::Message(mut delivery) => {
                let gap = gap(&delivery.channel_serial);
                if delivery.items.iter().any(is_delta)
                    && let Some((_, channel)) = self.channel_named(&name)
                {
                    // Should what is missing be needed for these, the channel goes on after the frame.
                    channel.moved(delivery.channel_serial.clone());
                }
                self.in_pieces(id, &mut delivery, gaps, gap, |client, piece| {
                    client.deliver(piece, now.instant);
                });
            }
            ServerFrame::Annotation(mut delivery) => {
                let gap = gap(&delivery.channel_serial);
                self.in_pieces(
                    id,
                    &mut delivery,
                    gaps,
                    gap,
                    |client, piece: &mut Delivery<Annotation>| {
                        client.annotations_arrived(mem::replace(
                            piece,
                            Delivery::new(Str::new(), Vec::new()),
                        ));
                    },
                );
            }
            ServerFrame::Presence(_) | ServerFrame::Object(_) => {
                self.handle_frame(frame, now);
                let until = self.channels.get(&id).and_then(|it| it.channel_serial().cloned());
                self.push(Output::Event(Event::Gap(id, gap(&until))));
            }
            // The serial of a page of a sync is not one of the channel.
            frame => {
                self.handle_frame(frame, now);
                self.push(Output::Event(Event::Gap(id, gap(&after))));
            }
        }
    }

    /// Delivers what comes before each gap, then the gap.
    fn in_pieces<T>(
        &mut self,
        id: ChannelId,
        delivery: &mut Delivery<T>,
        gaps: &[usize],
        gap: Gap,
        mut deliver: impl FnMut(&mut Self, &mut Delivery<T>),
    ) {
        let mut items = mem::take(&mut delivery.items).into_iter();
        let mut at = 0;
        for next in gaps {
            let piece: Vec<T> = items.by_ref().take(next - at).collect();
            at = *next;
            if !piece.is_empty() {
                let channel = delivery.channel.clone();
                deliver(self, &mut Delivery::new(channel, piece));
            }
            self.push(Output::Event(Event::Gap(id, gap.clone())));
        }
        // Even without an item it says where the channel is.
        delivery.items = items.collect();
        deliver(self, delivery);
    }

    /// Something is missing, and on which channel is not known.
    fn missing_anywhere(&mut self, error: ErrorInfo, now: Now) {
        tracing::error!(code = error.code.0, %error, "a frame cannot be read, and is passed over");
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for id in ids {
            let Some(channel) = self.channels.get(&id) else { continue };
            if channel.state() != ChannelState::Attached {
                continue;
            }
            let after = channel.channel_serial().cloned();
            let reason = Some(error.clone());
            self.unreadable(id, &error);
            let gap = Gap { reason, after, until: None, time: now.wall };
            self.push(Output::Event(Event::Gap(id, gap)));
        }
    }

    /// Says that a channel has something that cannot be read.
    fn unreadable(&mut self, id: ChannelId, error: &ErrorInfo) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.error_reason = Some(error.clone());
        self.channel_lost(id, error.clone());
    }
}

fn is_delta(message: &Message) -> bool {
    message.encoding.as_deref().is_some_and(|steps| steps.split('/').any(|step| step == "vcdiff"))
}
