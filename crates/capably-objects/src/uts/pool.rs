//! `objects_pool.md`

use std::mem;

use capably_protocol::object::{
    MapCreate, ObjectOperation, ObjectOperationAction as Action, ObjectsCounter,
};
use serde_json::json;

use super::{
    references::{of, parents},
    *,
};
use crate::{PublishId, SyncState, ValueRef};

const COUNTER: &str = "counter:abc@1000";

/// The objects of a channel, and the changes of the root.
struct Channel {
    objects: Objects,
    changes: Vec<(Update, Option<OperationMessage>)>,
}

impl Channel {
    fn new() -> Self {
        let mut objects = Objects::new("test");
        objects.subscribe_object(SUBSCRIPTION, &"root".into()).expect("the root");
        Self { objects, changes: Vec::new() }
    }

    /// The channel was attached, and has objects.
    fn attached() -> Self {
        let mut channel = Self::new();
        channel.attach(true);
        channel
    }

    /// In sync, with these states.
    fn synced(states: Vec<ObjectMessage>) -> Self {
        let mut channel = Self::new();
        channel.sync("setup:", states);
        channel.changes.clear();
        channel
    }

    fn attach(&mut self, has_objects: bool) {
        let mut events = Vec::new();
        self.objects.attached(has_objects, NOW, &mut events);
        self.changes.extend(changes(events));
    }

    fn sync(&mut self, serial: &str, states: Vec<ObjectMessage>) {
        let mut events = Vec::new();
        self.objects.sync_frame(Some(serial), states, NOW, &mut events);
        self.changes.extend(changes(events));
    }

    fn receive(&mut self, message: ObjectMessage) {
        let mut events = Vec::new();
        self.objects.object_frame([message], NOW, &mut events);
        self.changes.extend(changes(events));
    }

    /// Applies a publish on its ACK.
    fn acknowledge(&mut self, message: ObjectMessage) {
        let ObjectMessage { serial, site_code, .. } = &message;
        let (serial, site) = (serial.clone(), site_code.clone().expect("a site"));
        let mut events = Vec::new();
        let publish = PublishId(1);
        let objects = &mut self.objects;
        objects.acknowledged(publish, vec![message], &[serial], Some(&site), NOW, &mut events);
    }

    fn has(&self, id: &str) -> bool {
        self.objects.pool().object(id).is_some()
    }

    fn count(&self, id: &str) -> f64 {
        count(self.objects.pool(), id)
    }

    fn root(&self) -> serde_json::Value {
        json_of(self.objects.pool(), "root")
    }

    fn state(&self) -> SyncState {
        self.objects.state()
    }
}

fn empty_root() -> ObjectMessage {
    map_state("root", [])
}

/// The state of a counter without its create operation.
fn plain_counter(id: &str, count: f64) -> ObjectMessage {
    state(id, |state| state.counter = Some(ObjectsCounter { count: Some(count) }))
}

fn inc(number: f64, serial: &str) -> ObjectMessage {
    site1(counter_inc(COUNTER, number, serial))
}

// UTS: objects/unit/RTO3/pool-init-root-0
#[test]
fn a_pool_has_a_root() {
    let channel = Channel::new();
    assert!(matches!(channel.objects.pool().object("root"), Some(ValueRef::Map(_))));
    assert_eq!(channel.root(), json!({}));
    assert_eq!(channel.objects.pool().root().id(), "root");
}

// UTS: objects/unit/RTO4/attached-has-objects-syncing-0
#[test]
fn attached_begins_a_sync() {
    assert_eq!(Channel::attached().state(), SyncState::Syncing);
}

// UTS: objects/unit/RTO4b/attached-no-objects-synced-0
#[test]
fn attached_without_objects_ends_the_sync() {
    let root = map_state("root", [("name", entry(string("Alice"), "01"))]);
    let mut channel = Channel::synced(vec![root, plain_counter(COUNTER, 0.0)]);
    channel.attach(false);
    assert_eq!(channel.state(), SyncState::Synced);
    assert!(!channel.has(COUNTER) && channel.has("root"));
    assert_eq!(channel.root(), json!({}));
    let update = Update { object_id: "root".into(), change: keys(["-name"]), tombstone: false };
    assert_eq!(channel.changes, [(update, None)]);
}

