//! Attaching and detaching, and the attachments of a connection whose credentials change.

use std::time::Duration;

use capably_protocol::{
    Flags, ServerFrame, Str,
    frame::{Attach, Attached, ErrorFrame, Params},
};

use super::{
    Channels,
    attachment::{Attachment, Attachments, receives, supported_params},
    objects_sync::{objects_feed, objects_flag},
    order::Ticket,
    replay::{Replay, Start},
    subscriber::{self, Subscriber},
};
use crate::hub::{
    Output, TransportId, Turn, access::identity::Identity, channel_name, error, ids::ConnectionId,
    log::position::Position, presence::Viewer,
};

/// The part of a connection that its channels use.
pub(crate) struct Session<'a> {
    pub(crate) connection: &'a ConnectionId,
    pub(crate) transport: TransportId,
    pub(crate) identity: &'a Identity,
    /// Whether the client wants the messages of its own connection.
    pub(crate) echo: bool,
    /// The time for which members stay while the client is disconnected.
    pub(crate) remain: Duration,
    /// Whether the connection can have members of which this node does not know.
    pub(crate) may_have_members: bool,
    pub(crate) attached: &'a mut Attachments,
    /// The position at which the next attachment to a channel starts, if the engine was asked for it.
    pub(crate) start: &'a mut Option<(Str, Position)>,
    /// The bytes of replays that were queued since the queue was known to be empty.
    pub(crate) replayed: &'a mut usize,
}

impl Session<'_> {
    pub(super) fn send(&self, frames: Vec<ServerFrame>, outputs: &mut Vec<Output>) {
        let transport = self.transport;
        outputs.extend(frames.into_iter().map(|frame| Output::Frame(transport, frame)));
    }

    /// The receiver of presence syncs for an attachment.
    pub(super) fn viewer<'a>(&'a self, name: &'a Str, attachment: &'a Attachment) -> Viewer<'a> {
        Viewer {
            connection: self.connection,
            name,
            members_of: attachment.members_of(name),
            modes: attachment.granted,
        }
    }
}

impl Channels {
    /// Handles an ATTACH: answers with ATTACHED, or with an ERROR for the channel.
    pub(crate) fn attach(
        &mut self,
        session: &mut Session<'_>,
        attach: &Attach,
        turn: &mut Turn<'_>,
    ) {
        let attachment = Attachment::read(attach, session.identity).and_then(|attachment| {
            let base = attachment.channel(&attach.channel);
            self.require_room(base, turn)?;
            if self.has_engine() && self.get(base).is_none() {
                // There is room only since unused channels were dropped. The channel is loaded when the client tries again.
                return Err(error::too_many_channels(
                    turn.settings.max_channels.unwrap_or_default(),
                ));
            }
            Ok(attachment)
        });
        match attachment {
            Ok(attachment) => self.add_attachment(session, attach, attachment, turn),
            Err(error) => {
                self.detach(session, &attach.channel, turn);
                let frame =
                    ErrorFrame { channel: Some(attach.channel.clone()), error: Some(error) };
                turn.outputs.push(Output::Frame(session.transport, ServerFrame::Error(frame)));
            }
        }
    }

    fn add_attachment(
        &mut self,
        session: &mut Session<'_>,
        attach: &Attach,
        attachment: Attachment,
        turn: &mut Turn<'_>,
    ) {
        let transport = session.transport;
        let modes = attachment.granted;
        let view = attachment.view.as_ref();
        let mut params = view.map_or_else(Params::new, |view| view.params.clone());
        params.extend(attach.params.iter().map(|(name, value)| (name.clone(), value.clone())));
        let newest = self.order.newest();
        let base = attachment.channel(&attach.channel).clone();
        let now = turn.now.steady;
        let channel = self.get_or_create(&base);
        channel.expire(now);
        channel.attached_at = newest;
        let prepared = session.start.take().filter(|(name, _)| *name == base);
        let prepared = prepared.map(|(_, position)| position);
        let newest = channel.reached().unwrap_or(newest);
        let start = Start::of(attach, &params, view, channel, (newest, prepared), now);
        let mut flags = modes | objects_flag(modes);
        if start.resumed {
            flags = flags | Flags::RESUMED;
        }
        let id = session.connection.clone();
        let mut subscriber = Subscriber::new(id, &attachment, session.echo, start.position);
        if !start.resumed {
            subscriber.live_since = channel.log.last();
        }
        let mut missed = channel.log.after(start.position).filter(|entry| {
            subscriber.wants(entry)
                && view.is_none_or(|view| view.shows(channel, &subscriber, entry))
        });
        let first = missed.next();
        let unread = start.position < channel.log.floor();
        let backlog = unread || first.is_some();
        let has_messages = first.into_iter().chain(missed).any(|entry| entry.members().is_empty());
        if unread || has_messages {
            flags = flags | Flags::HAS_BACKLOG;
        }
        let attached = Attached {
            channel: attach.channel.clone(),
            channel_serial: Some(start.position.channel_serial()),
            flags,
            params: supported_params(&params, modes),
            error: start.error,
        };
        let viewer = session.viewer(&attach.channel, &attachment);
        session.send(self.presence.announce(&viewer, attached), turn.outputs);
        if attachment.has_members() {
            self.adopt(session.connection, &base, session.remain, turn);
        }

        let unapplied = start.resumed && self.order.may_have_unapplied(start.position);
        let Self { map, presence, .. } = self;
        if let Some(channel) = map.get_mut(&*base) {
            channel.unsubscribe(transport, view);
            if receives(modes) {
                subscriber.behind = backlog.then_some(start.position);
                subscriber.may_see_unapplied = unapplied;
                subscriber.objects = objects_feed(modes);
                let has_sync = subscriber.objects.is_some();
                channel.subscribe(transport, view, subscriber);
                if backlog || has_sync {
                    let replay = Replay::beginning(session, presence);
                    let bytes = replay.begin(&attach.channel, &attachment, channel, turn.outputs);
                    *session.replayed += bytes;
                }
            }
        }
        let before = session.attached.insert(&attach.channel, attachment);
        let before = before.map_or(Flags::NONE, |before| before.granted);
        self.count_attachment(&base, before, modes);
    }

