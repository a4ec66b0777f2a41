//! Presence of a channel: its members, the client's own members, and operations that wait for either (RTP).

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use capably_protocol::{
    ClientFrame, ErrorInfo, PresenceAction, PresenceMessage, Str,
    frame::{Params, Publish},
};

use self::{local::LocalMembers, map::PresenceMap};
use crate::{
    ChannelId, ChannelState, Event, Instant, OpId, Outcome, Timer, context::Cx, errors,
    outbox::Outbox,
};

mod local;
mod map;
mod newness;
mod receive;

/// For how many realtime request timeouts a query waits for a sync whose pages continue to arrive.
const LONGEST_SYNC: u32 = 12;

/// Which members a query returns, and when (RTP11c).
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
    fn matches(&self, member: &PresenceMessage) -> bool {
        let is = |wanted: &Option<Str>, own: &Option<Str>| wanted.is_none() || wanted == own;
        is(&self.client_id, &member.client_id) && is(&self.connection_id, &member.connection_id)
    }
}

/// The presence of one channel.
#[derive(Debug)]
pub(crate) struct Presence {
    channel: ChannelId,
    members: PresenceMap,
    own: LocalMembers,
    /// How often the channel was detached. Messages of an earlier attachment are not about the members of this one.
    detached: u32,
    /// A message was sent on this attachment, by this client or by the one whose connection it recovers.
    may_have_entered: bool,
    /// The connection on which the attachment began, and the serial of the first frame after that.
    began: Option<(Str, u64)>,
    /// The sequence identifier of the sync whose pages are arriving (RTP18a).
    sequence: Option<Str>,
    /// The sync that followed the last attach is complete (RTP13).
    synced: bool,
    /// Messages to send once the channel is attached (RTP16b).
    queue: VecDeque<(OpId, PresenceMessage)>,
    /// Queries that attach the channel first (RTP11e).
    attaching: BTreeMap<OpId, MembersQuery>,
    /// Queries that wait for the sync (RTP11c1), and since when.
    waiting: Vec<(OpId, MembersQuery, Instant)>,
}

