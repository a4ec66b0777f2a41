//! An engine in memory that several nodes of one process share.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use tokio::{runtime::Handle, task::AbortHandle, time::Instant};

use super::{
    Announcement, Append, Appended, Bucket, ChannelId, Completion, Direction, Engine, EngineError,
    Entry, Event, Fact, Listener, Pending, Position, Range, Thread, log::Log,
};

/// The buckets whose changes are reported.
const REPORTED: [Bucket; 4] = [Bucket::Apps, Bucket::Revocations, Bucket::Nodes, Bucket::Push];

/// An engine in memory that several nodes of one process share, to test a cluster without a broker.
///
/// All nodes have one log. Each has its own listener and its own channels that it follows, and is closed by itself. Tests
/// of faults [cut nodes off](MeshNode::cut) and [kill](MeshNode::kill) them.
///
/// An append is committed in the call. Events are delivered in the thread of a call to any node, after the change that
/// they report, and without a lock: a listener may call its node and others. What it causes is delivered when it has
/// returned, so that all listeners have one order of events. The calls of a node that return a future take effect when
/// the future is polled, which never waits.
///
/// Changes of facts are reported for [`Bucket::Apps`], [`Bucket::Revocations`], [`Bucket::Nodes`] and [`Bucket::Push`].
/// A fact of [`Bucket::Nodes`] that expires is reported as removed. Its time is that of tokio: a test can pause and
/// advance it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::{sync::mpsc, time::Duration};
///
/// use capably_server::engine::{Append, ChannelId, Engine, Event, Kind, Mesh, Position};
///
/// let mesh = Mesh::new();
/// let (first, second) = (mesh.node(), mesh.node());
/// let (sender, events) = mpsc::channel();
/// second.listen(Box::new(move |event| drop(sender.send(event))));
/// let channel = ChannelId { app: "app".into(), name: "news".into() };
/// second.follow(&channel, Position(0)).await?;
///
/// let entry = Append {
///     channel,
///     id: None,
///     kind: Kind::Messages,
///     threads: Vec::new(),
///     time: 1_700_000_000_000,
///     keep: Duration::from_secs(120),
///     payload: "hello".into(),
/// };
/// first.append(vec![entry], Box::new(|results| assert!(results[0].is_ok())));
/// let Ok(Event::Committed(_, entry)) = events.try_recv() else { panic!("no entry") };
/// assert_eq!(entry.payload, "hello");
/// # Ok::<_, capably_server::engine::EngineError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Mesh(Arc<Shared>);

impl Mesh {
    /// A mesh without nodes, and with an empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node.
    pub fn node(&self) -> Arc<MeshNode> {
        let id = self.0.lock().join();
        Arc::new(MeshNode { mesh: Arc::clone(&self.0), id })
    }
}

/// A node of a [`Mesh`].
///
/// When it is [closed](Engine::close), [killed](Self::kill) or dropped, it drops its listener and gets no more events. The
/// log and the other nodes stay. Facts of the node stay until they are removed or expire.
pub struct MeshNode {
    mesh: Arc<Shared>,
    id: NodeId,
}

impl MeshNode {
    /// Cuts the node off, or joins it again.
    ///
    /// A node that is cut off gets [`Event::Lost`], and then no events. Its appends and calls fail with
    /// [`EngineError::Unavailable`], and change nothing; its announcements are lost. When it is joined again it gets
    /// [`Event::Regained`], and then the entries of the channels that it follows and the changes of facts that it missed:
    /// the latest value of each fact. It does not get the announcements that it missed.
    pub fn cut(&self, cut: bool) {
        self.mesh.state().cut(self.id, cut);
        self.mesh.deliver();
    }

    /// Ends the node as if its process had died. Later calls fail with [`EngineError::Closed`].
    pub fn kill(&self) {
        self.end();
    }

    /// Removes the node. Returns whether it was there.
    fn end(&self) -> bool {
        // The node is dropped after the lock: its listener may own a node, which locks the state when it is dropped.
        let node = self.mesh.lock().nodes.remove(&self.id);
        node.is_some()
    }

