//! One log file: appending, reading, and writing it anew without what was removed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    disk,
    record::{Decoded, ENTRY_PREFIX, HEADER, Header, Record, RecordWriter, decode},
    scan::{Contents, ScanError, salvage, scan},
};
use crate::outbox::{
    OutboxChange, OutboxEntry,
    index::{Indexed, fitting},
};

/// The bytes that the log may have beyond twice its entries before it is written anew.
const SLACK: u64 = 8 * 1024 * 1024;

/// The most bytes of a log to collect before they are written, when it is written anew.
const CHUNK: usize = 1024 * 1024;

/// A log file, open for appending.
#[derive(Debug)]
pub(super) struct Log {
    directory: PathBuf,
    file: File,
    pub(super) salt: u64,
    pub(super) contents: Contents,
    /// The length of the file.
    end: u64,
    /// How many bytes of it are synced.
    synced: u64,
    /// Whether each write is synced before it counts.
    pub(super) sync_writes: bool,
    /// The length from which on it is worth writing the log anew.
    pub(super) rewrite_at: u64,
    /// [`SLACK`], or less in tests.
    pub(super) slack: u64,
    /// Whether the file may not be on disk as it was written: a failed write could not be cut off, or a sync has failed,
    /// after which the system drops the bytes that it could not write. The next write begins with a new file.
    is_doubtful: bool,
    /// Where the last record that shows a sync ends.
    marked: u64,
}

