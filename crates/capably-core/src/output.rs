//! What the client asks of its driver.

use std::time::Duration;

use capably_protocol::{
    Annotation, ClientFrame, ErrorInfo, Message, PresenceMessage, PublishResult,
};

use crate::{
    AuthId, ChannelId, ChannelStateChange, CheckId, ConnectRequest, ConnectionStateChange, Gap,
    Instant, OpId, Place, ReplayEnd, Timer, TokenNeed, TransportId,
};

/// One thing to do, from [`Client::poll_output`](crate::Client::poll_output).
#[derive(Debug)]
pub enum Output {
    /// Open a WebSocket, and report how it went under this id.
    Open {
        /// The id of the new transport.
        transport: TransportId,
        /// Where, and with which parameters.
        request: Box<ConnectRequest>,
    },
    /// Send a frame on a transport.
    Send {
        /// The transport.
        transport: TransportId,
        /// The frame.
        frame: ClientFrame,
    },
    /// Close a transport, or give up dialling it. Nothing it reports afterwards counts.
    Shut {
        /// The transport.
        transport: TransportId,
    },
    /// Get a token, and hand it to [`Client::handle_token`](crate::Client::handle_token) with this id.
    RequestToken {
        /// The id of the request.
        auth: AuthId,
        /// Which token.
        need: TokenNeed,
    },
    /// Give up getting a token. What is handed in for it afterwards does not count.
    AbandonToken {
        /// The request.
        auth: AuthId,
    },
    /// Find out whether there is a network, and tell
    /// [`Client::handle_connectivity`](crate::Client::handle_connectivity) with this id (RTN17j).
    CheckConnectivity {
        /// The id of the check.
        check: CheckId,
    },
    /// Tell the user.
    Event(Event),
    /// There is nothing to do before this deadline or the next input.
    Timeout(Option<(Instant, Timer)>),
}

/// Something the user is told.
#[derive(Debug)]
pub enum Event {
    /// The connection's state changed, or was updated (RTN4).
    Connection(ConnectionStateChange),
    /// The connection's error reason changed, and nothing else (RSA4c3).
    ErrorReason,
    /// A channel's state changed, or was updated (RTL2).
    Channel(ChannelId, ChannelStateChange),
    /// A channel stays attached without loss of continuity; its modes and parameters may be others (RTL4m).
    Granted(ChannelId),
    /// A channel is attached and continues nothing: who listened to it before may have missed messages
    /// (RTL2f, RTL12). At the first attach, nobody has.
    Gap(ChannelId, Gap),
    /// Messages arrived on an attached channel (RTL17), in order.
    Messages(ChannelId, Batch<Message>),
    /// Annotations arrived on an attached channel (RTAN4b), in order.
    Annotations(ChannelId, Batch<Annotation>),
    /// Members entered, left, changed, or turned out to be present or gone, in order (RTP2d1, RTP2h1a). What a sync
    /// tells has no place in the channel.
    Presence(ChannelId, Batch<PresenceMessage>),
    /// A replay ended ([`Client::replay`](crate::Client::replay)). What arrives from here on is live.
    ReplayEnded(ChannelId, ReplayEnd),
    /// The sync that follows an attach is complete, or a new one is awaited (RTP13).
    PresenceSynced(ChannelId, bool),
    /// An operation ended. Every operation ends exactly once.
    Done(OpId, Result<Outcome, ErrorInfo>),
}

/// Items of one kind that arrived together on a channel.
#[derive(Debug)]
pub struct Batch<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// The gaps that items leave which cannot be read, each with how many items come before it.
    pub missing: Vec<(usize, Gap)>,
    /// Their place in the channel.
    pub place: Place,
}

impl<T> Batch<T> {
    pub(crate) fn new(items: Vec<T>, place: Place) -> Self {
        Self { items, missing: Vec::new(), place }
    }

    /// A batch of which nothing can be read.
    pub(crate) fn missing(gap: &Gap, place: &Place) -> Self {
        Self { items: Vec::new(), missing: vec![(0, gap.clone())], place: place.clone() }
    }

    /// Whether what arrived right behind it can be part of it: a listener wants both or neither. A listener may have
    /// had the first of two repetitions already, and a batch without a serial is not repeated.
    pub(crate) fn joins(&self, place: &Place) -> bool {
        let own = &self.place;
        self.missing.is_empty()
            && !own.repeated
            && !place.repeated
            && own.serial.is_some() == place.serial.is_some()
    }

    /// Takes what arrived right behind it.
    pub(crate) fn join(&mut self, items: &mut Vec<T>, place: Place) {
        self.place.serial = place.serial;
        self.items.append(items);
    }
}

/// What an operation gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing more than that it succeeded: attach, detach, authorize.
    Done,
    /// The result of a publish (RTL6j), of an annotation (RTAN1d), or of saying something of presence.
    Published(PublishResult),
    /// Who is present (RTP11).
    Members(Vec<PresenceMessage>),
    /// The round-trip time of a ping (RTN13a).
    Pong(Duration),
}
