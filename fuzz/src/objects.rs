//! Operations on objects, and syncs.

use bytes::Bytes;
use capably_objects::{Objects, ObjectsPool, ROOT, Source, ValueRef};
use capably_protocol::{Format, Limits, ObjectMessage, codec};

/// The time of every operation, in ms since the epoch.
const NOW: i64 = 1_700_000_000_000;

/// Object messages as a JSON array. All are applied as operations, twice, and then as pages of a sync.
pub fn objects(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let messages = codec::decode_items::<ObjectMessage>(Format::Json, &bytes, &Limits::default());
    let Ok(messages) = messages else { return };
    if messages.len() > 200 {
        return;
    }

    let mut pool = ObjectsPool::new();
    apply(&mut pool, &messages);
    let once = root(&pool).compact_json();
    apply(&mut pool, &messages);
    assert_eq!(root(&pool).compact_json(), once, "an operation that is repeated changes nothing");
    pool.collect(i64::MAX, 0);

    let mut client = Objects::new("fuzz");
    let mut events = Vec::new();
    client.attached(true, NOW, &mut events);
    client.object_frame(messages.clone(), NOW, &mut events);
    client.sync_frame(Some("fuzz:more"), messages.clone(), NOW, &mut events);
    client.sync_frame(Some("fuzz:"), messages, NOW, &mut events);
    let _ = root(client.pool()).compact_json();
    let _ = format!("{:?}", root(client.pool()).compact());
}

fn apply(pool: &mut ObjectsPool, messages: &[ObjectMessage]) {
    for message in messages {
        let _ = pool.apply(message, Source::Channel, NOW);
    }
}

fn root(pool: &ObjectsPool) -> ValueRef<'_> {
    pool.object(ROOT).expect("the root is always there")
}
