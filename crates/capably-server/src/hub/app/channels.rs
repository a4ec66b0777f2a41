//! REST requests to channels.

use capably_protocol::{Annotation, ErrorInfo, Message, PresenceMessage, Str};

use super::App;
use crate::hub::{
    HistoryQuery, MembersQuery, Now, Occupancy, Output, Page, PageQuery, Turn,
    access::identity::{Client, Identity},
    channel::{
        Channels,
        order::{Origin, Proposed},
    },
    connection::ConnectionKey,
    error,
    message::{change::is_change, publish::Publisher},
    stats::tally::Way,
};

impl App {
    /// Publishes messages.
    ///
    /// # Errors
    /// As [`Channels::publish`], and 40006 for an unknown `connectionKey`.
    pub(crate) fn publish(
        &mut self,
        identity: &Identity,
        channel: &Str,
        messages: Vec<Message>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Result<Proposed, ErrorInfo> {
        let key = messages.iter().find_map(|message| message.connection_key.as_ref());
        let on_behalf = match key {
            None => None,
            Some(key) => {
                let key = ConnectionKey::read(key, &self.settings.connection_secret);
                let key = key.ok_or_else(error::bad_connection_key)?;
                let connection = self.connections.with_key(&key, now.steady);
                // In a cluster, the connection may be at another node.
                if connection.is_none() && self.channels.node().is_none() {
                    return Err(error::bad_connection_key());
                }
                Some((key.id, connection))
            }
        };
        let mut identity = identity.clone();
        let client =
            on_behalf.as_ref().and_then(|(_, connection)| Some(&(*connection)?.identity().client));
        if let Some(client @ Client::Named(_)) = client {
            identity.client = client.clone();
        }
        let connection = on_behalf.map(|(id, _)| id);
        let publisher = Publisher {
            identity: &identity,
            connection: connection.as_ref(),
            frame_id: None,
            may_repeat: false,
        };
        self.publish_with(now, outputs, |channels, turn| {
            channels.publish(channel, messages, publisher, turn)
        })
    }

    /// Changes a message (RSL15).
    ///
    /// # Errors
    /// As [`Channels::change`], and 40000 for an action that is not a change.
    pub(crate) fn change(
        &mut self,
        identity: &Identity,
        channel: &Str,
        message: Message,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Result<Proposed, ErrorInfo> {
        if !is_change(&message) {
            return Err(error::bad_request("the `action` is not an update, delete or append"));
        }
        let publisher = Publisher { identity, connection: None, frame_id: None, may_repeat: false };
        self.publish_with(now, outputs, |channels, turn| {
            channels.change(channel, message, publisher, turn)
        })
    }

    /// Publishes annotations of one message (RSAN1, RSAN2).
    ///
    /// # Errors
    /// As [`Channels::annotate`], and 40003 for an annotation of another message.
    pub(crate) fn annotate(
        &mut self,
        identity: &Identity,
        channel: &Str,
        serial: &str,
        mut annotations: Vec<Annotation>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Result<Proposed, ErrorInfo> {
        for annotation in &mut annotations {
            match &annotation.message_serial {
                Some(own) if own != serial => return Err(error::other_serial()),
                Some(_) => {}
                None => annotation.message_serial = Some(serial.into()),
            }
        }
        let publisher = Publisher { identity, connection: None, frame_id: None, may_repeat: false };
        self.publish_with(now, outputs, |channels, turn| {
            channels.annotate(channel, annotations, publisher, turn)
        })
    }

    /// Publishes, and counts the result.
    fn publish_with(
        &mut self,
        now: Now,
        outputs: &mut Vec<Output>,
        publish: impl FnOnce(&mut Channels, &mut Turn<'_>) -> Result<Proposed, ErrorInfo>,
    ) -> Result<Proposed, ErrorInfo> {
        let sent = outputs.len();
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        let proposed = publish(&mut self.channels, turn)?;
        if let Proposed::Waiting(ticket) = proposed {
            self.channels.set_origin(ticket, Origin::Request);
        }
        self.count_publish(Way::Rest, proposed.volume(), &outputs[sent..], now);
        self.channels.make_room();
        Ok(proposed)
    }

    /// A page of a channel's history (RSL2).
    ///
    /// # Errors
    /// As [`Channels::history`].
    pub(crate) fn history(
        &mut self,
        identity: &Identity,
        channel: &str,
        query: &HistoryQuery,
        now: Now,
    ) -> Result<Page<Message>, ErrorInfo> {
        self.channels.history(identity, channel, query, now)
    }

    /// The latest version of a message (RSL11).
    ///
    /// # Errors
    /// As [`Channels::message`].
    pub(crate) fn message(
        &mut self,
        identity: &Identity,
        channel: &str,
        serial: &str,
        now: Now,
    ) -> Result<Message, ErrorInfo> {
        self.channels.message(identity, channel, serial, now)
    }

    /// A page of the versions of a message (RSL14).
    ///
    /// # Errors
    /// As [`Channels::versions`].
    pub(crate) fn versions(
        &mut self,
        identity: &Identity,
        channel: &str,
        serial: &str,
        query: &PageQuery,
        now: Now,
    ) -> Result<Page<Message>, ErrorInfo> {
        self.channels.versions(identity, channel, serial, query, now)
    }

    /// A page of the annotations of a message (RSAN3).
    ///
    /// # Errors
    /// As [`Channels::annotations`].
    pub(crate) fn annotations(
        &mut self,
        identity: &Identity,
        channel: &str,
        serial: &str,
        query: &PageQuery,
        now: Now,
    ) -> Result<Page<Annotation>, ErrorInfo> {
        self.channels.annotations(identity, channel, serial, query, now)
    }

    /// A page of a channel's members (RSP3).
    ///
    /// # Errors
    /// As [`Channels::members`].
    pub(crate) fn members(
        &self,
        identity: &Identity,
        channel: &str,
        query: &MembersQuery,
    ) -> Result<Page<PresenceMessage>, ErrorInfo> {
        self.channels.members(identity, channel, query)
    }

    /// A page of a channel's presence history (RSP4).
    ///
    /// # Errors
    /// As [`Channels::presence_history`].
    pub(crate) fn presence_history(
        &self,
        identity: &Identity,
        channel: &str,
        query: &PageQuery,
    ) -> Result<Page<PresenceMessage>, ErrorInfo> {
        self.channels.presence_history(identity, channel, query)
    }

    /// The occupancy of a channel (CHD).
    ///
    /// # Errors
    /// As [`Channels::status`].
    pub(crate) fn occupancy(
        &self,
        identity: &Identity,
        channel: &str,
    ) -> Result<Occupancy, ErrorInfo> {
        self.channels.status(identity, channel)
    }

    /// A page of the recently used channels whose names begin with `prefix`.
    ///
    /// # Errors
    /// As [`Channels::list`].
    pub(crate) fn channels(
        &self,
        identity: &Identity,
        prefix: &str,
        query: &PageQuery,
    ) -> Result<Page<(Str, Occupancy)>, ErrorInfo> {
        self.channels.list(identity, prefix, query)
    }
}
