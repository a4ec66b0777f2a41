//! Outputs: the work that the client has for its driver.

use std::time::Duration;

use capably_objects::ObjectsEvent;
use capably_protocol::{
    Annotation, ClientFrame, ErrorInfo, Message, PresenceMessage, PublishResult,
};

use crate::{
    AuthId, ChannelId, ChannelStateChange, CheckId, ConnectRequest, ConnectionStateChange, Gap,
    Instant, OpId, Place, ReplayEnd, Timer, TokenNeed, TransportId,
};

/// A piece of work for the driver, from [`Client::poll_output`](crate::Client::poll_output).
#[derive(Debug)]
pub enum Output {
    /// Open a WebSocket, and report on it under this id.
    Open {
        /// The id of the new transport.
        transport: TransportId,
        /// The address and its query parameters.
        request: Box<ConnectRequest>,
    },
    /// Send a frame on a transport.
    Send {
        /// The transport.
        transport: TransportId,
        /// The frame.
        frame: ClientFrame,
    },
    /// Close a transport, or stop dialling it. The client ignores its further events.
    Shut {
        /// The transport.
        transport: TransportId,
    },
    /// Obtain a token, and call [`Client::handle_token`](crate::Client::handle_token) with this id.
    RequestToken {
        /// The id of the request.
        auth: AuthId,
        /// The token that is needed.
        need: TokenNeed,
    },
    /// Abandon a token request. The client ignores its outcome.
    AbandonToken {
        /// The request.
        auth: AuthId,
    },
    /// Check whether there is a network, and call
    /// [`Client::handle_connectivity`](crate::Client::handle_connectivity) with this id (RTN17j).
    CheckConnectivity {
        /// The id of the check.
        check: CheckId,
    },
    /// Dispatch an event to the application.
    Event(Event),
    /// There is nothing to do before this deadline or the next input.
    Timeout(Option<(Instant, Timer)>),
}

/// An event for the application.
#[derive(Debug)]
pub enum Event {
    /// The connection's state changed, or was updated (RTN4).
    Connection(ConnectionStateChange),
    /// The connection's error reason changed, and nothing else (RSA4c3).
    ErrorReason,
    /// A channel's state changed, or was updated (RTL2).
    Channel(ChannelId, ChannelStateChange),
    /// The service attached an attached channel again, without loss of continuity. Its modes and parameters may have
    /// changed (RTL4m).
    Granted(ChannelId),
    /// A channel is attached and does not continue: a listener that joined before may have missed messages
    /// (RTL2f, RTL12). The first attach has this event, too, but then there is nothing to miss. Boxed, because every
    /// event would otherwise be as large as a gap.
    Gap(ChannelId, Box<Gap>),
    /// Messages arrived on an attached channel (RTL17), in order.
    Messages(ChannelId, Batch<Message>),
    /// Annotations arrived on an attached channel (RTAN4b), in order.
    Annotations(ChannelId, Batch<Annotation>),
    /// Members entered, left, changed, or were found present or absent in a sync, in order (RTP2d1, RTP2h1a). Changes
    /// of a sync have no place in the channel.
    Presence(ChannelId, Batch<PresenceMessage>),
    /// A replay ended ([`Client::replay`](crate::Client::replay)). Frames that arrive from here on are live.
    ReplayEnded(ChannelId, ReplayEnd),
    /// The sync that follows an attach is complete, or a new one is awaited (RTP13).
    PresenceSynced(ChannelId, bool),
    /// The objects of a channel changed, or their sync state did (RTO17b, RTO24). Events of publishes are not among these:
    /// they end operations.
    Objects(ChannelId, ObjectsEvent),
    /// An operation ended. Every operation ends exactly once.
    Done(OpId, Result<Outcome, ErrorInfo>),
}

/// Items of one kind that arrived together on a channel.
#[derive(Debug)]
pub struct Batch<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// The gaps that unreadable items leave, each with the number of items before it.
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

    /// Whether the next batch can be appended. Every listener must want both or neither: of two repetitions, a listener
    /// may have had the first; and a batch without a serial is never repeated, in contrast to one with a serial.
    pub(crate) fn joins(&self, place: &Place) -> bool {
        let own = &self.place;
        self.missing.is_empty()
            && !own.repeated
            && !place.repeated
            && own.serial.is_some() == place.serial.is_some()
    }

    /// Appends the items of the next batch.
    pub(crate) fn join(&mut self, items: &mut Vec<T>, place: Place) {
        self.place.serial = place.serial;
        // Messages are large, and a burst has hundreds of frames: a vector that doubles would move each once more.
        if self.items.capacity() - self.items.len() < items.len() {
            self.items.reserve(items.len().max(3 * self.items.len()));
        }
        self.items.append(items);
    }
}

/// The result of an operation that succeeded.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// No result: of attach, detach, authorize, new options, and waiting for objects.
    Done,
    /// The result of a publish (RTL6j), of an annotation (RTAN1d), of operations on objects (RTO15h), or of entering,
    /// updating or leaving presence.
    Published(PublishResult),
    /// The members (RTP11).
    Members(Vec<PresenceMessage>),
    /// The round-trip time of a ping (RTN13a).
    Pong(Duration),
}
