//! What the client asks of its driver.

use std::time::Duration;

use capably_protocol::{ClientFrame, ErrorInfo, Message, PresenceMessage, PublishResult};

use crate::{
    ChannelId, ChannelStateChange, ConnectRequest, ConnectionStateChange, Instant, OpId, Timer,
    TransportId,
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
    /// A channel's state changed, or was updated (RTL2).
    Channel(ChannelId, ChannelStateChange),
    /// A channel stays attached without loss of continuity; its modes and parameters may be others (RTL4m).
    Granted(ChannelId),
    /// Messages arrived on an attached channel (RTL17), in order.
    Messages(ChannelId, Vec<Message>),
    /// Members entered, left, changed, or turned out to be present or gone, in order (RTP2d1, RTP2h1a).
    Presence(ChannelId, Vec<PresenceMessage>),
    /// The sync that follows an attach is complete, or a new one is awaited (RTP13).
    PresenceSynced(ChannelId, bool),
    /// An operation ended. Every operation ends exactly once.
    Done(OpId, Result<Outcome, ErrorInfo>),
}

/// What an operation gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing more than that it succeeded: attach, detach.
    Done,
    /// The result of a publish (RTL6j), or of saying something of presence.
    Published(PublishResult),
    /// Who is present (RTP11).
    Members(Vec<PresenceMessage>),
    /// The round-trip time of a ping (RTN13a).
    Pong(Duration),
}
