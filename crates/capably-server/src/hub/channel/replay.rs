//! Replays: the entries between the start of an attachment and the end of the log.
//!
//! A replay is queued in steps, so that a long one does not fill the transport's queue at once.

use std::{sync::Arc, time::Duration};

use capably_protocol::{
    ErrorInfo, Flags, Str,
    frame::{Attach, Attached, Params},
};

use super::{
    Channel, Channels, Session,
    attachment::Attachment,
    delta::Fanout,
    excerpt::Excerpt,
    need::Need,
    objects_sync::objects_flag,
    order::Order,
    subscriber::{self, Subscriber},
    view::View,
};
use crate::hub::{
    Output, TransportId, error,
    log::{Entry, position::Position},
    message::change::Changes,
    presence::Presence,
};

/// The size of a replay's step, in bytes.
const STEP: usize = 256 * 1024;

/// The start of an attachment.
pub(super) struct Start {
    pub(super) position: Position,
    /// Whether the client continues an earlier attachment without a gap.
    pub(super) resumed: bool,
    pub(super) error: Option<ErrorInfo>,
}

impl Start {
    /// The start that an ATTACH requests, by a channel serial or by `rewind` in its parameters.
    pub(super) fn of(
        attach: &Attach,
        params: &Params,
        view: Option<&Arc<View>>,
        channel: &Channel,
        (newest, prepared): (Position, Option<Position>),
        now: Duration,
    ) -> Self {
        let log = &channel.log;
        let live = Self { position: log.last(), resumed: false, error: None };
        if let Some(serial) = &attach.channel_serial {
            return match Position::parse(serial) {
                Some(position) if position >= channel.floor() && position <= newest => {
                    Self { position, resumed: true, error: None }
                }
                Some(_) | None => Self { error: Some(error::continuity_lost()), ..live },
            };
        }
        if attach.flags.contains(Flags::ATTACH_RESUME) {
            return live;
        }
        let rewind = params.get("rewind").and_then(|rewind| Rewind::parse(rewind));
        if let (Some(_), Some(position)) = (rewind, prepared) {
            return Self { position, ..live };
        }
        match rewind {
            Some(Rewind::Count(count)) => {
                let position = match view {
                    None => log.rewind_count(count),
                    Some(view) => view.rewind_count(channel, count),
                };
                Self { position, ..live }
            }
            Some(Rewind::Span(span)) => Self { position: log.rewind_span(span, now), ..live },
            None => live,
        }
    }
}

/// The value of the parameter `rewind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rewind {
    /// So many messages.
    Count(usize),
    /// The messages of this time.
    Span(Duration),
}

impl Rewind {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(seconds) = text.strip_suffix('s') {
            return seconds.parse().ok().map(Duration::from_secs).map(Self::Span);
        }
        if let Some(minutes) = text.strip_suffix('m') {
            let seconds = minutes.parse::<u64>().ok()?.checked_mul(60)?;
            return Some(Self::Span(Duration::from_secs(seconds)));
        }
        text.parse().ok().map(Self::Count)
    }
}

impl Channels {
    /// Continues the replays on a transport. Returns the entries that it needs from the engine.
    pub(crate) fn fill(
        &mut self,
        session: &Session<'_>,
        outputs: &mut Vec<Output>,
    ) -> Option<Need> {
        let Self { map, presence, .. } = self;
        let mut replay = Replay::new(session, presence);
        for (name, attachment) in session.attached.iter() {
            if let Some(channel) = map.get_mut(&**attachment.channel(name)) {
                replay.fill(name, attachment, channel, outputs);
            }
            if replay.budget == 0 {
                // Also when this channel's replay is complete: that of the next one may not be.
                outputs.push(Output::Behind(session.transport));
                break;
            }
        }
        replay.need
    }

    /// Continues the replays of a transport on a channel with entries that the engine had. `floor` is the position after
    /// which the engine is complete.
    pub(crate) fn fill_from(
        &mut self,
        session: &Session<'_>,
        base: &Str,
        excerpt: &Excerpt,
        floor: Position,
        outputs: &mut Vec<Output>,
    ) {
        let Self { map, order, presence, .. } = self;
        let Some(channel) = map.get_mut(&**base) else { return };
        for (name, attachment) in session.attached.iter() {
            if attachment.channel(name) != base {
                continue;
            }
            let view = attachment.view.as_ref();
            match channel.fill_from(session.transport, view, excerpt, floor, order, outputs) {
                Progress::Lost => {
                    let mut replay = Replay::new(session, presence);
                    replay.lose(name, attachment, floor, channel, outputs);
                }
                Progress::Complete | Progress::More => {}
            }
        }
        outputs.push(Output::Behind(session.transport));
    }
}

