//! Checks the journals of the store for damage.
//!
//! The store writes each commit to a journal, and syncs it before the next. When it opens, it reads a journal up to the
//! first bytes that it does not understand, and cuts the rest off: a crash leaves such bytes at the end. Damaged bytes
//! before the end look the same to it, and it would silently drop all commits after them. So the journals are checked
//! before the store opens them.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

use super::directory::{failed, sync_directory, write};
use crate::engine::EngineError;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;

/// The last bytes of a batch.
const TRAILER: [u8; 4] = *b"FJL\x03";

/// The furthest that the numbers of two neighbours are apart.
const FURTHEST: u64 = 1 << 32;

/// The name of the file that holds the end of the newest journal after it was closed.
const CLOSED: &str = "closed";

/// Checks the journals in the directory of a store, and removes an unfinished commit at their end.
pub(super) fn check(log: &Path) -> Result<(), EngineError> {
    let journals = journals(log).map_err(failed("read", log))?;
    let closed = log.join(CLOSED);
    let expected = match fs::read_to_string(&closed) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", &closed)(error)),
    };
    let mut last = None;
    for (index, (_, path)) in journals.iter().enumerate() {
        check_journal(path, index + 1 == journals.len(), &mut last)?;
    }
    if let Some(expected) = expected {
        let found = end(&journals).map_err(failed("read", log))?;
        if found != expected {
            return Err(EngineError::Corrupt(format!(
                "the newest journal ends at {}, and it was closed at {}",
                found.trim_end(),
                expected.trim_end()
            )));
        }
        // From here on the journal grows.
        fs::remove_file(&closed).map_err(failed("remove", &closed))?;
        sync_directory(log).map_err(failed("sync", log))?;
    }
    Ok(())
}

/// Notes the end of the newest journal, after the store is closed. So the next opening finds out if it is shorter.
pub(super) fn close(log: &Path) -> io::Result<()> {
    let end = end(&journals(log)?)?;
    write(&log.join(CLOSED), end.as_bytes())
}

/// The end of the newest journal, as `0.jnl 1234`.
fn end(journals: &[(u64, PathBuf)]) -> io::Result<String> {
    let Some((number, path)) = journals.last() else { return Ok("nothing\n".to_owned()) };
    let mut scan = Scan::open(path)?;
    Ok(format!("{number}.jnl {}\n", scan.batches(&mut None)?))
}

