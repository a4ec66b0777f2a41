//! Faulty behaviour of a service, and the reactions of the client.

mod frames;
mod malformed;
mod slow;
mod sockets;
#[cfg(feature = "tls")]
mod tls;
mod unreadable;
