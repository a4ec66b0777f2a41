//! Ids of events: how far a reader has come in each of its channels.
//!
//! One position for the whole stream would not do. A reader may be behind in one channel, where it gets a replay, and get
//! the new messages of another at the same time.
//!
//! An id is base64 of one record for each channel: the [`Tag`] of its name, the position, and, in the middle of an entry,
//! the index of the last item that was sent.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use capably_protocol::Str;
use sha2::{Digest, Sha256};

use crate::hub::Position;

/// The front of the hash of a channel's name. Its first bit is free: it says whether an index follows the position.
type Tag = [u8; 6];

const HAS_INDEX: u8 = 0x80;

/// How far a reader has come in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The entry at this position was sent.
    pub(super) position: Position,
    /// Of that entry, only the items up to this index were sent.
    pub(super) index: Option<u16>,
}

impl Place {
    /// The place behind an entry.
    pub(super) fn after(position: Position) -> Self {
        Self { position, index: None }
    }

    /// The position after which a replay begins.
    pub(super) fn start(self) -> Position {
        match self.index {
            // The rest of the entry is still to be sent.
            Some(_) => Position(self.position.0.saturating_sub(1)),
            None => self.position,
        }
    }
}

/// The id of the last event that a reader has received.
#[derive(Debug)]
pub(super) struct LastEvent(Vec<(Tag, Place)>);

impl LastEvent {
    /// Reads an id. `None` if it is not of this service.
    pub(super) fn parse(id: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(id).ok()?;
        let mut rest = &bytes[..];
        let mut places = Vec::new();
        while !rest.is_empty() {
            let mut tag: Tag = *take(&mut rest)?;
            let position = Position(u64::from_be_bytes(*take(&mut rest)?));
            let has_index = tag[0] & HAS_INDEX != 0;
            let index = if has_index { Some(u16::from_be_bytes(*take(&mut rest)?)) } else { None };
            tag[0] &= !HAS_INDEX;
            places.push((tag, Place { position, index }));
        }
        Some(Self(places))
    }

    /// The place in a channel, if the reader had the channel.
    pub(super) fn place(&self, channel: &str) -> Option<Place> {
        let tag = tag(channel);
        self.0.iter().find(|(known, _)| *known == tag).map(|(_, place)| *place)
    }
}

/// The places of a reader in its channels.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<Channel>);

#[derive(Debug)]
struct Channel {
    name: Str,
    tag: Tag,
    place: Place,
}

impl Places {
    pub(super) fn get(&self, channel: &str) -> Option<Place> {
        self.0.iter().find(|it| *it.name == *channel).map(|it| it.place)
    }

    pub(super) fn set(&mut self, channel: &Str, place: Place) {
        match self.0.iter_mut().find(|it| it.name == *channel) {
            Some(known) => known.place = place,
            None => self.0.push(Channel { name: channel.clone(), tag: tag(channel), place }),
        }
    }

    /// The id of an event after which a reader is at these places.
    pub(super) fn id(&self) -> String {
        let mut bytes = Vec::with_capacity(self.0.len() * 16);
        for Channel { tag, place: Place { position, index }, .. } in &self.0 {
            let mut tag = *tag;
            if index.is_some() {
                tag[0] |= HAS_INDEX;
            }
            bytes.extend_from_slice(&tag);
            bytes.extend_from_slice(&position.0.to_be_bytes());
            bytes.extend(index.map(u16::to_be_bytes).into_iter().flatten());
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

fn tag(channel: &str) -> Tag {
    let hash = Sha256::digest(channel.as_bytes());
    let mut tag: Tag = hash.first_chunk().copied().unwrap_or_default();
    tag[0] &= !HAS_INDEX;
    tag
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (front, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(front)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_the_place_in_every_channel() {
        let mut places = Places::default();
        let middle = Place { position: Position(u64::MAX), index: Some(7) };
        places.set(&"a".into(), middle);
        places.set(&"b".into(), Place::after(Position(1)));
        places.set(&"b".into(), Place::after(Position(2)));
        let last = LastEvent::parse(&places.id()).unwrap();
        assert_eq!(last.place("a"), Some(middle));
        assert_eq!(last.place("b"), Some(Place::after(Position(2))));
        assert_eq!(last.place("c"), None);
    }

    #[test]
    fn a_replay_begins_before_an_entry_that_was_sent_in_part() {
        assert_eq!(Place::after(Position(5)).start(), Position(5));
        assert_eq!(Place { position: Position(5), index: Some(0) }.start(), Position(4));
    }

    #[test]
    fn what_is_no_id_is_not_read() {
        for garbage in ["!", "AAAA", "cbfKayrzgAXDWM:1556806691343-0", "gAAAAAAAAAAAAAAAAAAA"] {
            assert!(LastEvent::parse(garbage).is_none(), "{garbage}");
        }
    }
}
