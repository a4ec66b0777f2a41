//! Reading a log file when it is opened: its entries, a torn end, and damage.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::record::{BadHeader, Decoded, HEADER, Header, Record, decode};
use crate::outbox::{
    OutboxEntry,
    index::{Index, Indexed},
};

/// The contents of a file: which entries wait or are refused, and where they are.
#[derive(Debug)]
pub(super) struct Contents {
    /// Each entry with the offset of its record.
    pub(super) index: Index<u64>,
    pub(super) reasons: BTreeMap<u64, Bytes>,
}

impl Contents {
    pub(super) fn new(next_seq: u64) -> Self {
        Self { index: Index::new(next_seq), reasons: BTreeMap::new() }
    }

    /// Applies a record that begins at an offset.
    pub(super) fn apply(&mut self, record: Record, offset: u64) {
        match record {
            Record::Accept(OutboxEntry { seq, accepted_at, sent_at, payload }) => {
                // A record has at most 64 MiB.
                let size = payload.len() as u32;
                self.index.accept(seq, Indexed { accepted_at, sent_at, size, place: offset });
            }
            Record::Sent { through, at } => self.index.sent(through, at),
            Record::Remove(seqs) => {
                for seq in seqs {
                    self.remove(seq);
                }
            }
            Record::Refuse { seq, reason } => {
                self.index.refuse(seq, |offset| offset);
                self.reasons.insert(seq, Bytes::copy_from_slice(&reason));
            }
            Record::Mark => {}
        }
    }

    pub(super) fn remove(&mut self, seq: u64) {
        self.index.remove(seq);
        self.reasons.remove(&seq);
    }
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) header: Header,
    pub(super) contents: Contents,
    /// The length of the valid part.
    pub(super) end: u64,
}

/// Damage in the middle of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// The first byte that is not readable.
    pub(super) offset: u64,
    /// The number of entries before it that wait or are refused.
    pub(super) before: u64,
    /// The number of records that are readable after it.
    pub(super) after: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanError {
    /// The format is of a newer version.
    Version(u32),
    Damaged(Damage),
}

/// Reads a file.
///
/// A crash leaves an incomplete group of records at the end, of which any part may be missing. No publish of that group
/// was accepted, so it is cut off. A record knows how much of the file was synced when it was written: damage before
/// that point is no incomplete write.
pub(super) fn scan(file: &Bytes) -> Result<Scanned, ScanError> {
    let header = match Header::decode(file) {
        Ok(header) => header,
        Err(BadHeader::Version(version)) => return Err(ScanError::Version(version)),
        // Without the salt nothing is readable.
        Err(BadHeader::Damaged) => {
            return Err(ScanError::Damaged(Damage { offset: 0, before: 0, after: 0 }));
        }
    };
    let mut contents = Contents::new(header.next_seq);
    let mut offset = HEADER;
    let mut synced = 0;
    while let Some(decoded) = decode(file, offset, offset as u64, header.salt) {
        contents.apply(decoded.record, offset as u64);
        synced = synced.max(decoded.synced);
        offset += decoded.length;
    }
    let mut after = 0;
    for (_, decoded) in Later::new(file, offset, header.salt) {
        synced = synced.max(decoded.synced);
        after += 1;
    }
    if synced > offset as u64 {
        let usage = contents.index.usage();
        let before = usage.entries + usage.refused_entries;
        return Err(ScanError::Damaged(Damage { offset: offset as u64, before, after }));
    }
    Ok(Scanned { header, contents, end: offset as u64 })
}

/// Reads all valid records of a damaged file, in their order. Returns the salt of the file, too.
///
/// # Errors
/// When the format is of a newer version.
pub(super) fn salvage(file: &Bytes) -> Result<(u64, Contents), ScanError> {
    let (salt, next_seq) = match Header::decode(file) {
        Ok(Header { salt, next_seq }) => (salt, next_seq),
        Err(BadHeader::Version(version)) => return Err(ScanError::Version(version)),
        Err(BadHeader::Damaged) => match Header::salvage_salt(file) {
            Some(salt) => (salt, 1),
            // Without the salt nothing is readable.
            None => return Ok((0, Contents::new(1))),
        },
    };
    let mut contents = Contents::new(next_seq);
    let mut offset = HEADER;
    loop {
        while let Some(decoded) = decode(file, offset, offset as u64, salt) {
            contents.apply(decoded.record, offset as u64);
            offset += decoded.length;
        }
        match Later::new(file, offset, salt).next() {
            Some((found, _)) => offset = found,
            None => return Ok((salt, contents)),
        }
    }
}

/// The valid records after a place that has none.
struct Later<'a> {
    file: &'a Bytes,
    offset: usize,
    salt: u64,
}

impl<'a> Later<'a> {
    fn new(file: &'a Bytes, offset: usize, salt: u64) -> Self {
        Self { file, offset, salt }
    }
}

impl Iterator for Later<'_> {
    type Item = (usize, Decoded);

    fn next(&mut self) -> Option<(usize, Decoded)> {
        while self.offset < self.file.len() {
            let offset = self.offset;
            match decode(self.file, offset, offset as u64, self.salt) {
                Some(decoded) => {
                    self.offset += decoded.length;
                    return Some((offset, decoded));
                }
                None => self.offset += 1,
            }
        }
        None
    }
}
