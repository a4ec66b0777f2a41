//! The message of an operation, as an application sees it (PAOM, PAOOP).

use capably_protocol::{JsonObject, Millis, ObjectMessage, Str, object::ObjectOperation};

/// The operation that changed an object, and who published it (PAOM1).
#[derive(Clone, Debug, PartialEq)]
pub struct OperationMessage {
    /// The unique id of the message (PAOM2a).
    pub id: Option<Str>,
    /// The publisher's client id (PAOM2b).
    pub client_id: Option<Str>,
    /// The publisher's connection (PAOM2c).
    pub connection_id: Option<Str>,
    /// When it was published, in ms since the epoch (PAOM2d).
    pub timestamp: Option<Millis>,
    /// The channel (PAOM2e).
    pub channel: Str,
    /// The operation. A create has its initial value in `map_create` or `counter_create`, however it was sent (PAOM2f).
    pub operation: ObjectOperation,
    /// The serial that orders the message among those of its site (PAOM2g).
    pub serial: Option<Str>,
    /// When the serial was made, in ms since the epoch (PAOM2h).
    pub serial_timestamp: Option<Millis>,
    /// The site that made the serial (PAOM2i).
    pub site_code: Option<Str>,
    /// Metadata (PAOM2j).
    pub extras: Option<JsonObject>,
}

impl OperationMessage {
    /// The message as it is shown; none if it has no operation (PAOM3).
    pub fn new(channel: &Str, message: &ObjectMessage) -> Option<Self> {
        let mut operation = message.operation.as_deref()?.clone();
        // PAOOP3b, PAOOP3c: a create with an object id is a form for sending only.
        if let Some(create) = operation.map_create_with_object_id.take() {
            operation.map_create = operation.map_create.or(create.source);
        }
        if let Some(create) = operation.counter_create_with_object_id.take() {
            operation.counter_create = operation.counter_create.or(create.source);
        }
        Some(Self {
            id: message.id.clone(),
            client_id: message.client_id.clone(),
            connection_id: message.connection_id.clone(),
            timestamp: message.timestamp,
            channel: channel.clone(),
            operation,
            serial: message.serial.clone(),
            serial_timestamp: message.serial_timestamp,
            site_code: message.site_code.clone(),
            extras: message.extras.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
