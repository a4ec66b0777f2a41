//! Attachments of a connection: the requested modes and parameters, and the granted ones.

use std::{collections::BTreeMap, sync::Arc};

use capably_protocol::{
    ChannelMode, ErrorInfo, Flags, Str,
    frame::{Attach, Params},
};

use super::{delta, occupancy::Metrics, replay::Rewind, view::View};
use crate::hub::{
    access::{capability::Operation, identity::Identity},
    error,
    metachannel::is_metachannel,
};

/// The modes of an ATTACH that requests none (RTL4l).
const DEFAULT_MODES: [ChannelMode; 5] = [
    ChannelMode::Presence,
    ChannelMode::Publish,
    ChannelMode::Subscribe,
    ChannelMode::PresenceSubscribe,
    ChannelMode::AnnotationPublish,
];

/// The value of the parameter `appendMode` that requests the whole message with each append.
const WHOLE_APPENDS: &str = "full";

/// The attachment of a connection to a channel.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// Set when the name of the channel has a qualifier.
    pub(super) view: Option<Arc<View>>,
    requested: Flags,
    /// The requested modes that the credentials allow.
    pub(crate) granted: Flags,
    /// Whether the client wants appends as updates with the whole message.
    pub(super) whole_appends: bool,
    /// Whether the client wants deltas in place of whole payloads.
    pub(super) deltas: bool,
    /// The counts of the occupancy that the client wants.
    pub(super) metrics: Option<Metrics>,
}

impl Attachment {
    /// Reads an ATTACH, and grants the requested modes that the capability allows.
    ///
    /// # Errors
    /// Code 40010 for the channel's name, 40160 when no mode is granted.
    pub(super) fn read(attach: &Attach, identity: &Identity) -> Result<Self, ErrorInfo> {
        let view = View::parse(&attach.channel)?.map(Arc::new);
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
            Self { view, requested, granted: Flags::NONE, whole_appends, deltas, metrics };
        attachment.granted = attachment.allowed_by(&attach.channel, identity);
        if attachment.granted == Flags::NONE {
            return Err(match is_metachannel(attachment.channel(&attach.channel)) {
                true => error::metachannel_denied(),
                false => error::denied("attach"),
            });
        }
        Ok(attachment)
    }

    /// The requested modes that the capability allows.
    pub(super) fn allowed_by(&self, name: &Str, identity: &Identity) -> Flags {
        let resource = self.resource(name);
        let modes = self.requested.modes().into_iter();
        // A filter selects messages, and a metachannel has nothing else.
        let visible = |mode| self.has_members() || mode == ChannelMode::Subscribe;
        modes.filter(|mode| visible(*mode) && is_allowed(*mode, resource, identity)).collect()
    }

    /// The name of the channel, without the qualifier of the name `name` that it was attached by.
    pub(crate) fn channel<'a>(&'a self, name: &'a Str) -> &'a Str {
        self.view.as_ref().map_or(name, |view| &view.base)
    }

    /// The resource that a capability must allow.
    pub(crate) fn resource<'a>(&'a self, name: &'a Str) -> &'a Str {
        self.view.as_ref().map_or(name, |view| &view.resource)
    }

    /// Whether the client can enter and see members. Through a filter and on a metachannel it cannot.
    pub(super) fn has_members(&self) -> bool {
        self.view.as_ref().is_none_or(|view| view.is_whole())
    }

    /// The channel whose members the client sees.
    pub(super) fn members_of<'a>(&'a self, name: &'a Str) -> Option<&'a Str> {
        self.has_members().then(|| self.channel(name))
    }
}

fn is_allowed(mode: ChannelMode, channel: &str, identity: &Identity) -> bool {
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

/// Whether an attachment with these modes receives entries.
pub(super) fn receives(modes: Flags) -> bool {
    [
        ChannelMode::Subscribe,
        ChannelMode::AnnotationSubscribe,
        ChannelMode::PresenceSubscribe,
        ChannelMode::Presence,
        ChannelMode::ObjectSubscribe,
    ]
    .into_iter()
    .any(|mode| modes.contains(mode.flag()))
}

/// The parameters that the server supports, with `modes` as they were granted (RTL4k1).
pub(super) fn supported_params(requested: &Params, modes: Flags) -> Params {
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

/// The attachments of a connection, by the names under which it attached.
#[derive(Debug, Default)]
pub(crate) struct Attachments(BTreeMap<Str, Attachment>);

impl Attachments {
    pub(crate) fn get(&self, name: &Str) -> Option<&Attachment> {
        self.0.get(name)
    }

    /// Adds an attachment, and returns the one that it replaces.
    pub(super) fn insert(&mut self, name: &Str, attachment: Attachment) -> Option<Attachment> {
        // The name may be a slice of a whole frame; the map must not pin that.
        self.0.insert(Str::from(&**name), attachment)
    }

    pub(super) fn remove(&mut self, name: &Str) -> Option<Attachment> {
        self.0.remove(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Str, &Attachment)> {
        self.0.iter()
    }

    /// Removes all attachments.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (Str, Attachment)> {
        std::mem::take(&mut self.0).into_iter()
    }

    /// Keeps the attachments for which `keep` is true.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Str, &mut Attachment) -> bool) {
        self.0.retain(keep);
    }

    /// Whether the connection is attached to the channel, by any name under which it can have members.
    pub(crate) fn can_have_members(&self, channel: &Str) -> bool {
        let can = |(name, attachment): (&Str, &Attachment)| {
            attachment.has_members() && attachment.channel(name) == channel
        };
        self.0.contains_key(channel) || self.0.iter().any(can)
    }
}