/// A step of the replays on a transport.
pub(super) struct Replay<'a> {
    session: &'a Session<'a>,
    presence: &'a mut Presence,
    /// The bytes that may still be queued.
    budget: usize,
    /// The entries that the replay needs from the engine.
    need: Option<Need>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(session: &'a Session<'a>, presence: &'a mut Presence) -> Self {
        Self { session, presence, budget: STEP, need: None }
    }

    /// A step of a replay that begins: behind those that wait in the queue already, so that a client that attaches to many
    /// channels at once gets no more than the others.
    pub(super) fn beginning(session: &'a Session<'a>, presence: &'a mut Presence) -> Self {
        let budget = STEP.saturating_sub(*session.replayed);
        Self { budget, ..Self::new(session, presence) }
    }

    /// Begins the replay of an attachment, and returns how many bytes of it were queued. If it needs entries from the engine, it goes on like one that is behind.
    pub(super) fn begin(
        mut self,
        name: &Str,
        attachment: &Attachment,
        channel: &mut Channel,
        outputs: &mut Vec<Output>,
    ) -> usize {
        let before = self.budget;
        self.fill(name, attachment, channel, outputs);
        if self.need.is_some() {
            outputs.push(Output::Behind(self.session.transport));
        }
        before - self.budget
    }

    /// Continues the replay of one attachment.
    pub(super) fn fill(
        &mut self,
        name: &Str,
        attachment: &Attachment,
        channel: &mut Channel,
        outputs: &mut Vec<Output>,
    ) {
        let transport = self.session.transport;
        if !channel.fill_objects(transport, attachment.view.as_ref(), &mut self.budget, outputs) {
            outputs.push(Output::Behind(transport));
            return;
        }
        match channel.fill(transport, attachment.view.as_ref(), &mut self.budget, outputs) {
            Progress::Complete => {
                if channel.take_needs_members(transport, attachment.view.as_ref()) {
                    let viewer = self.session.viewer(name, attachment);
                    self.session.send(self.presence.sync(&viewer), outputs);
                }
            }
            Progress::More => outputs.push(Output::Behind(transport)),
            Progress::Lost => match channel.unread(transport, attachment.view.as_ref()) {
                Some(need) => {
                    self.need.get_or_insert(need);
                }
                None => {
                    let floor = channel.log.floor();
                    channel.skip_to(transport, attachment.view.as_ref(), floor);
                    self.lose(name, attachment, floor, channel, outputs);
                    outputs.push(Output::Behind(transport));
                }
            },
        }
    }

    /// Tells the client that entries before `floor` are lost.
    fn lose(
        &mut self,
        name: &Str,
        attachment: &Attachment,
        floor: Position,
        channel: &mut Channel,
        outputs: &mut Vec<Output>,
    ) {
        let attached = Attached {
            channel: name.clone(),
            channel_serial: Some(floor.channel_serial()),
            flags: attachment.granted | objects_flag(attachment.granted),
            params: Params::new(),
            error: Some(error::continuity_lost()),
        };
        let viewer = self.session.viewer(name, attachment);
        self.session.send(self.presence.announce(&viewer, attached), outputs);
        channel.sync_objects(self.session.transport, attachment.view.as_ref());
    }
}

/// The progress of a replay after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The subscriber has received every entry.
    Complete,
    /// The budget is spent before the end of the log.
    More,
    /// The log dropped entries before the replay reached them.
    Lost,
}

impl Channel {
    /// Continues the replay to a subscriber, by about `budget` bytes.
    fn fill(
        &mut self,
        transport: TransportId,
        view: Option<&Arc<View>>,
        budget: &mut usize,
        outputs: &mut Vec<Output>,
    ) -> Progress {
        let subscriber = subscriber::find(&mut self.subscribers, &mut self.views, transport, view);
        let Some(subscriber) = subscriber else { return Progress::Complete };
        let Some(position) = subscriber.behind else { return Progress::Complete };
        if position < self.log.floor() {
            return Progress::Lost;
        }
        for entry in self.log.after(position) {
            if *budget == 0 {
                return Progress::More;
            }
            subscriber.behind = Some(entry.position());
            subscriber.replay(transport, view, &self.changes, entry, budget, outputs);
        }
        subscriber.behind = None;
        Progress::Complete
    }

