//! The client: its contract, its parts, and the questions it answers.

use std::{collections::VecDeque, sync::Arc};

use capably_protocol::{ConnectionDetails, ErrorInfo, RecoveryKey, Str};

use crate::{
    ChannelId, ChannelState, Config, ConnectionState, Now, Output, channel::Channel,
    channels::Channels, connection::Connection, context::Shared, outbox::Outbox, ping::Pings,
    timers::Timers,
};

mod calls;
mod connection;
mod timeout;
mod transport;
mod unreadable;

pub use self::transport::TransportEvent;

/// A realtime client without sockets, tasks or a clock.
///
/// Methods come in three classes:
/// - **inputs** take [`Now`] and change the client: the user's calls (`connect`, `attach`, `publish`, …)
///   and what happened (`handle_transport`, `handle_timeout`);
/// - **output**: [`poll_output`](Self::poll_output), to be drained after each input, or after several;
/// - **questions**, which change nothing (`connection_state`, `channel_state`, …).
#[derive(Debug)]
pub struct Client {
    shared: Shared,
    channels: Channels,
    outbox: Outbox,
    pings: Pings,
}

impl Client {
    /// A client that has not connected yet. The same seed and inputs give the same outputs.
    pub fn new(config: Arc<Config>, seed: u64, now: Now) -> Self {
        let first_serial = config.recover.as_ref().map_or(0, |key| key.msg_serial);
        Self {
            shared: Shared {
                connection: Connection::new(&config, now.instant),
                config,
                timers: Timers::default(),
                rng: fastrand::Rng::with_seed(seed),
                outputs: VecDeque::new(),
            },
            channels: Channels::default(),
            outbox: Outbox::starting_at(first_serial),
            pings: Pings::default(),
        }
    }

    /// The next thing to do; [`Output::Timeout`] when there is no other.
    pub fn poll_output(&mut self) -> Output {
        let Shared { outputs, timers, .. } = &mut self.shared;
        outputs.pop_front().unwrap_or_else(|| Output::Timeout(timers.next()))
    }

    /// The connection's state (RTN4d).
    pub fn connection_state(&self) -> ConnectionState {
        self.shared.connection.state()
    }

    /// The connection's id, while there is one (RTN8).
    pub fn connection_id(&self) -> Option<&Str> {
        self.shared.connection.id.as_ref()
    }

    /// The connection's secret, while there is one (RTN9).
    pub fn connection_key(&self) -> Option<&Str> {
        self.shared.connection.key.as_ref()
    }

    /// The last error of the connection (RTN25).
    pub fn error_reason(&self) -> Option<&ErrorInfo> {
        self.shared.connection.error_reason.as_ref()
    }

    /// The domain that the connection is to, or that was tried last (RTN17).
    pub fn host(&self) -> &Str {
        &self.shared.connection.host
    }

    /// The most that a frame or the body of a request may hold, in bytes: the service's limit, or the
    /// configured one while it has not said (CD2d).
    pub fn max_frame_size(&self) -> u64 {
        self.shared.connection.max_frame_size
    }

    /// What the service said of the connection with its last CONNECTED, but for the connection's key (CD2).
    pub fn connection_details(&self) -> &ConnectionDetails {
        &self.shared.connection.details
    }

    /// The identity that the service confirmed with its last CONNECTED (RSA7b3); `*` is any (RSA7b4).
    pub fn confirmed_client_id(&self) -> Option<&Str> {
        self.shared.connection.client_id.as_ref()
    }

    /// The identity the service confirmed, or the configured one (RSA7); `*` is none in particular.
    pub fn client_id(&self) -> Option<&Str> {
        self.shared.connection.identity(&self.shared.config)
    }

    /// What another process needs to continue this connection (RTN16g); `None` while there is nothing to
    /// continue (RTN16g2).
    pub fn recovery_key(&self) -> Option<RecoveryKey> {
        if matches!(
            self.connection_state(),
            ConnectionState::Closing
                | ConnectionState::Closed
                | ConnectionState::Failed
                | ConnectionState::Suspended
        ) {
            return None;
        }
        let attached =
            self.channels.iter().filter(|channel| channel.state() == ChannelState::Attached);
        Some(RecoveryKey {
            connection_key: self.shared.connection.key.clone()?,
            msg_serial: self.outbox.next_serial(),
            channel_serials: attached
                .filter_map(|channel| {
                    Some((channel.name().clone(), channel.channel_serial()?.clone()))
                })
                .collect(),
        })
    }

    /// A channel of this client; `None` once it was released.
    pub fn channel(&self, id: ChannelId) -> Option<&Channel> {
        self.channels.get(id)
    }
}
