use capably_protocol::object::ObjectData;
use serde_json::json;

use super::*;
use crate::test_pool::*;

// Spec: RTLM5, RTLM5a, RTLM5d, RTLM5d1, RTLM5d2, RTLM5d2b, RTLM5d2c, RTLM5d2d, RTLM5d2e, RTLM5d2f, RTLM5d2f2
#[test]
fn a_key_has_its_value() {
    let pool = standard_pool();
    let root = pool.root();
    assert!(matches!(root.get("active"), Some(ValueRef::Boolean(true))));
    assert!(matches!(root.get("avatar"), Some(ValueRef::Bytes(bytes)) if **bytes == [1, 2, 3]));
    assert!(matches!(root.get("age"), Some(ValueRef::Number(30.0))));
    assert!(matches!(root.get("name"), Some(ValueRef::String(name)) if *name == "Alice"));
    assert!(
        matches!(root.get("data"), Some(ValueRef::Json(data)) if *data == json!({ "tags": ["a", "b"] }))
    );
    assert!(matches!(root.get("score"), Some(ValueRef::Counter(score)) if score.value() == 100.0));
    assert!(
        matches!(root.get("profile"), Some(ValueRef::Map(profile)) if profile.id() == "map:profile@1000")
    );
    assert!(root.get("unknown").is_none());
}

// Spec: RTLM14, RTLM14a, RTLM14b, RTLM14c, RTLM5d2h, RTLM5d2f1, RTLM5d2g, RTLM10, RTLM10d, RTLM11, RTLM11d, RTLM11d1, RTLM11d3, RTLM11d3a, RTLM12, RTLM12b, RTLM13, RTLM13b, RTLM10a, RTLM11a, RTLM11d2, RTLM12a, RTLM13a
#[test]
fn removed_and_deleted_values_are_not_listed() {
    let mut pool = standard_pool();
    change(&mut pool, &map_remove("root", "name", "t:1"));
    change(&mut pool, &object_delete("counter:score@1000", "t:2"));
    change(&mut pool, &map_set("root", "lost", ObjectData::reference("list:x@1"), "t:3"));
    change(&mut pool, &map_set("root", "empty", ObjectData::default(), "t:4"));
    let root = pool.root();
    for key in ["name", "score", "lost", "empty"] {
        assert!(root.get(key).is_none(), "{key}");
    }
    let keys = ["active", "age", "avatar", "data", "empty", "lost", "profile"];
    assert_eq!(root.keys().map(Str::as_str).collect::<Vec<_>>(), keys);
    assert_eq!((root.len(), root.is_empty()), (7, false));
    let values: Vec<bool> = root.entries().map(|(_, value)| value.is_some()).collect();
    assert_eq!(values, [true, true, true, true, false, false, true]);
}

// Spec: RTPO3, RTPO3a, RTPO3a1, RTPO3a2, RTPO3a3, RTPO3b, RTPO3c, RTPO3c1, RTPO3c2
#[test]
fn a_path_leads_to_a_value_or_nowhere() {
    let pool = standard_pool();
    let at = |path: &str| pool.resolve(&Path::parse(path));
    assert!(matches!(at(""), Some(ValueRef::Map(root)) if root.id() == "root"));
    assert!(matches!(at("profile.prefs.theme"), Some(ValueRef::String(theme)) if *theme == "dark"));
    for path in ["x", "profile.x", "name.x", "score.x", "profile.prefs.theme.x"] {
        assert!(at(path).is_none(), "{path}");
        let error = pool.require(&Path::parse(path)).expect_err("no value");
        assert_eq!((error.code.0, error.status_code), (92005, 400), "{path}");
    }
}

// Spec: RTPO15e, RTPO16e, RTPO17e, RTPO18e, RTINS12d, RTINS13d, RTINS14d, RTINS15d, RTPO7c, RTPO7d, RTPO7e, RTINS3, RTINS3a, RTINS3b
#[test]
fn operations_need_an_object_of_their_type() {
    let pool = standard_pool();
    let at = |path: &str| pool.require(&Path::parse(path)).expect("a value");
    assert!(at("profile").require_map().is_ok() && at("score").require_counter().is_ok());
    for path in ["profile", "name", "age", "data", "avatar", "active"] {
        let error = at(path).require_counter().expect_err("no counter");
        assert_eq!((error.code.0, error.status_code), (92007, 400), "{path}");
    }
    let error = at("score").require_map().expect_err("no map");
    assert_eq!(error.code.0, 92007);
    let expected = "the operation needs a map, and the object `counter:score@1000` is a counter";
    assert_eq!(error.message, expected);
    let error = at("name").require_map().expect_err("no map");
    assert_eq!(error.message, "the operation needs a map, and this is a string");
    assert_eq!(at("profile").value(), None);
    assert_eq!(at("score").value(), Some(ObjectValue::Number(100.0)));
    assert_eq!(at("name").value(), Some(ObjectValue::String("Alice".into())));
    assert_eq!(at("score").object_id().map(Str::as_str), Some("counter:score@1000"));
    assert_eq!(at("profile").object_id().map(Str::as_str), Some("map:profile@1000"));
    assert_eq!(at("name").object_id(), None);
    let error = pool.require_object("map:x@1").expect_err("no object");
    assert_eq!((error.code.0, error.status_code), (92004, 404));
}

// Spec: OD2b
#[test]
fn a_value_whose_encoding_is_unknown_is_kept() {
    let mut pool = ObjectsPool::new();
    let data = ObjectData { encoding: Some("cipher".into()), ..string("xyz") };
    change(&mut pool, &map_set("root", "secret", data.clone(), "01"));
    assert!(matches!(pool.root().get("secret"), Some(ValueRef::String(text)) if *text == "xyz"));
    let state = pool.state("root").and_then(|message| message.object).expect("a state");
    assert_eq!(state.map.expect("a map").entries["secret"].data, Some(data));
}

#[test]
fn references_have_a_short_debug_form() {
    let mut pool = standard_pool();
    change(&mut pool, &map_set("root", "self", ObjectData::reference("root"), "t:1"));
    assert_eq!(format!("{:?}", pool.root()), r#"MapRef { id: "root", len: 8 }"#);
    assert_eq!(
        format!("{:?}", pool.root().get("score")),
        r#"Some(Counter(CounterRef { id: "counter:score@1000", value: 100.0 }))"#
    );
}
