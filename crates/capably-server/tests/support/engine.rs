//! An engine in memory whose commits a test can delay or make fail.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use capably_server::engine::{
    Append, Bucket, ChannelId, Completion, Engine, EngineError, Entry, Fact, Memory, Pending,
    Position, Range, Thread,
};
use tokio::{sync::watch, time::timeout};

/// Implements methods of an engine by those of another engine, which is a field.
macro_rules! forward {
    ($field:ident: $($method:ident)*) => {
        $($crate::engine::forward!(@$method $field);)*
    };
    (@append $field:ident) => {
        fn append(&self, entries: Vec<Append>, done: Completion) {
            self.$field.append(entries, done);
        }
    };
    (@read $field:ident) => {
        fn read<'a>(&'a self, channel: &'a ChannelId, range: Range) -> Pending<'a, Vec<Entry>> {
            self.$field.read(channel, range)
        }
    };
    (@threads $field:ident) => {
        fn threads<'a>(
            &'a self,
            channel: &'a ChannelId,
            messages: std::ops::RangeInclusive<Thread>,
            after: Option<(Thread, Position)>,
            limit: usize,
        ) -> Pending<'a, Vec<Entry>> {
            self.$field.threads(channel, messages, after, limit)
        }
    };
    (@seek $field:ident) => {
        fn seek<'a>(&'a self, channel: &'a ChannelId, time: i64) -> Pending<'a, Position> {
            self.$field.seek(channel, time)
        }
    };
    (@bounds $field:ident) => {
        fn bounds<'a>(&'a self, channel: &'a ChannelId) -> Pending<'a, (Position, Position)> {
            self.$field.bounds(channel)
        }
    };
    (@fact $field:ident) => {
        fn fact<'a>(&'a self, bucket: Bucket, key: &'a str) -> Pending<'a, Option<Bytes>> {
            self.$field.fact(bucket, key)
        }
    };
    (@facts $field:ident) => {
        fn facts<'a>(
            &'a self,
            bucket: Bucket,
            prefix: &'a str,
            after: Option<&'a str>,
            limit: usize,
        ) -> Pending<'a, Vec<Fact>> {
            self.$field.facts(bucket, prefix, after, limit)
        }
    };
    (@create_fact $field:ident) => {
        fn create_fact<'a>(
            &'a self,
            bucket: Bucket,
            key: &'a str,
            value: Bytes,
        ) -> Pending<'a, bool> {
            self.$field.create_fact(bucket, key, value)
        }
    };
    (@close $field:ident) => {
        fn close(&self) -> Pending<'_, ()> {
            self.$field.close()
        }
    };
}
pub(crate) use forward;

/// The result of a commit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    /// The engine reports an error.
    Fail,
    /// The engine panics.
    Panic,
    /// The engine forgets to report a result.
    Forget,
}

/// An engine in memory that a test controls.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    memory: Memory,
    state: Mutex<State>,
    /// The number of appends so far.
    begun: watch::Sender<usize>,
    /// The number of changes of facts so far.
    facts: AtomicUsize,
    /// Whether changes of facts are held up after they are made.
    facts_held: watch::Sender<bool>,
    /// Whether channels are held up that are loaded.
    loads_held: watch::Sender<bool>,
    /// The position up to which all entries have expired.
    floor: AtomicU64,
}

#[derive(Default)]
struct State {
    delayed: bool,
    waiting: Vec<(Vec<Append>, Completion)>,
    /// The results of the next appends and of the next facts. Later ones succeed.
    script: VecDeque<Fate>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("held", &self.delayed).finish_non_exhaustive()
    }
}

impl Scripted {
    pub(crate) fn next(&self, fate: Fate) {
        self.state.lock().unwrap().script.push_back(fate);
    }

    /// Delays all commits from now on, or carries out the delayed ones.
    pub(crate) fn delay_commits(&self, delayed: bool) {
        let waiting = {
            let mut state = self.state.lock().unwrap();
            state.delayed = delayed;
            std::mem::take(&mut state.waiting)
        };
        for (entries, done) in waiting {
            self.commit(entries, done);
        }
    }

    /// Holds up the answers to changes of facts from here on, or lets all that wait go on.
    pub(crate) fn hold_facts(&self, hold: bool) {
        self.facts_held.send_replace(hold);
    }

