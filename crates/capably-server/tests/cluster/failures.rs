//! Brokers that end and start again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use capably_server::engine::{
    Append, Appended, Bucket, Direction, Engine, EngineError, Entry, Event, JetStream, Position,
    Range,
};
use serde_json::json;
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};

use crate::{
    brokers::{Brokers, Version},
    contract::{append, appended, channel, entry, everything, texts},
    proxy::Proxy,
    support::{Node, PATIENCE, builder, request},
};

/// The channels that are written to.
const CHANNELS: [&str; 4] = ["a", "b", "c", "d"];
/// How many entries are under way at a time.
const IN_FLIGHT: usize = 256;
/// How many entries are committed between two failures.
const BETWEEN: usize = 1000;

/// The results of numbered entries; the channel of a number is the remainder.
#[derive(Default)]
struct Load {
    results: Mutex<Vec<(usize, Result<Appended, EngineError>)>>,
    committed: AtomicUsize,
    more: Notify,
    is_over: AtomicBool,
}

impl Load {
    /// Appends entries until the load is over, and waits for their results. Returns their number.
    async fn run(self: Arc<Self>, engine: Arc<JetStream>) -> usize {
        let room = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut number = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            let permit = Arc::clone(&room).acquire_owned().await.unwrap();
            let load = Arc::clone(&self);
            let done = Box::new(move |mut results: Vec<_>| {
                let result: Result<Appended, EngineError> = results.remove(0);
                if result.is_ok() {
                    load.committed.fetch_add(1, Ordering::Relaxed);
                    load.more.notify_one();
                }
                load.results.lock().unwrap().push((number, result));
                drop(permit);
            });
            let name = CHANNELS[number % CHANNELS.len()];
            // Every third entry has an id of its own.
            let id = (number % 3 == 0).then(|| format!("id {number}").into());
            engine.append(vec![Append { id, ..entry(name, &number.to_string()) }], done);
            number += 1;
        }
        drop(room.acquire_many(IN_FLIGHT as u32).await.unwrap());
        number
    }

    /// Waits until more entries are committed.
    async fn progress(&self) {
        let enough = self.committed.load(Ordering::Relaxed) + BETWEEN;
        let progress = async {
            while self.committed.load(Ordering::Relaxed) < enough {
                self.more.notified().await;
            }
        };
        timeout(2 * PATIENCE, progress).await.expect("entries are committed again");
    }
}

/// All entries of a channel, page by page.
async fn read_all(engine: &JetStream, name: &str, direction: Direction) -> Vec<Entry> {
    let mut range = Range { limit: 700, direction, ..everything() };
    let mut entries = Vec::new();
    loop {
        let page = engine.read(&channel(name), range).await.unwrap();
        let Some(last) = page.last() else { return entries };
        match direction {
            Direction::Forwards => range.after = last.position,
            Direction::Backwards => range.until = Position(last.position.0 - 1),
        }
        entries.extend(page);
    }
}

/// Waits until a stream has a leader, and all its replicas are up to date.
async fn in_step(brokers: &Brokers, stream: &str, replicas: usize) {
    let client = brokers.client().await;
    let mut turns = tokio::time::interval(Duration::from_millis(200));
    let in_step = async {
        loop {
            turns.tick().await;
            let answer =
                client.request(format!("$JS.API.STREAM.INFO.{stream}"), Bytes::new()).await;
            let Ok(answer) = answer else { continue };
            let info: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
            let peers = info["cluster"]["replicas"].as_array().cloned().unwrap_or_default();
            if peers.len() == replicas - 1 && peers.iter().all(|peer| peer["current"] == true) {
                return;
            }
        }
    };
    timeout(2 * PATIENCE, in_step).await.expect("the replicas catch up");
}

