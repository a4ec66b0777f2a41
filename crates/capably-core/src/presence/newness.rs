//! Which of two presence messages of a member is newer (RTP2b).

use capably_protocol::PresenceMessage;

/// Whether a message that arrives is newer than the stored one (RTP2a).
pub(super) fn is_newer(incoming: &PresenceMessage, existing: &PresenceMessage) -> bool {
    match (place(incoming), place(existing)) {
        (Some(incoming), Some(existing)) => incoming > existing,
        // One of them was not published by the member's connection (RTP2b1), or its id is not of the usual form.
        // At equal times the later arrival wins (RTP2b1a).
        _ => incoming.timestamp >= existing.timestamp,
    }
}

/// Whether the service synthesized the message, as it does when a connection has ended (RTP2b1).
pub(super) fn is_synthesized(message: &PresenceMessage) -> bool {
    match (&message.id, &message.connection_id) {
        (Some(id), Some(connection)) => !id.starts_with(&**connection),
        _ => true,
    }
}

/// The `msgSerial` and index of a message that the member's own connection published (RTP2b2).
pub(super) fn place(message: &PresenceMessage) -> Option<(u64, u64)> {
    let connection = message.connection_id.as_deref()?;
    let rest = message.id.as_deref()?.strip_prefix(connection)?.strip_prefix(':')?;
    let (msg_serial, index) = rest.split_once(':')?;
    Some((msg_serial.parse().ok()?, index.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, timestamp: i64) -> PresenceMessage {
        PresenceMessage {
            id: Some(id.into()),
            connection_id: Some("conn".into()),
            timestamp: Some(timestamp),
            ..PresenceMessage::default()
        }
    }

    // Spec: RTP2b2
    #[test]
    fn serials_and_indexes_are_numbers() {
        assert!(is_newer(&message("conn:10:0", 0), &message("conn:9:5", 9)));
        assert!(is_newer(&message("conn:9:10", 0), &message("conn:9:9", 9)));
        assert!(!is_newer(&message("conn:9:9", 9), &message("conn:9:10", 0)));
        assert!(!is_newer(&message("conn:9:9", 9), &message("conn:9:9", 0)));
    }

    // Spec: RTP2b1
    #[test]
    fn an_id_that_is_not_of_the_connection_leaves_the_timestamps() {
        for odd in ["other:9:0", "conn", "conn:x:0", "conn:1", "conn1:9:0", ""] {
            assert!(is_newer(&message(odd, 2), &message("conn:9:0", 2)), "{odd}");
            assert!(!is_newer(&message(odd, 1), &message("conn:0:0", 2)), "{odd}");
            assert!(is_newer(&message("conn:0:0", 2), &message(odd, 1)), "{odd}");
        }
        let without = PresenceMessage { id: None, ..message("", 1) };
        assert!(is_newer(&without, &message("conn:9:0", 1)));
        assert!(is_synthesized(&without) && is_synthesized(&message("other:9:0", 1)));
        assert!(!is_synthesized(&message("conn:9:0", 1)));
    }
}
