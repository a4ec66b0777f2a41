//! WebSockets of realtime clients.

pub(crate) mod closing;
pub(crate) mod heartbeat;
pub(crate) mod outbox;
pub(crate) mod session;
pub(crate) mod upgrade;
