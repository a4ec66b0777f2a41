//! One client's connection: what outlives its transports.

pub(super) mod ack;
pub(super) mod receive;
pub(super) mod refuse;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use capably_protocol::{Flags, Str};

use self::ack::Outcomes;
use super::{
    TransportId,
    access::identity::Identity,
    channel::{occupancy::Metrics, view::View},
    output::ConnectionId,
    pace::{ChannelPaces, Pace},
};

/// A connection and the state that a resume finds again.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    secret: Secret,
    /// How many transports it has had; the last part of its key.
    generation: u32,
    pub(crate) identity: Identity,
    /// Whether it wants its own messages.
    pub(crate) echo: bool,
    /// How long its members stay while the client is away.
    pub(crate) remain: Duration,
    /// The longest silence towards the client (CD2h).
    pub(crate) max_idle_interval: Duration,
    /// The transport in use; none while the client is away.
    pub(crate) transport: Option<TransportId>,
    /// When its state is dropped, while the client is away.
    pub(crate) expires: Option<Duration>,
    /// When its token is to be looked at, while it has a transport and a token.
    pub(crate) token_due: Option<Duration>,
    /// Attached channels. They end with the transport: a client that comes back attaches
    /// again, with the serial it had reached.
    pub(crate) attached: BTreeMap<Str, Attachment>,
    /// The `msgSerial` of the next frame; one below it has been handled.
    pub(crate) next_msg_serial: u64,
    /// Frames below this `msgSerial` were acknowledged on the transport in use.
    acknowledged: u64,
    pub(crate) outcomes: Outcomes,
    pub(crate) pace: Pace,
    /// On channels for which its token sets a rate.
    pub(crate) channel_paces: ChannelPaces,
}

/// What a connection may do on a channel that it is attached to.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// What it sees of the channel, when its name has a qualifier.
    pub(crate) view: Option<Arc<View>>,
    /// The modes that were asked for.
    pub(crate) requested: Flags,
    /// Those of them that the credentials allow.
    pub(crate) granted: Flags,
    /// Whether it wants messages whole that something was appended to.
    pub(crate) whole_appends: bool,
    /// Whether it wants what changed rather than whole payloads.
    pub(crate) deltas: bool,
    /// What it is told of how many use the channel.
    pub(crate) metrics: Option<Metrics>,
}

impl Attachment {
    /// The channel, whatever the name that it was attached by.
    pub(crate) fn channel<'a>(&'a self, name: &'a Str) -> &'a Str {
        self.view.as_ref().map_or(name, |view| &view.base)
    }

    /// What a capability is asked for.
    pub(crate) fn resource<'a>(&'a self, name: &'a Str) -> &'a Str {
        self.view.as_ref().map_or(name, |view| &view.resource)
    }

    /// Whether it has to do with the channel's members: one through a filter has not.
    pub(crate) fn has_members(&self) -> bool {
        self.view.as_ref().is_none_or(|view| view.filter.is_none())
    }

    /// The channel whose members it sees.
    pub(crate) fn members_of<'a>(&'a self, name: &'a Str) -> Option<&'a Str> {
        self.has_members().then(|| self.channel(name))
    }
}

struct Secret(Str);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Random bytes for a new connection's id and secret.
pub(crate) type Entropy = [u8; 24];

impl Connection {
    pub(crate) fn new(entropy: &Entropy, identity: Identity, echo: bool) -> Self {
        let (id, secret) = entropy.split_at(9);
        Self {
            id: URL_SAFE_NO_PAD.encode(id).into(),
            secret: Secret(URL_SAFE_NO_PAD.encode(secret).into()),
            generation: 0,
            identity,
            echo,
            remain: Duration::ZERO,
            max_idle_interval: Duration::ZERO,
            transport: None,
            expires: None,
            token_due: None,
            attached: BTreeMap::new(),
            next_msg_serial: 0,
            acknowledged: 0,
            outcomes: Outcomes::default(),
            pace: Pace::default(),
            channel_paces: ChannelPaces::default(),
        }
    }

    /// Takes a transport into use and gives the key that goes with it (RTN15e).
    pub(crate) fn take_transport(&mut self, transport: TransportId) -> Str {
        self.generation += 1;
        self.transport = Some(transport);
        self.expires = None;
        self.acknowledged = 0;
        self.key()
    }

    /// Whether a frame is to be acknowledged, which it is once on each transport: to acknowledge again what an
    /// earlier ACK or NACK covered would break the protocol. After a resume, that one may have been lost.
    pub(crate) fn acknowledges(&mut self, msg_serial: u64) -> bool {
        let is_first = msg_serial >= self.acknowledged;
        self.acknowledged = self.acknowledged.max(msg_serial.saturating_add(1));
        is_first
    }

    /// The key that goes with the transport in use.
    pub(crate) fn key(&self) -> Str {
        Str::from(format!("{}!{}-{}", self.id, self.secret.0, self.generation))
    }

    /// Whether it is attached to the channel, by whatever name, in a way that it can have members there.
    pub(crate) fn can_have_members(&self, channel: &Str) -> bool {
        let attached = |(name, attachment): (&Str, &Attachment)| {
            attachment.has_members() && attachment.channel(name) == channel
        };
        self.attached.contains_key(channel) || self.attached.iter().any(attached)
    }

    /// Whether `key` is one of this connection's keys. Earlier ones count: the client may have lost its
    /// transport before it saw the latest.
    pub(crate) fn has_key(&self, key: &str) -> bool {
        let Some((id, rest)) = key.split_once('!') else { return false };
        let Some((secret, generation)) = rest.rsplit_once('-') else { return false };
        let Ok(generation) = generation.parse::<u32>() else { return false };
        id == &*self.id && secret == &*self.secret.0 && (1..=self.generation).contains(&generation)
    }
}

/// The connection id that a connection key begins with.
pub(crate) fn id_in_key(key: &str) -> Option<&str> {
    key.split_once('!').map(|(id, _)| id)
}
