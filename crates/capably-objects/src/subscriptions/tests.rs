use capably_protocol::object::ObjectData;

use super::*;
use crate::test_pool::*;

const ID: SubscriptionId = SubscriptionId(1);

/// The paths that a subscription with this path and depth reports for an operation on the standard tree.
fn reported(
    path: &str,
    depth: Option<usize>,
    message: &capably_protocol::ObjectMessage,
) -> Vec<String> {
    let mut pool = standard_pool();
    let mut subscriptions = Subscriptions::default();
    subscriptions.add_path(ID, Path::parse(path), depth).expect("a depth");
    let update = apply(&mut pool, message).expect("applied").expect("a change");
    let mut events = Vec::new();
    subscriptions.dispatch(&pool, update, || None, &mut events);
    let path = |event| match event {
        ObjectsEvent::PathChanged { subscription: ID, path, .. } => path.to_string(),
        other => panic!("not of the path: {other:?}"),
    };
    events.into_iter().map(path).collect()
}

// Spec: RTO24, RTO24b, RTO24b2, RTO24c, RTO24c1, RTO24c2, RTO24c2a, RTO24c2b, RTO24c2c, RTO24c2d, RTPO19c, RTPO19c1
#[test]
fn a_subscription_covers_its_path_and_those_below_it() {
    let theme = map_set("map:prefs@1000", "theme", string("light"), "t:1");
    for (path, depth, expected) in [
        ("", None, &["profile.prefs"][..]),
        ("profile", None, &["profile.prefs"]),
        ("profile.prefs", None, &["profile.prefs"]),
        ("profile.prefs.theme", None, &["profile.prefs.theme"]),
        ("profile.prefs.theme", Some(1), &["profile.prefs.theme"]),
        ("profile", Some(1), &[]),
        ("profile", Some(2), &["profile.prefs"]),
        ("", Some(2), &[]),
        ("", Some(3), &["profile.prefs"]),
        ("profile.prefs.theme.deeper", None, &[]),
        ("profile.prefs.other", None, &[]),
        ("theme", None, &[]),
        ("profile.theme", None, &[]),
        ("prof", None, &[]),
        ("score", None, &[]),
    ] {
        assert_eq!(reported(path, depth, &theme), expected, "{path} {depth:?}");
    }
}

// Spec: RTO24b2a, RTO24b2a1, RTO24b2a2, RTO24b2b, RTO24b2b1
#[test]
fn the_key_of_a_map_that_changed_is_a_path_too() {
    let clear = map_clear("map:profile@1000", "t:1");
    assert_eq!(reported("profile.email", None, &clear), ["profile.email"]);
    assert_eq!(reported("profile.prefs", None, &clear), ["profile.prefs"]);
    assert_eq!(reported("profile.prefs.theme", None, &clear), [""; 0]);
    let score = map_set("root", "score", ObjectData::reference("counter:new@2000"), "t:1");
    assert_eq!(reported("", None, &score), [""], "once, with the map's path");
    let inc = counter_inc("counter:score@1000", 1.0, "t:1");
    assert_eq!(reported("score", Some(1), &inc), ["score"]);
    assert_eq!(reported("", Some(1), &inc), [""; 0]);
}

// Spec: RTO24b1
#[test]
fn each_path_of_an_object_is_reported() {
    let mut pool = standard_pool();
    let score = "counter:score@1000";
    change(&mut pool, &map_set("map:profile@1000", "score", ObjectData::reference(score), "t:1"));
    let mut subscriptions = Subscriptions::default();
    subscriptions.add_path(ID, Path::root(), None).expect("a depth");
    let update =
        apply(&mut pool, &counter_inc(score, 1.0, "t:2")).expect("applied").expect("a change");
    let mut events = Vec::new();
    subscriptions.dispatch(&pool, update, || None, &mut events);
    assert_eq!(events.len(), 2);
}

// Spec: RTPO19c1a
#[test]
fn a_depth_of_zero_is_refused() {
    let error = Subscriptions::default().add_path(ID, Path::root(), Some(0)).expect_err("refused");
    assert_eq!((error.code.0, error.status_code), (40003, 400));
}
