//! The contract of [`Engine`], checked against each engine.

#[path = "support.rs"]
mod support;

use std::sync::{Arc, mpsc};

use bytes::Bytes;
use capably_server::engine::{Append, Appended, Bucket, Direction, Engine, Kind, Range, Thread};

pub(crate) use self::support::{append, appended, channel, entry, everything, now, texts};

/// Checks an engine. `open` opens it again between the steps.
pub(crate) async fn check<F: Future<Output = Arc<dyn Engine>>>(open: impl Fn() -> F) {
    check_order(&*open().await).await;
    check_pages(&*open().await).await;
    check_seeks(&*open().await).await;
    check_ids(&*open().await).await;
    check_threads(&*open().await).await;
    check_facts(&*open().await).await;

    // After another opening, all entries are there, and new ones follow them.
    let engine = open().await;
    let before = engine.read(&channel("order:a"), everything()).await.unwrap();
    assert_eq!(texts(&before), ["1", "3", "4"]);
    let position = appended(&*engine, vec![entry("order:a", "5")]).await[0];
    assert!(position > before[2].position);
    engine.close().await.unwrap();
}

/// Entries get growing positions, also across the channels of one call, and reads return them in this order.
async fn check_order(engine: &dyn Engine) {
    let batch = vec![entry("order:a", "1"), entry("order:b/ ü\n", "2"), entry("order:a", "3")];
    let positions = appended(engine, batch).await;
    assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    let (sender, order) = mpsc::channel();
    for number in [4, 5] {
        let sender = sender.clone();
        let name = if number == 4 { "order:a" } else { "order:c" };
        let done = Box::new(move |_| sender.send(number).unwrap());
        engine.append(vec![entry(name, &number.to_string())], done);
    }
    drop(sender);
    let order = tokio::task::spawn_blocking(move || order.iter().collect::<Vec<_>>());
    assert_eq!(order.await.unwrap().len(), 2);
    let a = engine.read(&channel("order:a"), everything()).await.unwrap();
    assert_eq!(texts(&a), ["1", "3", "4"]);
    assert_eq!([a[0].position, a[1].position], [positions[0], positions[2]]);
    assert!((a[0].time - now()).abs() < 60_000 && a[0].kind == Kind::Messages);
    assert_eq!(texts(&engine.read(&channel("order:b/ ü\n"), everything()).await.unwrap()), ["2"]);
    assert!(engine.read(&channel("order:"), everything()).await.unwrap().is_empty());
    let (floor, last) = engine.bounds(&channel("order:a")).await.unwrap();
    assert!(floor < a[0].position);
    assert_eq!(last, a[2].position);
    let (floor, last) = engine.bounds(&channel("nothing")).await.unwrap();
    assert_eq!(floor, last);
}

/// Pages follow each other in both directions, and respect the limits.
async fn check_pages(engine: &dyn Engine) {
    let name = "pages";
    let mut batch: Vec<_> = (0..10).map(|number| entry(name, &format!("{number}"))).collect();
    batch[4].kind = Kind::Presence;
    for (number, append) in batch.iter_mut().enumerate() {
        append.time = 1_700_000_000_000 + number as i64 * 1000;
    }
    let positions = appended(engine, batch).await;
    let read = async |range: Range| engine.read(&channel(name), range).await.unwrap();
    let page = read(Range { limit: 3, ..everything() }).await;
    assert_eq!(texts(&page), ["0", "1", "2"]);
    let page = read(Range { limit: 3, after: page[2].position, ..everything() }).await;
    assert_eq!(texts(&page), ["3", "4", "5"]);
    let backwards = Range { direction: Direction::Backwards, limit: 2, ..everything() };
    assert_eq!(texts(&read(backwards).await), ["9", "8"]);
    let until = Range { until: positions[7], ..backwards };
    assert_eq!(texts(&read(until).await), ["7", "6"]);
    let between = Range { after: positions[5], until: positions[7], ..backwards };
    assert_eq!(texts(&read(Range { limit: 9, ..between }).await), ["7", "6"]);
    let presence = Range { kind: Some(Kind::Presence), ..everything() };
    assert_eq!(texts(&read(presence).await), ["4"]);
    let messages = Range { kind: Some(Kind::Messages), ..everything() };
    assert_eq!(read(messages).await.len(), 9);
    // The entry exceeds the limit, but a page has at least one entry.
    assert_eq!(texts(&read(Range { max_bytes: 0, ..everything() }).await), ["0"]);
    assert_eq!(texts(&read(Range { max_bytes: 2, ..everything() }).await), ["0", "1"]);
    let none = Range { after: positions[3], until: positions[3], ..everything() };
    assert!(read(none).await.is_empty());
    let none = Range { after: positions[5], until: positions[3], ..everything() };
    assert!(read(none).await.is_empty());

    let seek =
        async |time: i64| engine.seek(&channel(name), 1_700_000_000_000 + time).await.unwrap();
    assert!(seek(0).await < positions[0]);
    assert_eq!(seek(3000).await, positions[2]);
    assert_eq!(seek(3001).await, positions[3]);
    assert_eq!(seek(1_000_000).await, positions[9]);
}

