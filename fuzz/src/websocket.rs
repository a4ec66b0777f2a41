//! The framing of WebSockets.

use bytes::BytesMut;
use capably_protocol::websocket::{Broken, Decoder, Event, Sender};

/// The most bytes of a message here.
const LIMIT: usize = 4096;

/// Bytes of a WebSocket. The first byte chooses the side that sent them, and the size of the pieces in which they arrive: the
/// pieces must not change what is read.
pub fn websocket(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let from = if choice % 2 == 0 { Sender::Client } else { Sender::Server };
    let whole = read(from, data, data.len().max(1));
    let pieces = read(from, data, usize::from(choice / 2) + 1);
    assert_eq!(whole, pieces);
}

fn read(from: Sender, data: &[u8], size: usize) -> (Vec<Event>, Option<Broken>) {
    let mut decoder = Decoder::new(from, LIMIT);
    let (mut buffer, mut events) = (BytesMut::new(), Vec::new());
    for piece in data.chunks(size) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.next(&mut buffer) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(broken) => return (events, Some(broken)),
            }
        }
    }
    (events, None)
}