/// What the stream and the writer know of two copies of an entry: their ids and times, the entries around them, and the
/// results of the entry and those near it.
async fn history(
    brokers: &Brokers,
    first: Position,
    second: Position,
    results: &[(usize, Result<Appended, EngineError>)],
) -> String {
    let mut text = format!("results: {:?}\n", &results[..results.len().min(11)]);
    let info = request(brokers, "STREAM.INFO.capably_log", &json!({})).await;
    let description = info["config"]["description"].as_str().unwrap();
    let base: u64 = description.rsplit(' ').next().unwrap().parse::<u64>().unwrap() * 1000;
    for position in [first, second] {
        let sequence = position.0 - base;
        for sequence in sequence.saturating_sub(3)..=sequence + 3 {
            let by_sequence = json!({ "seq": sequence });
            let stored = request(brokers, "STREAM.MSG.GET.capably_log", &by_sequence).await;
            let message = &stored["message"];
            let decode = |field: &str| {
                let bytes = STANDARD.decode(message[field].as_str().unwrap_or_default()).unwrap();
                String::from_utf8_lossy(&bytes).into_owned()
            };
            let (headers, data) = (decode("hdrs"), decode("data"));
            let (subject, time) = (&message["subject"], &message["time"]);
            text += &format!("{sequence}: {subject} {time} {headers:?} {data:?}\n");
        }
    }
    text
}

