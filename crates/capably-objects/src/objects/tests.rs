use capably_protocol::object::{ObjectData, ObjectOperationAction as Action};
use serde_json::json;

use super::*;
use crate::{Change, test_pool::*};

const SCORE: &str = "counter:score@1000";
const PUBLISH: PublishId = PublishId(7);
const SYNCING: ObjectsEvent = ObjectsEvent::Sync(SyncState::Syncing);
const SYNCED: ObjectsEvent = ObjectsEvent::Sync(SyncState::Synced);

/// The objects of a channel, and the events that they have left.
struct Driver {
    objects: Objects,
    events: Vec<ObjectsEvent>,
}

impl Driver {
    fn new() -> Self {
        Self { objects: Objects::new("test"), events: Vec::new() }
    }

    /// With the standard tree.
    fn synced() -> Self {
        let mut driver = Self::new();
        driver.attached(true);
        driver.sync("sync1:", standard_states());
        driver.events.clear();
        driver
    }

    fn attached(&mut self, has_objects: bool) {
        self.objects.attached(has_objects, NOW, &mut self.events);
    }

    fn sync(&mut self, serial: &str, states: Vec<ObjectMessage>) {
        self.objects.sync_frame(Some(serial), states, NOW, &mut self.events);
    }

    fn receive(&mut self, message: ObjectMessage) {
        self.objects.object_frame([message], NOW, &mut self.events);
    }

    /// The ACK of a publish that increments the score by 10.
    fn ack(&mut self, serials: &[Option<Str>], site: Option<&str>) {
        let messages = vec![crate::increment(SCORE, 10.0).expect("a number")];
        let site = site.map(Str::from);
        self.objects.acknowledged(PUBLISH, messages, serials, site.as_ref(), NOW, &mut self.events);
    }

    fn acked(&mut self, serial: &str) {
        self.ack(&[Some(serial.into())], Some("own"));
    }

    fn score(&self) -> f64 {
        count(self.objects.pool(), SCORE)
    }

    fn events(&mut self) -> Vec<ObjectsEvent> {
        std::mem::take(&mut self.events)
    }
}

// Spec: RTO4, RTO4a, RTO4c, RTO17, RTO17a, RTO17a1, RTO17a2, RTO17a3, RTO17b, RTO18b, RTO18b1, RTO18b2, RTO5, RTO5a, RTO5a1, RTO5a3, RTO5a4, RTO5c, RTO5c8, RTO5c3, RTO5c4
#[test]
fn a_sync_follows_when_the_channel_has_objects() {
    let mut driver = Driver::new();
    assert_eq!(driver.objects.state(), SyncState::Initialized);
    driver.attached(true);
    let mut states = standard_states();
    driver.sync("sync1:more", states.split_off(2));
    assert_eq!((driver.objects.state(), driver.events()), (SyncState::Syncing, vec![SYNCING]));
    assert!(driver.objects.pool().root().is_empty());
    driver.sync("sync1:", states);
    assert_eq!((driver.objects.state(), driver.events()), (SyncState::Synced, vec![SYNCED]));
    assert_eq!(driver.objects.pool().len(), 5);
    // The sequence is forgotten with its states: the same id begins another sync.
    driver.sync("sync1:", vec![counter_state(SCORE, 1.0)]);
    assert_eq!((driver.objects.pool().len(), driver.events()), (2, vec![SYNCING, SYNCED]));
}

// Spec: RTO4b, RTO4b1, RTO4b2, RTO4b2a, RTO4b3, RTO4b4
#[test]
fn a_channel_without_objects_is_in_sync_at_once() {
    let mut driver = Driver::synced();
    driver.objects.subscribe_object(SubscriptionId(1), &"root".into()).expect("the root");
    driver.attached(true);
    driver.sync("sync2:more", vec![counter_state("counter:part@1", 1.0)]);
    driver.events.clear();
    driver.attached(false);
    let events = driver.events();
    let [ObjectsEvent::ObjectChanged { update, message: None, .. }, SYNCED] = &events[..] else {
        panic!("not a change of the root: {events:?}");
    };
    assert_eq!(
        update.change,
        keys(["-active", "-age", "-avatar", "-data", "-name", "-profile", "-score"])
    );
    assert_eq!(driver.objects.pool().len(), 1);
    driver.attached(true);
    driver.sync("sync2:", vec![]);
    assert!(driver.objects.pool().object("counter:part@1").is_none(), "the part was forgotten");
}

