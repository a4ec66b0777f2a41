//! The records of a log file, as bytes.
//!
//! All numbers are little-endian. A file begins with a header of 32 bytes:
//!
//! | bytes | field |
//! |---|---|
//! | 8 | the magic `\x89capbox\n` |
//! | 4 | the version of the format, 1 |
//! | 8 | the sequence number of the next entry when the file was made |
//! | 8 | the salt: a random number |
//! | 4 | CRC-32 of the bytes before |
//!
//! Then follow records:
//!
//! | bytes | field |
//! |---|---|
//! | 4 | the length of the body |
//! | 4 | CRC-32 of the salt, the record's offset in the file, the length and the body |
//! | 8 | body: how many bytes of the file were synced when the record was written |
//! | 1 | body: the kind |
//! | … | body: the fields of the kind |
//!
//! The salt and the offset in the checksum make a record invalid at any other place, and in any other file: blocks that
//! the file system returns from an earlier file, or in another order, are recognised.

use bytes::Bytes;
use capably_protocol::Millis;

use crate::outbox::{OutboxChange, OutboxEntry};

pub(super) const HEADER: usize = 32;
pub(super) const RECORD_HEADER: usize = 8;
const MAGIC: &[u8; 8] = b"\x89capbox\n";
const VERSION: u32 = 1;

/// The longest body. A greater length is damage.
const MAX_BODY: usize = 64 * 1024 * 1024;
const MIN_BODY: usize = 9;

/// The bytes of an entry's record before its payload.
pub(super) const ENTRY_PREFIX: usize = RECORD_HEADER + MIN_BODY + 24;

const ACCEPT: u8 = 1;
const SENT: u8 = 2;
const REMOVE: u8 = 3;
const REFUSE: u8 = 4;
const MARK: u8 = 5;

/// The header of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) next_seq: u64,
    pub(super) salt: u64,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// The file is of a newer version of the format.
    Version(u32),
    Damaged,
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..20].copy_from_slice(&self.next_seq.to_le_bytes());
        out[20..28].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32(&[&out[..28]]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let mut reader = Reader(bytes.get(..HEADER).ok_or(BadHeader::Damaged)?);
        let good = crc32(&[&bytes[..28]])
            == u32::from_le_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]);
        if !good || reader.take(8) != Some(MAGIC) {
            return Err(BadHeader::Damaged);
        }
        match reader.u32() {
            Some(VERSION) => {}
            Some(version) => return Err(BadHeader::Version(version)),
            None => return Err(BadHeader::Damaged),
        }
        let next_seq = reader.u64().ok_or(BadHeader::Damaged)?;
        Ok(Self { next_seq, salt: reader.u64().ok_or(BadHeader::Damaged)? })
    }

    /// The salt of a damaged header, if its first record is valid with the salt as it stands, or with one bit changed.
    pub(super) fn salvage_salt(file: &Bytes) -> Option<u64> {
        let salt = u64::from_le_bytes(file.get(20..28)?.try_into().ok()?);
        let changes = std::iter::once(0).chain((0..u64::BITS).map(|bit| 1 << bit));
        let mut salts = changes.map(|change| salt ^ change);
        salts.find(|salt| decode(file, HEADER, HEADER as u64, *salt).is_some())
    }
}

/// A record. An entry's payload is a range of the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Accept(OutboxEntry),
    Sent {
        through: u64,
        at: Millis,
    },
    Remove(Vec<u64>),
    Refuse {
        seq: u64,
        reason: Bytes,
    },
    /// Nothing new: it shows that the records before it were synced.
    Mark,
}

/// A valid record, and the bytes after which the next one begins.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) record: Record,
    /// How many bytes of the file were synced when the record was written.
    pub(super) synced: u64,
    pub(super) length: usize,
}

/// Appends records for a file.
#[derive(Debug)]
pub(super) struct RecordWriter {
    pub(super) salt: u64,
    /// Where the next record begins in the file.
    pub(super) offset: u64,
    /// How many bytes of the file are synced.
    pub(super) synced: u64,
    pub(super) out: Vec<u8>,
}

