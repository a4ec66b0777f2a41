//! Channels: their states, and what moves them (RTL).

mod attach;
mod collection;
mod connection_state;
mod detach;
mod overlapping;
mod server_initiated;
