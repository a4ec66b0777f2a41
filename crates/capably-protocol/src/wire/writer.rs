//! What is written, whatever the format: each type's fields in one place.

use serde::Serialize;

use crate::{
    Annotation, Data, Message, MessageVersion, ObjectMessage, PresenceMessage, PublishResult,
    codec::frame::{FrameOut, Items},
};

/// A format's way of writing the pieces of which frames consist.
pub trait Writer {
    /// A map that is being written.
    type Map;

    /// Starts a map of at most 15 fields.
    fn begin_map(&mut self) -> Self::Map;
    /// Names the field whose value is written next.
    fn key(&mut self, map: &mut Self::Map, key: &'static str);
    /// Ends the map.
    fn end_map(&mut self, map: Self::Map);
    /// Writes every item with `each`, as an array.
    fn array<T>(&mut self, items: &[T], each: impl FnMut(&mut Self, &T));
    /// Writes a string.
    fn str(&mut self, text: &str);
    /// Writes an integer.
    fn unsigned(&mut self, value: u64);
    /// Writes an integer.
    fn signed(&mut self, value: i64);
    /// Writes the absence of a value.
    fn null(&mut self);
    /// Writes a payload and its encoding, with the steps that the format adds (RSL4c, RSL4d).
    fn data(&mut self, map: &mut Self::Map, data: &Data, encoding: Option<&str>);
    /// Writes a value of a type that is not on the hot path.
    fn value(&mut self, value: &impl Serialize);

    /// Writes a field that holds a string, when it is there.
    #[inline(always)]
    fn opt_str(&mut self, map: &mut Self::Map, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.key(map, key);
            self.str(text);
        }
    }

    /// Writes a field that holds an integer, when it is there.
    #[inline(always)]
    fn opt_unsigned(&mut self, map: &mut Self::Map, key: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.key(map, key);
            self.unsigned(value);
        }
    }

    /// Writes a field that holds an integer, when it is there.
    #[inline(always)]
    fn opt_signed(&mut self, map: &mut Self::Map, key: &'static str, value: Option<i64>) {
        if let Some(value) = value {
            self.key(map, key);
            self.signed(value);
        }
    }

    /// Writes a field of a type that is not on the hot path, when it is there.
    fn opt_value<T: Serialize>(
        &mut self,
        map: &mut Self::Map,
        key: &'static str,
        value: Option<&T>,
    ) {
        if let Some(value) = value {
            self.key(map, key);
            self.value(value);
        }
    }
}

/// A type that writes itself with any [`Writer`].
pub trait Write {
    /// Writes the value.
    fn write<W: Writer>(&self, w: &mut W);
}

impl Write for FrameOut<'_> {
    fn write<W: Writer>(&self, w: &mut W) {
        let mut map = w.begin_map();
        w.key(&mut map, "action");
        w.unsigned(self.action.into());
        w.opt_str(&mut map, "id", self.id);
        w.opt_str(&mut map, "channel", self.channel);
        w.opt_str(&mut map, "channelSerial", self.channel_serial);
        w.opt_str(&mut map, "connectionId", self.connection_id);
        w.opt_unsigned(&mut map, "msgSerial", self.msg_serial);
        w.opt_unsigned(&mut map, "count", self.count);
        w.opt_unsigned(&mut map, "flags", self.flags);
        w.opt_signed(&mut map, "timestamp", self.timestamp);
        w.opt_value(&mut map, "connectionDetails", self.connection_details);
        w.opt_value(&mut map, "error", self.error);
        w.opt_value(&mut map, "params", self.params);
        if let Some(token) = self.access_token {
            w.key(&mut map, "auth");
            let mut auth = w.begin_map();
            w.key(&mut auth, "accessToken");
            w.str(token);
            w.end_map(auth);
        }
        if !self.res.is_empty() {
            w.key(&mut map, "res");
            w.array(self.res, |w, result| result.write(w));
        }
        match self.items {
            Items::None => {}
            Items::Messages(items) => write_items(w, &mut map, "messages", items),
            Items::Presence(items) => write_items(w, &mut map, "presence", items),
            Items::Annotations(items) => write_items(w, &mut map, "annotations", items),
            Items::State(items) => write_items(w, &mut map, "state", items),
        }
        w.end_map(map);
    }
}

