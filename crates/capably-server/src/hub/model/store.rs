//! The reads of a [`Service`](super::Service) from its engine, and what waits for them.

use bytes::Bytes;
use capably_protocol::{Millis, Str};

use super::{
    engine::ModelEngine,
    reads::Reader,
    service::{Committed, Moment, Service, Waiting},
};
use crate::{
    engine::{Direction, Kind, Range},
    hub::{
        Need, Position, Rewind, StoredState, TransportId,
        log::proposal::{Body, Proposal},
    },
};

/// The most entries that are loaded when a channel is first used. Few, so that clients need what is not in memory.
const TAIL: usize = 4;

/// The most entries that are read at once.
const PAGE: usize = 3;

/// The engine of a service. It outlasts the service.
#[derive(Debug, Default)]
pub struct Store(pub(super) ModelEngine);

impl Store {
    /// How long the engine remembers the id of a message, in ms of the server's clock.
    pub const REMEMBERED: Millis = super::engine::REMEMBERED;
}

/// A read for the hub.
#[derive(Debug)]
pub(super) enum Work {
    /// The end of a channel.
    Load(Str),
    /// The place from which a client that attaches is to receive messages.
    Rewind { link: u64, name: Str, rewind: Rewind },
    /// Entries for a client that is behind.
    Entries { link: u64, name: Str, after: Position, until: Position },
}

impl Service {
    /// A client's frame, or the hub, needs data of the engine.
    pub(super) fn want(&mut self, link: u64, need: Need) {
        match need {
            Need::Settled | Need::Answers => {
                if self.app.is_settled(TransportId(link)) {
                    self.resumable.push_back(link);
                }
            }
            Need::Channel(name) => {
                let waiting = self.loads.entry(name.clone()).or_default();
                waiting.push(link);
                if waiting.len() == 1 {
                    self.app.begin_load(&name);
                    self.works.push_back(Work::Load(name));
                }
            }
            Need::Rewind(name, rewind) => self.works.push_back(Work::Rewind { link, name, rewind }),
            // No channel has changes, and there is one node.
            Need::Message(..) | Need::Reached(..) | Need::Entries { .. } => {}
        }
    }

    /// The number of reads that wait.
    pub fn unread(&self) -> usize {
        self.works.len() + self.resumable.len()
    }

    /// Does the next read, and goes on with what waits for it.
    pub fn work(&mut self, now: Moment) {
        while let Some(link) = self.resumable.pop_front() {
            if self.links.get(&link).is_some_and(|own| own.waiting == Some(Waiting::Settled)) {
                self.dispatch(link, None, now);
            }
        }
        let (Some(work), Some(engine)) = (self.works.pop_front(), &self.engine) else { return };
        let app = &self.app;
        let reader = |name: &Str| Reader { engine, app, name: name.clone(), now: now.into() };
        match work {
            Work::Load(name) => {
                let (floor, last) = engine.bounds(&name);
                let excerpt = reader(&name).tail(last, TAIL);
                let objects = reader(&name).objects(last);
                let state = StoredState { objects, ..StoredState::default() };
                self.input(|app, outputs| {
                    let bounds = (floor, last);
                    app.finish_load(&name, excerpt, bounds, state, now.into(), outputs);
                });
                for link in self.loads.remove(&name).unwrap_or_default() {
                    self.go_on(link, now);
                }
            }
            Work::Rewind { link, name, rewind } => {
                let start = self.rewind(&reader(&name), rewind, now);
                self.app.set_start(TransportId(link), &name, start);
                self.go_on(link, now);
            }
            Work::Entries { link, name, after, until } => {
                let found = reader(&name).entries(after, until, PAGE);
                if let Some(own) = self.links.get_mut(&link) {
                    own.filling = false;
                }
                self.input(|app, outputs| {
                    let (transport, floor) = (TransportId(link), Position(0));
                    app.fill_from(transport, &name, &found, floor, now.into(), outputs);
                });
            }
        }
    }

    fn go_on(&mut self, link: u64, now: Moment) {
        if self.links.get(&link).is_some_and(|own| own.waiting == Some(Waiting::Work)) {
            self.dispatch(link, None, now);
        }
    }

    fn rewind(&self, reader: &Reader<'_>, rewind: Rewind, now: Moment) -> Position {
        let entries = reader.engine.after(&reader.name, Position(0));
        match rewind {
            Rewind::Span(span) => {
                let span = Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX);
                let since = now.wall.saturating_sub(span);
                let earlier = entries.take_while(|entry| entry.time < since).last();
                earlier.map_or(Position(0), |entry| entry.position)
            }
            Rewind::Count(count) => {
                let (_, last) = reader.engine.bounds(&reader.name);
                let range = Range {
                    after: Position(0),
                    until: last,
                    kind: Some(Kind::Messages),
                    direction: Direction::Backwards,
                    limit: count.max(1),
                    max_bytes: usize::MAX,
                };
                let mut entries = reader.engine.read(&reader.name, &range);
                entries.reverse();
                let first = entries.first().map_or(last, |first| Position(first.position.0 - 1));
                reader.excerpt(entries, first, None).rewind_count(count)
            }
        }
    }
}

/// The messages of an entry, if it has any.
pub(super) fn messages(
    name: &Str,
    position: Position,
    time: Millis,
    stored_at: Millis,
    payload: &Bytes,
) -> Option<Committed> {
    let Body::Messages(frame) = Proposal::decode(name, time, payload).ok()?.body else {
        return None;
    };
    let texts = frame.items.iter().filter_map(|it| it.data.as_str().map(str::to_owned));
    Some(Committed {
        serial: position.channel_serial(),
        connection: frame.connection,
        texts: texts.collect(),
        stored_at: Some(stored_at),
        is_hidden: false,
    })
}