/// A seek on an empty channel ends before an entry that is committed meanwhile.
async fn check_seeks(engine: &dyn Engine) {
    for number in 0..200 {
        let name = format!("seeks:{number}");
        let commit = appended(engine, vec![entry(&name, "1")]);
        let sought = channel(&name);
        let (positions, start) = tokio::join!(commit, engine.seek(&sought, now() - 10_000));
        let read = Range { after: start.unwrap(), ..everything() };
        let found = engine.read(&channel(&name), read).await.unwrap();
        assert_eq!(found.len(), 1, "{name} at {positions:?}");
    }
}

/// An entry with an id is committed once per channel.
async fn check_ids(engine: &dyn Engine) {
    let with_id = |name: &str, id: &str, payload: &str| Append {
        id: Some(id.into()),
        ..entry(name, payload)
    };
    let batch = vec![
        with_id("ids", "a:0", "1"),
        with_id("ids", "a:0", "2"),
        with_id("ids:other", "a:0", "3"),
        with_id("ids", "b ü", "4"),
    ];
    let results: Vec<_> =
        append(engine, batch).await.into_iter().map(|result| result.unwrap()).collect();
    assert_eq!(results[1], Appended { position: results[0].position, repeated: true });
    assert!([0, 2, 3].iter().all(|index| !results[*index].repeated));
    let again = append(engine, vec![with_id("ids", "a:0", "5")]).await.remove(0).unwrap();
    assert_eq!(again, results[1]);
    let entries = engine.read(&channel("ids"), everything()).await.unwrap();
    assert_eq!(texts(&entries), ["1", "4"]);
}

/// Entries are found by the messages that they belong to.
async fn check_threads(engine: &dyn Engine) {
    let name = "threads";
    let created = appended(engine, vec![entry(name, "m0 m1"), entry(name, "m2")]).await;
    let thread = |entry: usize, index| Thread { position: created[entry], index };
    let of = |threads: Vec<Thread>, kind, payload: &str| Append {
        threads,
        kind,
        ..entry(name, payload)
    };
    let batch = vec![
        of(vec![thread(1, 0)], Kind::Change, "c1"),
        of(vec![thread(0, 0)], Kind::Change, "c2"),
        of(vec![thread(0, 1), thread(1, 0)], Kind::Annotations, "a1"),
        of(vec![thread(0, 0)], Kind::Change, "c3"),
    ];
    appended(engine, batch).await;
    let find = async |messages, after, limit| {
        engine.threads(&channel(name), messages, after, limit).await.unwrap()
    };
    let all = find(thread(0, 0)..=thread(1, u16::MAX), None, 100).await;
    assert_eq!(texts(&all), ["c2", "c3", "a1", "c1", "a1"]);
    let threads: Vec<_> = all.iter().map(|entry| entry.thread.unwrap()).collect();
    let expected = [thread(0, 0), thread(0, 0), thread(0, 1), thread(1, 0), thread(1, 0)];
    assert_eq!(threads, expected);
    let one = find(thread(0, 1)..=thread(0, 1), None, 100).await;
    assert_eq!(texts(&one), ["a1"]);
    let page = find(thread(0, 0)..=thread(1, 0), None, 2).await;
    let last = (page[1].thread.unwrap(), page[1].position);
    let rest = find(thread(0, 0)..=thread(1, 0), Some(last), 100).await;
    assert_eq!([texts(&page), texts(&rest)].concat(), texts(&all));
    assert!(find(thread(0, 2)..=thread(0, 9), None, 100).await.is_empty());
}

/// Facts are set, created, listed and removed.
async fn check_facts(engine: &dyn Engine) {
    let set = async |bucket, facts: &[(&str, Option<&str>)]| {
        let facts = facts.iter().map(|(key, value)| {
            ((*key).to_owned(), value.map(|value| Bytes::copy_from_slice(value.as_bytes())))
        });
        engine.set_facts(bucket, facts.collect()).await.unwrap();
    };
    let list = async |prefix, after, limit| -> Vec<(String, String)> {
        let facts = engine.facts(Bucket::Apps, prefix, after, limit).await.unwrap();
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        facts.into_iter().map(|fact| (fact.key, text(fact.value))).collect()
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    set(Bucket::Apps, &[("a/2", Some("2")), ("a/1", Some("1")), ("b *.>ü", Some("3"))]).await;
    set(Bucket::Push, &[("a/1", Some("other"))]).await;
    assert_eq!(engine.fact(Bucket::Apps, "a/1").await.unwrap(), Some(Bytes::from_static(b"1")));
    assert_eq!(engine.fact(Bucket::Apps, "a/3").await.unwrap(), None);
    assert_eq!(list("a/", None, 10).await, [pair("a/1", "1"), pair("a/2", "2")]);
    assert_eq!(list("", None, 10).await.len(), 3);
    assert_eq!(list("", Some("a/1"), 1).await, [pair("a/2", "2")]);
    set(Bucket::Apps, &[("a/1", None), ("a/2", Some("4")), ("a/2", Some("")), ("x", None)]).await;
    assert_eq!(list("", None, 10).await, [pair("a/2", ""), pair("b *.>ü", "3")]);
    let create = async |bucket, key| {
        engine.create_fact(bucket, key, Bytes::from_static(b"n")).await.unwrap()
    };
    assert!(create(Bucket::Nonces, "n1").await);
    assert!(!create(Bucket::Nonces, "n1").await);
    assert!(!create(Bucket::Apps, "a/2").await);
    set(Bucket::Nonces, &[("n1", None)]).await;
    assert!(create(Bucket::Nonces, "n1").await);
}