    /// Works with the state unless the node is cut off or closed, and delivers the events that follow.
    fn call<T>(&self, work: impl FnOnce(&mut State) -> T) -> Result<T, EngineError> {
        let result = {
            let mut state = self.mesh.state();
            state.reach(self.id).map(|()| work(&mut state))
        };
        self.mesh.deliver();
        result
    }

    fn pending<'a, T>(&'a self, work: impl FnOnce(&mut State) -> T + Send + 'a) -> Pending<'a, T> {
        Box::pin(async move { self.call(work) })
    }
}

impl Engine for MeshNode {
    fn append(&self, entries: Vec<Append>, done: Completion) {
        let count = entries.len();
        let results = {
            let mut state = self.mesh.state();
            match state.reach(self.id) {
                Ok(()) => entries.into_iter().map(|entry| Ok(state.append(entry))).collect(),
                Err(error) => vec![Err(error); count],
            }
        };
        // Before the events: a listener that panics must not cost the results.
        done(results);
        self.mesh.deliver();
    }

    fn read<'a>(&'a self, channel: &'a ChannelId, range: Range) -> Pending<'a, Vec<Entry>> {
        self.pending(move |state| state.log.read(channel, &range))
    }

    fn threads<'a>(
        &'a self,
        channel: &'a ChannelId,
        messages: RangeInclusive<Thread>,
        after: Option<(Thread, Position)>,
        limit: usize,
    ) -> Pending<'a, Vec<Entry>> {
        self.pending(move |state| state.log.threads(channel, &messages, after, limit))
    }

    fn seek<'a>(&'a self, channel: &'a ChannelId, time: i64) -> Pending<'a, Position> {
        self.pending(move |state| state.log.seek(channel, time))
    }

    fn bounds<'a>(&'a self, channel: &'a ChannelId) -> Pending<'a, (Position, Position)> {
        self.pending(|state| state.log.bounds(channel))
    }

    fn fact<'a>(&'a self, bucket: Bucket, key: &'a str) -> Pending<'a, Option<Bytes>> {
        self.pending(move |state| state.log.fact(bucket, key))
    }

    fn facts<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Pending<'a, Vec<Fact>> {
        self.pending(move |state| state.log.facts(bucket, prefix, after, limit))
    }

    fn set_facts<'a>(
        &'a self,
        bucket: Bucket,
        facts: Vec<(String, Option<Bytes>)>,
    ) -> Pending<'a, ()> {
        self.pending(move |state| {
            for (key, value) in facts {
                state.log.set_fact(bucket, key.clone(), value.clone());
                state.report(bucket, key, value);
            }
            if bucket == Bucket::Nodes {
                state.watch_leases(&self.mesh);
            }
        })
    }

    fn create_fact<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes) -> Pending<'a, bool> {
        self.pending(move |state| {
            let created = state.log.create_fact(bucket, key, value.clone());
            if created {
                state.report(bucket, key.to_owned(), Some(value));
            }
            if bucket == Bucket::Nodes {
                state.watch_leases(&self.mesh);
            }
            created
        })
    }

    /// Closes this node. The log and the other nodes stay.
    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move { if self.end() { Ok(()) } else { Err(EngineError::Closed) } })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn listen(&self, listener: Listener) {
        // As in `end`, the old listener is dropped after the lock.
        let _old = match self.mesh.lock().nodes.get_mut(&self.id) {
            Some(node) => node.listener.replace(Arc::from(listener)),
            None => Some(Arc::from(listener)),
        };
    }

    fn follow<'a>(&'a self, channel: &'a ChannelId, after: Position) -> Pending<'a, ()> {
        self.pending(move |state| state.follow(self.id, channel, after))
    }

    fn unfollow(&self, channel: &ChannelId) {
        self.mesh.lock().unfollow(self.id, channel);
    }

    fn announce(&self, announcement: Announcement) {
        // An announcement of a node that cannot reach the others is lost, as the trait allows.
        let _ = self.call(|state| state.announce(self.id, &announcement));
    }
}