    /// Continues the replay to a subscriber with entries of the engine, up to those of the log.
    fn fill_from(
        &mut self,
        transport: TransportId,
        view: Option<&Arc<View>>,
        excerpt: &Excerpt,
        floor: Position,
        order: &Order,
        outputs: &mut Vec<Output>,
    ) -> Progress {
        let subscriber = subscriber::find(&mut self.subscribers, &mut self.views, transport, view);
        let Some(subscriber) = subscriber else { return Progress::Complete };
        let Some(position) = subscriber.behind else { return Progress::Complete };
        if position < floor {
            subscriber.behind = Some(floor);
            return Progress::Lost;
        }
        // Another attachment of the client may have asked for these entries.
        if position < excerpt.log().floor() || position >= excerpt.end() {
            return Progress::Complete;
        }
        // The attachment may be older than the refusal, and only slow.
        subscriber.may_see_unapplied |= order.may_have_unapplied(position);
        let mut budget = usize::MAX;
        for entry in excerpt.log().after(position) {
            subscriber.behind = Some(entry.position());
            if subscriber.may_see_unapplied
                && !entry.operations().is_empty()
                && subscriber.wants(entry)
                && let Some(feed) = &mut subscriber.objects
            {
                // The next step sends the objects as they are, in place of operations that may not be in them.
                feed.request();
                continue;
            }
            subscriber.replay(transport, view, excerpt.changes(), entry, &mut budget, outputs);
        }
        subscriber.behind = Some(excerpt.end());
        Progress::More
    }

    /// The entries between the place that a replay has reached and the log, if the engine has them.
    fn unread(&mut self, transport: TransportId, view: Option<&Arc<View>>) -> Option<Need> {
        self.stored?;
        let until = self.log.floor();
        let channel = self.name.clone();
        let subscriber = subscriber::find(&mut self.subscribers, &mut self.views, transport, view)?;
        Some(Need::Entries { channel, after: subscriber.behind?, until })
    }

    /// Whether the members have to be sent again after the replay.
    fn take_needs_members(&mut self, transport: TransportId, view: Option<&Arc<View>>) -> bool {
        let subscriber = subscriber::find(&mut self.subscribers, &mut self.views, transport, view);
        subscriber.is_some_and(|subscriber| {
            subscriber.may_see_unapplied = false;
            std::mem::take(&mut subscriber.needs_members)
        })
    }

    fn skip_to(&mut self, transport: TransportId, view: Option<&Arc<View>>, position: Position) {
        if let Some(subscriber) =
            subscriber::find(&mut self.subscribers, &mut self.views, transport, view)
        {
            subscriber.behind = Some(position);
        }
    }

    /// The position after which the channel is complete, in memory or in the engine.
    fn floor(&self) -> Position {
        self.stored.map_or(self.log.floor(), |stored| stored.min(self.log.floor()))
    }

    /// Whether the entries in memory reach as far back as the rewind.
    pub(super) fn covers(&self, rewind: Rewind, now: Duration) -> bool {
        match rewind {
            Rewind::Count(count) => self.log.rewind_count(count) > self.log.floor(),
            Rewind::Span(span) => self.log.rewind_span(span, now) > self.log.floor(),
        }
    }
}

impl Subscriber {
    /// Sends an entry in a replay.
    fn replay(
        &mut self,
        transport: TransportId,
        view: Option<&Arc<View>>,
        changes: &Changes,
        entry: &Arc<Entry>,
        budget: &mut usize,
        outputs: &mut Vec<Output>,
    ) {
        if !self.wants(entry) {
            return;
        }
        let entry = self.replayed(changes, entry);
        *budget = budget.saturating_sub(entry.size());
        let seen = match view {
            None => Some(entry),
            Some(view) => view.of(&entry),
        };
        if let Some(seen) = seen {
            self.needs_members |= self.may_see_unapplied && !seen.members().is_empty();
            let broadcast = Fanout::new(&seen).broadcast(self);
            outputs.push(Output::Broadcast(transport, broadcast));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewind_accepts_a_count_or_a_time_span() {
        assert_eq!(Rewind::parse("3"), Some(Rewind::Count(3)));
        assert_eq!(Rewind::parse("15s"), Some(Rewind::Span(Duration::from_secs(15))));
        assert_eq!(Rewind::parse("2m"), Some(Rewind::Span(Duration::from_secs(120))));
        for garbage in ["", "s", "m", "-1", "1h", "99999999999999999999m"] {
            assert_eq!(Rewind::parse(garbage), None, "{garbage}");
        }
    }
}
