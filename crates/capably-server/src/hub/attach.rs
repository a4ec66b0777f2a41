//! Attaching to a channel: modes, parameters, and where it begins.

use std::time::Duration;

use capably_protocol::{
    ChannelMode, ErrorInfo, Flags, ServerFrame, Str,
    frame::{Attach, Attached, ErrorFrame, Params},
};

use super::{
    Now, Output, TransportId,
    auth::Identity,
    capability::Operation,
    channel::{Channel, Channels, Fill, Subscriber},
    channel_name,
    connection::{Attachment, Connection},
    delta::{self, Deltas},
    error,
    log::Log,
    presence::{Presence, announce, leave_channel},
    serial::Position,
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
pub(super) fn attach(
    connection: &mut Connection,
    channels: &mut Channels,
    presence: &mut Presence,
    transport: TransportId,
    attach: Attach,
    now: Now,
    outputs: &mut Vec<Output>,
) {
    let attachment = match attachment(&attach, &connection.identity) {
        Ok(attachment) => attachment,
        Err(error) => {
            if let Some(channel) = channels.get_mut(&attach.channel) {
                channel.unsubscribe(transport);
            }
            connection.attached.remove(&attach.channel);
            leave_channel(presence, channels, &connection.id, &attach.channel, now, outputs);
            let frame = ErrorFrame { channel: Some(attach.channel), error: Some(error) };
            outputs.push(Output::Frame(transport, ServerFrame::Error(frame)));
            return;
        }
    };
    let modes = attachment.granted;
    let newest = channels.last_position();
    let channel = channels.get_or_create(&attach.channel);
    channel.expire(now.steady);
    let receives = receives(modes);
    let start = Start::of(&attach, &channel.log, newest, now.steady);
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
    };
    let mut missed = channel.log.after(start.position).filter(|entry| subscriber.wants(entry));
    let first = missed.next();
    let backlog = first.is_some();
    if first.into_iter().chain(missed).any(|entry| entry.members().is_empty()) {
        flags = flags | Flags::HAS_BACKLOG;
    }
    let attached = Attached {
        channel: attach.channel.clone(),
        channel_serial: Some(start.position.channel_serial()),
        flags,
        params: recognised_params(&attach.params, modes),
        error: start.error,
    };
    announce(presence, &connection.id, attached, transport, outputs);

    channel.unsubscribe(transport);
    if receives {
        let behind = subscriber.behind.filter(|_| backlog);
        channel.subscribe(transport, Subscriber { behind, ..subscriber });
        if backlog {
            let mut replay = Replay { connection, presence, transport, budget: REPLAY_STEP };
            replay.fill(&attach.channel, channel, modes, outputs);
        }
    }
    connection.attached.insert(Str::from(&*attach.channel), attachment);
}

/// Goes on with the replays to a connection.
pub(super) fn fill(
    connection: &Connection,
    channels: &mut Channels,
    presence: &mut Presence,
    transport: TransportId,
    outputs: &mut Vec<Output>,
) {
    let mut replay = Replay { connection, presence, transport, budget: REPLAY_STEP };
    for (name, attachment) in &connection.attached {
        if let Some(channel) = channels.get_mut(name) {
            replay.fill(name, channel, attachment.granted, outputs);
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
    fn fill(&mut self, name: &Str, channel: &mut Channel, modes: Flags, outputs: &mut Vec<Output>) {
        match channel.fill(self.transport, &mut self.budget, outputs) {
            Fill::Complete => {}
            Fill::More => outputs.push(Output::Behind(self.transport)),
            Fill::Lost => {
                let attached = Attached {
                    channel: name.clone(),
                    channel_serial: Some(channel.log.floor().channel_serial()),
                    flags: modes,
                    params: Params::new(),
                    error: Some(error::continuity_lost()),
                };
                announce(self.presence, &self.connection.id, attached, self.transport, outputs);
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
    fn of(attach: &Attach, log: &Log, newest: Position, now: Duration) -> Self {
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
        match attach.params.get("rewind").and_then(|rewind| Rewind::parse(rewind)) {
            Some(Rewind::Count(count)) => Self { position: log.rewind_count(count), ..live },
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
    channel_name::validate(&attach.channel)?;
    let requested = match attach.params.get("modes") {
        Some(names) => names
            .split(',')
            .filter_map(|name| ChannelMode::from_name(name.trim()))
            .collect::<Vec<_>>(),
        None => attach.flags.modes(),
    };
    let requested = if requested.is_empty() { DEFAULT_MODES.to_vec() } else { requested };
    let requested = requested.into_iter().collect();
    let granted = granted(requested, &attach.channel, identity);
    if granted == Flags::NONE {
        return Err(error::denied("attach"));
    }
    let whole_appends = attach.params.get("appendMode").is_some_and(|mode| mode == WHOLE_APPENDS);
    let deltas = delta::asked_for(&attach.params);
    Ok(Attachment { requested, granted, whole_appends, deltas })
}

fn granted(requested: Flags, channel: &str, identity: &Identity) -> Flags {
    requested.modes().into_iter().filter(|mode| allowed(*mode, channel, identity)).collect()
}

/// Fits a connection's attachments to its new credentials: modes come and go, and a channel on which
/// nothing is left to it fails.
pub(super) fn reconsider(
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
        attachment.granted = granted(attachment.requested, name, identity);
        let channel = channels.get_or_create(name);
        if attachment.granted == Flags::NONE {
            channel.unsubscribe(transport);
            leave_channel(presence, channels, id, name, now, outputs);
            let error = Some(error::denied("attach"));
            let frame = ErrorFrame { channel: Some(name.clone()), error };
            outputs.push(Output::Frame(transport, ServerFrame::Error(frame)));
            return false;
        }
        let modes = attachment.granted;
        match (receives(before), receives(modes)) {
            (true, true) => channel.set_modes(transport, modes),
            (true, false) => channel.unsubscribe(transport),
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
                };
                channel.subscribe(transport, subscriber);
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