// Spec: RTO5a2, RTO5a2a, RTO5a5, RTO5e
#[test]
fn another_sequence_replaces_the_sync_under_way() {
    for last in [Some("sync2:"), None, Some("nonsense")] {
        let mut driver = Driver::synced();
        driver.sync("sync1:more", vec![counter_state("counter:old@1", 1.0)]);
        assert_eq!(driver.events(), [SYNCING]);
        let states = [counter_state("counter:new@1", 2.0)];
        driver.objects.sync_frame(last, states, NOW, &mut driver.events);
        assert_eq!(driver.events(), [SYNCED]);
        let pool = driver.objects.pool();
        assert!(pool.object("counter:old@1").is_none() && pool.object("counter:new@1").is_some());
    }
}

// Spec: RTO5f, RTO5f1, RTO5f2, RTO5f2a, RTO5f2a1, RTO5f2a2, RTO5f2b, RTO5f3, RTO5d
#[test]
fn the_parts_of_a_map_are_merged() {
    let mut driver = Driver::new();
    let part = |key: &str, value| map_state("map:big@1", [(key, entry(number(value), "t:0"))]);
    driver.sync("sync1:1", vec![part("a", 1.0), counter_state(SCORE, 5.0), part("b", 2.0)]);
    driver.sync(
        "sync1:2",
        vec![part("c", 3.0), ObjectMessage::default(), state("map:none@1", |_| {})],
    );
    driver.sync("sync1:2b", vec![map_state("map:none@1", [("late", entry(number(1.0), "t:0"))])]);
    driver.sync("sync1:3", vec![counter_state(SCORE, 9.0), map_state(SCORE, [])]);
    driver.sync("sync1:4", vec![map_state("map:dead@1", [("x", entry(number(1.0), "t:0"))])]);
    let dead = edit(map_state("map:dead@1", []), |state| state.tombstone = Some(true));
    driver.sync("sync1:", vec![ObjectMessage { serial_timestamp: Some(3), ..dead }]);
    let pool = driver.objects.pool();
    assert_eq!(json_of(pool, "map:big@1"), json!({ "a": 1, "b": 2, "c": 3 }));
    assert_eq!(driver.score(), 5.0);
    assert_eq!(pool.tombstoned_at("map:dead@1"), Some(3));
    assert_eq!(json_of(pool, "map:none@1"), json!({ "late": 1 }), "its first part was of no type");
}

// Spec: RTO7, RTO7a, RTO7a1, RTO8, RTO8a, RTO8b, RTO5c6, RTO5c5
#[test]
fn operations_during_a_sync_are_applied_after_it() {
    let mut driver = Driver::new();
    driver.receive(counter_inc(SCORE, 1.0, "t:1"));
    driver.attached(true);
    driver.receive(counter_inc(SCORE, 2.0, "t:2"));
    driver.receive(from_site("aaa", counter_inc(SCORE, 4.0, "t:0")));
    driver.sync("sync1:more", standard_states());
    driver.sync("sync2:", standard_states());
    assert_eq!(driver.score(), 102.0, "the first came before ATTACHED, the third is in the state");
    driver.receive(counter_inc(SCORE, 8.0, "t:3"));
    assert_eq!(driver.score(), 110.0);
}

// Spec: RTO4d
#[test]
fn attached_drops_the_operations_before_it() {
    let mut driver = Driver::new();
    driver.receive(map_set("root", "key", number(1.0), "t:1"));
    driver.attached(false);
    assert!(driver.objects.pool().root().is_empty());
}

// Spec: RTO20, RTO20b, RTO20d, RTO20d2, RTO20d2a, RTO20d2b, RTO20d3, RTO20f, RTO9, RTO9a, RTO9a2, RTO9a2a, RTO9a2a2, RTO9a2a3, RTO9a2a4, RTO9a3, RTO7b, RTO7b1, RTO20a, RTO20a1
#[test]
fn a_publish_is_applied_on_its_ack_and_once() {
    let mut driver = Driver::synced();
    driver.acked("t:1:0");
    assert_eq!((driver.score(), driver.events()), (110.0, vec![ObjectsEvent::Published(PUBLISH)]));
    let echo = || from_site("own", counter_inc(SCORE, 10.0, "t:1:0"));
    driver.receive(ObjectMessage { operation: None, ..echo() });
    driver.receive(echo());
    assert_eq!(driver.score(), 110.0, "the echo is the same operation");
    driver.receive(echo());
    assert_eq!(driver.score(), 120.0, "its serial is forgotten with the echo");
    driver.acked("t:1:0");
    assert_eq!(driver.score(), 120.0, "the echo came before the ACK");
}

