//! What the service says of members: PRESENCE and SYNC (RTP2, RTP18).

use capably_protocol::{
    ErrorInfo, Millis, PresenceAction, PresenceMessage, Str, encoding, frame::Delivery,
};

use super::Presence;
use crate::{
    Batch, ChannelId, ChannelState, Client, Event, Gap, Instant, Now, Outcome, Output, Place,
    Timer, channel::Channel,
};

impl Client {
    /// PRESENCE arrived.
    pub(crate) fn presence_arrived(
        &mut self,
        mut delivery: Delivery<PresenceMessage>,
        missing: Vec<(usize, Gap)>,
        now: Instant,
    ) {
        let connection = self.shared.connection.id.clone();
        let Some(id) = self.channel_id(&delivery.channel) else { return };
        let serial = delivery.channel_serial.take();
        let Some(place) = self.admit(id, serial.as_ref(), now) else { return };
        let Some(channel) = self.channels.get_mut(id) else { return };
        if place.repeated {
            let again = channel.repeat(delivery);
            self.tell_damaged(id, again, missing, place.clone());
            return self.repeated(id, &place, now);
        }
        channel.moved(serial);
        if channel.hears_of_members() {
            let told = channel.take_in(delivery, connection.as_ref());
            self.tell_damaged(id, told, missing, place);
        }
    }

    /// SYNC arrived: a page of the members, or all of them (RTP18).
    pub(crate) fn sync_arrived(
        &mut self,
        delivery: Delivery<PresenceMessage>,
        missing: Vec<(usize, Gap)>,
        now: Now,
    ) {
        let connection = self.shared.connection.id.clone();
        let Some((id, channel)) = self.channel_named(&delivery.channel) else { return };
        if !channel.hears_of_members() {
            return;
        }
        let complete = channel.presence.begin_page(delivery.channel_serial.as_ref());
        let place = Place { after: channel.channel_serial().cloned(), ..Place::default() };
        let told = channel.take_in(delivery, connection.as_ref());
        self.tell_damaged(id, Vec::new(), missing, place);
        if complete {
            self.finish_sync(id, told, now.wall);
        } else {
            self.tell(id, told, Place::default());
            self.sync_goes_on(id, now.instant);
        }
    }

    /// The sync is complete: tells of its last page, then of who is gone (RTP19), and answers who waits.
    pub(super) fn finish_sync(
        &mut self,
        id: ChannelId,
        mut told: Vec<PresenceMessage>,
        wall: Millis,
    ) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        let presence = &mut channel.presence;
        presence.sequence = None;
        told.append(&mut presence.members.end_sync(wall));
        let was_synced = std::mem::replace(&mut presence.synced, true);
        let waiting = std::mem::take(&mut presence.waiting);
        let answers: Vec<_> =
            waiting.into_iter().map(|(op, query, _)| (op, presence.select(&query))).collect();
        self.shared.timers.clear(Timer::Sync(id));
        self.tell(id, told, Place::default());
        if !was_synced {
            self.push(Output::Event(Event::PresenceSynced(id, true)));
        }
        for (op, members) in answers {
            self.done(op, Ok(Outcome::Members(members)));
        }
    }

    fn tell(&mut self, id: ChannelId, told: Vec<PresenceMessage>, place: Place) {
        if !told.is_empty() {
            self.push(Output::Event(Event::Presence(id, Batch::new(told, place))));
        }
    }

    /// Tells what is left of a frame, then what is missing of it.
    fn tell_damaged(
        &mut self,
        id: ChannelId,
        told: Vec<PresenceMessage>,
        missing: Vec<(usize, Gap)>,
        place: Place,
    ) {
        // Every item that is missing leaves the same gap.
        let Some((_, gap)) = missing.into_iter().next() else {
            return self.tell(id, told, place);
        };
        if let Some(reason) = gap.reason.as_ref().filter(|_| !place.repeated) {
            self.unreadable(id, reason);
        }
        let missing = vec![(told.len(), gap)];
        self.push(Output::Event(Event::Presence(id, Batch { items: told, missing, place })));
    }
}

