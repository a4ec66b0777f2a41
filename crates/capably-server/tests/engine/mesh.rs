//! Nodes of a mesh: what they follow, facts and leases, and nodes that are cut off or end.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    time::Duration,
};

use bytes::Bytes;
use capably_server::engine::{
    Announcement, Append, Bucket, Engine, EngineError, Event, Mesh, MeshNode, Position,
};
use futures_util::FutureExt;
use tokio::{
    runtime::Handle,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::Instant,
};

use super::contract::{append, appended, channel, entry, everything, texts};

const START: Position = Position(0);

/// A new node, and the events that it gets.
fn node(mesh: &Mesh) -> (Arc<MeshNode>, Receiver<Event>) {
    let node = mesh.node();
    let (sender, events) = mpsc::channel();
    node.listen(Box::new(move |event| drop(sender.send(event))));
    (node, events)
}

/// An event in a form that can be compared.
fn text(event: Event) -> String {
    let of = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    match event {
        Event::Committed(channel, entry) => format!("{} {}", channel.name, of(entry.payload)),
        Event::FactChanged(bucket, key, Some(value)) => format!("{bucket:?} {key}={}", of(value)),
        Event::FactChanged(bucket, key, None) => format!("{bucket:?} {key} removed"),
        Event::Announced(announcement) => {
            format!("{} announces {}", announcement.node, of(announcement.payload))
        }
        Event::Lost => "lost".into(),
        Event::Regained => "regained".into(),
    }
}

fn got(events: &Receiver<Event>) -> Vec<String> {
    events.try_iter().map(text).collect()
}

async fn set(node: &MeshNode, bucket: Bucket, key: &str, value: Option<&str>) {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    node.set_facts(bucket, vec![(key.to_owned(), value)]).await.unwrap();
}

fn announce(node: &MeshNode, name: &str, payload: &str) {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    node.announce(Announcement { node: name.to_owned(), payload });
}

#[tokio::test]
async fn a_node_gets_the_entries_of_all_nodes_after_a_position() {
    let mesh = Mesh::new();
    let (a, of_a) = node(&mesh);
    let (b, of_b) = node(&mesh);
    assert!(a.is_shared());
    let stored = appended(&*a, vec![entry("x", "1"), entry("y", "2"), entry("x", "3")]).await;
    assert_eq!(got(&of_a), [""; 0]);
    b.follow(&channel("x"), stored[0]).await.unwrap();
    a.follow(&channel("x"), START).await.unwrap();
    a.follow(&channel("y"), Position(u64::MAX)).await.unwrap();
    appended(&*b, vec![entry("y", "4"), entry("x", "5")]).await;
    appended(&*a, vec![entry("x", "6")]).await;
    assert_eq!(got(&of_a), ["x 1", "x 3", "x 5", "x 6"]);
    assert_eq!(got(&of_b), ["x 3", "x 5", "x 6"]);

    // The second `follow` takes the place of the first.
    b.follow(&channel("x"), stored[0]).await.unwrap();
    assert_eq!(got(&of_b), ["x 3", "x 5", "x 6"]);
    a.unfollow(&channel("x"));
    appended(&*a, vec![entry("x", "7")]).await;
    assert_eq!(got(&of_a), [""; 0]);
    assert_eq!(got(&of_b), ["x 7"]);
}

#[tokio::test]
async fn a_repeated_entry_is_delivered_once() {
    let mesh = Mesh::new();
    let (a, events) = node(&mesh);
    a.follow(&channel("x"), START).await.unwrap();
    let with_id = |payload| Append { id: Some("id".into()), ..entry("x", payload) };
    let results = append(&*mesh.node(), vec![with_id("1"), with_id("2")]).await;
    assert!(results[1].as_ref().unwrap().repeated);
    assert_eq!(got(&events), ["x 1"]);
}

#[tokio::test]
async fn an_entry_that_is_not_kept_is_delivered() {
    let mesh = Mesh::new();
    let (a, events) = node(&mesh);
    a.follow(&channel("x"), START).await.unwrap();
    let short = |payload| Append { keep: Duration::ZERO, ..entry("x", payload) };
    appended(&*a, vec![short("1"), short("2")]).await;
    assert_eq!(got(&events), ["x 1", "x 2"]);
}