// Spec: RTO20c, RTO20c1, RTO20c2, RTO20d1
#[test]
fn an_ack_that_lacks_something_is_applied_with_the_echo() {
    for (serials, site) in [
        (&[Some("t:1:0".into())][..], None),
        (&[], Some("own")),
        (&[Some("t:1:0".into()), None], Some("own")),
        (&[None], Some("own")),
    ] {
        let mut driver = Driver::synced();
        driver.ack(serials, site);
        assert_eq!(
            (driver.score(), driver.events()),
            (100.0, vec![ObjectsEvent::Published(PUBLISH)])
        );
        driver.receive(from_site("own", counter_inc(SCORE, 10.0, "t:1:0")));
        assert_eq!(driver.score(), 110.0);
    }
}

// Spec: RTO20e
#[test]
fn a_publish_waits_for_the_sync() {
    let mut driver = Driver::synced();
    driver.attached(true);
    driver.acked("t:1:0");
    assert_eq!((driver.score(), driver.events()), (100.0, vec![SYNCING]));
    driver.sync("sync2:", standard_states());
    assert_eq!(
        (driver.score(), driver.events()),
        (110.0, vec![SYNCED, ObjectsEvent::Published(PUBLISH)])
    );
}

// Spec: RTO20e1
#[test]
fn a_publish_that_waits_fails_with_the_channel() {
    let reason = ErrorInfo::new(ErrorCode(90198), 400, "gone");
    for reason in [None, Some(reason)] {
        let mut driver = Driver::synced();
        driver.attached(true);
        driver.acked("t:1:0");
        driver.events.clear();
        driver.objects.channel_left("suspended", reason.as_ref(), &mut driver.events);
        let events = driver.events();
        let [ObjectsEvent::NotApplied(PUBLISH, error)] = &events[..] else {
            panic!("not refused: {events:?}");
        };
        assert_eq!(
            (error.code.0, error.status_code, error.cause.as_deref()),
            (92008, 400, reason.as_ref())
        );
        assert!(error.message.contains("suspended"), "{error}");
        driver.sync("sync2:", standard_states());
        assert_eq!(driver.score(), 100.0);
    }
}

// Spec: RTO5c9
#[test]
fn a_sync_forgets_what_was_applied_on_an_ack() {
    let echo = || from_site("own", counter_inc(SCORE, 10.0, "t:1:0"));
    let mut driver = Driver::synced();
    driver.acked("t:1:0");
    driver.sync("sync2:", standard_states());
    assert_eq!(driver.score(), 100.0);
    driver.receive(echo());
    assert_eq!(driver.score(), 110.0);
    // The same if the echo arrives during the sync, whose states were made before it.
    let mut driver = Driver::synced();
    driver.acked("t:1:0");
    driver.attached(true);
    driver.receive(echo());
    driver.sync("sync2:", standard_states());
    assert_eq!(driver.score(), 110.0);
}

// Spec: RTLC7c, RTO20f
#[test]
fn an_ack_does_not_hold_off_operations_before_it() {
    let mut driver = Driver::synced();
    driver.acked("t:1:0");
    driver.receive(from_site("own", counter_inc(SCORE, 1.0, "t:0:9")));
    assert_eq!(driver.score(), 111.0);
}

// Spec: RTO9a1, RTO9a2b
#[test]
fn an_operation_that_is_not_understood_does_not_stop_the_next() {
    let mut driver = Driver::synced();
    let unknown = operation(Action::Unknown(99), "root", "t:1", |_| {});
    let messages = [ObjectMessage::default(), unknown, counter_inc(SCORE, 1.0, "t:2")];
    driver.objects.object_frame(messages, NOW, &mut driver.events);
    assert_eq!(driver.score(), 101.0);
}

// Spec: RTLO4b, RTLO4b3, RTLO4b4, RTLO4b4a, RTLO4b4d, RTLO4b4c, RTLO4b4c3, RTLO4b4c3a, RTLO4b4c3b, RTINS16d, RTINS16e2, RTINS16g, RTPO19e, RTPO19e1, RTPO19e2, RTPO19f, RTO24a, RTO24b2b2
#[test]
fn subscribers_get_the_change_and_its_operation() {
    let mut driver = Driver::synced();
    let (object, path) = (SubscriptionId(1), SubscriptionId(2));
    driver.objects.subscribe_object(object, &SCORE.into()).expect("an object");
    driver.objects.subscribe_path(path, Path::parse("score"), None).expect("a depth");
    driver
        .receive(ObjectMessage { client_id: Some("ada".into()), ..counter_inc(SCORE, 3.0, "t:1") });
    let events = driver.events();
    let [
        ObjectsEvent::ObjectChanged { subscription: first, update, message: Some(message) },
        ObjectsEvent::PathChanged {
            subscription: second,
            path: at,
            update: same,
            message: Some(_),
        },
    ] = &events[..]
    else {
        panic!("not two changes: {events:?}");
    };
    assert_eq!((*first, *second, at.to_string()), (object, path, "score".into()));
    assert_eq!((&update.change, update), (&Change::Counter(3.0), same));
    assert_eq!((message.client_id.as_deref(), &*message.channel), (Some("ada"), "test"));
    // A subscription follows its object, or its path.
    driver.receive(map_set("root", "score", ObjectData::reference("counter:new@1"), "t:2"));
    assert!(matches!(&driver.events()[..], [ObjectsEvent::PathChanged { .. }]));
    driver.receive(counter_inc(SCORE, 3.0, "t:3"));
    assert!(matches!(&driver.events()[..], [ObjectsEvent::ObjectChanged { .. }]));
    driver.acked("t:4");
    assert!(matches!(
        &driver.events()[..],
        [ObjectsEvent::ObjectChanged { message: Some(_), .. }, ObjectsEvent::Published(_)]
    ));
    driver.objects.unsubscribe(object);
    driver.objects.unsubscribe(path);
    driver.objects.unsubscribe(path);
    driver.receive(counter_inc(SCORE, 3.0, "t:5"));
    driver.receive(counter_inc("counter:new@1", 3.0, "t:6"));
    assert_eq!(driver.events(), []);
}

