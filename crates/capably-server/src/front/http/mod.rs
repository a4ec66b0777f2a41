//! The parts of HTTP that the REST side, the WebSocket upgrade and the fault proxy share.

pub(crate) mod body;
pub(crate) mod connection;
pub(super) mod cors;
mod http1;
mod http2;
mod preface;
pub(crate) mod query;
pub(crate) mod reply;
mod stalled;
