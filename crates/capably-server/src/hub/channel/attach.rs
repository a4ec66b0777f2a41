//! Attaching to a channel: modes, parameters, and where it begins.

use std::{sync::Arc, time::Duration};

use capably_protocol::{
    ChannelMode, ErrorInfo, Flags, ServerFrame, Str,
    frame::{Attach, Attached, ErrorFrame, Params},
};

use super::{
    Channel, Channels, Fill, Subscriber,
    delta::{self, Deltas},
    name as channel_name,
    occupancy::{Metrics, Watch},
    view::View,
};
use crate::hub::{
    Now, Output, TransportId,
    access::{capability::Operation, identity::Identity},
    connection::{Attachment, Connection},
    error,
    log::position::Position,
    presence::{Presence, announce, leave_channel},
};

/// The modes of an attachment that asks for none (RTL4l).
const DEFAULT_MODES: [ChannelMode; 5] = [
    ChannelMode::Presence,
    ChannelMode::Publish,
    ChannelMode::Subscribe,
    ChannelMode::PresenceSubscribe,
    ChannelMode::AnnotationPublish,
];

/// The value of the parameter `appendMode` with which appends come as updates that hold the whole message.
const WHOLE_APPENDS: &str = "full";

/// How many bytes of a replay are queued at a time.
const REPLAY_STEP: usize = 256 * 1024;

/// Handles an ATTACH: answers with ATTACHED, or with an ERROR for the channel.
pub(crate) fn attach(
    connection: &mut Connection,
    channels: &mut Channels,
    presence: &mut Presence,
    transport: TransportId,
    attach: Attach,
    now: Now,
    outputs: &mut Vec<Output>,
) {
    let attachment = attachment(&attach, &connection.identity).and_then(|attachment| {
        channels.require_room(attachment.channel(&attach.channel), now.steady, outputs)?;
        Ok(attachment)
    });
    let attachment = match attachment {
        Ok(attachment) => attachment,
        Err(error) => {
            detach(connection, channels, presence, transport, &attach.channel, now, outputs);
            let frame = ErrorFrame { channel: Some(attach.channel), error: Some(error) };
            outputs.push(Output::Frame(transport, ServerFrame::Error(frame)));
            return;
        }
    };
    let modes = attachment.granted;
    let view = attachment.view.as_ref();
    let mut params = view.map_or_else(Params::new, |view| view.params.clone());
    params.extend(attach.params.iter().map(|(name, value)| (name.clone(), value.clone())));
    let newest = channels.last_position();
    let base = attachment.channel(&attach.channel);
    let channel = channels.get_or_create(base);
    channel.expire(now.steady);
    let receives = receives(modes);
    let start = Start::of(&attach, &params, view, channel, newest, now.steady);
    let mut flags = modes;
    if start.resumed {
        flags = flags | Flags::RESUMED;
    }
    let subscriber = Subscriber {
        connection: connection.id.clone(),
        modes,
        echo: connection.echo,
        whole_appends: attachment.whole_appends,
        deltas: attachment.deltas.then(Deltas::default),
        since: start.position,
        live_since: if start.resumed { start.position } else { newest },
        behind: Some(start.position),
        watch: attachment.metrics.map(Watch::new),
    };
    let mut missed = channel.log.after(start.position).filter(|entry| {
        subscriber.wants(entry) && view.is_none_or(|view| view.shows(channel, &subscriber, entry))
    });
    let first = missed.next();
    let backlog = first.is_some();
    if first.into_iter().chain(missed).any(|entry| entry.members().is_empty()) {
        flags = flags | Flags::HAS_BACKLOG;
    }
    let attached = Attached {
        channel: attach.channel.clone(),
        channel_serial: Some(start.position.channel_serial()),
        flags,
        params: recognised_params(&params, modes),
        error: start.error,
    };
    let members_of = attachment.members_of(&attach.channel);
    announce(presence, &connection.id, members_of, attached, transport, outputs);

    channel.unsubscribe(transport, view);
    if receives {
        let behind = subscriber.behind.filter(|_| backlog);
        channel.subscribe(transport, view, Subscriber { behind, ..subscriber });
        if backlog {
            let mut replay = Replay { connection, presence, transport, budget: REPLAY_STEP };
            replay.fill(&attach.channel, &attachment, channel, outputs);
        }
    }
    let base = base.clone();
    let before = connection.attached.insert(Str::from(&*attach.channel), attachment);
    let before = before.map_or(Flags::NONE, |before| before.granted);
    channels.count_attachment(&base, before, modes);
}

