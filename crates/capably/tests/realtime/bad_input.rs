//! What no service should do, and how the client bears it.

mod frames;
mod malformed;
mod sockets;