fn write_items<W: Writer, T: Write>(w: &mut W, map: &mut W::Map, key: &'static str, items: &[T]) {
    w.key(map, key);
    w.array(items, |w, item| item.write(w));
}

impl Write for PublishResult {
    fn write<W: Writer>(&self, w: &mut W) {
        let mut map = w.begin_map();
        w.key(&mut map, "serials");
        w.array(&self.serials, |w, serial| match serial {
            Some(serial) => w.str(serial),
            None => w.null(),
        });
        w.end_map(map);
    }
}

impl Write for Message {
    fn write<W: Writer>(&self, w: &mut W) {
        let mut map = w.begin_map();
        w.opt_str(&mut map, "id", self.id.as_deref());
        w.opt_str(&mut map, "name", self.name.as_deref());
        w.data(&mut map, &self.data, self.encoding.as_deref());
        w.opt_str(&mut map, "clientId", self.client_id.as_deref());
        w.opt_str(&mut map, "connectionId", self.connection_id.as_deref());
        w.opt_str(&mut map, "connectionKey", self.connection_key.as_deref());
        w.opt_signed(&mut map, "timestamp", self.timestamp);
        w.opt_value(&mut map, "extras", self.extras.as_ref());
        w.opt_unsigned(&mut map, "action", self.action.map(|action| action.number().into()));
        w.opt_str(&mut map, "serial", self.serial.as_deref());
        if let Some(version) = &self.version {
            w.key(&mut map, "version");
            version.write(w);
        }
        w.opt_value(&mut map, "annotations", self.annotations.as_ref());
        w.end_map(map);
    }
}

impl Write for MessageVersion {
    fn write<W: Writer>(&self, w: &mut W) {
        let mut map = w.begin_map();
        w.opt_str(&mut map, "serial", self.serial.as_deref());
        w.opt_signed(&mut map, "timestamp", self.timestamp);
        w.opt_str(&mut map, "clientId", self.client_id.as_deref());
        w.opt_str(&mut map, "description", self.description.as_deref());
        w.opt_value(&mut map, "metadata", self.metadata.as_ref());
        w.end_map(map);
    }
}

impl Write for PresenceMessage {
    fn write<W: Writer>(&self, w: &mut W) {
        let mut map = w.begin_map();
        w.opt_str(&mut map, "id", self.id.as_deref());
        w.opt_unsigned(&mut map, "action", self.action.map(|action| action.number().into()));
        w.opt_str(&mut map, "clientId", self.client_id.as_deref());
        w.opt_str(&mut map, "connectionId", self.connection_id.as_deref());
        w.data(&mut map, &self.data, self.encoding.as_deref());
        w.opt_signed(&mut map, "timestamp", self.timestamp);
        w.opt_value(&mut map, "extras", self.extras.as_ref());
        w.end_map(map);
    }
}

impl Write for Annotation {
    fn write<W: Writer>(&self, w: &mut W) {
        let mut map = w.begin_map();
        w.opt_str(&mut map, "id", self.id.as_deref());
        w.opt_unsigned(&mut map, "action", self.action.map(|action| action.number().into()));
        w.opt_str(&mut map, "clientId", self.client_id.as_deref());
        w.opt_str(&mut map, "connectionId", self.connection_id.as_deref());
        w.opt_str(&mut map, "name", self.name.as_deref());
        w.opt_unsigned(&mut map, "count", self.count);
        w.data(&mut map, &self.data, self.encoding.as_deref());
        w.opt_signed(&mut map, "timestamp", self.timestamp);
        w.opt_str(&mut map, "serial", self.serial.as_deref());
        w.opt_str(&mut map, "messageSerial", self.message_serial.as_deref());
        w.opt_str(&mut map, "type", self.annotation_type.as_deref());
        w.opt_value(&mut map, "extras", self.extras.as_ref());
        w.end_map(map);
    }
}

impl Write for ObjectMessage {
    fn write<W: Writer>(&self, w: &mut W) {
        w.value(self);
    }
}