/// Tells an attachment again who is present. Where there is none, there is nobody to tell.
pub(crate) fn sync(
    connection: &Connection,
    presence: &mut Presence,
    transport: TransportId,
    name: Str,
    outputs: &mut Vec<Output>,
) {
    let Some(attachment) = connection.attached.get(&name) else { return };
    let members_of = attachment.members_of(&name).cloned();
    let modes = attachment.granted;
    presence.sync(&connection.id, members_of.as_ref(), &name, modes, transport, outputs);
}

/// Goes on with the replays to a connection.
pub(crate) fn fill(
    connection: &Connection,
    channels: &mut Channels,
    presence: &mut Presence,
    transport: TransportId,
    outputs: &mut Vec<Output>,
) {
    let mut replay = Replay { connection, presence, transport, budget: REPLAY_STEP };
    for (name, attachment) in &connection.attached {
        if let Some(channel) = channels.get_mut(attachment.channel(name)) {
            replay.fill(name, attachment, channel, outputs);
        }
        if replay.budget == 0 {
            break;
        }
    }
}

/// A step of the replays to a connection.
struct Replay<'a> {
    connection: &'a Connection,
    presence: &'a mut Presence,
    transport: TransportId,
    /// How many bytes may still be queued.
    budget: usize,
}

impl Replay<'_> {
    fn fill(
        &mut self,
        name: &Str,
        attachment: &Attachment,
        channel: &mut Channel,
        outputs: &mut Vec<Output>,
    ) {
        let view = attachment.view.as_ref();
        match channel.fill(self.transport, view, &mut self.budget, outputs) {
            Fill::Complete => {}
            Fill::More => outputs.push(Output::Behind(self.transport)),
            Fill::Lost => {
                let attached = Attached {
                    channel: name.clone(),
                    channel_serial: Some(channel.log.floor().channel_serial()),
                    flags: attachment.granted,
                    params: Params::new(),
                    error: Some(error::continuity_lost()),
                };
                let Self { presence, connection, transport, .. } = self;
                let members_of = attachment.members_of(name);
                announce(presence, &connection.id, members_of, attached, *transport, outputs);
                outputs.push(Output::Behind(self.transport));
            }
        }
    }
}

/// Where an attachment begins.
struct Start {
    position: Position,
    resumed: bool,
    error: Option<ErrorInfo>,
}

