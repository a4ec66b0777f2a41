//! WebSockets of realtime clients: a request opens one, a session serves it to its end.

pub(super) mod counting;
mod heartbeat;
pub(super) mod outbox;
pub(super) mod registration;
pub(super) mod session;
#[cfg(feature = "console")]
mod tap;
pub(super) mod upgrade;
mod websocket;

pub(crate) mod closing;

pub(super) use self::upgrade::Upgrade;
