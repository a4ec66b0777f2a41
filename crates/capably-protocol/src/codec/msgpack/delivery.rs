//! Frames that deliver items: the frames of which there are many.

use super::{
    super::DecodeError,
    reader::{Fault, Reader},
};
use crate::{
    Flags,
    codec::frame::name,
    frame::Delivery,
    wire::{Read, ReadField},
};

impl<T: Read> Delivery<T> {
    /// Empties the frame for the next one. That is cheaper than a new frame in its place.
    #[inline]
    pub(super) fn reset(&mut self) {
        let Self { channel: _, channel_serial, id, connection_id, timestamp, flags, items } = self;
        // The channel is read in its place, and a frame without one is refused.
        (*channel_serial, *id, *connection_id, *timestamp) = (None, None, None, None);
        *flags = Flags::NONE;
        items.clear();
        // The array is used again, but not a large one: it would stay for as long as its reader.
        items.shrink_to(128);
    }

    /// Reads a frame into `self`, which is empty; the items are the array under the name `items`.
    ///
    /// There is no detour by [`FrameIn`](crate::codec::frame::FrameIn): moving a frame's fields costs nearly as much
    /// as reading them.
    pub(super) fn read(&mut self, r: &mut Reader<'_>, items: &[u8]) -> Result<(), Fault> {
        let mut has_channel = false;
        r.fields(|r, key| {
            if key == items {
                r.items_into(&mut self.items)?;
            } else if key == name::id.as_bytes() {
                self.id.read(r)?;
            } else if key == name::channel.as_bytes() {
                has_channel = r.required_str(&mut self.channel)?;
            } else if key == name::channel_serial.as_bytes() {
                self.channel_serial.read(r)?;
            } else if key == name::connection_id.as_bytes() {
                self.connection_id.read(r)?;
            } else if key == name::timestamp.as_bytes() {
                self.timestamp.read(r)?;
            } else if key == name::flags.as_bytes() {
                self.flags = Flags(r.integer()?.unwrap_or_default());
            } else if key == name::action.as_bytes() {
                // The action is known: it has led here. A second one must still be an integer.
                r.integer::<u32>()?;
            } else {
                r.skip()?;
            }
            Ok(())
        })?;
        if has_channel { Ok(()) } else { Err(DecodeError::Missing { field: name::channel }.into()) }
    }
}