impl Start {
    fn of(
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

/// How far back an attachment asks to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rewind {
    Count(usize),
    Span(Duration),
}

impl Rewind {
    fn parse(text: &str) -> Option<Self> {
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

/// The modes asked for, as far as the capability allows them.
///
/// # Errors
/// Code 40010 for the channel's name, 40160 when none is left.
fn attachment(attach: &Attach, identity: &Identity) -> Result<Attachment, ErrorInfo> {
    let view = channel_name::view(&attach.channel)?.map(Arc::new);
    let param = |name: &str| {
        attach.params.get(name).or_else(|| view.as_ref().and_then(|view| view.params.get(name)))
    };
    let metrics = param("occupancy").and_then(|wanted| Metrics::parse(wanted));
    let requested = match param("modes") {
        Some(names) => names
            .split(',')
            .filter_map(|name| ChannelMode::from_name(name.trim()))
            .collect::<Vec<_>>(),
        None => attach.flags.modes(),
    };
    let requested = if requested.is_empty() { DEFAULT_MODES.to_vec() } else { requested };
    let requested = requested.into_iter().collect();
    let whole_appends = param("appendMode").is_some_and(|mode| mode == WHOLE_APPENDS);
    let deltas = delta::asked_for(param(delta::PARAM));
    let mut attachment =
        Attachment { view, requested, granted: Flags::NONE, whole_appends, deltas, metrics };
    attachment.granted = granted(&attachment, &attach.channel, identity);
    if attachment.granted == Flags::NONE {
        return Err(error::denied("attach"));
    }
    Ok(attachment)
}

/// Those of the modes asked for that the capability allows. Through a filter, there are only messages to see.
fn granted(attachment: &Attachment, name: &Str, identity: &Identity) -> Flags {
    let resource = attachment.resource(name);
    let modes = attachment.requested.modes().into_iter();
    let seen = |mode| attachment.has_members() || mode == ChannelMode::Subscribe;
    modes.filter(|mode| seen(*mode) && allowed(*mode, resource, identity)).collect()
}

/// Ends an attachment, if there is one of this name. Members leave with the last to their channel.
pub(crate) fn detach(
    connection: &mut Connection,
    channels: &mut Channels,
    presence: &mut Presence,
    transport: TransportId,
    name: &Str,
    now: Now,
    outputs: &mut Vec<Output>,
) {
    let base = match connection.attached.remove(name) {
        Some(attachment) => {
            let base = attachment.channel(name);
            if let Some(channel) = channels.get_mut(base) {
                channel.unsubscribe(transport, attachment.view.as_ref());
            }
            channels.count_attachment(base, attachment.granted, Flags::NONE);
            base.clone()
        }
        // A client that has come back may have members where it has not attached again.
        None => match channel_name::plain_str(name) {
            Ok(base) => base,
            Err(_) => return,
        },
    };
    if !connection.can_have_members(&base) {
        leave_channel(presence, channels, &connection.id, &base, now, outputs);
    }
}

/// Fits a connection's attachments to its new credentials: modes come and go, and a channel on which
/// nothing is left to it fails.
pub(crate) fn reconsider(
    connection: &mut Connection,
    channels: &mut Channels,
    presence: &mut Presence,
    transport: TransportId,
    now: Now,
    outputs: &mut Vec<Output>,
) {
    let since = channels.last_position();
    let Connection { id, identity, echo, attached, .. } = connection;
    attached.retain(|name, attachment| {
        let before = attachment.granted;
        attachment.granted = granted(attachment, name, identity);
        let base = attachment.channel(name);
        let view = attachment.view.as_ref();
        channels.count_attachment(base, before, attachment.granted);
        let channel = channels.get_or_create(base);
        if attachment.granted == Flags::NONE {
            channel.unsubscribe(transport, view);
            if attachment.has_members() {
                leave_channel(presence, channels, id, base, now, outputs);
            }
            let error = Some(error::denied("attach"));
            let frame = ErrorFrame { channel: Some(name.clone()), error };
            outputs.push(Output::Frame(transport, ServerFrame::Error(frame)));
            return false;
        }
        let modes = attachment.granted;
        match (receives(before), receives(modes)) {
            (true, true) => channel.set_modes(transport, view, modes),
            (true, false) => channel.unsubscribe(transport, view),
            (false, true) => {
                let connection = id.clone();
                let subscriber = Subscriber {
                    connection,
                    modes,
                    echo: *echo,
                    whole_appends: attachment.whole_appends,
                    deltas: attachment.deltas.then(Deltas::default),
                    since,
                    live_since: since,
                    behind: None,
                    watch: attachment.metrics.map(Watch::new),
                };
                channel.subscribe(transport, view, subscriber);
            }
            (false, false) => {}
        }
        true
    });
}

/// Whether an attachment with these modes is sent anything of what is published.
fn receives(modes: Flags) -> bool {
    [
        ChannelMode::Subscribe,
        ChannelMode::AnnotationSubscribe,
        ChannelMode::PresenceSubscribe,
        ChannelMode::Presence,
    ]
    .into_iter()
    .any(|mode| modes.contains(mode.flag()))
}

fn allowed(mode: ChannelMode, channel: &str, identity: &Identity) -> bool {
    let operations: &[Operation] = match mode {
        ChannelMode::Presence => &[Operation::Presence],
        ChannelMode::Publish => &[Operation::Publish],
        ChannelMode::Subscribe => &[Operation::Subscribe],
        ChannelMode::PresenceSubscribe => &[Operation::Subscribe, Operation::Presence],
        ChannelMode::AnnotationPublish => &[Operation::AnnotationPublish],
        ChannelMode::AnnotationSubscribe => &[Operation::AnnotationSubscribe],
        ChannelMode::ObjectSubscribe => &[Operation::ObjectSubscribe],
        ChannelMode::ObjectPublish => &[Operation::ObjectPublish],
        _ => &[],
    };
    operations.iter().any(|operation| identity.capability.allows(channel, operation))
}

/// The parameters that have a meaning here, `modes` as they were granted (RTL4k1).
fn recognised_params(requested: &Params, modes: Flags) -> Params {
    let mut params = Params::new();
    for (name, value) in requested {
        match name.as_str() {
            "modes" => {
                let names: Vec<_> = modes.modes().into_iter().map(ChannelMode::name).collect();
                params.insert(name.clone(), names.join(","));
            }
            "occupancy" if Metrics::parse(value).is_some() => {
                params.insert(name.clone(), value.clone());
            }
            "rewind" if Rewind::parse(value).is_some() => {
                params.insert(name.clone(), value.clone());
            }
            "appendMode" if value == WHOLE_APPENDS => {
                params.insert(name.clone(), value.clone());
            }
            delta::PARAM if value == delta::VCDIFF => {
                params.insert(name.clone(), value.clone());
            }
            _ => {}
        }
    }
    params
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
