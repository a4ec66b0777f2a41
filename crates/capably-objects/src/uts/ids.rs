//! `object_id.md`

use crate::{ObjectId, ObjectType};

const COUNTER_0: &str = r#"{"counter":{"count":0}}"#;

fn generate(object_type: ObjectType, initial_value: &str, nonce: &str) -> String {
    ObjectId::generate(object_type, initial_value, nonce, 1_700_000_000_000).to_string()
}

/// The hash between the type and the time.
fn hash<'a>(id: &'a str, name: &str) -> &'a str {
    let rest = id.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')).expect("the type");
    rest.strip_suffix("@1700000000000").expect("the time")
}

/// 32 bytes in base64url without padding.
fn is_base64url(hash: &str) -> bool {
    hash.len() == 43
        && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

// UTS: objects/unit/RTO14/objectid-format-counter-0
// UTS: objects/unit/RTO14/objectid-format-map-0
#[test]
fn an_id_has_a_type_a_hash_and_a_time() {
    let nonce = "test-nonce-12345678";
    let id = generate(ObjectType::Counter, r#"{"counter":{"count":42}}"#, nonce);
    assert!(is_base64url(hash(&id, "counter")), "{id}");
    let id = generate(ObjectType::Map, r#"{"map":{"semantics":"LWW","entries":{}}}"#, nonce);
    assert!(is_base64url(hash(&id, "map")), "{id}");
}

// UTS: objects/unit/RTO14/deterministic-0
// UTS: objects/unit/RTO14/different-nonce-0
#[test]
fn an_id_depends_on_its_nonce_alone() {
    let id = |nonce| generate(ObjectType::Counter, COUNTER_0, nonce);
    assert_eq!(id("same-nonce-1234567"), id("same-nonce-1234567"));
    assert_ne!(id("nonce-aaaaaaaaaaaaa"), id("nonce-bbbbbbbbbbbbb"));
}

// UTS: objects/unit/RTO14b/base64url-encoding-0
#[test]
fn the_hash_is_in_base64url() {
    let id = generate(ObjectType::Counter, COUNTER_0, "test-nonce-12345678");
    assert!(is_base64url(hash(&id, "counter")), "{id}");
    // Standard base64 of the digests of these nonces has `+` and `/`.
    let hashes: String =
        (0..20).map(|at| generate(ObjectType::Map, "{}", &at.to_string())).collect();
    assert!(hashes.contains('-') && hashes.contains('_'));
    assert!(!hashes.contains(['+', '/', '=']));
}
