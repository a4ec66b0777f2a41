//! Each type's fields, as they are read from MessagePack.

use super::{
    super::{
        DecodeError,
        frame::{AuthIn, FrameIn},
    },
    reader::{Fault, Reader, Token, malformed},
};
use crate::{
    Annotation, AnnotationAction, Data, Flags, Message, MessageAction, MessageAnnotations,
    MessageVersion, ObjectMessage, PresenceAction, PresenceMessage, PublishResult, Str,
    frame::Delivery,
    lenient::{FromMap, stringify_values},
};

/// A type that reads itself from MessagePack.
pub trait Read: Default {
    /// Reads the value that is next into `self`, an empty one.
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault>;
}

impl Read for FrameIn {
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        r.fields(|r, key| {
            match key {
                b"action" => self.action = r.integer()?,
                b"id" => r.str(&mut self.id)?,
                b"channel" => r.str(&mut self.channel)?,
                b"channelSerial" => r.str(&mut self.channel_serial)?,
                b"connectionId" => r.str(&mut self.connection_id)?,
                b"msgSerial" => self.msg_serial = r.integer()?,
                b"count" => self.count = r.integer()?,
                b"flags" => self.flags = r.integer()?.unwrap_or_default(),
                b"timestamp" => self.timestamp = r.integer()?,
                b"connectionDetails" => self.connection_details = r.cold()?,
                b"error" => self.error = r.cold()?,
                b"params" => {
                    self.params = r.object()?.map(stringify_values).unwrap_or_default();
                }
                b"auth" => {
                    let mut auth = AuthIn::default();
                    let found = r.optional_fields(|r, key| {
                        match key {
                            b"accessToken" => r.str(&mut auth.access_token)?,
                            _ => r.skip()?,
                        }
                        Ok(())
                    })?;
                    self.auth = found.then(|| Box::new(auth));
                }
                b"res" => self.res = r.items()?,
                b"messages" => self.messages = r.items()?,
                b"presence" => self.presence = r.items()?,
                b"annotations" => self.annotations = r.items()?,
                b"state" => self.state = r.items()?,
                _ => r.skip()?,
            }
            Ok(())
        })
    }
}

impl<T: Read> Delivery<T> {
    /// Reads a frame that delivers items into `self`, which is empty; the items are the array under `items`.
    ///
    /// These are the frames of which there are many: hence no detour by [`FrameIn`], nothing that is moved
    /// once it is read, and keys that are compared whole, where a pattern of bytes would be compared one by
    /// one.
    pub(super) fn read(&mut self, r: &mut Reader<'_>, items: &[u8]) -> Result<(), Fault> {
        let mut on_a_channel = false;
        r.fields(|r, key| {
            if key == items {
                r.items_into(&mut self.items)?;
            } else if key == b"id" {
                r.str(&mut self.id)?;
            } else if key == b"channel" {
                on_a_channel = r.required_str(&mut self.channel)?;
            } else if key == b"channelSerial" {
                r.str(&mut self.channel_serial)?;
            } else if key == b"connectionId" {
                r.str(&mut self.connection_id)?;
            } else if key == b"timestamp" {
                self.timestamp = r.integer()?;
            } else if key == b"flags" {
                self.flags = Flags(r.integer()?.unwrap_or_default());
            } else if key == b"action" {
                // That is how it came to be read here.
                r.integer::<u32>()?;
            } else {
                r.skip()?;
            }
            Ok(())
        })?;
        if on_a_channel { Ok(()) } else { Err(DecodeError::Missing { field: "channel" }.into()) }
    }
}

impl Read for PublishResult {
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        r.fields(|r, key| {
            match key {
                b"serials" => self.serials = r.strings()?,
                _ => r.skip()?,
            }
            Ok(())
        })
    }
}