// UTS: objects/unit/RTLO4b7/subscription-unsubscribe-idempotent-0
// Spec: SUB1, SUB2, SUB2a, SUB2b
#[test]
fn a_subscription_ends_once() {
    let mut driver = Driver::synced();
    let (ended, other) = (SubscriptionId(1), SubscriptionId(2));
    for id in [ended, other] {
        driver.objects.subscribe_object(id, &SCORE.into()).expect("an object");
    }
    driver.objects.unsubscribe(ended);
    driver.objects.unsubscribe(ended);
    driver.receive(counter_inc(SCORE, 3.0, "t:1"));
    let events = driver.events();
    assert!(
        matches!(&events[..], [ObjectsEvent::ObjectChanged { subscription, .. }] if *subscription == other),
        "{events:?}"
    );
}

// Spec: RTLO4b4b, RTLO4b4c1
#[test]
fn an_operation_that_changes_nothing_is_not_reported() {
    let mut driver = Driver::synced();
    driver.objects.subscribe_path(SubscriptionId(1), Path::root(), None).expect("a depth");
    driver.receive(counter_inc(SCORE, None, "t:1"));
    driver.receive(map_set("root", "name", string("late"), "s"));
    assert_eq!(driver.events(), []);
}

// Spec: RTLO4b4c3c, RTLO4b4c3c1, RTLO4b4e
#[test]
fn a_deleted_object_ends_its_subscriptions() {
    let mut driver = Driver::synced();
    driver.objects.subscribe_object(SubscriptionId(1), &SCORE.into()).expect("an object");
    driver.objects.subscribe_path(SubscriptionId(2), Path::parse("score"), None).expect("a depth");
    driver.receive(object_delete(SCORE, "t:1"));
    let events = driver.events();
    let [
        ObjectsEvent::ObjectChanged { update, .. },
        ObjectsEvent::PathChanged { .. },
        ObjectsEvent::SubscriptionEnded(SubscriptionId(1)),
    ] = &events[..]
    else {
        panic!("not the end of one subscription: {events:?}");
    };
    assert!(update.tombstone);
    driver.receive(map_set("root", "score", number(1.0), "t:2"));
    assert!(matches!(&driver.events()[..], [ObjectsEvent::PathChanged { message: Some(_), .. }]));
}

// Spec: RTO5c7
#[test]
fn a_sync_reports_what_it_changed_by_the_new_paths() {
    let mut driver = Driver::synced();
    driver.objects.subscribe_path(SubscriptionId(1), Path::parse("moved"), None).expect("a depth");
    let root = map_state("root", [("moved", entry(ObjectData::reference(SCORE), "t:5"))]);
    driver.sync("sync2:", vec![counter_state(SCORE, 1.0), root]);
    let paths: Vec<_> = driver
        .events()
        .into_iter()
        .filter_map(|event| match event {
            ObjectsEvent::PathChanged { path, update, message: None, .. } => {
                Some((path.to_string(), update.object_id.to_string()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(paths, [("moved".into(), SCORE.into()), ("moved".into(), "root".into())]);
}

#[test]
fn an_object_that_does_not_exist_has_no_subscribers() {
    let error = Driver::synced().objects.subscribe_object(SubscriptionId(1), &"map:x@1".into());
    assert_eq!(error.expect_err("refused").code.0, 92004);
}

// Spec: RTO10
#[test]
fn deleted_objects_are_collected() {
    let mut driver = Driver::synced();
    driver.receive(object_delete(SCORE, "t:1"));
    driver.objects.collect(NOW + 5, 5);
    assert!(driver.objects.pool().object(SCORE).is_none());
}
