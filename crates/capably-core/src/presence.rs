//! Presence of a channel: what the client says of its members, and what it knows of all (RTP).

use std::collections::{BTreeMap, VecDeque};

use capably_protocol::{
    ChannelMode, ClientFrame, ErrorInfo, PresenceAction, PresenceMessage, Str,
    frame::{Params, Publish},
};

use self::{local::LocalMembers, map::PresenceMap};
use crate::{
    ChannelId, ChannelState, Client, ConnectionState, Event, Instant, Now, OpId, Outcome, Output,
    Timer, channel::Channel, errors, frame_size::check_size,
};

mod local;
mod map;
mod newness;
mod receive;

/// For how many realtime request timeouts a question waits for a sync whose pages go on arriving.
const LONGEST_SYNC: u32 = 12;

/// Which members are asked for, and when (RTP11c).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersQuery {
    /// Whether to wait until a sync under way is complete (RTP11c1).
    pub wait_for_sync: bool,
    /// Only members with this client id (RTP11c2).
    pub client_id: Option<Str>,
    /// Only members of this connection (RTP11c3).
    pub connection_id: Option<Str>,
}

impl Default for MembersQuery {
    fn default() -> Self {
        Self { wait_for_sync: true, client_id: None, connection_id: None }
    }
}

impl MembersQuery {
    fn wants(&self, member: &PresenceMessage) -> bool {
        let is = |wanted: &Option<Str>, own: &Option<Str>| wanted.is_none() || wanted == own;
        is(&self.client_id, &member.client_id) && is(&self.connection_id, &member.connection_id)
    }
}

/// What a channel knows of presence.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    members: PresenceMap,
    own: LocalMembers,
    /// The sync that is arriving, by its sequence identifier (RTP18a).
    sequence: Option<Str>,
    /// The sync that followed the last attach is complete (RTP13).
    synced: bool,
    /// What is to be said once the channel is attached (RTP16b).
    queue: VecDeque<(OpId, PresenceMessage)>,
    /// Questions that attach the channel first (RTP11e).
    attaching: BTreeMap<OpId, MembersQuery>,
    /// Questions that wait for the sync (RTP11c1), and since when.
    waiting: Vec<(OpId, MembersQuery, Instant)>,
}

impl Presence {
    /// Whether the sync that followed the last attach is complete (RTP13).
    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    fn select(&self, query: &MembersQuery) -> Vec<PresenceMessage> {
        self.members.values().filter(|member| query.wants(member)).cloned().collect()
    }

    /// Takes every operation that is not an attach as well.
    pub(crate) fn take_ops(&mut self) -> Vec<OpId> {
        let queued = self.queue.drain(..).map(|(op, _)| op);
        queued.chain(self.waiting.drain(..).map(|(op, ..)| op)).collect()
    }
}

impl Client {
    /// Enters, updates or leaves presence, as the message's action says (RTP8, RTP9, RTP10). Its payload is
    /// ready for the wire; without a client id it is the client's own (RTP8c), else that client's (RTP14,
    /// RTP15). Ends with [`Outcome::Published`].
    pub fn presence(&mut self, id: ChannelId, message: PresenceMessage, op: OpId, now: Now) {
        if let Err(error) = self.say(id, message, op, now) {
            self.done(op, Err(error));
        }
    }

