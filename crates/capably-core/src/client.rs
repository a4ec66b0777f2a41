//! The client: its contract, its parts, and its queries.

use std::{collections::VecDeque, sync::Arc};

use capably_protocol::{ConnectionDetails, ErrorInfo, RecoveryKey, Str};

use crate::{
    ChannelId, ChannelState, Config, ConnectionState, Now, Output, channel::Channel,
    channels::Channels, connection::Connection, context::Shared, detaches::Detaches,
    outbox::Outbox, ping::Pings, timers::Timers,
};

mod calls;
mod connection;
mod timeout;
mod transport;
mod unreadable;

pub use self::transport::TransportEvent;

/// A realtime client without sockets, tasks or a clock.
///
/// A driver feeds the client with inputs, and carries out its outputs. The methods form these classes:
///
/// - **Inputs of the application** start an operation or change the client: [`connect`](Self::connect),
///   [`close`](Self::close), [`authorize`](Self::authorize), [`open_channel`](Self::open_channel),
///   [`attach`](Self::attach), [`publish`](Self::publish), [`presence`](Self::presence), [`replay`](Self::replay)
///   and others.
/// - **Inputs of the driver** report what happened outside: [`handle_transport`](Self::handle_transport) for a
///   WebSocket, [`handle_token`](Self::handle_token) and [`handle_connectivity`](Self::handle_connectivity) for
///   answers, [`network_lost`](Self::network_lost), [`network_available`](Self::network_available) and
///   [`woke`](Self::woke) for the machine.
/// - **Time** is the input [`handle_timeout`](Self::handle_timeout).
/// - **Outputs** come from [`poll_output`](Self::poll_output).
/// - **Queries** such as [`connection_state`](Self::connection_state) and [`channel`](Self::channel) return the state
///   after the last input, whether or not its outputs have been polled.
///
/// # The contract
///
/// **Drain.** After an input, or after several, call `poll_output` until it returns [`Output::Timeout`]. Until then
/// there is work to do, and the driver must not sleep. An input between two polls is allowed: its outputs come after
/// those that wait.
///
/// **Order.** Outputs come in the order of their causes: a change of state, a message and an acknowledgement come out
/// in the order in which the service sent the frames that caused them. Carry them out in this order.
///
/// **Time.** Each input takes the time at which it happened, as [`Now`]. Time never goes back: an input must not have
/// an earlier instant than the input before. (If it has, nothing panics, but deadlines may pass late.) Once the
/// instant in `Output::Timeout` has come, call `handle_timeout`. Deadlines take effect there alone: an earlier call
/// changes nothing, and a late one acts on every deadline that has passed, in the order of their instants.
///
/// **Transports.** There is at most one at a time. The driver opens it on [`Output::Open`], and reports on it with the
/// id from there: [`Opened`](TransportEvent::Opened) once, then frames in the order in which they arrived, then
/// [`Closed`](TransportEvent::Closed) once. On [`Output::Shut`] the driver closes the transport. Events of any but the
/// current transport are ignored, so a late event does no harm.
///
/// **Requests to the driver.** [`Output::RequestToken`] is answered by `handle_token`, and
/// [`Output::CheckConnectivity`] by `handle_connectivity`, once each and with the id of the request. Both have a
/// deadline. A late answer is ignored.
///
/// **Operations.** Each has an [`OpId`](crate::OpId) that the driver chooses, and ends with exactly one
/// [`Event::Done`](crate::Event::Done), whatever happens. Its number may then be used again. The number of a channel
/// is never used again.
///
/// **Determinism.** The same configuration, seed and inputs give the same outputs.
///
/// # Example
///
/// A service that does not answer, in virtual time:
///
/// ```
/// use std::sync::Arc;
/// use capably_core::{
///     Client, Config, ConnectionState, Credentials, Event, Instant, Now, Output, Timer,
/// };
///
/// /// Polls every output, and returns them with the deadline of the client.
/// fn drain(client: &mut Client) -> (Vec<Output>, Option<(Instant, Timer)>) {
///     let mut outputs = Vec::new();
///     loop {
///         match client.poll_output() {
///             Output::Timeout(deadline) => return (outputs, deadline),
///             output => outputs.push(output),
///         }
///     }
/// }
///
/// let mut now = Now::default();
/// let config = Config::new(Credentials::Key("aBcDeF.keyId:secret".parse()?));
/// let mut client = Client::new(Arc::new(config), 1, now);
///
/// client.connect(now);
/// let (outputs, deadline) = drain(&mut client);
/// let [Output::Event(Event::Connection(change)), Output::Open { transport, request }] = &outputs[..]
/// else { panic!("{outputs:?}") };
/// assert_eq!(change.current, ConnectionState::Connecting);
/// println!("dial {} for {transport:?}", request.host);
///
/// // No transport event arrives before the deadline.
/// let (at, timer) = deadline.expect("the attempt has a deadline");
/// assert_eq!(timer, Timer::Connect);
/// now = now + at.since(now.instant);
/// client.handle_timeout(now);
/// let (outputs, deadline) = drain(&mut client);
/// assert!(matches!(outputs[0], Output::Shut { .. }));
/// assert_eq!(client.connection_state(), ConnectionState::Disconnected);
/// assert!(matches!(deadline, Some((_, Timer::Retry))));
/// # Ok::<(), capably_protocol::ErrorInfo>(())
/// ```
#[derive(Debug)]
pub struct Client {
    shared: Shared,
    channels: Channels,
    outbox: Outbox,
    pings: Pings,
}

impl Client {
    /// A client that has not connected yet. The seed is that of jitter and of the order of fallback domains.
    pub fn new(config: Arc<Config>, seed: u64, now: Now) -> Self {
        let first_serial = config.recover.as_ref().map_or(0, |key| key.msg_serial);
        Self {
            shared: Shared {
                connection: Connection::new(&config, now.instant),
                config,
                detaches: Detaches::default(),
                timers: Timers::default(),
                rng: fastrand::Rng::with_seed(seed),
                outputs: VecDeque::new(),
            },
            channels: Channels::default(),
            outbox: Outbox::starting_at(first_serial),
            pings: Pings::default(),
        }
    }

    /// The next output; [`Output::Timeout`] when there is no other.
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

    /// The domain of the connection, or the domain that was tried last (RTN17).
    pub fn host(&self) -> &Str {
        &self.shared.connection.host
    }

    /// The largest size of a frame or of the body of a request, in bytes: the limit of the last CONNECTED, or the
    /// configured one before (CD2d).
    pub fn max_frame_size(&self) -> u64 {
        self.shared.connection.max_frame_size
    }

    /// The details in the last CONNECTED, without the connection's key (CD2).
    pub fn connection_details(&self) -> &ConnectionDetails {
        &self.shared.connection.details
    }

    /// The identity that the service confirmed with its last CONNECTED (RSA7b3); `*` is any (RSA7b4).
    pub fn confirmed_client_id(&self) -> Option<&Str> {
        self.shared.connection.client_id.as_ref()
    }

    /// The identity that the service confirmed, or the configured one (RSA7). `*` is no identity: such a client may
    /// act as any.
    pub fn client_id(&self) -> Option<&Str> {
        self.shared.connection.identity(&self.shared.config)
    }

    /// The key with which another process can continue this connection (RTN16g); `None` while there is no connection
    /// to continue (RTN16g2).
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
