//! Replays: the entries between the start of an attachment and the end of the log.
//!
//! A replay is queued in steps, so that a long one does not fill the transport's queue at once.

use std::{sync::Arc, time::Duration};

use capably_protocol::{
    ErrorInfo, Flags, Str,
    frame::{Attach, Attached, Params},
};

use super::{
    Channel, Channels, Session, attachment::Attachment, delta::Fanout, subscriber, view::View,
};
use crate::hub::{Output, TransportId, error, log::position::Position, presence::Presence};

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
        newest: Position,
        now: Duration,
    ) -> Self {
        let log = &channel.log;
        let live = Self { position: log.last(), resumed: false, error: None };
        if let Some(serial) = &attach.channel_serial {
            return match Position::parse(serial) {
                Some(position) if position >= log.floor() && position <= newest => {
                    Self { position, resumed: true, error: None }
                }
                Some(_) | None => Self { error: Some(error::continuity_lost()), ..live },
            };
        }
        if attach.flags.contains(Flags::ATTACH_RESUME) {
            return live;
        }
        match params.get("rewind").and_then(|rewind| Rewind::parse(rewind)) {
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
pub(super) enum Rewind {
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
    /// Continues the replays on a transport.
    pub(crate) fn fill(&mut self, session: &Session<'_>, outputs: &mut Vec<Output>) {
        let Self { map, presence, .. } = self;
        let mut replay = Replay::new(session, presence);
        for (name, attachment) in session.attached.iter() {
            if let Some(channel) = map.get_mut(&**attachment.channel(name)) {
                replay.fill(name, attachment, channel, outputs);
            }
            if replay.budget == 0 {
                break;
            }
        }
    }
}

/// A step of the replays on a transport.
pub(super) struct Replay<'a> {
    session: &'a Session<'a>,
    presence: &'a mut Presence,
    /// The bytes that may still be queued.
    budget: usize,
}

impl<'a> Replay<'a> {
    pub(super) fn new(session: &'a Session<'a>, presence: &'a mut Presence) -> Self {
        Self { session, presence, budget: STEP }
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
        match channel.fill(transport, attachment.view.as_ref(), &mut self.budget, outputs) {
            Progress::Complete => {}
            Progress::More => outputs.push(Output::Behind(transport)),
            Progress::Lost => {
                let attached = Attached {
                    channel: name.clone(),
                    channel_serial: Some(channel.log.floor().channel_serial()),
                    flags: attachment.granted,
                    params: Params::new(),
                    error: Some(error::continuity_lost()),
                };
                let viewer = self.session.viewer(name, attachment);
                self.session.send(self.presence.announce(&viewer, attached), outputs);
                outputs.push(Output::Behind(transport));
            }
        }
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
            subscriber.behind = Some(self.log.floor());
            return Progress::Lost;
        }
        for entry in self.log.after(position) {
            if *budget == 0 {
                return Progress::More;
            }
            subscriber.behind = Some(entry.position());
            if subscriber.wants(entry) {
                let entry = subscriber.replayed(&self.changes, entry);
                *budget = budget.saturating_sub(entry.size());
                let seen = match view {
                    None => Some(entry),
                    Some(view) => view.of(&entry),
                };
                if let Some(seen) = seen {
                    let broadcast = Fanout::new(&seen).broadcast(subscriber);
                    outputs.push(Output::Broadcast(transport, broadcast));
                }
            }
        }
        subscriber.behind = None;
        Progress::Complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewind_is_a_count_or_a_span() {
        assert_eq!(Rewind::parse("3"), Some(Rewind::Count(3)));
        assert_eq!(Rewind::parse("15s"), Some(Rewind::Span(Duration::from_secs(15))));
        assert_eq!(Rewind::parse("2m"), Some(Rewind::Span(Duration::from_secs(120))));
        for garbage in ["", "s", "m", "-1", "1h", "99999999999999999999m"] {
            assert_eq!(Rewind::parse(garbage), None, "{garbage}");
        }
    }
}