/// Two nodes append at the same time, and a third follows before, meanwhile and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_nodes_have_the_order_of_the_log() {
    const EACH: usize = 2000;
    let mesh = Mesh::new();
    let (c, of_c) = node(&mesh);
    let inside = Arc::new(AtomicBool::new(false));
    let (d, of_d) = {
        let (d, (sender, events)) = (mesh.node(), mpsc::channel());
        let inside = Arc::clone(&inside);
        d.listen(Box::new(move |event| {
            assert!(!inside.swap(true, Ordering::SeqCst), "two events at a time");
            sender.send(event).unwrap();
            inside.store(false, Ordering::SeqCst);
        }));
        (d, events)
    };
    d.follow(&channel("x"), START).await.unwrap();
    let barrier = Arc::new(Barrier::new(3));
    let mut threads = Vec::new();
    for name in ["a", "b"] {
        let (node, barrier) = (mesh.node(), Arc::clone(&barrier));
        threads.push(tokio::task::spawn_blocking(move || {
            barrier.wait();
            for number in 0..EACH {
                let (sender, done) = mpsc::channel();
                let batch = vec![entry("x", &format!("{name}{number}")), entry("y", "other")];
                node.append(batch, Box::new(move |results| sender.send(results.len()).unwrap()));
                assert_eq!(done.try_recv(), Ok(2));
            }
        }));
    }
    let follower = {
        let (c, runtime) = (Arc::clone(&c), Handle::current());
        tokio::task::spawn_blocking(move || {
            barrier.wait();
            let follow = |after| runtime.block_on(c.follow(&channel("x"), after)).unwrap();
            let mut got = Vec::new();
            follow(START);
            while got.len() < EACH {
                let Event::Committed(of, entry) = of_c.recv().unwrap() else { panic!() };
                assert_eq!(of, channel("x"));
                got.push(entry);
            }
            let reached = got[got.len() - 1].position;
            follow(reached);
            (got, of_c)
        })
    };
    for thread in threads {
        thread.await.unwrap();
    }
    let (mut first, of_c) = follower.await.unwrap();

    let everything = || capably_server::engine::Range {
        limit: usize::MAX,
        max_bytes: usize::MAX,
        ..everything()
    };
    let stored = c.read(&channel("x"), everything()).await.unwrap();
    assert_eq!(stored.len(), 2 * EACH);
    let entries = |events: &Receiver<Event>| -> Vec<_> {
        let entry = |event| match event {
            Event::Committed(_, entry) => entry,
            other => panic!("{other:?}"),
        };
        events.try_iter().map(entry).collect()
    };
    assert_eq!(texts(&entries(&of_d)), texts(&stored));
    // Entries of the first `follow` may arrive until the second: they end where the second begins anew.
    let reached = first[first.len() - 1].position;
    let rest = entries(&of_c);
    let second = rest.len() - stored.iter().filter(|entry| entry.position > reached).count();
    assert!(stored[first.len()..].starts_with(&rest[..second]));
    first.extend_from_slice(&rest[second..]);
    assert_eq!(texts(&first), texts(&stored));
}

/// Listeners call their own node and others. All get all events, in one order.
#[tokio::test]
async fn a_listener_may_append() {
    let mesh = Mesh::new();
    let (a, b) = (mesh.node(), mesh.node());
    let locked = Arc::new(Mutex::new(()));
    let (sender, order) = mpsc::channel();
    for (name, node, other) in [("a", &a, &b), ("b", &b, &a)] {
        node.follow(&channel("x"), START).await.unwrap();
        let own: Weak<MeshNode> = Arc::downgrade(node);
        let (other, sender, locked) = (Arc::downgrade(other), sender.clone(), Arc::clone(&locked));
        node.listen(Box::new(move |event| {
            // The first append is under this lock.
            assert!(locked.try_lock().is_err());
            let Event::Committed(_, got) = event else { panic!("{event:?}") };
            let got = String::from_utf8(got.payload.to_vec()).unwrap();
            sender.send(format!("{name} {got}")).unwrap();
            if got.len() < 3 && name == "a" {
                let sender = sender.clone();
                let result = format!("done {got}>");
                let done = Box::new(move |_: Vec<_>| sender.send(result).unwrap());
                other.upgrade().unwrap().append(vec![entry("x", &format!("{got}>"))], done);
                own.upgrade().unwrap().append(vec![entry("y", "nobody")], Box::new(drop));
            }
        }));
    }
    let held = locked.lock().unwrap();
    b.append(vec![entry("x", "1")], Box::new(drop));
    drop(held);
    let order: Vec<_> = order.try_iter().collect();
    assert_eq!(order, ["a 1", "done 1>", "b 1", "a 1>", "done 1>>", "b 1>", "a 1>>", "b 1>>"]);
}