impl RecordWriter {
    /// Appends the records of changes. Removals in a row share a record.
    pub(super) fn changes(&mut self, changes: &[OutboxChange]) {
        let mut changes = changes.iter().peekable();
        while let Some(change) = changes.next() {
            match change {
                OutboxChange::Accept(entry) => self.accept(entry),
                OutboxChange::Sent { through, at } => self.record(SENT, |out| {
                    out.extend_from_slice(&through.to_le_bytes());
                    out.extend_from_slice(&at.to_le_bytes());
                }),
                OutboxChange::Remove(seq) => self.record(REMOVE, |out| {
                    out.extend_from_slice(&seq.to_le_bytes());
                    while let Some(OutboxChange::Remove(seq)) =
                        changes.next_if(|next| matches!(next, OutboxChange::Remove(_)))
                    {
                        out.extend_from_slice(&seq.to_le_bytes());
                    }
                }),
                OutboxChange::Refuse { seq, reason } => self.refuse(*seq, reason),
            }
        }
    }

    pub(super) fn accept(&mut self, entry: &OutboxEntry) {
        self.record(ACCEPT, |out| {
            out.extend_from_slice(&entry.seq.to_le_bytes());
            out.extend_from_slice(&entry.accepted_at.to_le_bytes());
            out.extend_from_slice(&entry.sent_at.unwrap_or(NOT_SENT).to_le_bytes());
            out.extend_from_slice(&entry.payload);
        });
    }

    pub(super) fn refuse(&mut self, seq: u64, reason: &[u8]) {
        self.record(REFUSE, |out| {
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(reason);
        });
    }

    pub(super) fn mark(&mut self) {
        self.record(MARK, |_| {});
    }

    /// Appends a record of any kind, also of one that there is not.
    #[cfg(feature = "fuzz")]
    pub(super) fn raw(&mut self, kind: u8, fields: &[u8]) {
        self.record(kind, |out| out.extend_from_slice(fields));
    }

    fn record(&mut self, kind: u8, fields: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; RECORD_HEADER]);
        self.out.extend_from_slice(&self.synced.to_le_bytes());
        self.out.push(kind);
        fields(&mut self.out);
        let body = start + RECORD_HEADER;
        let length = (self.out.len() - body) as u32;
        let crc = checksum(self.salt, self.offset, length, &self.out[body..]);
        self.out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.out[start + 4..body].copy_from_slice(&crc.to_le_bytes());
        self.offset += (self.out.len() - start) as u64;
    }
}

/// The `sent_at` of an entry that was not sent.
const NOT_SENT: Millis = Millis::MIN;

/// Reads the record at a place of some bytes, which has the offset in its file. `None` if there is no valid one.
pub(super) fn decode(bytes: &Bytes, place: usize, offset: u64, salt: u64) -> Option<Decoded> {
    let mut reader = Reader(bytes.get(place..)?);
    let length = reader.u32()?;
    let crc = reader.u32()?;
    if !(MIN_BODY..=MAX_BODY).contains(&(length as usize)) {
        return None;
    }
    let body = reader.take(length as usize)?;
    let mut reader = Reader(body);
    let synced = reader.u64()?;
    // Cheap checks first: a search for the next record tries every offset.
    if synced > offset || !(ACCEPT..=MARK).contains(&body[8]) {
        return None;
    }
    if checksum(salt, offset, length, body) != crc {
        return None;
    }
    let kind = reader.take(1)?[0];
    let record = match kind {
        ACCEPT => {
            let (seq, accepted_at, sent_at) = (reader.u64()?, reader.i64()?, reader.i64()?);
            let payload = bytes.slice_ref(reader.0);
            let sent_at = (sent_at != NOT_SENT).then_some(sent_at);
            Record::Accept(OutboxEntry { seq, accepted_at, sent_at, payload })
        }
        SENT => Record::Sent { through: reader.u64()?, at: reader.i64()? },
        REMOVE => {
            let mut seqs = Vec::with_capacity(reader.0.len() / 8);
            while let Some(seq) = reader.u64() {
                seqs.push(seq);
            }
            Record::Remove(seqs)
        }
        REFUSE => Record::Refuse { seq: reader.u64()?, reason: bytes.slice_ref(reader.0) },
        _ => Record::Mark,
    };
    Some(Decoded { record, synced, length: RECORD_HEADER + length as usize })
}