impl Read for Message {
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        r.fields(|r, key| {
            // Compared whole, the most frequent first: see `Delivery::read`.
            if key == b"id" {
                r.str(&mut self.id)?;
            } else if key == b"name" {
                r.str(&mut self.name)?;
            } else if key == b"data" {
                r.data(&mut self.data)?;
            } else if key == b"serial" {
                r.str(&mut self.serial)?;
            } else if key == b"encoding" {
                r.str(&mut self.encoding)?;
            } else if key == b"clientId" {
                r.str(&mut self.client_id)?;
            } else if key == b"action" {
                self.action = r.integer()?.map(MessageAction::from_number);
            } else if key == b"timestamp" {
                self.timestamp = r.integer()?;
            } else if key == b"version" {
                self.version = read_version(r)?;
            } else if key == b"extras" {
                self.extras = r.object()?;
            } else if key == b"connectionId" {
                r.str(&mut self.connection_id)?;
            } else if key == b"connectionKey" {
                r.str(&mut self.connection_key)?;
            } else if key == b"annotations" {
                self.annotations = read_annotations(r)?;
            } else {
                r.skip()?;
            }
            Ok(())
        })
    }
}

fn read_version(r: &mut Reader<'_>) -> Result<Option<Box<MessageVersion>>, Fault> {
    let mut version = Box::<MessageVersion>::default();
    let found = r.optional_fields(|r, key| {
        match key {
            b"serial" => r.str(&mut version.serial)?,
            b"timestamp" => version.timestamp = r.integer()?,
            b"clientId" => r.str(&mut version.client_id)?,
            b"description" => r.str(&mut version.description)?,
            b"metadata" => version.metadata = r.object()?.map(stringify_values),
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(found.then_some(version))
}

fn read_annotations(r: &mut Reader<'_>) -> Result<Option<Box<MessageAnnotations>>, Fault> {
    let mut annotations = Box::<MessageAnnotations>::default();
    let found = r.optional_fields(|r, key| {
        match key {
            b"summary" => {
                annotations.summary = r.object()?.unwrap_or_default().into_iter().collect();
            }
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(found.then_some(annotations))
}

impl Read for PresenceMessage {
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        r.fields(|r, key| {
            match key {
                b"id" => r.str(&mut self.id)?,
                b"action" => self.action = r.integer()?.map(PresenceAction::from_number),
                b"clientId" => r.str(&mut self.client_id)?,
                b"connectionId" => r.str(&mut self.connection_id)?,
                b"data" => r.data(&mut self.data)?,
                b"encoding" => r.str(&mut self.encoding)?,
                b"timestamp" => self.timestamp = r.integer()?,
                b"extras" => self.extras = r.object()?,
                _ => r.skip()?,
            }
            Ok(())
        })
    }
}

impl Read for Annotation {
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        r.fields(|r, key| {
            match key {
                b"id" => r.str(&mut self.id)?,
                b"action" => self.action = r.integer()?.map(AnnotationAction::from_number),
                b"clientId" => r.str(&mut self.client_id)?,
                b"connectionId" => r.str(&mut self.connection_id)?,
                b"name" => r.str(&mut self.name)?,
                b"count" => self.count = r.integer()?,
                b"data" => r.data(&mut self.data)?,
                b"encoding" => r.str(&mut self.encoding)?,
                b"timestamp" => self.timestamp = r.integer()?,
                b"serial" => r.str(&mut self.serial)?,
                b"messageSerial" => r.str(&mut self.message_serial)?,
                b"type" => r.str(&mut self.annotation_type)?,
                b"extras" => self.extras = r.object()?,
                _ => r.skip()?,
            }
            Ok(())
        })
    }
}

impl Read for ObjectMessage {
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        let FromMap(item) = r.cold()?.ok_or_else(|| malformed("expected a map"))?;
        *self = item;
        Ok(())
    }
}

impl Reader<'_> {
    /// A payload: a string is text and bytes are binary, whatever they hold (RSL4c).
    fn data(&mut self, place: &mut Data) -> Result<(), Fault> {
        let token = match self.medium_str() {
            Some(bytes) => Token::Str(bytes),
            None => self.token()?,
        };
        match token {
            Token::Nil | Token::Ext => *place = Data::None,
            Token::Str(bytes) => {
                *place = Data::Text(Str::new());
                if let Data::Text(text) = place {
                    self.set_text(text, bytes)?;
                }
            }
            Token::Bin(bytes) => *place = Data::Binary(self.slice(bytes)),
            token => *place = Data::Json(self.json(token)?),
        }
        Ok(())
    }
}
