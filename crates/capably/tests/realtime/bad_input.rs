//! What no service should do, and how the client bears it.

mod frames;
mod malformed;
mod slow;
mod sockets;
#[cfg(feature = "tls")]
mod tls;
mod unreadable;
