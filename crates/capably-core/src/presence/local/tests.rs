//! The map by itself (RTP17).

use capably_protocol::{
    PresenceAction::{self, Enter, Leave, Present, Update},
    PresenceMessage,
};

use super::LocalMembers;

fn message(action: PresenceAction, client: &str, id: &str, data: &str) -> PresenceMessage {
    let connection = id.split_once(':').map_or("conn-1", |(connection, _)| connection);
    PresenceMessage {
        id: Some(id.into()),
        action: Some(action),
        client_id: Some(client.into()),
        connection_id: Some(connection.into()),
        data: data.into(),
        timestamp: Some(1000),
        ..PresenceMessage::default()
    }
}

/// A map after these messages.
fn with(messages: &[PresenceMessage]) -> LocalMembers {
    let mut map = LocalMembers::default();
    for message in messages {
        map.put(message.clone());
    }
    map
}

/// Each member's client, action and data.
fn members(map: &LocalMembers) -> Vec<(&str, PresenceAction, &str)> {
    map.iter()
        .map(|(_, member)| member)
        .map(|member| {
            let client = member.client_id.as_deref().unwrap();
            (client, member.action.unwrap(), member.data.as_str().unwrap())
        })
        .collect()
}

// UTS: realtime/unit/RTP17h/keyed-by-clientid-0
#[test]
fn a_client_is_one_member_whatever_its_connection() {
    let map = with(&[
        message(Enter, "user-1", "conn-A:0:0", "first"),
        message(Enter, "user-1", "conn-B:0:0", "second"),
    ]);
    assert_eq!(members(&map), [("user-1", Present, "second")]);
    assert_eq!(map.get("user-1").unwrap().connection_id.as_deref(), Some("conn-B"));
}

// UTS: realtime/unit/RTP17b/enter-adds-to-map-0
// UTS: realtime/unit/RTP17b/update-adds-to-map-1
// UTS: realtime/unit/RTP17b/present-adds-to-map-4
#[test]
fn enter_update_and_present_make_a_member() {
    for (action, data) in [(Enter, "hello"), (Update, "from-update"), (Present, "present")] {
        let map = with(&[message(action, "client-1", "conn-1:0:0", data)]);
        assert_eq!(members(&map), [("client-1", Present, data)]);
    }
}

// UTS: realtime/unit/RTP17b/enter-overwrites-enter-2
// UTS: realtime/unit/RTP17b/update-overwrites-enter-3
#[test]
fn the_newer_message_counts() {
    for action in [Enter, Update] {
        let map = with(&[
            message(Enter, "client-1", "conn-1:0:0", "first"),
            message(action, "client-1", "conn-1:1:0", "second"),
        ]);
        assert_eq!(members(&map), [("client-1", Present, "second")]);
    }
}

// Spec: RTP17b
#[test]
fn a_message_from_before_an_acknowledged_leave_does_not_come_back() {
    let mut map = LocalMembers::default();
    let sent = |map: &mut LocalMembers, message: PresenceMessage| {
        map.acknowledged(&message);
        match message.action {
            Some(Leave) => drop(map.remove(&message)),
            _ => map.put(message),
        }
    };
    sent(&mut map, message(Enter, "user-1", "conn-1:3:0", "gone"));
    sent(&mut map, message(Enter, "user-2", "conn-1:3:1", "stays"));
    sent(&mut map, message(Leave, "user-1", "conn-1:4:0", ""));
    map.put(message(Enter, "user-1", "conn-1:3:0", "gone"));
    map.put(message(Enter, "user-2", "conn-1:3:1", "stays"));
    assert_eq!(members(&map), [("user-2", Present, "stays")]);
    // Later messages count, and so do those of an earlier client on the connection, and of another connection.
    map.put(message(Present, "user-3", "conn-1:2:9", "earlier client"));
    map.put(message(Enter, "user-1", "conn-1:4:1", "back"));
    map.put(message(Enter, "user-4", "conn-2:0:0", "elsewhere"));
    let rest = [("user-3", Present, "earlier client"), ("user-4", Present, "elsewhere")];
    assert_eq!(
        members(&map),
        [[("user-1", Present, "back"), ("user-2", Present, "stays")], rest].concat()
    );
    // Serials begin again on another connection.
    sent(&mut map, message(Leave, "user-4", "conn-2:1:0", ""));
    map.put(message(Enter, "user-4", "conn-1:0:0", "of another connection"));
    assert_eq!(map.get("user-4").unwrap().connection_id.as_deref(), Some("conn-1"));
}

// Spec: RTP17
#[test]
fn an_older_message_does_not_count() {
    let mut map = with(&[
        message(Enter, "client-1", "conn-1:5:0", "newer"),
        message(Update, "client-1", "conn-1:4:0", "older"),
    ]);
    assert_eq!(members(&map), [("client-1", Present, "newer")]);
    assert!(!map.remove(&message(Leave, "client-1", "conn-1:4:1", "")));
    assert_eq!(members(&map), [("client-1", Present, "newer")]);
}

// UTS: realtime/unit/RTP17b/non-synthesized-leave-removes-5
#[test]
fn a_leave_of_its_connection_removes_a_member() {
    let mut map = with(&[message(Enter, "client-1", "conn-1:0:0", "")]);
    assert!(map.get("client-1").is_some());
    assert!(map.remove(&message(Leave, "client-1", "conn-1:1:0", "")));
    assert_eq!(map.get("client-1"), None);
    assert_eq!(members(&map), []);
}

// UTS: realtime/unit/RTP17b/synthesized-leave-ignored-6
#[test]
fn a_synthesized_leave_removes_no_member() {
    let mut map = with(&[message(Enter, "client-1", "conn-1:0:0", "entered")]);
    assert!(!map.remove(&message(Leave, "client-1", "synthesized-leave-id", "")));
    assert_eq!(members(&map), [("client-1", Present, "entered")]);
}

// UTS: realtime/unit/RTP17/multiple-clientids-coexist-0
// UTS: realtime/unit/RTP17/remove-one-of-multiple-1
// UTS: realtime/unit/RTP17/clear-resets-state-2
#[test]
fn one_connection_may_have_many_members() {
    let mut map = with(&[
        message(Enter, "alice", "conn-1:0:0", "alice-data"),
        message(Enter, "bob", "conn-1:0:1", "bob-data"),
        message(Enter, "carol", "conn-1:0:2", "carol-data"),
    ]);
    let [alice, bob, carol] = [
        ("alice", Present, "alice-data"),
        ("bob", Present, "bob-data"),
        ("carol", Present, "carol-data"),
    ];
    assert_eq!(members(&map), [alice, bob, carol]);
    assert!(map.remove(&message(Leave, "alice", "conn-1:1:0", "")));
    assert_eq!(members(&map), [bob, carol]);
    map.clear();
    assert_eq!(members(&map), []);
    assert_eq!((map.get("bob"), map.get("carol")), (None, None));
}

// UTS: realtime/unit/RTP17/get-null-unknown-clientid-3
// UTS: realtime/unit/RTP17/remove-unknown-noop-4
#[test]
fn an_unknown_member_is_neither_found_nor_removed() {
    let mut map = LocalMembers::default();
    assert_eq!(map.get("nonexistent"), None);
    map.put(message(Enter, "alice", "conn-1:0:0", ""));
    assert!(!map.remove(&message(Leave, "nonexistent", "conn-1:1:0", "")));
    assert_eq!(members(&map), [("alice", Present, "")]);
}
