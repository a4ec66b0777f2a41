//! The results of commits, and the entries that the engine has read.

use std::collections::BTreeSet;

use capably_protocol::{ErrorInfo, PresenceMessage, ServerFrame, Str};

use super::App;

use crate::{
    engine::Appended,
    hub::{
        Now, Output, Page, PageQuery, TransportId, Turn,
        channel::{
            excerpt::{Excerpt, presence_page},
            need::Need,
            objects_stored::{SnapshotEnd, StoredState},
            order::{Origin, Settled, Ticket},
        },
        ids::ConnectionId,
        log::{
            position::Position,
            proposal::{About, Place},
            volume::Volume,
        },
        message::publish::Accepted,
        objects::SnapshotDraft,
        stats::tally::Way,
    },
};

impl App {
    /// The engine has committed or refused proposals. Applies them, delivers them, and answers their publishers.
    pub(crate) fn committed(
        &mut self,
        results: Vec<(Ticket, Result<Appended, ErrorInfo>)>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let sent = outputs.len();
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        let Self { channels, connections, .. } = self;
        let can_enter = |id: &ConnectionId, channel: &Str| {
            connections.get(id).is_some_and(|it| it.attached.can_have_members(channel))
        };
        let settled = results
            .into_iter()
            .filter_map(|(ticket, result)| channels.committed(ticket, result, can_enter, turn));
        let settled = settled.collect();
        self.settle_all(settled, now, outputs);
        self.count(&outputs[sent..], now);
        self.channels.make_room();
        self.send_metadata(now, outputs);
    }

