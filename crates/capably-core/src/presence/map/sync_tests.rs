//! Syncs of the map (RTP18, RTP19).

use capably_protocol::{
    PresenceAction::{Absent, Enter, Leave, Present, Update},
    PresenceMessage,
};

use super::{
    PresenceMap,
    tests::{get, message},
};

const ALICE: (&str, &str) = ("c1", "alice");
const BOB: (&str, &str) = ("c2", "bob");
const CAROL: (&str, &str) = ("c3", "carol");

/// A map with these members.
fn with(members: &[(&str, &str)]) -> PresenceMap {
    let mut map = PresenceMap::default();
    for member in members {
        map.put(message(Enter, *member, &format!("{}:0:0", member.0), 100, member.1)).unwrap();
    }
    map
}

fn present(map: &PresenceMap) -> Vec<&str> {
    map.values().map(|member| member.client_id.as_deref().unwrap()).collect()
}

fn clients(left: &[PresenceMessage]) -> Vec<&str> {
    assert!(left.iter().all(|message| message.action == Some(Leave)));
    left.iter().map(|message| message.client_id.as_deref().unwrap()).collect()
}

// UTS: realtime/unit/RTP18a/startsync-sets-flag-0
// UTS: realtime/unit/RTP18b/endsync-clears-flag-0
#[test]
fn a_sync_is_under_way_from_start_to_end() {
    let mut map = PresenceMap::default();
    assert!(!map.is_syncing());
    map.start_sync();
    assert!(map.is_syncing());
    map.end_sync(0);
    assert!(!map.is_syncing());
}

// UTS: realtime/unit/RTP19/stale-members-leave-after-sync-0
// UTS: realtime/unit/RTP18c/single-message-sync-0
#[test]
fn a_member_that_the_sync_does_not_list_leaves() {
    let mut map = with(&[ALICE, BOB]);
    assert_eq!(present(&map), ["alice", "bob"]);
    map.start_sync();
    map.put(message(Present, ALICE, "c1:1:0", 200, ""));
    let left = map.end_sync(0);
    assert_eq!(clients(&left), ["bob"]);
    assert_eq!(present(&map), ["alice"]);
    assert_eq!(get(&map, BOB), None);
    assert!(!map.is_syncing());
}

// UTS: realtime/unit/RTP19/synth-leave-null-id-timestamp-1
#[test]
fn a_synthesized_leave_has_no_id_and_the_present_time() {
    let mut map = PresenceMap::default();
    let bob = message(Enter, BOB, "c2:0:0", 100, "bob-data");
    map.put(bob.clone());
    map.start_sync();
    let left = map.end_sync(1_700_000_000_000);
    let leave = PresenceMessage {
        id: None,
        action: Some(Leave),
        timestamp: Some(1_700_000_000_000),
        ..bob
    };
    assert_eq!(left, [leave]);
}

// UTS: realtime/unit/RTP19/updated-members-survive-sync-2
#[test]
fn a_member_that_is_updated_during_the_sync_stays() {
    let mut map = with(&[ALICE, BOB, CAROL]);
    map.start_sync();
    map.put(message(Present, ALICE, "c1:1:0", 200, ""));
    map.put(message(Update, BOB, "c2:1:0", 200, "new-data"));
    assert_eq!(clients(&map.end_sync(0)), ["carol"]);
    assert_eq!(present(&map), ["alice", "bob"]);
    assert_eq!(get(&map, BOB).unwrap().data.as_str(), Some("new-data"));
}

// UTS: realtime/unit/RTP18a/new-sync-discards-previous-1
#[test]
fn a_new_sync_replaces_the_one_under_way() {
    let mut map = with(&[ALICE, BOB]);
    map.start_sync();
    map.put(message(Present, ALICE, "c1:1:0", 200, ""));
    map.start_sync();
    map.put(message(Present, ALICE, "c1:2:0", 300, ""));
    map.put(message(Present, BOB, "c2:1:0", 300, ""));
    assert_eq!(map.end_sync(0), []);
    assert_eq!(present(&map), ["alice", "bob"]);
}

// Spec: RTP18a
#[test]
fn a_member_of_the_discarded_sync_alone_leaves() {
    let mut map = with(&[ALICE, BOB]);
    map.start_sync();
    map.put(message(Present, ALICE, "c1:1:0", 200, ""));
    map.start_sync();
    map.put(message(Present, BOB, "c2:1:0", 300, ""));
    assert_eq!(clients(&map.end_sync(0)), ["alice"]);
}

