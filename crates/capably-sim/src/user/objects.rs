//! A user's objects: a counter that users add to, and keys of the root map that they set.

use std::collections::BTreeMap;

use capably_objects::{LiveCounter, NewIds, SyncState, increment, set};
use capably_protocol::{ErrorInfo, ObjectMessage};

use super::{Op, User};
use crate::{
    script::{KEYS, UserId},
    world::World,
};

/// The key of the counter in the root map.
pub(crate) const COUNTER: &str = "count";

/// When the counter was made. Every user makes the same one, so that it does not matter who is the first.
const MADE: i64 = 1_726_585_978_590;

/// A call that adds to the counter of a channel, and its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    pub(crate) amount: u32,
    /// How often the service may have applied it.
    pub(crate) copies: usize,
    pub(crate) is_acknowledged: bool,
}

impl World {
    /// A user adds to the counter.
    pub(super) fn add(&mut self, user: UserId, channel: usize, amount: u32) {
        self.publish_objects(user, channel, Some(amount), addition(amount));
    }

    /// A user sets a key.
    pub(super) fn set(&mut self, user: UserId, channel: usize, key: usize) {
        let text = self.users[user].text();
        let ids = &mut NewIds::new(MADE, || [0; 16]);
        self.publish_objects(user, channel, None, set("root", KEYS[key], text, ids));
    }

    fn publish_objects(
        &mut self,
        user: UserId,
        channel: usize,
        amount: Option<u32>,
        messages: Result<Vec<ObjectMessage>, ErrorInfo>,
    ) {
        let (at, wall) = (self.now.steady, self.now.wall);
        let own = &mut self.users[user];
        let now = own.now(at, wall);
        let id = own.channel(channel);
        let connections = own.connections.len();
        let op = own.op(Op::Objects { channel, amount, connections });
        let messages = messages.expect("the numbers are finite, and the texts can be stored");
        own.with(|core| core.publish_objects(id, messages.into(), op, now));
    }

    /// A call has ended, or will never end here.
    pub(super) fn objects_end(
        &mut self,
        user: UserId,
        channel: usize,
        amount: Option<u32>,
        connections: usize,
        is_acknowledged: bool,
    ) {
        if let Some(amount) = amount {
            let copies = self.users[user].connections_since(connections);
            self.added[channel].push(Added { amount, copies, is_acknowledged });
        }
    }
}

impl User {
    /// The keys of a channel's objects with their values as texts, if the objects are used and in sync.
    pub(crate) fn objects(&self, channel: usize) -> Result<BTreeMap<String, String>, String> {
        let id = self.channels[channel].as_ref().map(|channel| channel.id);
        let objects = id.zip(self.core.as_ref()).and_then(|(id, core)| core.objects(id));
        let objects = objects.ok_or("it has no objects")?.read();
        if objects.state() != SyncState::Synced {
            return Err(format!("its objects are {:?}", objects.state()));
        }
        let entries = objects.pool().root().entries();
        let entries = entries.filter_map(|(name, value)| {
            let value = value?.compact_json();
            let text = value.as_str().map(str::to_owned);
            let number = value.as_f64().map(|number| number.to_string());
            Some((name.to_string(), text.or(number).unwrap_or_else(|| value.to_string())))
        });
        Ok(entries.collect())
    }
}

/// Makes the counter, unless it exists, and adds to it.
fn addition(amount: u32) -> Result<Vec<ObjectMessage>, ErrorInfo> {
    let ids = &mut NewIds::new(MADE, || [0; 16]);
    let mut messages = set("root", COUNTER, LiveCounter::new(0.0), ids)?;
    let made = messages.first().and_then(|message| message.operation.as_ref());
    let counter = made.and_then(|operation| operation.object_id.clone()).unwrap_or_default();
    messages.push(increment(counter, f64::from(amount))?);
    Ok(messages)
}
