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
    wire::{JsonFields, Key, ReadField, key},
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

    fn delivery<T: Item>(&mut self, place: &mut Delivery<T>, items: Key) -> Result<(), Fault> {
        let mut fields = DeliveryFields { place, items, has_channel: false, others: None };
        self.fields(&mut fields)?;
        let missing = || DecodeError::Missing { field: name::channel }.into();
        fields.has_channel.then_some(()).ok_or_else(missing)
    }
}

/// The fields of a frame that delivers items.
struct DeliveryFields<'p, T> {
    place: &'p mut Delivery<T>,
    /// The name of the items.
    items: Key,
    has_channel: bool,
    /// A delivery does not have the other fields of frames, but they must be valid, and come once.
    others: Option<(Box<FrameIn>, u32)>,
}

/// Implements [`JsonFields`] for [`DeliveryFields`]. A field has its name, and how it is read.
macro_rules! delivery_fields {
    (($self:ident, $r:ident) $($key:expr => $read:expr;)*) => {
        #[allow(unused_assignments, reason = "no field follows the last one")]
        impl<T: Item> JsonFields for DeliveryFields<'_, T> {
            fn read_json_in_order(
                &mut $self,
                $r: &mut JsonReader<'_>,
                seen: &mut u32,
            ) -> Result<bool, Fault> {
                let mut number = 0;
                $(
                    if $r.eat_key($key) {
                        $r.once(seen, number, $key.name)?;
                        $read?;
                        if !$r.more_members()? {
                            return Ok(false);
                        }
                    }
                    number += 1;
                )*
                Ok(true)
            }

            fn read_json_field(
                &mut $self,
                $r: &mut JsonReader<'_>,
                name: &[u8],
                seen: &mut u32,
            ) -> Result<(), Fault> {
                let mut number = 0;
                $(
                    if name == $key.name.as_bytes() {
                        $r.once(seen, number, $key.name)?;
                        return $read;
                    }
                    number += 1;
                )*
                let (others, seen) = $self.others.get_or_insert_default();
                others.read_json_field($r, name, seen)
            }
        }
    };
}

delivery_fields! {
    (self, r)
    // The action is known: it has led here.
    key!("action") => None::<u32>.read_json(r);
    key!("id") => self.place.id.read_json(r);
    key!("channel") => r.text(&mut self.place.channel).map(|found| self.has_channel = found);
    key!("channelSerial") => self.place.channel_serial.read_json(r);
    key!("connectionId") => self.place.connection_id.read_json(r);
    key!("flags") => {
        let Flags(flags) = &mut self.place.flags;
        flags.read_json(r)
    };
    key!("timestamp") => self.place.timestamp.read_json(r);
    self.items => self.place.items.read_json(r);
}