    /// Handles a SYNC: sends the members again. A client that is not attached receives nothing.
    pub(crate) fn sync(&mut self, session: &Session<'_>, name: &Str, outputs: &mut Vec<Output>) {
        if let Some(attachment) = session.attached.get(name) {
            let frames = self.presence.sync(&session.viewer(name, attachment));
            session.send(frames, outputs);
        }
    }

    /// Ends the attachment of this name. Its members leave with the connection's last attachment to the channel. Returns
    /// their departure, if it waits for the engine.
    pub(crate) fn detach(
        &mut self,
        session: &mut Session<'_>,
        name: &Str,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let base = match session.attached.remove(name) {
            Some(attachment) => {
                self.remove_attachment(session.transport, name, &attachment);
                attachment.channel(name).clone()
            }
            // After a resume, a client may have members on a channel that it has not attached again.
            None => match channel_name::plain_str(name) {
                Ok(base) => base,
                Err(_) => return None,
            },
        };
        if session.attached.can_have_members(&base) {
            return None;
        }
        let departure = self.leave(session.connection, &base, turn);
        if departure.is_none() && session.may_have_members && self.node().is_some() {
            // Events may be on their way here. When this entry has arrived, they have.
            return self.propose_barrier(session.connection, &base, turn);
        }
        departure
    }

    /// The departure of a DETACH has arrived here. Returns that of the members that have entered before it, unknown to this
    /// node, if there are any.
    pub(crate) fn detach_rest(
        &mut self,
        connection: &ConnectionId,
        name: &Str,
        attached: &Attachments,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let base = channel_name::plain_str(name).ok()?;
        if attached.can_have_members(&base) {
            return None;
        }
        self.leave(connection, &base, turn)
    }

    /// Ends all attachments, as the transport is gone. The members stay.
    pub(crate) fn detach_all(&mut self, transport: TransportId, attached: &mut Attachments) {
        for (name, attachment) in attached.take() {
            self.remove_attachment(transport, &name, &attachment);
        }
    }

    fn remove_attachment(&mut self, transport: TransportId, name: &Str, attachment: &Attachment) {
        let base = attachment.channel(name);
        if let Some(channel) = self.get_mut(base) {
            channel.unsubscribe(transport, attachment.view.as_ref());
        }
        self.count_attachment(base, attachment.granted, Flags::NONE);
    }

    /// Adapts the attachments to new credentials: grants and withdraws modes, and fails an attachment without any.
    pub(crate) fn reconsider(&mut self, session: &mut Session<'_>, turn: &mut Turn<'_>) {
        let Session { connection, transport, identity, echo, .. } = *session;
        session.attached.retain(|name, attachment| {
            let before = attachment.granted;
            attachment.granted = attachment.allowed_by(name, identity);
            let modes = attachment.granted;
            let base = attachment.channel(name);
            let view = attachment.view.as_ref();
            self.count_attachment(base, before, modes);
            let channel = self.get_or_create(base);
            if modes == Flags::NONE {
                channel.unsubscribe(transport, view);
                if attachment.has_members() {
                    self.leave(connection, base, turn);
                }
                let error = Some(error::denied("attach"));
                let frame = ErrorFrame { channel: Some(name.clone()), error };
                turn.outputs.push(Output::Frame(transport, ServerFrame::Error(frame)));
                return false;
            }
            match (receives(before), receives(modes)) {
                (true, true) => {
                    let views = &mut channel.views;
                    let subscribers = &mut channel.subscribers;
                    if let Some(it) = subscriber::find(subscribers, views, transport, view) {
                        it.modes = modes;
                    }
                    if objects_flag(before) != objects_flag(modes) {
                        channel.sync_objects(transport, view);
                        turn.outputs.push(Output::Behind(transport));
                    }
                }
                (true, false) => channel.unsubscribe(transport, view),
                (false, true) => {
                    let since = channel.log.last();
                    let mut subscriber =
                        Subscriber::new(connection.clone(), attachment, echo, since);
                    subscriber.objects = objects_feed(modes);
                    let has_sync = subscriber.objects.is_some();
                    channel.subscribe(transport, view, subscriber);
                    turn.outputs.extend(has_sync.then_some(Output::Behind(transport)));
                }
                (false, false) => {}
            }
            true
        });
    }
}
