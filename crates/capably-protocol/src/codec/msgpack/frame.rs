//! Reads frames from MessagePack.

use std::mem;

use super::reader::{Reader, two_actions};
use crate::{
    Flags,
    codec::{
        DecodeError, Fault, Item,
        delivery::ReadFrame,
        frame::{FrameIn, name},
    },
    frame::{Action, Delivery},
    wire::{Key, Read, ReadField},
};

impl ReadFrame for Reader<'_> {
    #[inline]
    fn first_action(&self) -> Option<Action> {
        match self.rest() {
            [0x80..=0x8f, 0xa6, b'a', b'c', b't', b'i', b'o', b'n', action @ 0..=0x7f, ..] => {
                Action::from_number((*action).into())
            }
            _ => None,
        }
    }

    fn flat(&mut self) -> Result<FrameIn, Fault> {
        let mut fields = FrameIn::default();
        fields.read(self)?;
        Ok(fields)
    }

    fn delivery<T: Item>(&mut self, place: &mut Delivery<T>, items: Key) -> Result<(), Fault> {
        let (mut has_channel, mut has_action) = (false, false);
        self.fields(|r, key| {
            if key == items.name.as_bytes() {
                r.items_into(&mut place.items)?;
            } else if key == name::id.as_bytes() {
                place.id.read(r)?;
            } else if key == name::channel.as_bytes() {
                has_channel = r.required_str(&mut place.channel)?;
            } else if key == name::channel_serial.as_bytes() {
                place.channel_serial.read(r)?;
            } else if key == name::connection_id.as_bytes() {
                place.connection_id.read(r)?;
            } else if key == name::timestamp.as_bytes() {
                place.timestamp.read(r)?;
            } else if key == name::flags.as_bytes() {
                place.flags = Flags(r.integer()?.unwrap_or_default());
            } else if key == name::action.as_bytes() {
                // The action is known: it has led here.
                if mem::replace(&mut has_action, true) {
                    return Err(two_actions());
                }
                r.integer::<u32>()?;
            } else {
                r.skip()?;
            }
            Ok(())
        })?;
        if has_channel { Ok(()) } else { Err(DecodeError::Missing { field: name::channel }.into()) }
    }
}