impl Channel {
    /// Whether it is attached, or still is: should the service not confirm a detach, it is attached as before,
    /// and must not have missed anything (RTL5f).
    fn hears_of_members(&self) -> bool {
        matches!(self.state(), ChannelState::Attached | ChannelState::Detaching)
    }

    /// Takes in what a frame says of members, and returns what subscribers are told.
    fn take_in(
        &mut self,
        delivery: Delivery<PresenceMessage>,
        connection: Option<&Str>,
    ) -> Vec<PresenceMessage> {
        let mut told = Vec::new();
        for (index, mut message) in delivery.items.into_iter().enumerate() {
            message.inherit(
                delivery.id.as_ref(),
                index,
                delivery.connection_id.as_ref(),
                delivery.timestamp,
            );
            self.presence.take_in_own(&message, connection);
            if let Err(error) = self.decode(&mut message) {
                // It is delivered as far as it was decoded (RSL6b).
                tracing::error!(channel = &*self.name, %error, "a payload could not be decoded");
            }
            told.extend(match message.action {
                Some(PresenceAction::Enter | PresenceAction::Update | PresenceAction::Present) => {
                    self.presence.members.put(message)
                }
                Some(PresenceAction::Leave) => self.presence.members.remove(message),
                // Of no member, or of an action that is not known (RTF1).
                _ => None,
            });
        }
        told
    }

    /// The presence messages of a replayed frame. The member map is not changed: it is newer than the frame.
    fn repeat(&self, delivery: Delivery<PresenceMessage>) -> Vec<PresenceMessage> {
        let (id, connection, time) = (delivery.id, delivery.connection_id, delivery.timestamp);
        let mut items = delivery.items;
        for (index, message) in items.iter_mut().enumerate() {
            message.inherit(id.as_ref(), index, connection.as_ref(), time);
            if let Err(error) = self.decode(message) {
                // It is delivered as far as it was decoded (RSL6b).
                tracing::error!(channel = &*self.name, %error, "a payload could not be decoded");
            }
        }
        // Of no member, or of an action that is not known (RTF1).
        items.retain(|message| {
            matches!(
                message.action,
                Some(
                    PresenceAction::Enter
                        | PresenceAction::Update
                        | PresenceAction::Present
                        | PresenceAction::Leave
                )
            )
        });
        items
    }

    fn decode(&self, message: &mut PresenceMessage) -> Result<(), ErrorInfo> {
        let cipher = self.options().cipher.as_ref();
        encoding::decode(&mut message.data, &mut message.encoding, cipher)
    }
}

impl Presence {
    /// A member of this connection, as it came: remembered to be entered again (RTP17b).
    fn take_in_own(&mut self, message: &PresenceMessage, connection: Option<&Str>) {
        if connection.is_none() || message.connection_id.as_ref() != connection {
            return;
        }
        match message.action {
            Some(PresenceAction::Enter | PresenceAction::Update | PresenceAction::Present) => {
                self.own.put(message.clone());
            }
            Some(PresenceAction::Leave) => {
                self.own.remove(message);
            }
            _ => {}
        }
    }

    /// A page of a sync begins; one of another sync than that under way starts anew (RTP18a). Returns
    /// whether it is the last (RTP18b, RTP18c).
    fn begin_page(&mut self, serial: Option<&Str>) -> bool {
        let (sequence, cursor) = match serial.map(|serial| serial.split_once(':')) {
            Some(Some((sequence, cursor))) => (Some(sequence), cursor),
            Some(None) | None => (None, ""),
        };
        let awaited = self.members.is_syncing() && self.sequence.is_none();
        if !awaited && (sequence.is_none() || self.sequence.as_deref() != sequence) {
            self.members.start_sync();
        }
        self.sequence = sequence.map(Str::from);
        cursor.is_empty()
    }
}
