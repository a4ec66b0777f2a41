//! Records, and their form in the storage.

use std::{fmt, sync::Arc};

use capably_protocol::{Format, Str, codec};

use super::{Serials, spec};
use crate::{
    hub::{
        AppSpec,
        access::revocation::Revocations,
        log::{Entry, position::Position},
    },
    storage::Change,
};

/// The version of the format.
pub(super) const VERSION: &[u8] = b"1";

/// The key of the version.
pub(super) const VERSION_KEY: &[u8] = b"version";

/// The key of the first app's API key.
pub(super) const FIRST_KEY: &[u8] = b"first";

/// The first byte of the keys of an app. The app's id follows, then a part.
pub(super) const APP: u8 = b'A';

pub(super) const APP_ID_LEN: usize = 6;

/// The parts of an app.
pub(super) const SPEC: u8 = 0;
pub(super) const SERIALS: u8 = 1;
pub(super) const REVOCATIONS: u8 = 2;
/// A channel: the length of its name, its name, and a part of the channel.
pub(super) const CHANNEL: u8 = 3;
const END: u8 = 4;

/// The parts of a channel: the floor of its log, and each entry with its position.
pub(super) const FLOOR: u8 = 0;
pub(super) const ENTRY: u8 = 1;
const CHANNEL_END: u8 = 2;

/// A change of an app to persist.
///
/// The thread that writes to the storage encodes it, so that the app's lock is not held meanwhile.
pub(crate) struct Record(What);

enum What {
    FirstKey(String),
    Spec(Vec<u8>),
    Serials(Serials),
    Revocations(Vec<u8>),
    Entry(Arc<Entry>),
    Floor(Str, Position),
    ForgottenChannel(Str),
    Removal,
}

impl Record {
    /// The API key of the app that a server starts with.
    pub(crate) fn first_key(key: &str) -> Self {
        Self(What::FirstKey(key.to_owned()))
    }

    /// The configuration of an app.
    pub(crate) fn spec(spec: &AppSpec) -> Self {
        Self(What::Spec(spec::write(spec)))
    }

    pub(super) fn serials(serials: Serials) -> Self {
        Self(What::Serials(serials))
    }

    pub(super) fn revocations(revocations: &Revocations) -> Self {
        Self(What::Revocations(serde_json::to_vec(revocations).unwrap_or_default()))
    }

    pub(super) fn entry(entry: Arc<Entry>) -> Self {
        Self(What::Entry(entry))
    }

    pub(super) fn floor(channel: Str, floor: Position) -> Self {
        Self(What::Floor(channel, floor))
    }

    pub(super) fn forgotten_channel(channel: Str) -> Self {
        Self(What::ForgottenChannel(channel))
    }

    pub(super) fn removal() -> Self {
        Self(What::Removal)
    }

    /// The approximate size, in bytes.
    pub(crate) fn size(&self) -> usize {
        match &self.0 {
            What::Entry(entry) => entry.size(),
            What::Spec(bytes) | What::Revocations(bytes) => bytes.len(),
            What::FirstKey(_)
            | What::Serials(_)
            | What::Floor(..)
            | What::ForgottenChannel(_)
            | What::Removal => 100,
        }
    }

    /// Adds the changes of the storage.
    pub(crate) fn write(&self, app: &str, changes: &mut Vec<Change>) {
        match &self.0 {
            What::FirstKey(key) => {
                changes.push(Change::Put { key: FIRST_KEY.to_vec(), value: key.clone().into() });
            }
            What::Spec(bytes) => {
                changes.push(Change::Put { key: app_key(app, SPEC), value: bytes.clone() });
            }
            What::Serials(Serials { last, forgotten }) => {
                let value = [last.to_bytes(), forgotten.to_bytes()].concat();
                changes.push(Change::Put { key: app_key(app, SERIALS), value });
            }
            What::Revocations(bytes) => {
                changes.push(Change::Put { key: app_key(app, REVOCATIONS), value: bytes.clone() });
            }
            What::Entry(entry) => {
                let mut key = channel_key(app, entry.channel(), ENTRY);
                key.extend_from_slice(&entry.position().to_bytes());
                let mut value = Vec::with_capacity(entry.size());
                codec::encode_server_frame(Format::MsgPack, entry.frame(), &mut value);
                changes.push(Change::Put { key, value });
            }
            What::Floor(channel, floor) => {
                let from = channel_key(app, channel, ENTRY);
                let mut to = from.clone();
                to.extend_from_slice(&floor.to_bytes());
                // The range excludes its end. The next possible key removes the entry at the floor, too.
                to.push(0);
                changes.push(Change::Remove { from, to });
                let key = channel_key(app, channel, FLOOR);
                changes.push(Change::Put { key, value: floor.to_bytes().to_vec() });
            }
            What::ForgottenChannel(channel) => changes.push(Change::Remove {
                from: channel_key(app, channel, FLOOR),
                to: channel_key(app, channel, CHANNEL_END),
            }),
            What::Removal => {
                changes.push(Change::Remove { from: app_key(app, SPEC), to: app_key(app, END) });
            }
        }
    }
}

impl fmt::Debug for Record {
    // Some records contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("size", &self.size()).finish_non_exhaustive()
    }
}

fn app_key(app: &str, part: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + APP_ID_LEN + 1);
    key.push(APP);
    key.extend_from_slice(app.as_bytes());
    key.push(part);
    key
}

fn channel_key(app: &str, channel: &str, part: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + APP_ID_LEN + 1 + 4 + channel.len() + 1 + Position::BYTES);
    key.extend_from_slice(&app_key(app, CHANNEL));
    let length = u32::try_from(channel.len()).unwrap_or(u32::MAX);
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(channel.as_bytes());
    key.push(part);
    key
}