/// The journals, oldest first.
fn journals(log: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for file in fs::read_dir(log)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "jnl")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
            && let Ok(number) = name.parse()
        {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Checks a journal. `last` is the number of the last batch before it, and becomes that of its last batch.
fn check_journal(path: &Path, is_newest: bool, last: &mut Option<u64>) -> Result<(), EngineError> {
    let io = |error| failed("read", path)(error);
    let mut scan = Scan::open(path).map_err(io)?;
    let end = scan.batches(last).map_err(io)?;
    let rest = scan.rest(end).map_err(io)?;
    match rest {
        Rest::Empty => Ok(()),
        // Each commit is synced before the next one, so a crash leaves nothing behind an unfinished commit.
        Rest::Unfinished if is_newest => {
            let cut = || {
                let file = fs::OpenOptions::new().write(true).open(path)?;
                file.set_len(end)?;
                file.sync_all()
            };
            cut().map_err(failed("repair", path))
        }
        Rest::Unfinished | Rest::Batches => {
            Err(EngineError::Corrupt(format!("{} at byte {end}", path.display())))
        }
    }
}

/// The rest of a journal after the valid batches at its start.
enum Rest {
    /// Nothing, or zeros: the store allocates space in advance.
    Empty,
    /// Bytes without a valid batch.
    Unfinished,
    /// Bytes, and valid batches after them.
    Batches,
}

struct Batch {
    /// Batches have growing numbers.
    number: u64,
    /// In bytes.
    length: u64,
}

struct Scan {
    reader: BufReader<fs::File>,
}

impl Scan {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, fs::File::open(path)?) })
    }

    /// Reads valid batches from the start. Returns the position after the last of them.
    fn batches(&mut self, last: &mut Option<u64>) -> io::Result<u64> {
        let mut end = 0;
        self.reader.seek(SeekFrom::Start(0))?;
        while let Some(Batch { number, length }) = self.batch()? {
            // The checksum does not include the number. A damaged number that still is between its neighbours does no harm.
            if last.is_some_and(|last| number <= last || number - last > FURTHEST) {
                break;
            }
            *last = Some(number);
            end += length;
        }
        Ok(end)
    }

    /// Reads a batch. `None` if there is no valid one.
    fn batch(&mut self) -> io::Result<Option<Batch>> {
        match self.try_batch() {
            Ok(found) => Ok(found),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn try_batch(&mut self) -> io::Result<Option<Batch>> {
        let [START] = self.take()? else { return Ok(None) };
        let count = u32::from_le_bytes(self.take()?);
        let number = u64::from_le_bytes(self.take()?);
        let mut length = 13;
        let mut hash = Xxh3::new();
        for _ in 0..count {
            let [tag] = self.take()?;
            length += 1;
            hash.update(&[tag]);
            match tag {
                ITEM => {
                    let head @ [_, compression, .., a, b, c, d] = self.take::<20>()?;
                    let key = u16::from_le_bytes([head[10], head[11]]);
                    let value = u32::from_le_bytes([a, b, c, d]);
                    if compression != 0 {
                        return Ok(None);
                    }
                    hash.update(&head);
                    let content = u64::from(key) + u64::from(value);
                    self.hash(content, &mut hash)?;
                    length += 20 + content;
                }
                CLEAR => {
                    self.hash(8, &mut hash)?;
                    length += 8;
                }
                _ => return Ok(None),
            }
        }
        let [END, checksum @ .., a, b, c, d] = self.take::<13>()? else { return Ok(None) };
        let is_valid = [a, b, c, d] == TRAILER && u64::from_le_bytes(checksum) == hash.digest();
        Ok(is_valid.then_some(Batch { number, length: length + 13 }))
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Adds bytes to a hash. Their number may be damaged, so they are read piece by piece.
    fn hash(&mut self, mut count: u64, hash: &mut Xxh3) -> io::Result<()> {
        while count > 0 {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let piece = usize::try_from(count).map_or(buffer.len(), |it| it.min(buffer.len()));
            hash.update(&buffer[..piece]);
            self.reader.consume(piece);
            count -= piece as u64;
        }
        Ok(())
    }

    /// Looks at the bytes after the valid batches.
    fn rest(&mut self, end: u64) -> io::Result<Rest> {
        self.reader.seek(SeekFrom::Start(end))?;
        if self.batch()?.is_some() {
            // Only its number is wrong.
            return Ok(Rest::Batches);
        }
        let mut rest = Rest::Empty;
        let mut position = end;
        let mut buffer = vec![0; 64 * 1024];
        // The last bytes of the piece before: a trailer may lie across two pieces.
        let mut overlap = 0;
        loop {
            self.reader.seek(SeekFrom::Start(position))?;
            let read = self.reader.read(&mut buffer[overlap..])?;
            if read == 0 {
                return Ok(rest);
            }
            position += read as u64;
            let piece = &buffer[..overlap + read];
            // Without an early end, the compiler compares many bytes at once: most journals end with 64 MiB of zeros.
            if piece.iter().fold(0, |bits, byte| bits | byte) == 0 {
                overlap = 0;
                continue;
            }
            rest = Rest::Unfinished;
            let start = position - piece.len() as u64;
            let trailers = piece.windows(TRAILER.len()).enumerate();
            let trailers = trailers.filter(|(_, window)| *window == TRAILER);
            for offset in trailers.map(|(index, _)| start + (index + TRAILER.len()) as u64) {
                self.reader.seek(SeekFrom::Start(offset))?;
                if self.batch()?.is_some() {
                    return Ok(Rest::Batches);
                }
            }
            let kept = piece.len().min(TRAILER.len() - 1);
            let from = piece.len() - kept;
            buffer.copy_within(from..from + kept, 0);
            overlap = kept;
        }
    }
}
