//! Bytes to messages.

use bytes::{Buf, Bytes, BytesMut};

use super::{Broken, Kind, MAX_CONTROL, Opcode, Sender, mask};

/// Something that a peer has sent: a message, a control frame, or its end of the WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message, put together when it came in several frames.
    Message(Kind, Bytes),
    /// A PING, which wants a PONG with the same payload.
    Ping(Bytes),
    /// A PONG.
    Pong(Bytes),
    /// The peer closes, with its code if it gave one. Nothing follows.
    Close(Option<u16>),
}

/// The shortest payload that shares the memory of the buffer.
const SHARED: usize = 16 * 1024;

/// Reads the messages of one peer.
///
/// ```
/// use bytes::BytesMut;
/// use capably_protocol::websocket::{Decoder, Event, Kind, Sender, write_message};
///
/// let mut sent = Vec::new();
/// write_message(Kind::Text, 5, None, &mut sent, |payload| payload.extend_from_slice(b"hello"));
///
/// let mut decoder = Decoder::new(Sender::Server, 65_536);
/// let mut buffer = BytesMut::from(&sent[..3]);
/// assert_eq!(decoder.next(&mut buffer), Ok(None), "not whole yet");
/// buffer.extend_from_slice(&sent[3..]);
/// let message = Event::Message(Kind::Text, "hello".into());
/// assert_eq!(decoder.next(&mut buffer), Ok(Some(message)));
/// ```
#[derive(Debug)]
pub struct Decoder {
    from: Sender,
    max_size: usize,
    /// The message of which frames have arrived, but not the last. Rare, so in a box.
    fragments: Option<Box<Fragments>>,
}

#[derive(Debug)]
struct Fragments {
    kind: Kind,
    payload: BytesMut,
}

/// The beginning of a frame.
struct Header {
    is_last: bool,
    opcode: Opcode,
    key: Option<[u8; 4]>,
    /// The bytes of the header itself.
    size: usize,
    /// The bytes of the payload.
    length: usize,
}

impl Decoder {
    /// A decoder of what this side sends. It accepts messages of at most `max_size` bytes.
    pub fn new(from: Sender, max_size: usize) -> Self {
        Self { from, max_size, fragments: None }
    }

    /// Takes the next message from the buffer; `None` when it is not whole yet.
    ///
    /// A payload of 16 KiB or more is a slice of the buffer, and shares its memory. A shorter one is a copy: a reader may keep
    /// a few bytes for long, and must not keep a whole buffer with them.
    ///
    /// # Errors
    /// The WebSocket is [broken](Broken), and must not be read any further.
    #[inline]
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Event>, Broken> {
        self.next_with(buffer, |buffer, length| {
            if length < SHARED {
                let payload = BytesMut::from(&buffer[..length]);
                buffer.advance(length);
                payload.freeze()
            } else {
                buffer.split_to(length).freeze()
            }
        })
    }

    /// As [`next`](Self::next), for a reader with memory of its own for payloads. `take` removes a payload of this
    /// length from the front of the buffer.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    #[inline]
    pub fn next_with(
        &mut self,
        buffer: &mut BytesMut,
        mut take: impl FnMut(&mut BytesMut, usize) -> Bytes,
    ) -> Result<Option<Event>, Broken> {
        while let Some(header) = self.header(buffer)? {
            if buffer.len() - header.size < header.length {
                return Ok(None);
            }
            buffer.advance(header.size);
            if let Some(key) = header.key {
                mask(&mut buffer[..header.length], key);
            }
            let payload = take(buffer, header.length);
            if let Some(event) = self.frame(&header, payload)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// How many more bytes the frame at the start of the buffer has, if that is known.
    pub fn missing(&self, buffer: &[u8]) -> usize {
        match self.header(buffer) {
            Ok(Some(header)) => (header.size + header.length).saturating_sub(buffer.len()),
            Ok(None) | Err(_) => 0,
        }
    }

    /// The header at the start of the buffer; `None` when it is not whole yet.
    fn header(&self, buffer: &[u8]) -> Result<Option<Header>, Broken> {
        let &[first, second, ref rest @ ..] = buffer else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Broken::Protocol("a reserved bit is set"));
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(Broken::Protocol("an unknown opcode"))?;
        let is_last = first & 0x80 != 0;
        let is_masked = second & 0x80 != 0;
        if is_masked != (self.from == Sender::Client) {
            return Err(Broken::Protocol("a client masks its frames, and a server does not"));
        }
        let (length, length_size) = match second & 0x7f {
            126 => {
                let Some(bytes) = rest.first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*bytes)), 2)
            }
            127 => {
                let Some(bytes) = rest.first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*bytes), 8)
            }
            length => (u64::from(length), 0),
        };
        if opcode.is_control() && (!is_last || length > MAX_CONTROL as u64) {
            return Err(Broken::Protocol("a control frame is long or in fragments"));
        }
        let before = self.fragments.as_ref().map_or(0, |fragments| fragments.payload.len());
        let room = if opcode.is_control() { MAX_CONTROL } else { self.max_size - before };
        let length = usize::try_from(length).ok().filter(|length| *length <= room);
        let length = length.ok_or(Broken::TooLarge { limit: self.max_size })?;
        let mut size = 2 + length_size;
        let mut key = None;
        if is_masked {
            let Some(bytes) = rest.get(length_size..).and_then(|rest| rest.first_chunk()) else {
                return Ok(None);
            };
            key = Some(*bytes);
            size += 4;
        }
        Ok(Some(Header { is_last, opcode, key, size, length }))
    }

    /// What a frame completes.
    fn frame(&mut self, header: &Header, payload: Bytes) -> Result<Option<Event>, Broken> {
        let event = match (header.opcode, &mut self.fragments) {
            (Opcode::Data(kind), None) if header.is_last => Event::Message(kind, payload),
            (Opcode::Data(kind), None) => {
                let payload = BytesMut::from(payload);
                self.fragments = Some(Box::new(Fragments { kind, payload }));
                return Ok(None);
            }
            (Opcode::Data(_), Some(_)) => {
                return Err(Broken::Protocol("a message begins inside another"));
            }
            (Opcode::Continuation, None) => {
                return Err(Broken::Protocol("a message goes on that has not begun"));
            }
            (Opcode::Continuation, Some(fragments)) => {
                fragments.payload.extend_from_slice(&payload);
                match self.fragments.take_if(|_| header.is_last) {
                    Some(whole) => Event::Message(whole.kind, whole.payload.freeze()),
                    None => return Ok(None),
                }
            }
            (Opcode::Ping, _) => Event::Ping(payload),
            (Opcode::Pong, _) => Event::Pong(payload),
            (Opcode::Close, _) => Event::Close(close_code(&payload)?),
        };
        Ok(Some(event))
    }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Broken> {
    match payload {
        [] => Ok(None),
        [_] => Err(Broken::Protocol("a close frame has half a code")),
        &[a, b, ref reason @ ..] => {
            let code = u16::from_be_bytes([a, b]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Broken::Protocol("a close frame has a code that is never sent"));
            }
            if str::from_utf8(reason).is_err() {
                return Err(Broken::Protocol("the reason in a close frame is not UTF-8"));
            }
            Ok(Some(code))
        }
    }
}
