//! The hub's front: sockets, HTTP, tasks and the clock.
//!
//! - [`listener`] accepts connections, and [`http`] reads requests from them;
//! - [`router`] sends a request to [`rest`] or, when it opens a WebSocket, to [`socket`];
//! - [`stream`] answers a request for an event stream, which is a transport without a way back;
//! - [`comet`] has the requests that carry the frames of a client without a WebSocket;
//! - all give inputs to an [`app`], which is a hub under its lock, and carries out the hub's outputs;
//! - [`cluster`] is what the server does as one node of several;
//! - `console` is the web page of operators, with the feature `console`;
//! - [`webhooks`] reports events of channels to HTTP endpoints;
//! - [`operating`] answers operators, and drains the server;
//! - [`shared`] is the state of the whole server.

mod app;
mod clock;
pub(crate) mod cluster;
mod comet;
#[cfg(feature = "console")]
pub(crate) mod console;
mod credentials;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
pub(crate) mod http;
mod listener;
pub(crate) mod operating;
mod random;
mod rest;
mod router;
mod shared;
pub(crate) mod socket;
mod stream;
pub(crate) mod webhooks;

#[cfg(feature = "console")]
pub(crate) use self::listener::serve_stream;
pub(crate) use self::{
    listener::serve,
    random::secret as random_secret,
    rest::apps::new_key,
    shared::{Admission, Provisioning, Shared},
};