// UTS: objects/unit/RTO5/sync-complete-sequence-0
#[test]
fn a_page_without_a_cursor_ends_the_sync() {
    let mut channel = Channel::attached();
    let root = map_state("root", [("name", entry(string("Alice"), "t:0"))]);
    channel.sync("sync1:", vec![root, counter_state(COUNTER, 42.0)]);
    assert_eq!(channel.state(), SyncState::Synced);
    assert_eq!((channel.root(), channel.count(COUNTER)), (json!({ "name": "Alice" }), 42.0));
}

// UTS: objects/unit/RTO5a2/new-sequence-discards-old-0
// UTS: objects/unit/RTO4-RTO5/attached-during-syncing-resets-0
#[test]
fn another_sequence_forgets_the_pages_before_it() {
    for attached_again in [false, true] {
        let mut channel = Channel::attached();
        channel.sync("seq1:more", vec![plain_counter("counter:old@1000", 10.0)]);
        assert_eq!(channel.state(), SyncState::Syncing);
        if attached_again {
            channel.attach(true);
        }
        channel.sync("seq2:", vec![empty_root(), plain_counter("counter:new@1000", 99.0)]);
        assert_eq!(channel.state(), SyncState::Synced);
        assert!(!channel.has("counter:old@1000"));
        assert_eq!(channel.count("counter:new@1000"), 99.0);
    }
}

// UTS: objects/unit/RTO5f2a/partial-map-merge-0
#[test]
fn parts_of_a_map_are_merged() {
    let mut channel = Channel::attached();
    let first = state("root", |state| {
        state.map = map_of([("name", entry(string("Alice"), "t:0"))]);
    });
    channel.sync("sync1:more", vec![first]);
    channel.sync("sync1:", vec![map_state("root", [("age", entry(number(30.0), "t:0"))])]);
    assert_eq!(channel.root(), json!({ "age": 30, "name": "Alice" }));
}

// UTS: objects/unit/RTO5f2b/partial-counter-error-0
#[test]
fn a_further_part_of_a_counter_is_skipped() {
    let mut channel = Channel::attached();
    channel.sync("sync1:more", vec![plain_counter(COUNTER, 10.0)]);
    channel.sync("sync1:", vec![empty_root(), plain_counter(COUNTER, 5.0)]);
    assert_eq!(channel.count(COUNTER), 10.0);
}

// UTS: objects/unit/RTO5c2/remove-absent-objects-0
#[test]
fn objects_that_a_sync_lacks_are_removed() {
    let mut channel = Channel::synced(vec![plain_counter("counter:old@1000", 99.0)]);
    channel.attach(true);
    assert!(channel.has("counter:old@1000"));
    channel.sync("sync1:", vec![empty_root()]);
    assert!(!channel.has("counter:old@1000") && channel.has("root"));
}

// UTS: objects/unit/RTO5c9/clear-applied-on-ack-serials-0
#[test]
fn a_sync_forgets_the_serials_that_were_applied_on_an_ack() {
    let mut channel = Channel::synced(vec![empty_root()]);
    channel.acknowledge(inc(1.0, "serial-1"));
    channel.acknowledge(inc(1.0, "serial-2"));
    channel.attach(true);
    channel.sync("sync1:", vec![empty_root()]);
    // An operation whose serial was still known would count as an echo.
    channel.receive(inc(5.0, "serial-1"));
    channel.receive(inc(5.0, "serial-2"));
    assert_eq!(channel.count(COUNTER), 10.0);
}

// UTS: objects/unit/RTO8a/buffer-during-syncing-0
// UTS: objects/unit/RTO5c6/apply-buffered-on-sync-0
#[test]
fn operations_during_a_sync_wait_for_its_end() {
    let mut channel = Channel::attached();
    channel.receive(inc(10.0, "02"));
    assert_eq!(channel.state(), SyncState::Syncing);
    assert!(!channel.has(COUNTER));
    channel.sync("sync1:", vec![empty_root(), counter_state(COUNTER, 100.0)]);
    assert_eq!(channel.count(COUNTER), 110.0);
    // The operation waits no longer.
    channel.sync("sync2:", vec![empty_root(), counter_state(COUNTER, 100.0)]);
    assert_eq!(channel.count(COUNTER), 100.0);
}

// UTS: objects/unit/RTO4d/attached-clears-buffer-0
#[test]
fn attached_forgets_the_operations_before_it() {
    let mut channel = Channel::attached();
    channel.receive(inc(5.0, "01"));
    channel.attach(true);
    channel.sync("sync2:", vec![empty_root(), counter_state(COUNTER, 100.0)]);
    assert_eq!(channel.count(COUNTER), 100.0);
}

