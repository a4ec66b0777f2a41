//! The map by itself (RTP2).

use capably_protocol::{
    PresenceAction::{self, Absent, Enter, Leave, Present, Update},
    PresenceMessage,
};

use super::{MemberKey, PresenceMap};

/// A message of `client` on the connection `connection`.
pub(super) fn message(
    action: PresenceAction,
    (connection, client): (&str, &str),
    id: &str,
    timestamp: i64,
    data: &str,
) -> PresenceMessage {
    PresenceMessage {
        id: Some(id.into()),
        action: Some(action),
        client_id: Some(client.into()),
        connection_id: Some(connection.into()),
        data: data.into(),
        timestamp: Some(timestamp),
        ..PresenceMessage::default()
    }
}

/// The stored data of a member.
pub(super) fn get<'a>(
    map: &'a PresenceMap,
    (connection, client): (&str, &str),
) -> Option<&'a PresenceMessage> {
    let key = MemberKey { connection_id: connection.into(), client_id: client.into() };
    map.members.get(&key).map(|member| &member.message)
}

fn data<'a>(map: &'a PresenceMap, key: (&str, &str)) -> Option<&'a str> {
    get(map, key)?.data.as_str()
}

const CLIENT: (&str, &str) = ("conn-1", "client-1");
const ALICE: (&str, &str) = ("c1", "alice");
const BOB: (&str, &str) = ("c2", "bob");

fn client(action: PresenceAction, id: &str, timestamp: i64, data: &str) -> PresenceMessage {
    message(action, CLIENT, id, timestamp, data)
}

fn with(first: PresenceMessage) -> PresenceMap {
    let mut map = PresenceMap::default();
    assert!(map.put(first).is_some());
    map
}

// UTS: realtime/unit/RTP2/basic-put-and-get-0
#[test]
fn an_enter_adds_a_member() {
    let map = with(client(Enter, "conn-1:0:0", 1000, ""));
    let member = get(&map, CLIENT).unwrap();
    assert_eq!(member.client_id.as_deref(), Some("client-1"));
    assert_eq!(member.connection_id.as_deref(), Some("conn-1"));
}

// UTS: realtime/unit/RTP2d2/enter-stored-as-present-0
// UTS: realtime/unit/RTP2d2/update-stored-as-present-1
// UTS: realtime/unit/RTP2d2/present-stored-as-present-2
// Spec: RTP2d
#[test]
fn members_are_stored_as_present() {
    let mut map = with(client(Enter, "conn-1:0:0", 1000, "entered"));
    let action = |map: &PresenceMap| get(map, CLIENT).unwrap().action;
    assert_eq!((action(&map), data(&map, CLIENT)), (Some(Present), Some("entered")));
    map.put(client(Update, "conn-1:1:0", 2000, "updated"));
    assert_eq!((action(&map), data(&map, CLIENT)), (Some(Present), Some("updated")));
    let map = with(client(Present, "conn-1:0:0", 1000, ""));
    assert_eq!(action(&map), Some(Present));
}

// UTS: realtime/unit/RTP2d1/put-returns-original-action-0
#[test]
fn subscribers_receive_the_original_action() {
    let mut map = PresenceMap::default();
    let enter = client(Enter, "conn-1:0:0", 1000, "");
    assert_eq!(map.put(enter.clone()), Some(enter));
    let update = client(Update, "conn-1:1:0", 2000, "updated");
    assert_eq!(map.put(update.clone()), Some(update));
}

// UTS: realtime/unit/RTP2h1/leave-outside-sync-removes-0
// Spec: RTP2h, RTP2h1a, RTP2h1b
#[test]
fn a_leave_removes_the_member() {
    let mut map = with(client(Enter, "conn-1:0:0", 1000, ""));
    let leave = client(Leave, "conn-1:1:0", 2000, "");
    assert_eq!(map.remove(leave.clone()), Some(leave));
    assert_eq!(get(&map, CLIENT), None);
    assert_eq!(map.values().count(), 0);
}

// UTS: realtime/unit/RTP2h1/leave-nonexistent-returns-null-1
#[test]
fn a_leave_of_no_member_emits_nothing() {
    let mut map = PresenceMap::default();
    assert_eq!(map.remove(message(Leave, ("conn-x", "unknown"), "conn-x:0:0", 1000, "")), None);
}

// UTS: realtime/unit/RTP2h2a/leave-during-sync-stores-absent-0
// Spec: RTP2h2
#[test]
fn a_member_that_leaves_during_a_sync_is_absent() {
    let mut map = with(client(Enter, "conn-1:0:0", 1000, ""));
    map.start_sync();
    assert_eq!(map.remove(client(Leave, "conn-1:1:0", 2000, "")), None);
    assert_eq!(get(&map, CLIENT).unwrap().action, Some(Absent));
}

// UTS: realtime/unit/RTP2h2b/absent-deleted-on-endsync-0
#[test]
fn an_absent_member_is_removed_when_the_sync_ends() {
    let mut map = with(message(Enter, ALICE, "c1:0:0", 100, ""));
    map.put(message(Enter, BOB, "c2:0:0", 100, ""));
    map.start_sync();
    map.put(message(Present, ALICE, "c1:1:0", 200, ""));
    map.remove(message(Leave, BOB, "c2:1:0", 200, ""));
    assert_eq!(map.end_sync(0), []);
    assert_eq!(get(&map, BOB), None);
    assert_eq!(get(&map, ALICE).unwrap().action, Some(Present));
    assert_eq!(map.values().count(), 1);
}

