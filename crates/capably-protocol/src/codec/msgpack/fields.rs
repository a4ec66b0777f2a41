//! Each type's fields, as they are read from MessagePack.

use super::{
    super::{
        DecodeError,
        wire::{AuthIn, FrameIn},
    },
    reader::{Reader, Token, malformed},
};
use crate::{
    Annotation, AnnotationAction, Data, Message, MessageAction, MessageAnnotations, MessageVersion,
    ObjectMessage, PresenceAction, PresenceMessage, PublishResult, lenient::stringify_values,
};

/// A type that reads itself from MessagePack.
pub trait Read: Sized {
    /// Reads the value that is next.
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// A value must be a map, though every field of it may be absent.
fn present<T>(value: T, present: bool) -> Result<T, DecodeError> {
    if present { Ok(value) } else { Err(malformed("expected a map")) }
}

impl Read for FrameIn {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut frame = Self::default();
        let found = r.fields(|r, key| {
            match key {
                b"action" => frame.action = r.integer()?,
                b"id" => frame.id = r.str()?,
                b"channel" => frame.channel = r.str()?,
                b"channelSerial" => frame.channel_serial = r.str()?,
                b"connectionId" => frame.connection_id = r.str()?,
                b"msgSerial" => frame.msg_serial = r.integer()?,
                b"count" => frame.count = r.integer()?,
                b"flags" => frame.flags = r.integer()?.unwrap_or_default(),
                b"timestamp" => frame.timestamp = r.integer()?,
                b"connectionDetails" => frame.connection_details = r.cold()?,
                b"error" => frame.error = r.cold()?,
                b"params" => {
                    frame.params = r.object()?.map(stringify_values).unwrap_or_default();
                }
                b"auth" => {
                    let mut auth = AuthIn::default();
                    let found = r.fields(|r, key| {
                        match key {
                            b"accessToken" => auth.access_token = r.str()?,
                            _ => r.skip()?,
                        }
                        Ok(())
                    })?;
                    frame.auth = found.then(|| Box::new(auth));
                }
                b"res" => frame.res = r.items()?,
                b"messages" => frame.messages = r.items()?,
                b"presence" => frame.presence = r.items()?,
                b"annotations" => frame.annotations = r.items()?,
                b"state" => frame.state = r.items()?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        present(frame, found)
    }
}

impl Read for PublishResult {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut result = Self::default();
        let found = r.fields(|r, key| {
            match key {
                b"serials" => result.serials = r.array(Reader::str)?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        present(result, found)
    }
}

impl Read for Message {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        let found = r.fields(|r, key| {
            match key {
                b"id" => message.id = r.str()?,
                b"name" => message.name = r.str()?,
                b"data" => message.data = r.data()?,
                b"encoding" => message.encoding = r.str()?,
                b"clientId" => message.client_id = r.str()?,
                b"connectionId" => message.connection_id = r.str()?,
                b"connectionKey" => message.connection_key = r.str()?,
                b"timestamp" => message.timestamp = r.integer()?,
                b"extras" => message.extras = r.object()?,
                b"action" => message.action = r.integer()?.map(MessageAction::from_number),
                b"serial" => message.serial = r.str()?,
                b"version" => message.version = read_version(r)?,
                b"annotations" => message.annotations = read_annotations(r)?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        present(message, found)
    }
}

fn read_version(r: &mut Reader<'_>) -> Result<Option<Box<MessageVersion>>, DecodeError> {
    let mut version = Box::<MessageVersion>::default();
    let found = r.fields(|r, key| {
        match key {
            b"serial" => version.serial = r.str()?,
            b"timestamp" => version.timestamp = r.integer()?,
            b"clientId" => version.client_id = r.str()?,
            b"description" => version.description = r.str()?,
            b"metadata" => version.metadata = r.object()?.map(stringify_values),
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(found.then_some(version))
}

fn read_annotations(r: &mut Reader<'_>) -> Result<Option<Box<MessageAnnotations>>, DecodeError> {
    let mut annotations = Box::<MessageAnnotations>::default();
    let found = r.fields(|r, key| {
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
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut presence = Self::default();
        let found = r.fields(|r, key| {
            match key {
                b"id" => presence.id = r.str()?,
                b"action" => presence.action = r.integer()?.map(PresenceAction::from_number),
                b"clientId" => presence.client_id = r.str()?,
                b"connectionId" => presence.connection_id = r.str()?,
                b"data" => presence.data = r.data()?,
                b"encoding" => presence.encoding = r.str()?,
                b"timestamp" => presence.timestamp = r.integer()?,
                b"extras" => presence.extras = r.object()?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        present(presence, found)
    }
}

impl Read for Annotation {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut annotation = Self::default();
        let found = r.fields(|r, key| {
            match key {
                b"id" => annotation.id = r.str()?,
                b"action" => annotation.action = r.integer()?.map(AnnotationAction::from_number),
                b"clientId" => annotation.client_id = r.str()?,
                b"connectionId" => annotation.connection_id = r.str()?,
                b"name" => annotation.name = r.str()?,
                b"count" => annotation.count = r.integer()?,
                b"data" => annotation.data = r.data()?,
                b"encoding" => annotation.encoding = r.str()?,
                b"timestamp" => annotation.timestamp = r.integer()?,
                b"serial" => annotation.serial = r.str()?,
                b"messageSerial" => annotation.message_serial = r.str()?,
                b"type" => annotation.annotation_type = r.str()?,
                b"extras" => annotation.extras = r.object()?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        present(annotation, found)
    }
}

impl Read for ObjectMessage {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.cold()?.ok_or_else(|| malformed("expected a map"))
    }
}

impl Reader<'_> {
    /// A payload: a string is text and bytes are binary, whatever they hold (RSL4c).
    fn data(&mut self) -> Result<Data, DecodeError> {
        Ok(match self.token()? {
            Token::Nil | Token::Ext => Data::None,
            Token::Str(bytes) => Data::Text(self.text(bytes)?),
            Token::Bin(bytes) => Data::Binary(self.slice(bytes)),
            token => Data::Json(self.json(token)?),
        })
    }
}