    /// Sends or queues it, as the states of channel and connection allow (RTP16).
    fn say(
        &mut self,
        id: ChannelId,
        mut message: PresenceMessage,
        op: OpId,
        now: Now,
    ) -> Result<(), ErrorInfo> {
        self.check_speaker(&message)?;
        let connection = self.connection_state();
        let own = self.shared.connection.identity(&self.shared.config).cloned();
        let queueing = self.shared.config.queue_messages;
        let limit = self.shared.connection.max_message_size;
        let size = message.size() as u64;
        if size > limit {
            return Err(errors::too_large(size, limit));
        }
        let channel = self.channels.get_mut(id).ok_or_else(errors::released)?;
        let state = channel.state();
        if message.action == Some(PresenceAction::Leave) {
            let client_id = message.client_id.as_ref().or(own.as_ref());
            let member = client_id.and_then(|id| channel.presence.own.get(id));
            keep_data(&mut message, member);
        }
        let frame = presence_frame(&channel.name, message.clone());
        check_size(&frame, &self.shared.cx(now))?;
        let channel = self.channels.get_mut(id).ok_or_else(errors::released)?;
        match (state, connection) {
            (ChannelState::Attached, ConnectionState::Connected) => {
                self.outbox.send(op, frame, &mut self.shared.cx(now));
            }
            // When there is a connection again, the channel is attached anew, and only then is it sent
            // (RTL3d2).
            (
                ChannelState::Attached,
                ConnectionState::Connecting | ConnectionState::Disconnected,
            )
            | (ChannelState::Attaching, _)
                if queueing =>
            {
                channel.presence.queue.push_back((op, message));
            }
            (ChannelState::Attached, _) => {
                return Err(errors::connection_state(connection, self.error_reason()));
            }
            (ChannelState::Initialized, _) if queueing => {
                self.attach_implicitly(id, now.instant)?;
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.presence.queue.push_back((op, message));
                }
            }
            (
                ChannelState::Initialized
                | ChannelState::Attaching
                | ChannelState::Detaching
                | ChannelState::Detached
                | ChannelState::Suspended
                | ChannelState::Failed,
                _,
            ) => return Err(errors::presence_state(state, channel.error_reason.as_ref())),
        }
        Ok(())
    }

    /// Whether this client may speak for the one the message is of (RTP8j, RTP15f).
    fn check_speaker(&self, message: &PresenceMessage) -> Result<(), ErrorInfo> {
        let own = self.shared.connection.identity(&self.shared.config);
        match (&message.client_id, own) {
            (None, None) if self.connection_state() == ConnectionState::Connected => {
                Err(errors::nobody())
            }
            (Some(other), _) if other.is_empty() || *other == "*" => Err(errors::no_client_id()),
            (Some(other), Some(own)) if other != own => Err(errors::wrong_client_id()),
            _ => Ok(()),
        }
    }

    /// Asks who is present (RTP11). Attaches the channel if need be. Ends with [`Outcome::Members`].
    pub fn members(&mut self, id: ChannelId, query: MembersQuery, op: OpId, now: Now) {
        let Some(channel) = self.channels.get_mut(id) else {
            return self.done(op, Err(errors::released()));
        };
        match channel.state() {
            ChannelState::Suspended if query.wait_for_sync => {
                let error = errors::out_of_sync(channel.error_reason.as_ref());
                self.done(op, Err(error));
            }
            ChannelState::Suspended => {
                let members = channel.presence.select(&query);
                self.done(op, Ok(Outcome::Members(members)));
            }
            ChannelState::Failed => {
                let reason = channel.error_reason.as_ref();
                let error = errors::channel_state(ChannelState::Failed, reason);
                self.done(op, Err(error));
            }
            ChannelState::Initialized
            | ChannelState::Attaching
            | ChannelState::Attached
            | ChannelState::Detaching
            | ChannelState::Detached => {
                channel.presence.attaching.insert(op, query);
                self.attach(id, op, now);
            }
        }
    }

    /// A request to attach or detach has ended. If it was made to ask who is present, that goes on.
    pub(crate) fn request_done(
        &mut self,
        id: ChannelId,
        op: OpId,
        outcome: Result<(), ErrorInfo>,
        now: Instant,
    ) {
        let channel = self.channels.get_mut(id);
        let query = channel.and_then(|channel| channel.presence.attaching.remove(&op));
        match (query, outcome) {
            (Some(query), Ok(())) => self.answer_when_synced(id, query, op, now),
            (_, outcome) => self.done(op, outcome.map(|()| Outcome::Done)),
        }
    }

    /// The channel is attached: answers now, or once the sync is complete.
    fn answer_when_synced(&mut self, id: ChannelId, query: MembersQuery, op: OpId, now: Instant) {
        let mode = ChannelMode::PresenceSubscribe;
        if let Err(error) = self.require_mode(id, mode, errors::presence_not_subscribed) {
            return self.done(op, Err(error));
        }
        let Some(channel) = self.channels.get_mut(id) else { return };
        if query.wait_for_sync && channel.presence.members.is_syncing() {
            channel.presence.waiting.push((op, query, now));
            if !self.shared.timers.is_set(Timer::Sync(id)) {
                self.await_sync(id, now);
            }
        } else {
            let members = channel.presence.select(&query);
            self.done(op, Ok(Outcome::Members(members)));
        }
    }

    fn await_sync(&mut self, id: ChannelId, now: Instant) {
        self.shared.timers.set(Timer::Sync(id), now + self.shared.config.realtime_request_timeout);
    }

    /// A page of a sync arrived that is not the last. Questions wait on, but not for ever.
    fn sync_goes_on(&mut self, id: ChannelId, now: Instant) {
        let longest = self.shared.config.realtime_request_timeout.saturating_mul(LONGEST_SYNC);
        let Some(channel) = self.channels.get_mut(id) else { return };
        let waiting = &mut channel.presence.waiting;
        if waiting.is_empty() {
            return;
        }
        let overdue = waiting.extract_if(.., |(.., since)| now.since(*since) >= longest);
        let overdue: Vec<_> = overdue.map(|(op, ..)| op).collect();
        let is_awaited = !waiting.is_empty();
        for op in overdue {
            self.done(op, Err(errors::sync_timed_out()));
        }
        if is_awaited {
            self.await_sync(id, now);
        } else {
            self.shared.timers.clear(Timer::Sync(id));
        }
    }

    /// No page of the sync has arrived in time.
    pub(crate) fn sync_timed_out(&mut self, id: ChannelId, now: Instant) {
        let connected = self.connection_state() == ConnectionState::Connected;
        let Some(channel) = self.channels.get_mut(id) else { return };
        if !connected {
            // The sync begins anew with the next connection; without one the channel is suspended.
            return self.await_sync(id, now);
        }
        for (op, ..) in std::mem::take(&mut channel.presence.waiting) {
            self.done(op, Err(errors::sync_timed_out()));
        }
    }

    /// The channel entered a state other than ATTACHED (RTP5a, RTP5f, RTL11).
    pub(crate) fn presence_left(
        &mut self,
        id: ChannelId,
        state: ChannelState,
        reason: Option<&ErrorInfo>,
    ) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        let presence = &mut channel.presence;
        match state {
            ChannelState::Attaching | ChannelState::Attached | ChannelState::Detaching => return,
            ChannelState::Suspended => {}
            ChannelState::Initialized | ChannelState::Detached | ChannelState::Failed => {
                presence.members.clear();
                presence.own.clear();
            }
        }
        let was_synced = std::mem::take(&mut presence.synced);
        presence.sequence = None;
        let queued = std::mem::take(&mut presence.queue);
        let waiting = std::mem::take(&mut presence.waiting);
        if was_synced {
            self.push(Output::Event(Event::PresenceSynced(id, false)));
        }
        for (op, _) in queued {
            self.done(op, Err(errors::presence_state(state, reason)));
        }
        self.shared.timers.clear(Timer::Sync(id));
        for (op, ..) in waiting {
            let error = match state {
                ChannelState::Suspended => errors::out_of_sync(reason),
                _ => errors::channel_state(state, reason),
            };
            self.done(op, Err(error));
        }
    }

    /// ATTACHED arrived, and the channel is attached (RTP1, RTP5b, RTP17i).
    pub(crate) fn presence_attached(
        &mut self,
        id: ChannelId,
        has_presence: bool,
        reenter: bool,
        now: Now,
    ) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.presence.sequence = None;
        channel.presence.members.start_sync();
        if has_presence {
            if std::mem::take(&mut channel.presence.synced) {
                self.push(Output::Event(Event::PresenceSynced(id, false)));
            }
        } else {
            // Nobody is there (RTP19a).
            self.finish_sync(id, Vec::new(), now.wall);
        }
        if reenter {
            self.reenter(id, now);
        }
        let Some(channel) = self.channels.get_mut(id) else { return };
        let name = channel.name.clone();
        for (op, message) in std::mem::take(&mut channel.presence.queue) {
            let cx = &mut self.shared.cx(now);
            self.outbox.send(op, presence_frame(&name, message), cx);
        }
    }

    /// Enters the client's own members again (RTP17g).
    fn reenter(&mut self, id: ChannelId, now: Now) {
        let Some(channel) = self.channels.get(id) else { return };
        let own = channel.presence.own.values().map(|member| {
            // Another connection's id would say nothing on this one (RTP17g1).
            let same = member.connection_id == self.shared.connection.id;
            let message = PresenceMessage {
                id: member.id.clone().filter(|_| same),
                action: Some(PresenceAction::Enter),
                connection_id: None,
                timestamp: None,
                ..member.clone()
            };
            presence_frame(&channel.name, message)
        });
        let frames: Vec<_> = own.collect();
        for frame in frames {
            self.outbox.send(None, frame, &mut self.shared.cx(now));
        }
    }

    /// A frame that the client sent by itself was refused, or will not be answered: a member could not be
    /// entered again (RTP17e).
    pub(crate) fn reentry_failed(&mut self, frame: &ClientFrame, cause: ErrorInfo) {
        let ClientFrame::Presence(Publish { channel, items, .. }) = frame else { return };
        let client_id = items.first().and_then(|item| item.client_id.clone()).unwrap_or_default();
        tracing::warn!(channel = &**channel, client_id = &*client_id, error = %cause,
            "a member could not be entered again");
        let Some((id, _)) = self.channel_named(channel) else { return };
        self.channel_updated(id, errors::reentry_failed(&client_id, cause));
    }
}

/// A client that leaves without saying anything leaves with what it said last (RTP10a).
fn keep_data(leave: &mut PresenceMessage, member: Option<&PresenceMessage>) {
    if let Some(member) = member
        && leave.data.is_none()
        && leave.extras.is_none()
    {
        leave.data.clone_from(&member.data);
        leave.encoding.clone_from(&member.encoding);
    }
}

fn presence_frame(channel: &Str, message: PresenceMessage) -> ClientFrame {
    ClientFrame::Presence(Publish {
        channel: channel.clone(),
        msg_serial: 0,
        items: [message].into(),
        params: Params::new(),
    })
}

impl Channel {
    /// Whether it is known who is present: the sync that followed the last attach is complete (RTP13).
    pub fn presence_synced(&self) -> bool {
        self.presence.is_synced()
    }
}
