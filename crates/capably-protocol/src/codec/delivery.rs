//! Frames that deliver items: the frames of which there are many. They are read in their place.

use super::{Fault, Item, frame::FrameIn};
use crate::{
    Flags, ServerFrame, Str,
    frame::{Action, Delivery},
    wire::{Key, key},
};

/// A format's way of reading frames of a service.
pub(super) trait ReadFrame {
    /// The action with which the frame here begins; `None` if it begins with anything else.
    fn first_action(&self) -> Option<Action>;

    /// Reads any frame.
    fn flat(&mut self) -> Result<FrameIn, Fault>;

    /// Reads a frame into `place`, which is empty except for its channel; the items are the array under the name
    /// `items`.
    ///
    /// There is no detour by [`FrameIn`]: moving a frame's fields costs nearly as much as reading them.
    fn delivery<T: Item>(&mut self, place: &mut Delivery<T>, items: Key) -> Result<(), Fault>;
}

/// Reads a frame that a service sent into `frame`. Most frames are deliveries that begin with their action. Those are
/// read in their place, without the fields that a delivery does not have.
#[inline]
pub(super) fn read_server_frame(
    r: &mut impl ReadFrame,
    frame: &mut ServerFrame,
) -> Result<(), Fault> {
    macro_rules! delivery {
        ($variant:ident, $items:literal) => {{
            match frame {
                ServerFrame::$variant(last) => last.reset(),
                _ => *frame = ServerFrame::$variant(Delivery::new(Str::new(), Vec::new())),
            }
            match frame {
                ServerFrame::$variant(delivery) => r.delivery(delivery, key!($items)),
                _ => Ok(()),
            }
        }};
    }
    match r.first_action() {
        Some(Action::Message) => delivery!(Message, "messages"),
        Some(Action::Presence) => delivery!(Presence, "presence"),
        Some(Action::Sync) => delivery!(Sync, "presence"),
        Some(Action::Annotation) => delivery!(Annotation, "annotations"),
        Some(Action::Object) => delivery!(Object, "state"),
        Some(Action::ObjectSync) => delivery!(ObjectSync, "state"),
        _ => {
            *frame = r.flat()?.server()?;
            Ok(())
        }
    }
}

impl<T> Delivery<T> {
    /// Empties the frame for the next one. That is cheaper than a new frame in its place.
    #[inline]
    fn reset(&mut self) {
        let Self { channel: _, channel_serial, id, connection_id, timestamp, flags, items } = self;
        // The channel is read in its place, and a frame without one is refused.
        (*channel_serial, *id, *connection_id, *timestamp) = (None, None, None, None);
        *flags = Flags::NONE;
        items.clear();
        // The array is used again, but not a large one: it would stay for as long as its reader.
        items.shrink_to(128);
    }
}