// UTS: objects/unit/RTO5-RTO7/new-sync-keeps-buffer-0
#[test]
fn another_sequence_keeps_the_operations() {
    let mut channel = Channel::attached();
    channel.receive(inc(5.0, "01"));
    channel.sync("seq2:", vec![empty_root(), counter_state(COUNTER, 100.0)]);
    assert_eq!(channel.state(), SyncState::Synced);
    assert_eq!(channel.count(COUNTER), 105.0);
}

// UTS: objects/unit/RTO7-RTO8/buffer-without-attached-0
#[test]
fn operations_before_attached_wait_too() {
    let mut channel = Channel::new();
    assert_eq!(channel.state(), SyncState::Initialized);
    channel.receive(inc(5.0, "01"));
    assert!(!channel.has(COUNTER));
    channel.sync("sync1:", vec![empty_root(), counter_state(COUNTER, 100.0)]);
    assert_eq!(channel.count(COUNTER), 105.0);
}

// UTS: objects/unit/RTO9a1/null-operation-warning-0
// UTS: objects/unit/RTO9a2b/unsupported-action-warning-0
#[test]
fn messages_without_a_known_operation_are_skipped() {
    let nothing = ObjectMessage {
        serial: Some("01".into()),
        site_code: Some("site1".into()),
        ..ObjectMessage::default()
    };
    for message in [nothing, site1(operation(Action::Unknown(99), COUNTER, "01", |_| {}))] {
        let mut channel = Channel::synced(vec![empty_root()]);
        channel.receive(message);
        assert_eq!(channel.objects.pool().len(), 1);
    }
}

// UTS: objects/unit/RTO9a3/dedup-applied-on-ack-0
#[test]
fn an_echo_of_an_applied_operation_is_skipped_once() {
    let mut channel = Channel::synced(vec![plain_counter(COUNTER, 5.0)]);
    channel.acknowledge(inc(5.0, "echo-serial-1"));
    assert_eq!(channel.count(COUNTER), 10.0);
    channel.receive(inc(5.0, "echo-serial-1"));
    assert_eq!(channel.count(COUNTER), 10.0);
    // Its serial is known no longer.
    channel.receive(inc(5.0, "echo-serial-1"));
    assert_eq!(channel.count(COUNTER), 15.0);
}

// UTS: objects/unit/RTO9a2a4/local-source-adds-serial-0
#[test]
fn an_operation_that_is_applied_on_its_ack_leaves_its_serial() {
    let mut channel = Channel::synced(vec![plain_counter(COUNTER, 0.0)]);
    let operation = from_site("test-site", counter_inc(COUNTER, 5.0, "local-serial-1"));
    channel.acknowledge(operation.clone());
    assert_eq!(channel.count(COUNTER), 5.0);
    channel.receive(operation);
    assert_eq!(channel.count(COUNTER), 5.0, "the echo of the serial is skipped");
}

// UTS: objects/unit/RTO6/zero-value-from-prefix-0
#[test]
fn an_operation_makes_its_object_by_the_type_in_the_id() {
    let (counter, map) = ("counter:new@2000", "map:new@2000");
    let mut channel = Channel::synced(vec![empty_root()]);
    channel.receive(site1(counter_inc(counter, 5.0, "01")));
    channel.receive(site1(map_set(map, "key", string("val"), "01")));
    let pool = channel.objects.pool();
    assert!(matches!(pool.object(counter), Some(ValueRef::Counter(_))));
    assert!(matches!(pool.object(map), Some(ValueRef::Map(_))));
    assert_eq!((count(pool, counter), json_of(pool, map)), (5.0, json!({ "key": "val" })));
}

// UTS: objects/unit/RTO5d/null-object-skipped-0
// UTS: objects/unit/RTO5f3/unsupported-type-skipped-0
#[test]
fn items_without_a_known_object_are_skipped() {
    let unknown = "unknown:xyz@1000";
    let no_type = state(unknown, |state| state.site_timeserials.clear());
    for states in [vec![ObjectMessage::default(), empty_root()], vec![empty_root(), no_type]] {
        let mut channel = Channel::attached();
        channel.sync("sync1:", states);
        assert_eq!(channel.state(), SyncState::Synced);
        assert_eq!((channel.objects.pool().len(), channel.has(unknown)), (1, false));
    }
}

// UTS: objects/unit/RTO5e/object-sync-transitions-syncing-0
#[test]
fn a_page_begins_a_sync() {
    let mut channel = Channel::new();
    channel.sync("sync1:more", vec![state("root", |state| state.map = map_of([]))]);
    assert_eq!(channel.state(), SyncState::Syncing);
}