#[tokio::test]
async fn after_unfollow_in_a_listener_nothing_comes() {
    let mesh = Mesh::new();
    let a = mesh.node();
    let (sender, events) = mpsc::channel();
    let own = Arc::downgrade(&a);
    a.listen(Box::new(move |event| {
        sender.send(event).unwrap();
        own.upgrade().unwrap().unfollow(&channel("x"));
    }));
    for name in ["x", "y"] {
        a.follow(&channel(name), START).await.unwrap();
    }
    appended(&*mesh.node(), vec![entry("x", "1"), entry("x", "2"), entry("y", "3")]).await;
    assert_eq!(got(&events), ["x 1", "y 3"]);
}

#[tokio::test]
async fn a_listener_that_panics_does_not_end_the_delivery() {
    let mesh = Mesh::new();
    let (a, (b, of_b)) = (mesh.node(), node(&mesh));
    a.listen(Box::new(|_| panic!("as the test wants")));
    for node in [&a, &b] {
        node.follow(&channel("x"), START).await.unwrap();
    }
    let (sender, done) = mpsc::channel();
    let result = Box::new(move |results: Vec<_>| sender.send(results.len()).unwrap());
    let appending = catch_unwind(AssertUnwindSafe(|| b.append(vec![entry("x", "1")], result)));
    assert!(appending.is_err());
    assert_eq!(done.try_recv(), Ok(1));
    a.kill();
    appended(&*b, vec![entry("x", "2")]).await;
    assert_eq!(got(&of_b), ["x 1", "x 2"]);
}

#[tokio::test]
async fn changes_of_facts_are_reported_to_all_nodes() {
    let mesh = Mesh::new();
    let (a, of_a) = node(&mesh);
    let (_b, of_b) = node(&mesh);
    for bucket in Bucket::ALL {
        set(&a, bucket, "k", Some("1")).await;
    }
    assert!(!a.create_fact(Bucket::Apps, "k", "2".into()).await.unwrap());
    assert!(a.create_fact(Bucket::Apps, "new", "3".into()).await.unwrap());
    let facts = vec![("k".into(), None), ("k".into(), Some("4".into()))];
    a.set_facts(Bucket::Push, facts).await.unwrap();
    let expected = [
        "Apps k=1",
        "Revocations k=1",
        "Push k=1",
        "Nodes k=1",
        "Apps new=3",
        "Push k removed",
        "Push k=4",
    ];
    assert_eq!(got(&of_a), expected);
    assert_eq!(got(&of_b), expected);
    assert_eq!(mesh.node().fact(Bucket::Push, "k").await.unwrap(), Some("4".into()));
}

#[tokio::test]
async fn announcements_reach_the_other_nodes() {
    let mesh = Mesh::new();
    let (a, of_a) = node(&mesh);
    let (_b, of_b) = node(&mesh);
    let (_c, of_c) = node(&mesh);
    announce(&a, "a", "hello");
    assert_eq!(got(&of_a), [""; 0]);
    assert_eq!(got(&of_b), ["a announces hello"]);
    assert_eq!(got(&of_c), ["a announces hello"]);
}

/// A node whose events can be awaited, with the clock paused.
fn awaited(mesh: &Mesh) -> (Arc<MeshNode>, UnboundedReceiver<Event>) {
    let node = mesh.node();
    let (sender, events) = unbounded_channel();
    node.listen(Box::new(move |event| drop(sender.send(event))));
    (node, events)
}

