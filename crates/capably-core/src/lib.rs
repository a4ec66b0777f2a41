//! The Ably realtime client as a pure state machine.
//!
//! A [`Client`] holds everything a client knows: its connection, its channels, what waits for an
//! acknowledgement, and every timer. It does nothing by itself. Whoever drives it hands in what happened
//! and what time it is, then drains [`Client::poll_output`], until it answers [`Output::Timeout`]:
//!
//! ```
//! use std::sync::Arc;
//! use capably_core::{Client, Config, Credentials, Now, Output, TransportEvent};
//! use capably_protocol::ServerFrame;
//!
//! let mut now = Now::default();
//! let config = Config::new(Credentials::Key("aBcDeF.keyId:secret".parse()?));
//! let mut client = Client::new(Arc::new(config), 1, now);
//! client.connect(now);
//! loop {
//!     match client.poll_output() {
//!         Output::Open { transport, .. } => {
//!             // Dial; when the WebSocket is open:
//!             client.handle_transport(transport, TransportEvent::Opened, now);
//!         }
//!         Output::Send { frame, .. } => println!("send {frame:?}"),
//!         Output::Shut { .. } => {}
//!         // A client with a key and without fallback domains asks for none of these.
//!         Output::RequestToken { .. } | Output::AbandonToken { .. } => {}
//!         Output::CheckConnectivity { .. } => {}
//!         Output::Event(event) => println!("tell the user {event:?}"),
//!         Output::Timeout(deadline) => {
//!             // Sleep until the deadline or the next input, then call `handle_timeout`.
//!             assert!(deadline.is_some());
//!             break;
//!         }
//!     }
//! }
//! # Ok::<(), capably_protocol::ErrorInfo>(())
//! ```
//!
//! The order of outputs is a promise: a state change, a message and an acknowledgement come out in the
//! order in which the service sent what caused them.

mod backoff;
mod channel;
mod channels;
mod client;
mod config;
mod connection;
mod context;
mod errors;
mod frame_size;
mod ids;
mod outbox;
mod output;
mod ping;
mod presence;
mod state;
mod time;
mod timers;

pub use channel::{
    Channel, ChannelOptions, DeltaError, Gap, Place, ReplayEnd, ReplayOutcome, VcdiffDecoder,
};
pub use client::{Client, TransportEvent};
pub use config::{Config, Credentials};
pub use connection::{
    auth::{AuthFailure, Grant, TokenNeed},
    request::ConnectRequest,
};
pub use ids::{AuthId, ChannelId, CheckId, OpId, TransportId};
pub use output::{Batch, Event, Outcome, Output};
pub use presence::MembersQuery;
pub use state::{
    ChannelEvent, ChannelState, ChannelStateChange, ConnectionEvent, ConnectionState,
    ConnectionStateChange,
};
pub use time::{Instant, Now};
pub use timers::Timer;