fn checksum(salt: u64, offset: u64, length: u32, body: &[u8]) -> u32 {
    crc32(&[&salt.to_le_bytes(), &offset.to_le_bytes(), &length.to_le_bytes(), body])
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

/// CRC-32 (IEEE 802.3) of the parts as one. The SDK's dependencies have no CRC.
pub(super) fn crc32(parts: &[&[u8]]) -> u32 {
    let mut crc = !0_u32;
    for part in parts {
        let mut chunks = part.chunks_exact(8);
        for chunk in &mut chunks {
            // Eight tables look up eight bytes at once: their terms do not depend on each other.
            let low = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]) ^ crc;
            crc = TABLES[7][(low & 0xff) as usize]
                ^ TABLES[6][(low >> 8 & 0xff) as usize]
                ^ TABLES[5][(low >> 16 & 0xff) as usize]
                ^ TABLES[4][(low >> 24) as usize]
                ^ TABLES[3][usize::from(chunk[4])]
                ^ TABLES[2][usize::from(chunk[5])]
                ^ TABLES[1][usize::from(chunk[6])]
                ^ TABLES[0][usize::from(chunk[7])];
        }
        for byte in chunks.remainder() {
            crc = TABLES[0][((crc ^ u32::from(*byte)) & 0xff) as usize] ^ crc >> 8;
        }
    }
    !crc
}

static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ crc >> 1 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let previous: u32 = tables[table - 1][byte];
            tables[table][byte] = tables[0][(previous & 0xff) as usize] ^ previous >> 8;
            byte += 1;
        }
        table += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32() {
        assert_eq!(crc32(&[b"123456789"]), 0xcbf4_3926, "the check value of the algorithm");
        assert_eq!(crc32(&[b"1234", b"5", b"6789"]), 0xcbf4_3926);
        assert_eq!(crc32(&[b"123456781234567812"]), crc32(&[b"12345678", b"1234567812"]));
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let entry = |sent_at| OutboxEntry {
            seq: 7,
            accepted_at: -5,
            sent_at,
            payload: Bytes::from_static(b"payload"),
        };
        let changes = [
            OutboxChange::Accept(entry(None)),
            OutboxChange::Accept(entry(Some(0))),
            OutboxChange::Sent { through: 7, at: 99 },
            OutboxChange::Remove(1),
            OutboxChange::Remove(2),
            OutboxChange::Refuse { seq: 7, reason: Bytes::from_static(b"why") },
        ];
        let mut writer = RecordWriter { salt: 3, offset: 0, synced: 0, out: Vec::new() };
        writer.changes(&changes);
        writer.mark();
        let file = Bytes::from(writer.out);
        let mut offset = 0;
        let mut read = Vec::new();
        while let Some(Decoded { record, synced, length }) = decode(&file, offset, offset as u64, 3)
        {
            assert_eq!(synced, 0);
            read.push(record);
            offset += length;
        }
        let expected = [
            Record::Accept(entry(None)),
            Record::Accept(entry(Some(0))),
            Record::Sent { through: 7, at: 99 },
            Record::Remove(vec![1, 2]),
            Record::Refuse { seq: 7, reason: Bytes::from_static(b"why") },
            Record::Mark,
        ];
        assert_eq!(read, expected);
        assert_eq!(offset, file.len());
        assert!(decode(&file, 0, 0, 4).is_none(), "another salt");
        let moved = Bytes::from([&[0], &file[..]].concat());
        assert!(decode(&moved, 1, 1, 3).is_none(), "another offset");
    }

    #[test]
    fn a_header_of_a_newer_version_is_not_damage() {
        let header = Header { next_seq: 9, salt: 5 };
        let mut bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        bytes[8] = 2;
        assert_eq!(Header::decode(&bytes), Err(BadHeader::Damaged), "without its checksum");
        let crc = crc32(&[&bytes[..28]]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&bytes), Err(BadHeader::Version(2)));
    }
}