impl Drop for MeshNode {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for MeshNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshNode").field("id", &self.id.0).finish_non_exhaustive()
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        let (channels, facts) = state.log.size();
        f.debug_struct("Mesh")
            .field("nodes", &state.nodes.len())
            .field("channels", &channels)
            .field("facts", &facts)
            .finish()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct NodeId(u64);

/// What all nodes share. It ends with the last handle of the mesh and the last node.
#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    log: Log,
    last_node: NodeId,
    /// The nodes that are not closed.
    nodes: BTreeMap<NodeId, Node>,
    /// Events that have not been delivered, in the order for all nodes.
    queue: VecDeque<(NodeId, Event)>,
    /// Whether a thread delivers the queue.
    delivering: bool,
    /// A time at which a lease may expire, not later than the first that does.
    lease_end: Option<Instant>,
    /// The task that waits for it.
    timer: Option<AbortHandle>,
}

struct Node {
    link: Link,
    listener: Option<Arc<dyn Fn(Event) + Send + Sync>>,
    /// The channels that the node follows, with the position of the last entry that was queued for it.
    follows: BTreeMap<ChannelId, Position>,
}

enum Link {
    Joined,
    /// Cut off, and these facts have changed meanwhile.
    Cut(BTreeSet<(Bucket, String)>),
}

impl Shared {
    /// The state, after what the time has changed.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.expire_leases();
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers the events in the queue, unless that is going on: in another thread, or in this one, which calls a listener.
    /// Then they are delivered there.
    fn deliver(&self) {
        let mut state = self.lock();
        if state.delivering {
            return;
        }
        state.delivering = true;
        let panicked = StopDelivering(self);
        while let Some((node, event)) = state.queue.pop_front() {
            let listener = state.nodes.get(&node).and_then(|node| node.listener.clone());
            drop(state);
            if let Some(listener) = listener {
                listener(event);
            }
            state = self.lock();
        }
        state.delivering = false;
        // The flag was cleared with the lock that saw the queue empty. Another thread may have set it meanwhile.
        std::mem::forget(panicked);
    }
}

/// Ends the delivery when a listener panics, so that the next call delivers the rest.
struct StopDelivering<'a>(&'a Shared);

impl Drop for StopDelivering<'_> {
    fn drop(&mut self) {
        self.0.lock().delivering = false;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(timer) = state.timer.take() {
            timer.abort();
        }
    }
}

impl State {
    fn join(&mut self) -> NodeId {
        self.last_node.0 += 1;
        let node = Node { link: Link::Joined, listener: None, follows: BTreeMap::new() };
        self.nodes.insert(self.last_node, node);
        self.last_node
    }

    /// Whether a node can use the mesh.
    fn reach(&self, id: NodeId) -> Result<(), EngineError> {
        match self.nodes.get(&id).map(|node| &node.link) {
            Some(Link::Joined) => Ok(()),
            Some(Link::Cut(_)) => Err(EngineError::Unavailable("the node is cut off".into())),
            None => Err(EngineError::Closed),
        }
    }

    fn append(&mut self, append: Append) -> Appended {
        let channel = append.channel.clone();
        let appended = self.log.append(append);
        // One entry at a time: the next may be stored for so short a time that this one expires.
        if !appended.repeated {
            for (id, node) in &mut self.nodes {
                node.queue_entries(*id, &channel, &self.log, &mut self.queue);
            }
        }
        appended
    }