    /// Passes results to their publishers, and answers these.
    pub(super) fn settle_all(
        &mut self,
        settled: Vec<Settled>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let mut publishers = BTreeSet::new();
        for settled in settled {
            publishers.extend(self.settle(settled, now, outputs));
        }
        // At the end, so that one frame acknowledges all publishes of a client.
        for id in publishers {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.answer(outputs);
            }
        }
    }

    /// Passes the result of a proposal to its publisher. Returns the connection that is to be answered.
    fn settle(
        &mut self,
        settled: Settled,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Option<ConnectionId> {
        let Settled { ticket, origin, result, about } = settled;
        let volume = result.as_ref().map_or_else(|_| Volume::default(), Accepted::volume);
        match origin {
            Origin::Frame(id, msg_serial) => {
                let tally = self.stats.current(now);
                match about {
                    About::Presence(..) => tally.presence(volume),
                    About::Objects => tally.operations(Way::Realtime, volume),
                    About::Messages => tally.published(Way::Realtime, volume),
                }
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.settle(msg_serial, result);
                }
                return self.settled_frame(id, about, now, outputs);
            }
            Origin::Repeated(id, msg_serial) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.settle_repeated(msg_serial, result);
                }
                return self.settled_frame(id, about, now, outputs);
            }
            Origin::Detach(id, channel) => {
                let connection = self.connections.get_mut(&id)?;
                let transport = connection.take_detaching(ticket)?;
                let turn = &mut Turn { now, settings: &self.settings, outputs };
                if let Err(error) = result {
                    // The members are not known to have left. The client sends the DETACH again when it has resumed.
                    self.connections.disconnect(transport, error, &mut self.channels, turn);
                    return None;
                }
                let rest = self.channels.detach_rest(&id, &channel, &connection.attached, turn);
                if let Some(ticket) = rest {
                    connection.detaching(ticket);
                    self.channels.set_origin(ticket, Origin::Detach(id, channel));
                } else {
                    let frame = ServerFrame::Detached { channel, error: None };
                    outputs.push(Output::Frame(transport, frame));
                }
            }
            Origin::Close(transport) => self.connections.departed(transport, outputs),
            Origin::Request => {
                let tally = self.stats.current(now);
                match about {
                    About::Objects => tally.operations(Way::Rest, volume),
                    About::Messages | About::Presence(..) => tally.published(Way::Rest, volume),
                }
                outputs.push(Output::Answer(ticket, result));
            }
            Origin::Hub => {
                if let About::Presence(connection, channel) = about {
                    self.reconsider_members(&connection, &channel, now, outputs);
                }
            }
        }
        None
    }

    /// A frame of a connection is settled. Returns the connection, if it is to be answered.
    fn settled_frame(
        &mut self,
        id: ConnectionId,
        about: About,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Option<ConnectionId> {
        if let Some(connection) = self.connections.get_mut(&id) {
            // The client has come back meanwhile, without this channel: when it came, the member was not there yet.
            if let About::Presence(_, channel) = &about
                && !connection.attached.can_have_members(channel)
            {
                self.channels.expect_back(&id, now.steady + connection.remain());
            }
            return Some(id);
        }
        if let About::Presence(connection, channel) = about {
            self.reconsider_members(&connection, &channel, now, outputs);
        }
        None
    }

    /// Whether every publish of the connection on this transport has its result.
    pub(crate) fn is_settled(&mut self, transport: TransportId) -> bool {
        self.connections.on_transport(transport).is_none_or(|connection| connection.is_settled())
    }

    /// Whether frames of the connection on this transport are received again after too many have waited for their answers.
    pub(crate) fn has_room(&mut self, transport: TransportId) -> bool {
        self.connections.on_transport(transport).is_none_or(|connection| connection.has_room())
    }

    /// The need before a client's frame that cannot be read is refused. With `fails`, the connection fails.
    pub(crate) fn need_of_fault(&mut self, transport: TransportId, fails: bool) -> Option<Need> {
        let connection = self.connections.on_transport(transport)?;
        match fails {
            // The connection fails when the client has the answers to all that it has published.
            true => (!connection.is_settled()).then_some(Need::Settled),
            false => connection.is_full().then_some(Need::Answers),
        }
    }

    /// The data that a request about a message needs from the engine, if any.
    pub(crate) fn need_of_message(&self, channel: &str, serial: &str) -> Option<Need> {
        self.channels.need_of_message(channel, serial)
    }

    /// Begins to load a channel.
    pub(crate) fn begin_load(&mut self, name: &Str) {
        self.channels.begin_load(name);
    }

    /// Ends the loading of a channel that could not be read.
    pub(crate) fn abandon_load(&mut self, name: &Str) {
        self.channels.abandon_load(name);
    }

    /// Adds a channel that was loaded up to the second of the `bounds`. The first is the position after which the engine is
    /// complete.
    pub(crate) fn finish_load(
        &mut self,
        name: &Str,
        excerpt: Excerpt,
        bounds: (Position, Position),
        state: StoredState,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let sent = outputs.len();
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        self.channels.finish_load(name, excerpt, bounds, state, turn);
        self.after_following(sent, now, outputs);
    }

    /// The objects of a channel were stored, or could not be.
    pub(crate) fn objects_saved(&mut self, name: &Str, end: SnapshotEnd, now: Now) {
        self.channels.objects_saved(name, end, now.steady);
    }

    /// Whether objects are being stored.
    pub(crate) fn is_writing_objects(&self) -> bool {
        self.channels.is_writing_objects()
    }

    /// The app is deleted: no objects are stored from here on.
    pub(crate) fn end_objects(&mut self) {
        self.channels.end_objects();
    }

    /// Whether the app is deleted.
    pub(crate) fn has_ended_objects(&self) -> bool {
        self.channels.has_ended_objects()
    }

    /// A snapshot of a channel's objects that is to be written before the server ends.
    pub(crate) fn next_unwritten_objects(&mut self) -> Option<(Str, SnapshotDraft)> {
        self.channels.next_unwritten()
    }

    /// Adds a message that was fetched, or that does not exist.
    pub(crate) fn add_message(
        &mut self,
        name: &Str,
        at: Place,
        excerpt: Option<Excerpt>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let sent = outputs.len();
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        self.channels.add_message(name, at, excerpt, turn);
        self.after_following(sent, now, outputs);
    }

    /// Sets the position at which the client's next attachment to a channel starts.
    pub(crate) fn set_start(&mut self, transport: TransportId, name: &Str, position: Position) {
        if let Some(connection) = self.connections.on_transport(transport) {
            connection.set_start(name.clone(), position);
        }
    }

    /// Continues the replays of a transport on a channel with entries of the engine.
    pub(crate) fn fill_from(
        &mut self,
        transport: TransportId,
        name: &Str,
        excerpt: &Excerpt,
        floor: Position,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        if let Some(connection) = self.connections.on_transport(transport) {
            let sent = outputs.len();
            let session = &connection.session(transport);
            self.channels.fill_from(session, name, excerpt, floor, outputs);
            self.count(&outputs[sent..], now);
        }
    }

    /// A page of a channel's presence events that were read from the engine.
    pub(crate) fn presence_page(
        &self,
        channel: &str,
        excerpt: &Excerpt,
        query: &PageQuery,
    ) -> Page<PresenceMessage> {
        presence_page(&self.channels.presence, channel, excerpt, query)
    }

    /// Whether messages of the channel can be changed.
    pub(crate) fn is_mutable(&self, channel: &str) -> bool {
        self.channels.is_mutable(channel)
    }

    /// The age up to which the entries of a channel are stored.
    pub(crate) fn age_of(&self, channel: &str) -> std::time::Duration {
        self.channels.retention_of(channel).age
    }
}
