//! Each type's fields, as they are read from MessagePack.

use super::{
    super::wire::{AuthIn, FrameIn},
    reader::{Fault, Reader, Token, malformed},
};
use crate::{
    Annotation, AnnotationAction, Data, Message, MessageAction, MessageAnnotations, MessageVersion,
    ObjectMessage, PresenceAction, PresenceMessage, PublishResult, lenient::stringify_values,
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
            match key {
                b"id" => r.str(&mut self.id)?,
                b"name" => r.str(&mut self.name)?,
                b"data" => self.data = r.data()?,
                b"encoding" => r.str(&mut self.encoding)?,
                b"clientId" => r.str(&mut self.client_id)?,
                b"connectionId" => r.str(&mut self.connection_id)?,
                b"connectionKey" => r.str(&mut self.connection_key)?,
                b"timestamp" => self.timestamp = r.integer()?,
                b"extras" => self.extras = r.object()?,
                b"action" => self.action = r.integer()?.map(MessageAction::from_number),
                b"serial" => r.str(&mut self.serial)?,
                b"version" => self.version = read_version(r)?,
                b"annotations" => self.annotations = read_annotations(r)?,
                _ => r.skip()?,
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
                b"data" => self.data = r.data()?,
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
                b"data" => self.data = r.data()?,
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
        *self = r.cold()?.ok_or_else(|| malformed("expected a map"))?;
        Ok(())
    }
}

impl Reader<'_> {
    /// A payload: a string is text and bytes are binary, whatever they hold (RSL4c).
    fn data(&mut self) -> Result<Data, Fault> {
        Ok(match self.token()? {
            Token::Nil | Token::Ext => Data::None,
            Token::Str(bytes) => Data::Text(self.text(bytes)?),
            Token::Bin(bytes) => Data::Binary(self.slice(bytes)),
            token => Data::Json(self.json(token)?),
        })
    }
}