/// Why a log cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    Io(io::Error),
    Scan(ScanError),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Log {
    /// Opens the log of a directory, or makes an empty one.
    pub(super) fn open(directory: &Path, salt: u64) -> Result<Self, OpenError> {
        let path = path(directory);
        disk::remove(&new_path(directory))?;
        if !path.try_exists()? {
            write_new(directory, Header { next_seq: 1, salt }, |_| Ok(()))?.synced?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let bytes = Bytes::from(fs::read(&path)?);
        let scanned = scan(&bytes).map_err(OpenError::Scan)?;
        let torn = bytes.len() as u64 - scanned.end;
        if torn > 0 {
            tracing::warn!(path = %path.display(), bytes = torn, "the outbox has an incomplete end, which is cut off");
            disk::cut(&file, scanned.end)?;
        }
        // What a killed process wrote may not be on disk yet: records from here on declare it synced.
        disk::sync(&file)?;
        let mut log = Self {
            directory: directory.to_owned(),
            file,
            salt: scanned.header.salt,
            contents: scanned.contents,
            end: scanned.end,
            synced: scanned.end,
            sync_writes: true,
            rewrite_at: 0,
            slack: SLACK,
            is_doubtful: false,
            marked: 0,
        };
        log.rewrite_at = log.worth_rewriting();
        Ok(log)
    }

    /// Makes a new log of the readable records of a damaged one, which is renamed. Returns the number of entries.
    pub(super) fn repair(directory: &Path, salt: u64) -> Result<u64, OpenError> {
        let path = path(directory);
        let bytes = Bytes::from(fs::read(&path)?);
        let (old_salt, mut contents) = salvage(&bytes).map_err(OpenError::Scan)?;
        let next_seq = contents.index.next_seq();
        let aside = directory.join(format!("outbox.log.damaged-{salt:016x}"));
        fs::copy(&path, &aside)?;
        File::open(&aside)?.sync_all()?;
        write_new(directory, Header { next_seq, salt }, |new| {
            copy_entries(&mut contents, new, |entry| {
                let place = usize::try_from(entry.place).map_err(io::Error::other)?;
                accepted(decode(&bytes, place, entry.place, old_salt))
            })?;
            Ok(())
        })?
        .synced?;
        let usage = contents.index.usage();
        Ok(usage.entries + usage.refused_entries)
    }

    pub(super) fn write(&mut self, changes: &[OutboxChange]) -> io::Result<()> {
        if self.is_doubtful {
            self.rewrite()?;
        }
        let mut writer = self.writer();
        writer.changes(changes);
        let must_last = changes.iter().any(|change| !matches!(change, OutboxChange::Remove(_)));
        self.append(&writer.out, must_last && self.sync_writes)?;
        let bytes = Bytes::from(writer.out);
        let (mut place, mut offset) = (0, self.end - bytes.len() as u64);
        while let Some(decoded) = decode(&bytes, place, offset, self.salt) {
            self.contents.apply(decoded.record, offset);
            place += decoded.length;
            offset += decoded.length as u64;
        }
        if self.end >= self.rewrite_at
            && let Err(error) = self.make_smaller()
        {
            // The changes are stored, so this is not a failure of the call. The next attempt comes later.
            tracing::warn!(%error, "the outbox could not be made smaller");
            self.rewrite_at = self.end + self.slack;
        }
        Ok(())
    }

    fn writer(&self) -> RecordWriter {
        RecordWriter { salt: self.salt, offset: self.end, synced: self.synced, out: Vec::new() }
    }

    fn append(&mut self, bytes: &[u8], sync: bool) -> io::Result<()> {
        let written = self.file.seek(SeekFrom::Start(self.end));
        let written = written.and_then(|_| disk::write(&mut self.file, bytes));
        let synced = if sync { written.and_then(|()| self.sync_file()) } else { written };
        if let Err(error) = synced {
            // The publishes of this write are refused, so nothing of them may be found when the file is opened.
            self.is_doubtful |= disk::cut(&self.file, self.end).is_err();
            return Err(error);
        }
        self.end += bytes.len() as u64;
        if sync {
            self.synced = self.end;
        }
        Ok(())
    }

    fn sync_file(&mut self) -> io::Result<()> {
        let synced = disk::sync(&self.file);
        self.is_doubtful |= synced.is_err();
        synced
    }

    /// Syncs the file, and appends a record that shows so: without it, damage to the last write looks as if the write
    /// was never completed.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.is_doubtful {
            self.rewrite()?;
        }
        if self.synced < self.end {
            self.sync_file()?;
            self.synced = self.end;
        }
        if self.marked < self.end {
            let mut writer = self.writer();
            writer.mark();
            self.append(&writer.out, false)?;
            self.marked = self.end;
        }
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        above: u64,
        entries: usize,
        bytes: usize,
    ) -> io::Result<Vec<OutboxEntry>> {
        let chosen = fitting(self.contents.index.above(above), entries, bytes);
        let chosen: Vec<_> = chosen.map(|(seq, entry)| (seq, entry.clone())).collect();
        self.entries(&chosen)
    }

    pub(super) fn refused(&mut self) -> io::Result<Vec<(OutboxEntry, Bytes)>> {
        let refused = self.contents.index.refused();
        let refused: Vec<_> = refused.map(|(seq, entry)| (seq, entry.clone())).collect();
        let entries = self.entries(&refused)?;
        let reasons = &self.contents.reasons;
        Ok(entries
            .into_iter()
            .map(|entry| {
                let reason = reasons.get(&entry.seq).cloned().unwrap_or_default();
                (entry, reason)
            })
            .collect())
    }

    /// Reads entries. Records that follow each other are read at once.
    fn entries(&mut self, chosen: &[(u64, Indexed<u64>)]) -> io::Result<Vec<OutboxEntry>> {
        let mut entries = Vec::with_capacity(chosen.len());
        let mut rest = chosen;
        while let Some((_, first)) = rest.first() {
            let (start, mut end, mut run) = (first.place, first.place, 0);
            while let Some((_, entry)) = rest.get(run)
                && entry.place == end
            {
                end += record_length(entry);
                run += 1;
            }
            let bytes = read_range(&mut self.file, start, end)?;
            for (_, indexed) in &rest[..run] {
                // The difference is less than the length of `bytes`.
                let place = (indexed.place - start) as usize;
                let entry = accepted(decode(&bytes, place, indexed.place, self.salt))?;
                entries.push(OutboxEntry { sent_at: indexed.sent_at, ..entry });
            }
            rest = &rest[run..];
        }
        Ok(entries)
    }

    /// The length at which half of the file, and some more, was removed.
    fn worth_rewriting(&self) -> u64 {
        let usage = self.contents.index.usage();
        2 * (usage.bytes + usage.refused_bytes + 64 * (usage.entries + usage.refused_entries))
            + self.slack
    }

    /// Writes the log anew if that is worth it.
    fn make_smaller(&mut self) -> io::Result<()> {
        self.rewrite_at = self.worth_rewriting();
        if self.end < self.rewrite_at { Ok(()) } else { self.rewrite() }
    }

    /// Writes the log anew, without what was removed.
    fn rewrite(&mut self) -> io::Result<()> {
        let salt = self.salt.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let header = Header { next_seq: self.contents.index.next_seq(), salt };
        let Self { directory, file, contents, salt: old_salt, .. } = self;
        let mut offsets = Vec::new();
        let written = write_new(directory, header, |new| {
            offsets = copy_entries(contents, new, |entry| {
                let end = entry.place + record_length(entry);
                let bytes = read_range(file, entry.place, end)?;
                accepted(decode(&bytes, 0, entry.place, *old_salt))
            })?;
            Ok(())
        })?;
        for ((_, _, entry), offset) in contents.index.all_mut().into_iter().zip(offsets) {
            entry.place = offset;
        }
        self.file = written.file;
        self.salt = salt;
        self.end = written.end;
        self.synced = self.end;
        self.marked = self.end;
        self.rewrite_at = self.worth_rewriting();
        // The new file has the name already. After a crash of the machine, the old one may have it again.
        self.is_doubtful = written.synced.is_err();
        written.synced
    }
}

