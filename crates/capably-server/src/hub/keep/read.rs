//! Reading the records of a storage.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use capably_protocol::{Format, Limits, ServerFrame, Str, codec};

use super::{
    Serials,
    record::{
        APP, APP_ID_LEN, CHANNEL, ENTRY, FIRST_KEY, FLOOR, REVOCATIONS, SERIALS, SPEC, VERSION,
        VERSION_KEY,
    },
    spec,
};
use crate::{
    hub::{
        AppSpec, Now,
        access::{identity::is_app_id, revocation::Revocations},
        log::{Entry, position::Position},
    },
    storage::{Change, StorageError},
};

/// The records of an app.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    pub(crate) spec: AppSpec,
    pub(super) serials: Option<Serials>,
    pub(super) revocations: Revocations,
    pub(super) channels: Vec<SavedChannel>,
}

/// The records of a channel.
#[derive(Debug)]
pub(super) struct SavedChannel {
    pub(super) name: Str,
    pub(super) floor: Option<Position>,
    /// In the order of their positions.
    pub(super) entries: Vec<Arc<Entry>>,
}

/// Reads all pairs of a storage, in the order of their keys.
pub(crate) struct Reader {
    now: Now,
    version: Option<Vec<u8>>,
    first_key: Option<String>,
    apps: BTreeMap<Str, Saved>,
    problem: Option<String>,
}

/// The content of a storage.
pub(crate) struct Stored {
    /// The key of the app that the server started with.
    pub(crate) first_key: Option<String>,
    pub(crate) apps: Vec<Saved>,
}

/// The change that writes the version of the format.
pub(crate) fn version() -> Change {
    Change::Put { key: VERSION_KEY.to_vec(), value: VERSION.to_vec() }
}

impl Reader {
    pub(crate) fn new(now: Now) -> Self {
        Self { now, version: None, first_key: None, apps: BTreeMap::new(), problem: None }
    }

    /// Reads the next pair.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) {
        // Later pairs are read, too: a version among them explains the problem better.
        if self.read(key, value).is_none() && self.problem.is_none() {
            self.problem = Some(format!("nobody can read the entry {}", key.escape_ascii()));
        }
    }

    /// The content.
    ///
    /// # Errors
    /// [`Corrupt`](StorageError::Corrupt) or [`Version`](StorageError::Version).
    pub(crate) fn finish(self) -> Result<Stored, StorageError> {
        let Self { version, first_key, apps, problem, now: _ } = self;
        let is_empty = version.is_none() && problem.is_none() && apps.is_empty();
        match version {
            Some(version) if version != VERSION => {
                let found = version.escape_ascii();
                let known = VERSION.escape_ascii();
                let what = format!("it is {found}, and this server reads {known}");
                return Err(StorageError::Version(what));
            }
            None if !is_empty => {
                return Err(StorageError::Corrupt("it does not say of which version it is".into()));
            }
            Some(_) | None => {}
        }
        if let Some(problem) = problem {
            return Err(StorageError::Corrupt(problem));
        }
        // Records without a spec are the rest of an app that was removed.
        let apps = apps.into_values().filter(|app| !app.spec.id.is_empty()).collect();
        Ok(Stored { first_key, apps })
    }

    fn read(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        if key == VERSION_KEY {
            self.version = Some(value.to_vec());
            return Some(());
        }
        if key == FIRST_KEY {
            self.first_key = Some(String::from_utf8(value.to_vec()).ok()?);
            return Some(());
        }
        let (id, key) = key.strip_prefix(&[APP])?.split_at_checked(APP_ID_LEN)?;
        let id = std::str::from_utf8(id).ok().filter(|id| is_app_id(id))?;
        let app = self.apps.entry(id.into()).or_default();
        match key.split_first()? {
            (&SPEC, []) => app.spec = spec::read(id, value).ok()?,
            (&SERIALS, []) => {
                let (last, forgotten) = value.split_at_checked(Position::BYTES)?;
                let last = Position::from_bytes(last)?;
                let forgotten = Position::from_bytes(forgotten)?;
                app.serials = Some(Serials { last, forgotten });
            }
            (&REVOCATIONS, []) => app.revocations = serde_json::from_slice(value).ok()?,
            (&CHANNEL, key) => {
                let (length, key) = key.split_first_chunk()?;
                let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
                let (name, key) = key.split_at_checked(length)?;
                let name = std::str::from_utf8(name).ok()?;
                app.channel(name).read(self.now, key, value)?;
            }
            _ => return None,
        }
        Some(())
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("apps", &self.apps.len()).finish_non_exhaustive()
    }
}

impl Saved {
    /// The channel of this name. Keys are sorted, so that it is the last channel or a new one.
    fn channel(&mut self, name: &str) -> &mut SavedChannel {
        if self.channels.last().is_none_or(|last| last.name != name) {
            let channel = SavedChannel { name: name.into(), floor: None, entries: Vec::new() };
            self.channels.push(channel);
        }
        self.channels.last_mut().expect("it has at least the one just pushed")
    }
}

impl SavedChannel {
    fn read(&mut self, now: Now, key: &[u8], value: &[u8]) -> Option<()> {
        match key.split_first()? {
            (&FLOOR, []) => self.floor = Some(Position::from_bytes(value)?),
            (&ENTRY, position) => {
                let position = Position::from_bytes(position)?;
                self.entries.push(read_entry(now, position, value)?);
            }
            _ => return None,
        }
        Some(())
    }
}

/// More than the depth of any frame of a client.
const MAX_DEPTH: usize = 128;

fn read_entry(now: Now, position: Position, value: &[u8]) -> Option<Arc<Entry>> {
    let limits = Limits { max_size: usize::MAX, max_depth: MAX_DEPTH };
    let bytes = Bytes::copy_from_slice(value);
    let frame = codec::decode_server_frame(Format::MsgPack, &bytes, &limits).ok()?;
    let timestamp = match &frame {
        ServerFrame::Message(delivery) => delivery.timestamp?,
        ServerFrame::Annotation(delivery) => delivery.timestamp?,
        ServerFrame::Presence(delivery) => delivery.timestamp?,
        _ => return None,
    };
    let at = now.steady_at(timestamp);
    match frame {
        ServerFrame::Message(delivery) => Some(Entry::new(position, at, delivery)),
        ServerFrame::Annotation(delivery) => Some(Entry::annotations(position, at, delivery)),
        ServerFrame::Presence(delivery) => Some(Entry::presence(position, at, delivery)),
        _ => None,
    }
}