async fn next(events: &mut UnboundedReceiver<Event>) -> String {
    let event = tokio::time::timeout(Duration::from_secs(60), events.recv()).await;
    text(event.expect("no event within a minute").unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_renewed_ends() {
    let mesh = Mesh::new();
    let (_watcher, mut events) = awaited(&mesh);
    let (a, b) = (mesh.node(), mesh.node());
    let start = Instant::now();
    let mut next = async || (next(&mut events).await, start.elapsed().as_secs());
    let advance = |seconds| tokio::time::advance(Duration::from_secs(seconds));
    set(&a, Bucket::Nodes, "a", Some("1")).await;
    assert_eq!(next().await, ("Nodes a=1".into(), 0));
    advance(4).await;
    assert!(b.create_fact(Bucket::Nodes, "b", "1".into()).await.unwrap());
    assert_eq!(next().await, ("Nodes b=1".into(), 4));
    advance(3).await;
    set(&a, Bucket::Nodes, "a", Some("2")).await;
    assert_eq!(next().await, ("Nodes a=2".into(), 7));
    // Nothing calls the mesh any more: its task reports the ends.
    assert_eq!(next().await, ("Nodes b removed".into(), 14));
    assert_eq!(b.facts(Bucket::Nodes, "", None, 10).await.unwrap().len(), 1);
    assert_eq!(next().await, ("Nodes a removed".into(), 17));
    assert_eq!(a.facts(Bucket::Nodes, "", None, 10).await.unwrap().len(), 0);
    assert!(b.create_fact(Bucket::Nodes, "a", "3".into()).await.unwrap());
    assert_eq!(next().await, ("Nodes a=3".into(), 17));
    set(&a, Bucket::Nodes, "a", None).await;
    assert_eq!(next().await, ("Nodes a removed".into(), 17));
    // A removed lease does not end again, and a new one after it ends at its own time.
    advance(5).await;
    set(&a, Bucket::Nodes, "a", Some("4")).await;
    assert_eq!(next().await, ("Nodes a=4".into(), 22));
    assert_eq!(next().await, ("Nodes a removed".into(), 32));
}

#[tokio::test(start_paused = true)]
async fn a_created_lease_ends() {
    let mesh = Mesh::new();
    let (a, mut events) = awaited(&mesh);
    assert!(a.create_fact(Bucket::Nodes, "a", "1".into()).await.unwrap());
    assert_eq!(next(&mut events).await, "Nodes a=1");
    assert_eq!(next(&mut events).await, "Nodes a removed");
}

/// The task that waits for leases has seen none left, and is about to end, when there is another.
#[tokio::test(start_paused = true)]
async fn a_lease_made_at_the_end_of_the_last_one_ends() {
    let mesh = Mesh::new();
    let (a, (_watcher, mut events)) = (mesh.node(), awaited(&mesh));
    let own = Arc::downgrade(&a);
    a.listen(Box::new(move |event| {
        if text(event) == "Nodes first removed" {
            let own = own.upgrade().unwrap();
            set(&own, Bucket::Nodes, "second", Some("1")).now_or_never().unwrap();
        }
    }));
    set(&a, Bucket::Nodes, "first", Some("1")).await;
    for event in ["first=1", "first removed", "second=1", "second removed"] {
        assert_eq!(next(&mut events).await, format!("Nodes {event}"));
    }
}

/// A node that dies takes its runtime with it, and the task of the mesh that runs there.
#[test]
fn leases_end_without_the_runtime_that_set_them() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let mesh = Mesh::new();
    let (_watcher, mut events) = awaited(&mesh);
    runtime().block_on(async { set(&mesh.node(), Bucket::Nodes, "a", Some("1")).await });
    runtime().block_on(async {
        let b = mesh.node();
        assert_eq!(text(events.try_recv().unwrap()), "Nodes a=1");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(b.fact(Bucket::Nodes, "a").await.unwrap(), None);
        assert_eq!(text(events.try_recv().unwrap()), "Nodes a removed");
        set(&b, Bucket::Nodes, "b", Some("1")).await;
        assert_eq!(next(&mut events).await, "Nodes b=1");
        assert_eq!(next(&mut events).await, "Nodes b removed");
    });
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_gets_what_it_missed() {
    let mesh = Mesh::new();
    let (a, of_a) = node(&mesh);
    let (b, of_b) = node(&mesh);
    for name in ["x", "y"] {
        a.follow(&channel(name), START).await.unwrap();
    }
    appended(&*a, vec![entry("x", "1")]).await;
    set(&b, Bucket::Apps, "changed", Some("1")).await;
    set(&b, Bucket::Apps, "gone", Some("1")).await;
    set(&b, Bucket::Apps, "same", Some("1")).await;
    set(&a, Bucket::Nodes, "a", Some("1")).await;
    assert_eq!(got(&of_a).len(), 5);

    a.cut(true);
    a.cut(true);
    let unavailable = |error: EngineError| matches!(error, EngineError::Unavailable(_));
    assert!(unavailable(append(&*a, vec![entry("x", "refused")]).await.remove(0).unwrap_err()));
    assert!(unavailable(a.read(&channel("x"), everything()).await.unwrap_err()));
    assert!(unavailable(a.set_facts(Bucket::Apps, vec![("k".into(), None)]).await.unwrap_err()));
    assert!(unavailable(a.follow(&channel("y"), START).await.unwrap_err()));
    announce(&a, "a", "lost");
    got(&of_b);
    appended(&*b, vec![entry("x", "2"), entry("y", "3"), entry("x", "4")]).await;
    announce(&b, "b", "lost");
    for (key, value) in [("changed", Some("2")), ("changed", Some("3")), ("gone", None)] {
        set(&b, Bucket::Apps, key, value).await;
    }
    set(&b, Bucket::Push, "new", Some("1")).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::task::yield_now().await;
    assert_eq!(got(&of_a), ["lost"]);
    let of_b = got(&of_b);
    assert_eq!(of_b.last().unwrap(), "Nodes a removed");
    assert!(!of_b.iter().any(|event| event.contains("announces")), "{of_b:?}");

    a.cut(false);
    a.cut(false);
    let expected = [
        "regained",
        "x 2",
        "x 4",
        "y 3",
        "Apps changed=3",
        "Apps gone removed",
        "Push new=1",
        "Nodes a removed",
    ];
    assert_eq!(got(&of_a), expected);
    appended(&*a, vec![entry("x", "5")]).await;
    assert_eq!(got(&of_a), ["x 5"]);
}

#[tokio::test(start_paused = true)]
async fn the_facts_of_a_killed_node_stay_until_they_expire() {
    let mesh = Mesh::new();
    let (a, of_a) = node(&mesh);
    let (b, mut of_b) = awaited(&mesh);
    a.follow(&channel("x"), START).await.unwrap();
    set(&a, Bucket::Nodes, "a", Some("1")).await;
    a.kill();
    a.kill();
    a.cut(true);
    appended(&*b, vec![entry("x", "1")]).await;
    assert_eq!(got(&of_a), ["Nodes a=1"]);
    assert!(matches!(append(&*a, vec![entry("x", "2")]).await[..], [Err(EngineError::Closed)]));
    let facts = a.facts(Bucket::Nodes, "", None, 10).await;
    assert!(matches!(facts, Err(EngineError::Closed)), "{facts:?}");
    assert!(matches!(a.close().await, Err(EngineError::Closed)));

    tokio::time::advance(Duration::from_millis(9999)).await;
    assert_eq!(b.fact(Bucket::Nodes, "a").await.unwrap(), Some("1".into()));
    assert_eq!(next(&mut of_b).await, "Nodes a=1");
    assert_eq!(next(&mut of_b).await, "Nodes a removed");
}

#[tokio::test]
async fn a_node_is_closed_by_itself() {
    let mesh = Mesh::new();
    let (a, of_a) = node(&mesh);
    let (b, of_b) = node(&mesh);
    for node in [&a, &b] {
        node.follow(&channel("x"), START).await.unwrap();
    }
    a.close().await.unwrap();
    appended(&*b, vec![entry("x", "1")]).await;
    assert_eq!(got(&of_a), [""; 0]);
    assert_eq!(got(&of_b), ["x 1"]);
    assert!(of_a.recv().is_err(), "the listener is still there");
    let (sender, listener) = mpsc::channel();
    a.listen(Box::new(move |event| sender.send(event).unwrap()));
    assert!(listener.recv().is_err(), "a closed node has a listener");

    // A dropped node is closed too.
    drop(b);
    assert!(of_b.recv().is_err(), "the listener is still there");
    assert_eq!(texts(&mesh.node().read(&channel("x"), everything()).await.unwrap()), ["1"]);
}

/// Listeners that own nodes are dropped without a lock, and the task that waits for leases ends with the mesh.
#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_a_mesh() {
    let mesh = Mesh::new();
    let (a, b) = (mesh.node(), mesh.node());
    let probe = Arc::new(());
    let watch = Arc::downgrade(&probe);
    let owned = mesh.node();
    a.listen(Box::new(move |_| drop(Arc::clone(&probe))));
    b.listen(Box::new(move |_| drop(Arc::clone(&owned))));
    b.listen(Box::new(drop));
    set(&a, Bucket::Nodes, "a", Some("1")).await;
    tokio::task::yield_now().await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks(), 1);
    drop((a, mesh));
    assert!(watch.upgrade().is_none());
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 1);
    let start = Instant::now();
    drop(b);
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 0);
    assert_eq!(start.elapsed(), Duration::ZERO);
}