// UTS: realtime/unit/RTP2b2/newness-by-msgserial-index-0
// Spec: RTP2b
#[test]
fn an_older_serial_emits_nothing() {
    let mut map = with(client(Enter, "conn-1:5:0", 1000, "first"));
    assert_eq!(map.put(client(Update, "conn-1:3:0", 2000, "stale")), None);
    assert_eq!(data(&map, CLIENT), Some("first"));
    assert!(map.put(client(Update, "conn-1:7:0", 500, "newer")).is_some());
    assert_eq!(data(&map, CLIENT), Some("newer"));
}

// UTS: realtime/unit/RTP2b2/newness-by-index-same-serial-1
#[test]
fn an_older_index_emits_nothing() {
    let mut map = with(client(Enter, "conn-1:5:2", 1000, "index-2"));
    assert_eq!(map.put(client(Update, "conn-1:5:1", 2000, "index-1")), None);
    assert!(map.put(client(Update, "conn-1:5:5", 500, "index-5")).is_some());
    assert_eq!(data(&map, CLIENT), Some("index-5"));
}

// UTS: realtime/unit/RTP2b1/newness-by-timestamp-0
#[test]
fn a_synthesized_leave_is_compared_by_its_time() {
    let mut map = with(client(Enter, "conn-1:0:0", 1000, "entered"));
    let told = map.remove(client(Leave, "synthesized-leave-id", 2000, "")).unwrap();
    assert_eq!(told.action, Some(Leave));
    assert_eq!(get(&map, CLIENT), None);
}

// UTS: realtime/unit/RTP2b1/older-synth-leave-rejected-1
#[test]
fn an_older_synthesized_leave_emits_nothing() {
    let mut map = with(client(Enter, "conn-1:0:0", 5000, "entered"));
    assert_eq!(map.remove(client(Leave, "synthesized-leave-id", 3000, "")), None);
    assert_eq!(data(&map, CLIENT), Some("entered"));
}

// UTS: realtime/unit/RTP2b1a/equal-timestamps-incoming-wins-0
#[test]
fn of_equal_times_the_later_arrival_counts() {
    let mut map = with(client(Enter, "synthesized-id-1", 1000, "first"));
    assert!(map.put(client(Update, "synthesized-id-2", 1000, "second")).is_some());
    assert_eq!(data(&map, CLIENT), Some("second"));
}

// UTS: realtime/unit/RTP2c/sync-uses-same-newness-0
#[test]
fn a_message_of_a_sync_is_compared_like_any_other() {
    let mut map = PresenceMap::default();
    map.start_sync();
    assert!(map.put(client(Present, "conn-1:5:0", 1000, "sync-first")).is_some());
    assert_eq!(map.put(client(Present, "conn-1:3:0", 2000, "sync-stale")), None);
    assert!(map.put(client(Present, "conn-1:8:0", 500, "sync-newer")).is_some());
    assert_eq!(data(&map, CLIENT), Some("sync-newer"));
}

// UTS: realtime/unit/RTP2/multiple-members-coexist-1
#[test]
fn a_client_of_two_connections_is_two_members() {
    let mut map = with(message(Enter, ALICE, "c1:0:0", 100, ""));
    map.put(message(Enter, BOB, "c2:0:0", 100, ""));
    map.put(message(Enter, ("c3", "alice"), "c3:0:0", 100, ""));
    assert_eq!(map.values().count(), 3);
    for key in [ALICE, BOB, ("c3", "alice")] {
        assert!(get(&map, key).is_some(), "{key:?}");
    }
}

// UTS: realtime/unit/RTP2/values-excludes-absent-2
#[test]
fn an_absent_member_is_not_listed() {
    let mut map = with(message(Enter, ALICE, "c1:0:0", 100, ""));
    map.put(message(Enter, BOB, "c2:0:0", 100, ""));
    map.start_sync();
    map.remove(message(Leave, BOB, "c2:1:0", 200, ""));
    assert_eq!(get(&map, BOB).unwrap().action, Some(Absent));
    let present: Vec<_> = map.values().map(|member| member.client_id.as_deref()).collect();
    assert_eq!(present, [Some("alice")]);
}

// UTS: realtime/unit/RTP2/clear-resets-state-3
#[test]
fn clearing_removes_members_and_ends_the_sync() {
    let mut map = with(message(Enter, ALICE, "c1:0:0", 100, ""));
    map.start_sync();
    map.clear();
    assert_eq!(map.values().count(), 0);
    assert_eq!(get(&map, ALICE), None);
    assert!(!map.is_syncing());
}

#[test]
fn a_message_of_no_client_or_no_connection_is_of_no_member() {
    let mut map = PresenceMap::default();
    let whole = client(Enter, "conn-1:0:0", 1, "");
    let halves = [
        PresenceMessage { client_id: None, ..whole.clone() },
        PresenceMessage { connection_id: None, ..whole },
    ];
    for half in halves {
        assert_eq!(map.put(half.clone()), None);
        assert_eq!(map.remove(half), None);
    }
    assert_eq!(map.values().count(), 0);
}
