//! The framing of WebSockets (RFC 6455), as a state machine over bytes.
//!
//! A [`Decoder`] takes messages from a buffer, [`write_message`] appends them to one; whoever uses them does the I/O and the
//! HTTP requests of the handshake, whose keys [`accept_key`] answers. Decoder and writers work on buffers that last only as long as bytes are in them: a server with many idle connections needs
//! no memory for their frames.
//!
//! Extensions are not supported. Whether text is UTF-8 is for its reader to check.

mod decode;
mod encode;
mod handshake;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::{
    decode::{Decoder, Event},
    encode::{write_close, write_message, write_ping, write_pong},
    handshake::accept_key,
};

/// The longest payload of a PING, a PONG or a close frame (RFC 6455, 5.5).
const MAX_CONTROL: usize = 125;

/// The two kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text, in UTF-8.
    Text,
    /// Bytes.
    Binary,
}

/// The side of a WebSocket that writes. A client masks its frames, and a server does not (RFC 6455, 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The side that opened the connection.
    Client,
    /// The side that accepted it.
    Server,
}

/// Why a reader gives up a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The peer's bytes are not what RFC 6455 allows.
    Protocol(&'static str),
    /// A message has more bytes than the reader accepts.
    TooLarge {
        /// The most that are accepted.
        limit: usize,
    },
}

impl Broken {
    /// The code with which the reader closes the WebSocket: 1002 or 1009 (RFC 6455, 7.4.1).
    pub fn close_code(&self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::TooLarge { .. } => 1009,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(reason) => write!(f, "not a WebSocket as RFC 6455 has it: {reason}"),
            Self::TooLarge { limit } => {
                write!(f, "a WebSocket message has more than {limit} bytes")
            }
        }
    }
}

impl std::error::Error for Broken {}

/// The kinds of frames (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Data(Kind),
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Data(Kind::Text),
            2 => Self::Data(Kind::Binary),
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn number(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Data(Kind::Text) => 1,
            Self::Data(Kind::Binary) => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Masks or unmasks a payload: both are the same (RFC 6455, 5.3).
fn mask(payload: &mut [u8], key: [u8; 4]) {
    let mut wide = [0; 8];
    wide[..4].copy_from_slice(&key);
    wide[4..].copy_from_slice(&key);
    let wide = u64::from_ne_bytes(wide);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}