    fn follow(&mut self, id: NodeId, channel: &ChannelId, after: Position) {
        self.unfollow(id, channel);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.follows.insert(channel.clone(), after);
            node.queue_entries(id, channel, &self.log, &mut self.queue);
        }
    }

    fn unfollow(&mut self, id: NodeId, channel: &ChannelId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.follows.remove(channel).is_some() {
            self.queue.retain(|(node, event)| {
                *node != id || !matches!(event, Event::Committed(of, _) if of == channel)
            });
        }
    }

    /// Reports that a fact has a value, or none.
    fn report(&mut self, bucket: Bucket, key: String, value: Option<Bytes>) {
        if !REPORTED.contains(&bucket) {
            return;
        }
        for (id, node) in &mut self.nodes {
            match &mut node.link {
                Link::Joined => {
                    let event = Event::FactChanged(bucket, key.clone(), value.clone());
                    self.queue.push_back((*id, event));
                }
                Link::Cut(changed) => {
                    changed.insert((bucket, key.clone()));
                }
            }
        }
    }

    fn announce(&mut self, from: NodeId, announcement: &Announcement) {
        for (id, node) in &self.nodes {
            if *id != from && matches!(node.link, Link::Joined) {
                self.queue.push_back((*id, Event::Announced(announcement.clone())));
            }
        }
    }

    fn cut(&mut self, id: NodeId, cut: bool) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        match (&mut node.link, cut) {
            (Link::Joined, true) => {
                node.link = Link::Cut(BTreeSet::new());
                self.queue.push_back((id, Event::Lost));
            }
            (Link::Cut(changed), false) => {
                let changed = std::mem::take(changed);
                node.link = Link::Joined;
                self.queue.push_back((id, Event::Regained));
                let followed: Vec<_> = node.follows.keys().cloned().collect();
                for channel in followed {
                    node.queue_entries(id, &channel, &self.log, &mut self.queue);
                }
                for (bucket, key) in changed {
                    let value = self.log.fact(bucket, &key);
                    self.queue.push_back((id, Event::FactChanged(bucket, key, value)));
                }
            }
            (Link::Joined, false) | (Link::Cut(_), true) => {}
        }
    }

    /// Removes and reports the leases that have expired.
    fn expire_leases(&mut self) {
        if self.lease_end.is_some_and(|end| end <= Instant::now()) {
            self.check_leases();
        }
    }

    fn check_leases(&mut self) {
        let (expired, next) = self.log.expire_facts(Bucket::Nodes);
        self.lease_end = next;
        for key in expired {
            self.report(Bucket::Nodes, key, None);
        }
    }

    /// Sees to it that a task waits for the end of the leases.
    fn watch_leases(&mut self, mesh: &Arc<Shared>) {
        self.check_leases();
        // The task before has ended if its runtime has, which may be that of a node that was killed.
        let watched = self.timer.as_ref().is_some_and(|timer| !timer.is_finished());
        if let Ok(runtime) = Handle::try_current()
            && !watched
        {
            let task = runtime.spawn(watch_leases(Arc::downgrade(mesh)));
            self.timer = Some(task.abort_handle());
        }
    }
}

impl Node {
    /// Queues the entries of a channel after those that were queued before, if the node follows the channel and is joined.
    fn queue_entries(
        &mut self,
        id: NodeId,
        channel: &ChannelId,
        log: &Log,
        queue: &mut VecDeque<(NodeId, Event)>,
    ) {
        let (Link::Joined, Some(last)) = (&self.link, self.follows.get_mut(channel)) else {
            return;
        };
        let later = Range {
            after: *last,
            until: Position(u64::MAX),
            kind: None,
            direction: Direction::Forwards,
            limit: usize::MAX,
            max_bytes: usize::MAX,
        };
        for entry in log.read(channel, &later) {
            *last = entry.position;
            queue.push_back((id, Event::Committed(channel.clone(), entry)));
        }
    }
}

/// Reports leases when they expire, until there is none, or no mesh.
async fn watch_leases(mesh: Weak<Shared>) {
    loop {
        let Some(mesh) = mesh.upgrade() else { return };
        let end = {
            let mut state = mesh.state();
            if state.lease_end.is_none() {
                state.timer = None;
            }
            state.lease_end
        };
        mesh.deliver();
        drop(mesh);
        let Some(end) = end else { return };
        tokio::time::sleep_until(end).await;
    }
}