fn record_length(entry: &Indexed<u64>) -> u64 {
    ENTRY_PREFIX as u64 + u64::from(entry.size)
}

fn read_range(file: &mut File, start: u64, end: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes.into())
}

fn accepted(decoded: Option<Decoded>) -> io::Result<OutboxEntry> {
    match decoded {
        Some(Decoded { record: Record::Accept(entry), .. }) => Ok(entry),
        Some(_) | None => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a stored publish is damaged"))
        }
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("outbox.log")
}

fn new_path(directory: &Path) -> PathBuf {
    directory.join("outbox.log.new")
}

/// A log that is being written, in place of the log of its directory.
struct NewLog {
    file: File,
    writer: RecordWriter,
}

impl NewLog {
    fn flush_beyond(&mut self, bytes: usize) -> io::Result<()> {
        if self.writer.out.len() > bytes {
            disk::write(&mut self.file, &self.writer.out)?;
            self.writer.out.clear();
        }
        Ok(())
    }
}

/// A log that has taken the place of the log of its directory.
struct WrittenLog {
    file: File,
    end: u64,
    /// Whether the change of the directory survives a crash of the machine.
    synced: io::Result<()>,
}

/// Writes a log, and replaces the log of the directory by it. A crash leaves either the old one or the new one, whole.
fn write_new(
    directory: &Path,
    header: Header,
    fill: impl FnOnce(&mut NewLog) -> io::Result<()>,
) -> io::Result<WrittenLog> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let path = new_path(directory);
    let file = options.open(&path)?;
    let out = header.encode().to_vec();
    let offset = HEADER as u64;
    let mut new =
        NewLog { file, writer: RecordWriter { salt: header.salt, offset, synced: 0, out } };
    let filled = fill(&mut new);
    // All of it is synced before it gets its name: from then on, what is not readable in it is damage.
    new.writer.synced = new.writer.offset;
    new.writer.mark();
    let written = filled
        .and_then(|()| new.flush_beyond(0))
        .and_then(|()| disk::sync(&new.file))
        .and_then(|()| disk::rename(&path, &self::path(directory)));
    match written {
        Ok(()) => {
            let synced = disk::sync_directory(directory);
            Ok(WrittenLog { file: new.file, end: new.writer.offset, synced })
        }
        Err(error) => {
            // The error says more than a failure to remove the file would.
            let _ = disk::remove(&path);
            Err(error)
        }
    }
}

/// Copies all entries to a new log. Returns their offsets there, in their order.
fn copy_entries(
    contents: &mut Contents,
    new: &mut NewLog,
    mut read: impl FnMut(&Indexed<u64>) -> io::Result<OutboxEntry>,
) -> io::Result<Vec<u64>> {
    let mut offsets = Vec::new();
    for (seq, refused, indexed) in contents.index.all_mut() {
        let entry = read(indexed)?;
        offsets.push(new.writer.offset);
        new.writer.accept(&OutboxEntry { sent_at: indexed.sent_at, ..entry });
        if refused {
            let reason = contents.reasons.get(&seq).cloned().unwrap_or_default();
            new.writer.refuse(seq, &reason);
        }
        new.flush_beyond(CHUNK)?;
    }
    Ok(offsets)
}