    /// Holds up the channels that are loaded from here on, or lets all that wait go on.
    pub(crate) fn hold_loads(&self, hold: bool) {
        self.loads_held.send_replace(hold);
    }

    /// Lets all entries of a channel expire, and those of others that are older.
    pub(crate) async fn expire(&self, channel: &ChannelId) {
        let (_, last) = self.memory.bounds(channel).await.unwrap();
        self.floor.store(last.0, Ordering::SeqCst);
    }

    fn floor(&self) -> Position {
        Position(self.floor.load(Ordering::SeqCst))
    }

    /// Waits until there were so many changes of facts.
    pub(crate) async fn facts_begin(&self, count: usize) {
        while self.facts() < count {
            tokio::task::yield_now().await;
        }
    }

    /// The number of changes of facts so far.
    pub(crate) fn facts(&self) -> usize {
        self.facts.load(Ordering::SeqCst)
    }

    fn change_facts<'a, T: Send + 'a>(&'a self, change: Pending<'a, T>) -> Pending<'a, T> {
        let count = self.facts.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let result = change.await;
            let _ = self.facts_held.subscribe().wait_for(|held| !held).await;
            // Answers arrive in another order than the changes are made.
            for _ in 0..count * 7 % 5 {
                tokio::task::yield_now().await;
            }
            result
        })
    }

    pub(crate) fn delays_commits(&self) -> bool {
        self.state.lock().unwrap().delayed
    }

    pub(crate) fn appends(&self) -> usize {
        *self.begun.borrow()
    }

    /// The entries whose commit is delayed.
    pub(crate) fn delayed(&self) -> usize {
        self.state.lock().unwrap().waiting.iter().map(|(entries, _)| entries.len()).sum()
    }

    /// Waits until the engine has received this number of appends.
    pub(crate) async fn wait_for_appends(&self, count: usize) {
        let begun = &mut self.begun.subscribe();
        let wait = begun.wait_for(|begun| *begun >= count);
        timeout(Duration::from_secs(20), wait).await.expect("nothing is appended").unwrap();
    }

    pub(crate) fn reopen(self: &Arc<Self>) -> Arc<dyn Engine> {
        self.memory.reopen();
        Arc::clone(self) as Arc<dyn Engine>
    }

    fn commit(&self, entries: Vec<Append>, done: Completion) {
        let fate = self.state.lock().unwrap().script.pop_front();
        match fate {
            None => self.memory.append(entries, done),
            Some(Fate::Fail) => done(entries.iter().map(|_| Err(failure())).collect()),
            Some(Fate::Panic) => panic!("as the test wants it"),
            Some(Fate::Forget) => {}
        }
    }
}

fn failure() -> EngineError {
    let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
    EngineError::Io { action: "write".into(), source: Arc::new(source) }
}

impl Engine for Scripted {
    fn append(&self, entries: Vec<Append>, done: Completion) {
        self.begun.send_modify(|begun| *begun += 1);
        {
            let mut state = self.state.lock().unwrap();
            if state.delayed {
                state.waiting.push((entries, done));
                return;
            }
        }
        self.commit(entries, done);
    }

    fn read<'a>(&'a self, channel: &'a ChannelId, range: Range) -> Pending<'a, Vec<Entry>> {
        self.memory.read(channel, Range { after: range.after.max(self.floor()), ..range })
    }

    forward!(memory: threads seek fact facts close);

    fn bounds<'a>(&'a self, channel: &'a ChannelId) -> Pending<'a, (Position, Position)> {
        Box::pin(async move {
            let _ = self.loads_held.subscribe().wait_for(|held| !held).await;
            let (floor, last) = self.memory.bounds(channel).await?;
            Ok((floor.max(self.floor()), last))
        })
    }

    fn set_facts<'a>(
        &'a self,
        bucket: Bucket,
        facts: Vec<(String, Option<Bytes>)>,
    ) -> Pending<'a, ()> {
        if self.state.lock().unwrap().script.pop_front().is_some() {
            return Box::pin(std::future::ready(Err(failure())));
        }
        self.change_facts(self.memory.set_facts(bucket, facts))
    }

    fn create_fact<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes) -> Pending<'a, bool> {
        if self.state.lock().unwrap().script.pop_front().is_some() {
            return Box::pin(std::future::ready(Err(failure())));
        }
        self.change_facts(self.memory.create_fact(bucket, key, value))
    }
}