// UTS: realtime/unit/RTP19a/no-has-presence-clears-members-0
#[test]
fn an_empty_sync_removes_every_member() {
    let mut map = with(&[ALICE, BOB, CAROL]);
    map.start_sync();
    let left = map.end_sync(0);
    assert_eq!(clients(&left), ["alice", "bob", "carol"]);
    for leave in &left {
        assert_eq!((leave.id.as_ref(), leave.data.as_str()), (None, leave.client_id.as_deref()));
    }
    assert_eq!(map.values().count(), 0);
}

// UTS: realtime/unit/RTP2h2a/leave-during-sync-absent-cleanup-0
#[test]
fn a_member_that_left_during_the_sync_does_not_leave_again() {
    let mut map = with(&[ALICE, BOB]);
    map.start_sync();
    map.put(message(Present, ALICE, "c1:1:0", 200, ""));
    assert_eq!(map.remove(message(Leave, BOB, "c2:1:0", 200, "")), None);
    assert_eq!(get(&map, BOB).unwrap().action, Some(Absent));
    assert_eq!(map.end_sync(0), []);
    assert_eq!(get(&map, BOB), None);
    assert_eq!(present(&map), ["alice"]);
}

// Spec: RTP2h2a, RTP2c
#[test]
fn a_page_from_before_a_leave_does_not_restore_the_member() {
    let mut map = with(&[ALICE]);
    map.start_sync();
    map.remove(message(Leave, ALICE, "c1:2:0", 200, ""));
    assert_eq!(map.put(message(Present, ALICE, "c1:1:0", 100, "")), None);
    assert_eq!(map.end_sync(0), []);
    assert_eq!(present(&map), [""; 0]);
}

// UTS: realtime/unit/RTP19/empty-map-sync-no-leaves-3
#[test]
fn no_member_leaves_an_empty_map() {
    let mut map = PresenceMap::default();
    map.start_sync();
    map.put(message(Present, ALICE, "c1:0:0", 100, ""));
    assert_eq!(map.end_sync(0), []);
    assert_eq!(present(&map), ["alice"]);
}

// UTS: realtime/unit/RTP18/endsync-without-startsync-noop-0
#[test]
fn an_end_without_a_sync_changes_nothing() {
    let mut map = with(&[ALICE]);
    assert_eq!(map.end_sync(0), []);
    assert_eq!(present(&map), ["alice"]);
    assert!(!map.is_syncing());
}

// UTS: realtime/unit/RTP19/stale-sync-removes-from-residuals-4
#[test]
fn an_old_page_shows_that_the_member_is_still_present() {
    let mut map = PresenceMap::default();
    map.put(message(Enter, ALICE, "c1:5:0", 500, "original"));
    map.start_sync();
    assert_eq!(map.put(message(Present, ALICE, "c1:3:0", 300, "stale")), None);
    assert_eq!(map.end_sync(0), []);
    assert_eq!(present(&map), ["alice"]);
    assert_eq!(get(&map, ALICE).unwrap().data.as_str(), Some("original"));
}

// UTS: realtime/unit/RTP19/presence-echoes-then-sync-preserves-5
#[test]
fn a_sync_of_known_members_emits_nothing() {
    let users = [("c1", "user-0"), ("c1", "user-1"), ("c1", "user-2")];
    let of = |action, (number, user): (usize, &(&str, &str))| {
        message(action, *user, &format!("c1:{number}:0"), 100, &format!("data-{number}"))
    };
    let mut map = PresenceMap::default();
    for user in users.iter().enumerate() {
        map.put(of(Enter, user)).unwrap();
    }
    map.start_sync();
    for user in users.iter().enumerate() {
        assert_eq!(map.put(of(Present, user)), None);
    }
    assert_eq!(map.end_sync(0), []);
    assert_eq!(present(&map), ["user-0", "user-1", "user-2"]);
    for (number, user) in users.into_iter().enumerate() {
        let data = format!("data-{number}");
        assert_eq!(get(&map, user).unwrap().data.as_str(), Some(&*data));
    }
}

// UTS: realtime/unit/RTP19/new-member-during-sync-survives-6
#[test]
fn a_member_that_enters_during_the_sync_stays() {
    let mut map = with(&[ALICE]);
    map.start_sync();
    map.put(message(Present, ALICE, "c1:1:0", 200, ""));
    map.put(message(Enter, BOB, "c2:0:0", 200, ""));
    assert_eq!(map.end_sync(0), []);
    assert_eq!(present(&map), ["alice", "bob"]);
}
