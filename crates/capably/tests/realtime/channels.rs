//! Channels: their states, and the causes of each change (RTL).

mod arriving;
mod attach;
mod collection;
mod connection_state;
mod derived;
mod detach;
mod history;
mod listening;
mod options;
mod overlapping;
mod properties;
mod server_initiated;
mod when;
