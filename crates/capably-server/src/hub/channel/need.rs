//! Data that the hub needs from the engine before it can handle an input.
//!
//! The hub waits for nothing. An input that needs entries which are not in memory is left to the front, with its
//! [`Need`]: the front fetches, gives the hub what it found, and repeats the input.

use std::time::Duration;

use capably_protocol::{ClientFrame, Flags, Str, frame::Attach};

use super::{Channels, attachment::Attachments, replay::Rewind, view::View};
use crate::hub::{
    channel_name,
    log::{position::Position, proposal::Place},
    message::change::is_change,
};

/// Data that an input needs before the hub can handle it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Need {
    /// The newest entries of a channel.
    Channel(Str),
    /// A message that is older than the entries in memory, with its changes and annotations.
    Message(Str, Place),
    /// The position from which a client that attaches is to receive messages.
    Rewind(Str, Rewind),
    /// The entries of a channel between two positions, for a client that is behind.
    Entries { channel: Str, after: Position, until: Position },
    /// The entries of a channel up to a position, which the client has received from another node.
    Reached(Str, Position),
    /// The results of all publishes of the connection so far.
    Settled,
    /// The results of many publishes of the connection: too many frames wait for their answers.
    Answers,
}

impl Channels {
    /// The need of a frame, if it cannot be handled at once. `settled` says whether all publishes of the connection so far
    /// have their result, `attached` has its attachments, `start` the channel whose rewind is known.
    pub(crate) fn need_of_frame(
        &self,
        frame: &ClientFrame,
        settled: bool,
        attached: &Attachments,
        start: Option<&Str>,
        now: Duration,
    ) -> Option<Need> {
        if !self.has_engine() {
            return None;
        }
        match frame {
            ClientFrame::Message(publish) => {
                let change = publish.items.first().filter(|message| is_change(message))?;
                self.need_of_message(&publish.channel, change.serial.as_deref()?)
            }
            ClientFrame::Annotation(publish) => publish.items.iter().find_map(|annotation| {
                self.need_of_message(&publish.channel, annotation.message_serial.as_deref()?)
            }),
            ClientFrame::Presence(publish) => {
                let attachment = attached.get(&publish.channel)?;
                self.need_of_channel(attachment.channel(&publish.channel))
            }
            ClientFrame::Object(publish) => self.need_of_objects(&publish.channel),
            ClientFrame::Heartbeat { .. } => None,
            // Their answers follow those of the publishes before them.
            _ if !settled => Some(Need::Settled),
            ClientFrame::Attach(attach) => self.need_of_attach(attach, start, now),
            ClientFrame::Detach { channel } => self.need_of_detach(channel, attached),
            _ => None,
        }
    }

    fn need_of_channel(&self, name: &Str) -> Option<Need> {
        (!self.map.contains_key(&**name)).then(|| Need::Channel(Str::from(&**name)))
    }

    /// The need of an input about the objects of a channel. None for an invalid name, and for one channel too many.
    pub(crate) fn need_of_objects(&self, name: &str) -> Option<Need> {
        let name = channel_name::plain_str(&name.into()).ok()?;
        if self.has_engine() && self.has_room(&name) { self.need_of_channel(&name) } else { None }
    }

    /// In a cluster, a client may have members from another node on a channel that it has not attached again here.
    fn need_of_detach(&self, name: &Str, attached: &Attachments) -> Option<Need> {
        if self.node().is_none() || attached.get(name).is_some() {
            return None;
        }
        self.need_of_channel(&channel_name::plain_str(name).ok()?)
    }

    /// The need of an input about a message. None for an invalid name or serial, and for a message that does not exist.
    pub(crate) fn need_of_message(&self, name: &str, serial: &str) -> Option<Need> {
        if !self.has_engine() {
            return None;
        }
        let name = channel_name::plain(name).ok()?;
        let at = Position::parse_message(serial)?;
        match self.map.get(name) {
            None => Some(Need::Channel(name.into())),
            Some(channel) if channel.knows(at) => None,
            Some(_) => Some(Need::Message(name.into(), at)),
        }
    }

    fn need_of_attach(&self, attach: &Attach, start: Option<&Str>, now: Duration) -> Option<Need> {
        let view = View::parse(&attach.channel).ok()?;
        let base = view.as_ref().map_or(&attach.channel, |view| &view.base);
        let Some(channel) = self.map.get(&**base) else {
            // One channel too many is refused without being loaded.
            return self.has_room(base).then(|| Need::Channel(Str::from(&**base)));
        };
        if let (Some(reached), Some(serial)) = (channel.reached(), &attach.channel_serial)
            && start != Some(base)
            && let Some(position) = Position::parse(serial).filter(|it| *it > reached)
        {
            return Some(Need::Reached(Str::from(&**base), position));
        }
        if attach.channel_serial.is_some()
            || attach.flags.contains(Flags::ATTACH_RESUME)
            || channel.is_complete()
            || start == Some(base)
        {
            return None;
        }
        let param = attach.params.get("rewind");
        let param = param.or_else(|| view.as_ref()?.params.get("rewind"))?;
        let rewind = Rewind::parse(param)?;
        (!channel.covers(rewind, now)).then(|| Need::Rewind(Str::from(&**base), rewind))
    }
}