/// Kills each of three brokers, the leader among them, while two nodes write and both follow.
async fn kill_each(version: Version) {
    let mut brokers = Brokers::jetstream(version, 3);
    let node = || builder(&brokers).replicas(3).append_timeout(PATIENCE);
    let nodes = [Node::open(node()).await, Node::open(node()).await];
    for node in &nodes {
        for name in CHANNELS {
            node.follow(&channel(name), Position(0)).await.unwrap();
        }
    }
    let load = Arc::new(Load::default());
    let running = tokio::spawn(Arc::clone(&load).run(nodes[0].engine()));
    load.progress().await;
    for index in 0..3 {
        in_step(&brokers, "capably_log", 3).await;
        brokers.kill(index);
        load.progress().await;
        brokers.run(index);
        load.progress().await;
    }
    load.is_over.store(true, Ordering::Relaxed);
    let count = timeout(2 * PATIENCE, running).await.unwrap().unwrap();

    let results = std::mem::take(&mut *load.results.lock().unwrap());
    assert_eq!(results.len(), count, "every call is done");
    assert!(
        results.iter().map(|(number, _)| *number).eq(0..count),
        "calls are done in their order"
    );
    let refused = results.iter().filter(|(_, result)| result.is_err()).count();
    assert!(refused <= 3 * IN_FLIGHT, "{refused} of {count} were refused");
    let repeated = results.iter().filter(|(_, result)| matches!(result, Ok(done) if done.repeated));
    assert!(repeated.count() <= 3 * IN_FLIGHT);

    for (index, name) in CHANNELS.into_iter().enumerate() {
        let stored = read_all(&nodes[1], name, Direction::Forwards).await;
        let numbers: Vec<usize> = texts(&stored).iter().map(|text| text.parse().unwrap()).collect();
        let place: HashMap<_, _> =
            numbers.iter().zip(&stored).map(|(n, entry)| (*n, entry.position)).collect();
        let twice = numbers.iter().zip(&stored).filter(|(n, e)| place[n] != e.position);
        let twice: Vec<_> = twice.map(|(n, entry)| (*n, entry.position)).collect();
        if let Some((number, first)) = twice.first() {
            let history =
                history(&brokers, *first, place[number], &results[number.saturating_sub(5)..])
                    .await;
            panic!("entries are in the channel {name} twice: {twice:?}\n{history}");
        }
        let mut last = Position(0);
        for (number, result) in
            results.iter().filter(|(number, _)| number % CHANNELS.len() == index)
        {
            let Ok(done) = result else { continue };
            assert_eq!(place.get(number), Some(&done.position), "entry {number} is lost");
            assert!(done.position > last, "entry {number} is out of order");
            last = done.position;
        }
        let mut backwards = read_all(&nodes[0], name, Direction::Backwards).await;
        backwards.reverse();
        assert!(backwards == stored, "the channel {name} reads otherwise backwards");
        let end = stored.last().unwrap().position;
        for node in &nodes {
            let seen = node.committed(name, end).await;
            let positions =
                |entries: &[Entry]| entries.iter().map(|entry| entry.position).collect::<Vec<_>>();
            assert_eq!(positions(&seen), positions(&stored), "followed entries of {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_killed_under_load() {
    kill_each(Version::Newest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_brokers_are_killed_under_load() {
    kill_each(Version::Oldest).await;
}

/// The only broker goes away and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_comes_back() {
    let mut brokers = Brokers::jetstream(Version::Newest, 1);
    let node = Node::open(builder(&brokers).append_timeout(PATIENCE)).await;
    let hasty = Node::open(builder(&brokers).append_timeout(Duration::from_millis(300))).await;
    node.follow(&channel("c"), Position(0)).await.unwrap();
    let first = appended(&*node, vec![entry("c", "1")]).await[0];
    assert_eq!(texts(&node.committed("c", first).await), ["1"]);

    brokers.kill(0);
    let lost = |event: &Event| matches!(event, Event::Lost).then_some(());
    node.expect(lost).await;
    let error = append(&*hasty, vec![entry("c", "refused")]).await.remove(0).unwrap_err();
    assert!(matches!(error, EngineError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("brokers"), "{error}");
    let waiting = tokio::spawn({
        let engine = node.engine();
        async move { appended(&*engine, vec![entry("c", "2")]).await[0] }
    });
    brokers.run(0);
    let second = timeout(PATIENCE, waiting).await.unwrap().unwrap();
    let regained = |event: &Event| matches!(event, Event::Regained).then_some(());
    node.expect(regained).await;
    assert_eq!(texts(&node.committed("c", second).await), ["2"]);
    // Facts are watched as before.
    hasty.set_facts(Bucket::Apps, vec![("k".into(), Some(Bytes::new()))]).await.unwrap();
    node.expect(|event| matches!(event, Event::FactChanged(..)).then_some(())).await;
    assert_eq!(texts(&node.read(&channel("c"), everything()).await.unwrap()), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_nothing_is_committed() {
    let mut brokers = Brokers::jetstream(Version::Newest, 3);
    let node =
        Node::open(builder(&brokers).replicas(3).append_timeout(Duration::from_secs(3))).await;
    appended(&*node, vec![entry("c", "1")]).await;
    in_step(&brokers, "capably_log", 3).await;
    brokers.kill(0);
    brokers.kill(1);
    let mut results = BTreeMap::new();
    for text in ["2", "3"] {
        results.insert(text, append(&*node, vec![entry("c", text)]).await.remove(0));
    }
    for (text, result) in &results {
        assert!(matches!(result, Err(EngineError::Unavailable(_))), "{text}: {result:?}");
    }
    node.expect(|event| matches!(event, Event::Lost).then_some(())).await;
    let set = node.set_facts(Bucket::Apps, vec![("k".into(), Some(Bytes::new()))]).await;
    assert!(matches!(set, Err(EngineError::Unavailable(_))), "{set:?}");
    let late = builder(&brokers).replicas(3).open_timeout(Duration::from_secs(3)).open().await;
    assert!(matches!(late, Err(EngineError::Unavailable(_))), "{late:?}");
    brokers.run(0);
    brokers.run(1);
    // Each stream elects its own leader.
    for stream in ["capably_log", "capably_apps"] {
        in_step(&brokers, stream, 3).await;
    }
    node.expect(|event| matches!(event, Event::Regained).then_some(())).await;
    // The leaders may change once more, for longer than this node waits.
    let back_to_work = async {
        let mut number = 4;
        while append(&*node, vec![entry("c", &number.to_string())]).await.remove(0).is_err() {
            number += 1;
        }
        let fact = || vec![("k".into(), Some(Bytes::new()))];
        while node.set_facts(Bucket::Apps, fact()).await.is_err() {}
        loop {
            if let Ok(stored) = node.read(&channel("c"), everything()).await {
                return (number.to_string(), stored);
            }
        }
    };
    let (last, stored) = timeout(PATIENCE, back_to_work).await.expect("the node is back to work");
    // It is unknown whether the refused ones are committed; they are so at most once, and in their order.
    let stored = texts(&stored);
    assert!(stored.is_sorted_by(|a, b| a < b), "{stored:?}");
    assert!(stored.starts_with(&["1"]) && stored.ends_with(&[&*last]), "{stored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_refused_at_the_end() {
    let mut brokers = Brokers::jetstream(Version::Newest, 1);
    let engine = builder(&brokers).append_timeout(PATIENCE).open().await.unwrap();
    brokers.kill(0);
    let (done, results) = tokio::sync::oneshot::channel();
    let batch = vec![entry("c", "1"), entry("c", "2")];
    engine.append(batch, Box::new(move |appended| drop(done.send(appended))));
    drop(engine);
    let results = timeout(PATIENCE, results).await.unwrap().unwrap();
    assert!(
        matches!(results[..], [Err(EngineError::Closed), Err(EngineError::Closed)]),
        "{results:?}"
    );
}

/// A node that was cut off is given what it missed, though nothing later follows: entries, and facts that were set, removed
/// or ended.
async fn check_missed(version: Version) {
    let brokers = Brokers::jetstream(version, 1);
    let proxy = Proxy::start(&brokers).await;
    let other = Node::open(builder(&brokers)).await;
    let node = Node::open(JetStream::builder([proxy.address.clone()]).open_timeout(PATIENCE)).await;
    let set = async |bucket, key: &str, value: Option<&'static str>| {
        let value = value.map(|value| Bytes::from_static(value.as_bytes()));
        other.set_facts(bucket, vec![(key.to_owned(), value)]).await.unwrap();
    };
    let fact = |event: &Event| match event {
        Event::FactChanged(bucket, key, value) => Some((*bucket, key.clone(), value.clone())),
        _ => None,
    };
    node.follow(&channel("c"), Position(0)).await.unwrap();
    let first = appended(&*other, vec![entry("c", "0")]).await[0];
    node.committed("c", first).await;
    for bucket in [Bucket::Apps, Bucket::Push] {
        set(bucket, "removed", Some("before")).await;
        set(bucket, "changed", Some("before")).await;
    }
    set(Bucket::Nodes, "ends", Some("here")).await;
    for _ in 0..5 {
        node.expect(fact).await;
    }

    proxy.cut();
    node.expect(|event| matches!(event, Event::Lost).then_some(())).await;
    let missed = (1..=20).map(|number| entry("c", &number.to_string())).collect();
    let missed = appended(&*other, missed).await;
    for bucket in [Bucket::Apps, Bucket::Push] {
        set(bucket, "removed", None).await;
        set(bucket, "changed", Some("after")).await;
    }
    set(Bucket::Nodes, "begins and ends", Some("here")).await;
    let mut leases = 2;
    while leases > 0 {
        let (bucket, _, value) = other.expect(fact).await;
        leases -= usize::from(bucket == Bucket::Nodes && value.is_none());
    }
    set(Bucket::Nodes, "begins", Some("here")).await;
    proxy.restore();

    let (mut entries, mut facts) = (Vec::new(), BTreeSet::new());
    let events = node.until(|event| {
        match event {
            Event::Committed(_, entry) => entries.push(entry.position),
            _ => facts.extend(fact(event)),
        }
        entries.len() == missed.len() && facts.len() == 6
    });
    let events = events.await;
    assert_eq!(entries, missed);
    assert!(matches!(events[0], Event::Regained), "{version:?}: {:?} came first", events[0]);
    let mut expected = BTreeSet::new();
    for bucket in [Bucket::Apps, Bucket::Push] {
        expected.insert((bucket, "removed".to_owned(), None));
        expected.insert((bucket, "changed".to_owned(), Some(Bytes::from_static(b"after"))));
    }
    expected.insert((Bucket::Nodes, "ends".to_owned(), None));
    expected.insert((Bucket::Nodes, "begins".to_owned(), Some(Bytes::from_static(b"here"))));
    assert_eq!(facts, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_events_are_reported_afterwards() {
    tokio::join!(check_missed(Version::Newest), check_missed(Version::Oldest));
}