impl Presence {
    /// The presence of a channel; `is_continued` if an earlier client had the channel on a connection that this one recovers.
    pub(crate) fn new(channel: ChannelId, is_continued: bool) -> Self {
        Self {
            channel,
            members: PresenceMap::default(),
            own: LocalMembers::default(),
            detached: 0,
            may_have_entered: is_continued,
            // The members of the earlier client count, too.
            began: is_continued.then(Default::default),
            sequence: None,
            synced: false,
            queue: VecDeque::new(),
            attaching: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// The present attachment.
    pub(crate) fn attachment(&self) -> AttachmentId {
        AttachmentId { channel: self.channel, detached: self.detached }
    }

    /// Whether the service may have members that this client has entered on the present attachment.
    pub(crate) fn may_have_members(&self) -> bool {
        self.may_have_entered || self.own.iter().next().is_some()
    }

    /// Sends a message of the application on an attached channel.
    pub(crate) fn send(
        &mut self,
        op: OpId,
        frame: ClientFrame,
        outbox: &mut Outbox,
        cx: &mut Cx<'_>,
    ) {
        self.may_have_entered = true;
        outbox.send_presence(Some(op), frame, self.attachment(), cx);
    }

    /// Whether the sync that followed the last attach is complete (RTP13).
    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    /// The client's own member with this client id.
    pub(crate) fn own_member(&self, client_id: &str) -> Option<&PresenceMessage> {
        self.own.get(client_id)
    }

    /// The members that a query matches.
    pub(crate) fn select(&self, query: &MembersQuery) -> Vec<PresenceMessage> {
        self.members.values().filter(|member| query.matches(member)).cloned().collect()
    }

    /// Queues a message until the channel is attached (RTP16b).
    pub(crate) fn queue(&mut self, op: OpId, message: PresenceMessage) {
        self.queue.push_back((op, message));
    }

    /// Stores a query until its attach has ended.
    pub(crate) fn await_attach(&mut self, op: OpId, query: MembersQuery) {
        self.attaching.insert(op, query);
    }

    /// Takes the query whose attach has ended, if the attach was made for one.
    pub(crate) fn take_attached(&mut self, op: OpId) -> Option<MembersQuery> {
        self.attaching.remove(&op)
    }

    /// Answers a query of an attached channel: at once, or when the sync is complete.
    pub(crate) fn answer(&mut self, query: MembersQuery, op: OpId, cx: &mut Cx<'_>) {
        if query.wait_for_sync && self.members.is_syncing() {
            self.waiting.push((op, query, cx.now.instant));
            // One timer for all queries: each page of the sync sets it again, so a later query must not.
            let timer = Timer::Sync(self.channel);
            if !cx.timers.is_set(timer) {
                cx.await_answer(timer);
            }
        } else {
            cx.done(op, Ok(Outcome::Members(self.select(&query))));
        }
    }

    /// The channel is attached, perhaps once more (RTP1, RTP5b, RTP17i).
    pub(crate) fn channel_attached(
        &mut self,
        name: &Str,
        has_presence: bool,
        reenter: bool,
        outbox: &mut Outbox,
        cx: &mut Cx<'_>,
    ) {
        if self.began.is_none() {
            self.began = cx.connection.id.clone().map(|id| (id, outbox.next_serial()));
        }
        // A sync of the old attachment ends here: its remaining pages will not arrive.
        self.sequence = None;
        self.members.start_sync();
        if has_presence {
            if mem::take(&mut self.synced) {
                cx.emit(Event::PresenceSynced(self.channel, false));
            }
        } else {
            // The service sends no SYNC for a channel without members (RTP19a).
            self.finish_sync(Vec::new(), cx);
        }
        // Before the queue: a queued UPDATE or LEAVE of an own member needs the member at the service.
        if reenter {
            self.reenter(name, outbox, cx);
        }
        for (op, message) in mem::take(&mut self.queue) {
            self.send(op, presence_frame(name, message), outbox, cx);
        }
    }

    /// Enters the client's own members again (RTP17g). Not those of which a message is under way: it was sent on this
    /// connection before (RTN19a), so an ENTER behind it would undo a LEAVE, and bring back the data before an UPDATE.
    fn reenter(&self, name: &Str, outbox: &mut Outbox, cx: &mut Cx<'_>) {
        let attachment = self.attachment();
        let under_way = outbox.members_under_way(attachment, cx.connection.identity(cx.config));
        for (client_id, member) in self.own.iter() {
            if under_way.contains(client_id) {
                continue;
            }
            // The id of a message on another connection has no meaning on this one (RTP17g1).
            let is_same = member.connection_id == cx.connection.id;
            let message = PresenceMessage {
                id: member.id.clone().filter(|_| is_same),
                action: Some(PresenceAction::Enter),
                connection_id: None,
                // The service sets both for the new connection.
                timestamp: None,
                ..member.clone()
            };
            outbox.send_presence(None, presence_frame(name, message), attachment, cx);
        }
    }

    /// The service has acknowledged messages of the application. The client's own members change at once: the messages come
    /// back later, and not at all if the connection is lost before.
    pub(crate) fn acknowledged(&mut self, publish: &Publish<PresenceMessage>, cx: &Cx<'_>) {
        let connection = cx.connection.id.as_ref();
        for (index, item) in publish.items.iter().enumerate() {
            let id = connection.map(|id| format!("{id}:{}:{index}", publish.msg_serial).into());
            let message = PresenceMessage {
                id,
                client_id: item.client_id.as_ref().or(cx.connection.identity(cx.config)).cloned(),
                connection_id: connection.cloned(),
                ..item.clone()
            };
            self.own.acknowledged(&message);
            self.receive_own(&message, connection);
        }
    }

    /// The channel entered this state (RTP5a, RTP5f, RTL11).
    pub(crate) fn channel_left(
        &mut self,
        state: ChannelState,
        reason: Option<&ErrorInfo>,
        cx: &mut Cx<'_>,
    ) {
        match state {
            ChannelState::Attaching | ChannelState::Attached | ChannelState::Detaching => return,
            // The members stay: most of them are still there when the channel is attached again.
            ChannelState::Suspended => {}
            ChannelState::Initialized | ChannelState::Detached | ChannelState::Failed => {
                self.members.clear();
                self.own.clear();
                self.detached += 1;
                self.may_have_entered = false;
                self.began = None;
            }
        }
        self.sequence = None;
        if mem::take(&mut self.synced) {
            cx.emit(Event::PresenceSynced(self.channel, false));
        }
        for (op, _) in mem::take(&mut self.queue) {
            cx.done(op, Err(errors::presence_state(state, reason)));
        }
        cx.timers.clear(Timer::Sync(self.channel));
        // A suspended channel has members, but perhaps outdated ones: the error names that (RTP11d).
        for (op, ..) in mem::take(&mut self.waiting) {
            let error = match state {
                ChannelState::Suspended => errors::out_of_sync(reason),
                ChannelState::Initialized
                | ChannelState::Attaching
                | ChannelState::Attached
                | ChannelState::Detaching
                | ChannelState::Detached
                | ChannelState::Failed => errors::channel_state(state, reason),
            };
            cx.done(op, Err(error));
        }
    }

    /// The service did not confirm a detach in time, and the channel is attached as before (RTL5f). Its members may have left
    /// with their ids, and must be new ones when they enter again.
    pub(crate) fn detach_timed_out(&mut self) {
        self.own.forget_ids();
    }

    /// The channel is released. Returns the operations to end, without those that attach the channel.
    pub(crate) fn end(&mut self, cx: &mut Cx<'_>) -> Vec<OpId> {
        cx.timers.clear(Timer::Sync(self.channel));
        let queued = self.queue.drain(..).map(|(op, _)| op);
        queued.chain(self.waiting.drain(..).map(|(op, ..)| op)).collect()
    }

    /// The connection was lost, and the sync starts again on the next one. Queries that have waited for too long end.
    pub(crate) fn connection_lost(&mut self, cx: &mut Cx<'_>) {
        let overdue: Vec<_> =
            self.waiting.extract_if(.., |(.., since)| cx.is_overdue(*since)).collect();
        for (op, ..) in overdue {
            cx.done(op, Err(errors::sync_timed_out()));
        }
    }

    /// No page of the sync has arrived in time.
    pub(crate) fn sync_timed_out(&mut self, cx: &mut Cx<'_>) {
        if !cx.is_connected() {
            // The sync starts again with the next connection; without one the channel is suspended.
            return cx.await_answer(Timer::Sync(self.channel));
        }
        for (op, ..) in mem::take(&mut self.waiting) {
            cx.done(op, Err(errors::sync_timed_out()));
        }
    }
}

/// An attachment of a channel, from one detach to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttachmentId {
    pub(crate) channel: ChannelId,
    detached: u32,
}

/// The frame of a presence message.
pub(crate) fn presence_frame(channel: &Str, message: PresenceMessage) -> ClientFrame {
    ClientFrame::Presence(Publish {
        channel: channel.clone(),
        msg_serial: 0,
        items: [message].into(),
        params: Params::new(),
    })
}
