//! The entry that delivers operations.

use std::{sync::Arc, time::Duration};

use capably_protocol::{Millis, ObjectMessage, Str, frame::Delivery};

use crate::hub::log::{
    Entry,
    position::{Position, SITE},
    proposal::Items,
};

/// The entry of a frame of operations, each with the serial that orders it among those of its site (OM2h to OM2j).
///
/// Serials have a fixed width up to the site, so that they grow from entry to entry and none is the start of another.
pub(crate) fn objects_entry(
    channel: &Str,
    frame: Items<ObjectMessage>,
    position: Position,
    time: Millis,
    at: Duration,
) -> Arc<Entry> {
    let Items { id, connection, items: mut operations } = frame;
    for (index, operation) in operations.iter_mut().enumerate() {
        operation.serial = Some(position.message_serial(index));
        operation.serial_timestamp = Some(time);
        operation.site_code = Some(Str::from_static(SITE));
    }
    let channel_serial = position.channel_serial();
    let mut delivery = Delivery::new(channel.clone(), operations);
    delivery.id = Some(id.unwrap_or_else(|| channel_serial.clone()));
    delivery.channel_serial = Some(channel_serial);
    delivery.connection_id = connection;
    delivery.timestamp = Some(time);
    Entry::objects(position, at, delivery)
}
