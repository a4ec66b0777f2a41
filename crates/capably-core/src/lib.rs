//! The Ably realtime client as a pure state machine.
//!
//! A [`Client`] is the whole client: its connection, channels, publishes under way and deadlines. It performs no I/O.
//! A driver hands it what happened and when, and then polls its outputs until [`Output::Timeout`]. This is the run
//! loop; the documentation of [`Client`] states the contract.
//!
//! ```
//! use std::sync::Arc;
//! use capably_core::{Client, Config, Credentials, Now, Output, TransportEvent};
//!
//! let now = Now::default();
//! let config = Config::new(Credentials::Key("aBcDeF.keyId:secret".parse()?));
//! let mut client = Client::new(Arc::new(config), 1, now);
//! client.connect(now);
//! loop {
//!     match client.poll_output() {
//!         Output::Open { transport, .. } => {
//!             // Dial. When the WebSocket is open:
//!             client.handle_transport(transport, TransportEvent::Opened, now);
//!         }
//!         Output::Send { frame, .. } => println!("send {frame:?}"),
//!         Output::Shut { .. } => {}
//!         // A client with a key and without fallback domains requests neither.
//!         Output::RequestToken { .. } | Output::AbandonToken { .. } => {}
//!         Output::CheckConnectivity { .. } => {}
//!         Output::Event(event) => println!("dispatch {event:?}"),
//!         Output::Timeout(deadline) => {
//!             // Sleep until the deadline or the next input. At the deadline, call `handle_timeout`.
//!             assert!(deadline.is_some());
//!             break;
//!         }
//!     }
//! }
//! # Ok::<(), capably_protocol::ErrorInfo>(())
//! ```
//!
//! # How it is built
//!
//! [`Client`] routes each input to the sub-machine that it concerns, looking a channel up once: the connection, a
//! [`Channel`] with its presence and objects, the outbox of frames to be acknowledged, or pings. A sub-machine changes only itself.
//! It leaves its effects, outputs and deadlines, in a context that the client hands it. Effects that cross sub-machines
//! go back to the client: the connection does not know that there are channels.
//!
//! [`push`] is a machine of its own: the activation of a push device, for clients with and without a connection.

mod backoff;
mod channel;
mod channels;
mod client;
mod config;
mod connection;
mod context;
mod detaches;
mod errors;
mod frame_size;
mod ids;
mod objects;
mod outbox;
mod output;
mod ping;
mod presence;
pub mod push;
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
pub use objects::{SharedObjects, check_objects_access, check_objects_write};
pub use output::{Batch, Event, Outcome, Output};
pub use presence::MembersQuery;
pub use state::{
    ChannelEvent, ChannelState, ChannelStateChange, ConnectionEvent, ConnectionState,
    ConnectionStateChange,
};
pub use time::{Instant, Now};
pub use timers::Timer;
