//! Transports of realtime clients: a request opens one, a session serves it to its end. A [`carrier`] has its frames: a
//! WebSocket, or the HTTP requests of comet.

pub(super) mod carrier;
pub(super) mod counting;
mod heartbeat;
pub(super) mod opening;
pub(super) mod outbox;
pub(super) mod registration;
pub(super) mod session;
#[cfg(feature = "console")]
mod tap;
pub(super) mod upgrade;
mod websocket;

pub(crate) mod closing;

pub(super) use self::opening::Opening;
