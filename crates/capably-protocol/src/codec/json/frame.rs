//! Reads frames from JSON.

use super::{reader::JsonReader, scan::integer};
use crate::{
    Flags,
    codec::{
        DecodeError, Fault, Item,
        delivery::ReadFrame,
        frame::{FrameIn, name},
    },
    frame::{Action, Delivery},
    wire::{JsonFields, ReadField},
};

impl ReadFrame for JsonReader<'_> {
    #[inline]
    fn first_action(&self) -> Option<Action> {
        let (action, _) = integer(self.rest().strip_prefix(br#"{"action":"#)?)?;
        Action::from_number(action.try_into().ok()?)
    }

    fn flat(&mut self) -> Result<FrameIn, Fault> {
        let mut fields = FrameIn::default();
        self.fields(&mut fields)?;
        Ok(fields)
    }

    fn delivery<T: Item>(
        &mut self,
        place: &mut Delivery<T>,
        items: &'static str,
    ) -> Result<(), Fault> {
        let (mut seen, mut seen_others) = (0, 0);
        let mut has_channel = false;
        // A delivery does not have the other fields of frames, but they must be valid.
        let mut others: Option<Box<FrameIn>> = None;
        self.members(|r, key| {
            if key == items.as_bytes() {
                r.once(&mut seen, 0, items)?;
                place.items.read_json(r)
            } else if key == name::id.as_bytes() {
                r.once(&mut seen, 1, name::id)?;
                place.id.read_json(r)
            } else if key == name::channel.as_bytes() {
                r.once(&mut seen, 2, name::channel)?;
                has_channel = r.text(&mut place.channel)?;
                Ok(())
            } else if key == name::channel_serial.as_bytes() {
                r.once(&mut seen, 3, name::channel_serial)?;
                place.channel_serial.read_json(r)
            } else if key == name::connection_id.as_bytes() {
                r.once(&mut seen, 4, name::connection_id)?;
                place.connection_id.read_json(r)
            } else if key == name::timestamp.as_bytes() {
                r.once(&mut seen, 5, name::timestamp)?;
                place.timestamp.read_json(r)
            } else if key == name::flags.as_bytes() {
                r.once(&mut seen, 6, name::flags)?;
                let Flags(flags) = &mut place.flags;
                flags.read_json(r)
            } else if key == name::action.as_bytes() {
                // The action is known: it has led here.
                r.once(&mut seen, 7, name::action)?;
                None::<u32>.read_json(r)
            } else {
                others.get_or_insert_default().read_json_field(r, key, &mut seen_others)
            }
        })?;
        if has_channel { Ok(()) } else { Err(DecodeError::Missing { field: name::channel }.into()) }
    }
}