// UTS: objects/unit/RTO5c7/sync-emits-updates-0
#[test]
fn a_sync_reports_what_it_changed() {
    let root = |text, serial| map_state("root", [("name", entry(string(text), serial))]);
    let mut channel = Channel::synced(vec![root("Old", "01")]);
    channel.attach(true);
    assert_eq!(mem::take(&mut channel.changes), []);
    channel.sync("sync1:", vec![root("New", "t:0")]);
    let update = Update { object_id: "root".into(), change: keys(["+name"]), tombstone: false };
    assert_eq!(channel.changes, [(update, None)]);
}

// UTS: objects/unit/RTO5c-RTLM23/sync-clear-timeserial-hides-create-entries-0
#[test]
fn initial_entries_before_a_clear_are_hidden() {
    let mut channel = Channel::attached();
    let root = state("root", |state| {
        state.map = map_of([]).map(|map| ObjectsMap { clear_timeserial: Some("05".into()), ..map });
        let entries = entries([
            ("old_key", entry(string("old"), "03")),
            ("new_key", entry(string("new"), "07")),
        ]);
        state.create_op = Some(ObjectOperation {
            action: Some(Action::MapCreate),
            object_id: Some("root".into()),
            map_create: Some(MapCreate { entries, ..MapCreate::default() }),
            ..ObjectOperation::default()
        });
    });
    channel.sync("sync1:", vec![root]);
    assert_eq!(channel.state(), SyncState::Synced);
    assert_eq!(channel.root(), json!({ "new_key": "new" }));
}

// UTS: objects/unit/RTO5c10/sync-rebuilds-parent-refs-0
#[test]
fn a_sync_records_the_parents() {
    let (score, profile, nested) =
        ("counter:score@1000", "map:profile@1000", "counter:nested@1000");
    let mut channel = Channel::attached();
    channel.sync(
        "sync1:",
        vec![
            map_state(
                "root",
                [
                    ("score", reference(score, "t:0")),
                    ("profile", reference(profile, "t:0")),
                    ("name", entry(string("Alice"), "t:0")),
                ],
            ),
            counter_state(score, 100.0),
            map_state(profile, [("nested_counter", reference(nested, "t:0"))]),
            counter_state(nested, 5.0),
        ],
    );
    let parents = |id| parents(&channel.objects, id);
    assert_eq!(parents("root"), []);
    assert_eq!(parents(score), of([("root", "score")]));
    assert_eq!(parents(profile), of([("root", "profile")]));
    assert_eq!(parents(nested), of([(profile, "nested_counter")]));
}

// UTS: objects/unit/RTO5c10/resync-rebuilds-parent-refs-0
#[test]
fn another_sync_records_the_new_parents() {
    let wrapper = "map:wrapper@1000";
    let mut channel = Channel::attached();
    let root = map_state("root", [("counter_key", reference(COUNTER, "t:0"))]);
    channel.sync("sync1:", vec![root, counter_state(COUNTER, 10.0)]);
    assert_eq!(parents(&channel.objects, COUNTER), of([("root", "counter_key")]));
    channel.attach(true);
    channel.sync(
        "sync2:",
        vec![
            map_state("root", [("wrapper", reference(wrapper, "t:1"))]),
            map_state(wrapper, [("moved_counter", reference(COUNTER, "t:1"))]),
            counter_state(COUNTER, 20.0),
        ],
    );
    assert_eq!(channel.state(), SyncState::Synced);
    assert_eq!(parents(&channel.objects, "root"), []);
    assert_eq!(parents(&channel.objects, wrapper), of([("root", "wrapper")]));
    assert_eq!(parents(&channel.objects, COUNTER), of([(wrapper, "moved_counter")]));
}

// UTS: objects/unit/RTO5c10/empty-sync-parent-refs-0
#[test]
fn an_empty_sync_leaves_the_root_without_parents() {
    let child = "counter:child@1000";
    let mut channel = Channel::attached();
    let root = map_state("root", [("child", reference(child, "t:0"))]);
    channel.sync("sync1:", vec![root, counter_state(child, 1.0)]);
    assert_eq!(parents(&channel.objects, child), of([("root", "child")]));
    channel.attach(false);
    assert_eq!(channel.state(), SyncState::Synced);
    assert!(!channel.has(child) && channel.has("root"));
    assert_eq!(channel.root(), json!({}));
    assert_eq!(parents(&channel.objects, "root"), []);
}
