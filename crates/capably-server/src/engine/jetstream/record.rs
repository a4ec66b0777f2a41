//! How an entry is stored in a message of the stream: a head, then the payload.
//!
//! ```text
//! version (1 byte: 1) | time (8, ms since the epoch) | threads (2) | threads × (position (8), index (2)) | payload
//! ```
//!
//! Numbers are big-endian. The content and the channel stand in the subject.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::super::{EngineError, Entry, Kind, Position, Thread};

/// The version of the form of entries.
const VERSION: u8 = 1;

/// Builds the stored form.
pub(super) fn encode(time: i64, threads: &[Thread], payload: &[u8]) -> Result<Bytes, EngineError> {
    let count = u16::try_from(threads.len()).map_err(|_| {
        EngineError::Corrupt("an entry belongs to more than 65,535 messages".into())
    })?;
    let mut stored = BytesMut::with_capacity(11 + threads.len() * 10 + payload.len());
    stored.put_u8(VERSION);
    stored.put_i64(time);
    stored.put_u16(count);
    for thread in threads {
        stored.put_u64(thread.position.0);
        stored.put_u16(thread.index);
    }
    stored.put_slice(payload);
    Ok(stored.freeze())
}

/// An entry, and the messages that it belongs to.
pub(super) struct Decoded {
    pub(super) entry: Entry,
    pub(super) threads: Vec<Thread>,
}

/// Reads the stored form.
pub(super) fn decode(
    position: Position,
    kind: Kind,
    stored: &[u8],
) -> Result<Decoded, EngineError> {
    let damaged = || EngineError::Corrupt(format!("the entry at {} is cut off", position.0));
    let mut rest = stored;
    let version = rest.try_get_u8().map_err(|_| damaged())?;
    if version != VERSION {
        return Err(EngineError::Version(format!(
            "the entry at {} has the form {version}, this server knows {VERSION}; start a newer server",
            position.0
        )));
    }
    let time = rest.try_get_i64().map_err(|_| damaged())?;
    let count = rest.try_get_u16().map_err(|_| damaged())?;
    let mut threads = Vec::with_capacity(usize::from(count).min(rest.len() / 10));
    for _ in 0..count {
        let position = Position(rest.try_get_u64().map_err(|_| damaged())?);
        threads.push(Thread { position, index: rest.try_get_u16().map_err(|_| damaged())? });
    }
    // A copy, because a slice would pin the whole buffer that the connection read into.
    let payload = Bytes::copy_from_slice(rest);
    Ok(Decoded { entry: Entry { position, kind, thread: None, time, payload }, threads })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_stored() {
        let threads = [
            Thread { position: Position(7), index: 2 },
            Thread { position: Position(9), index: 0 },
        ];
        for threads in [&threads[..], &[]] {
            let stored = encode(-5, threads, b"payload").unwrap();
            let decoded = decode(Position(11), Kind::Change, &stored).unwrap();
            assert_eq!(decoded.threads, threads);
            assert_eq!((decoded.entry.time, &*decoded.entry.payload), (-5, &b"payload"[..]));
            assert_eq!((decoded.entry.position, decoded.entry.kind), (Position(11), Kind::Change));
            for end in 0..stored.len() - b"payload".len() {
                let cut = decode(Position(11), Kind::Change, &stored[..end]).err().unwrap();
                assert!(matches!(cut, EngineError::Corrupt(_)), "{end}: {cut}");
            }
        }
    }

    #[test]
    fn an_unknown_version_is_an_error() {
        let error = decode(Position(1), Kind::Messages, &[9, 1, 2]).err().unwrap();
        assert!(
            matches!(&error, EngineError::Version(found) if found.contains("form 9")),
            "{error}"
        );
    }
}
