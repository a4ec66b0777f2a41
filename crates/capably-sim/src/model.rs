//! The reference: what the service has committed, and what a listener must receive of it.

use std::collections::{BTreeMap, HashMap};

use capably_protocol::{Millis, Str};
use capably_server::sim::Committed;

use crate::user::without_padding;

/// A message that the service has committed.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Its channel serial.
    pub(crate) entry: Str,
    pub(crate) text: String,
    /// The connection that published it.
    pub(crate) connection: Option<Str>,
    /// The hub does not know that the engine has stored it, so listeners may miss it.
    is_hidden: bool,
}

/// A publish that has ended.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) channel: usize,
    pub(crate) texts: Vec<String>,
    /// The most copies that may be committed.
    pub(crate) most: usize,
    /// Whether its messages have ids.
    pub(crate) has_ids: bool,
    pub(crate) is_acknowledged: bool,
}

/// How often a message was committed.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    pub(crate) count: usize,
    /// The time at which the engine has stored the last one.
    stored_at: Option<Millis>,
    /// The shortest time between two, in ms of the server's clock. None without an engine, and with fewer than two.
    pub(crate) apart: Option<Millis>,
}

impl Copies {
    fn add(&mut self, stored_at: Option<Millis>) {
        self.count += 1;
        let before = std::mem::replace(&mut self.stored_at, stored_at);
        if let (Some(before), Some(stored_at)) = (before, stored_at) {
            let apart = stored_at - before;
            self.apart = Some(self.apart.map_or(apart, |least| least.min(apart)));
        }
    }
}

/// The messages of a channel, in their order, of all lives of the server.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    messages: Vec<Message>,
    by_serial: HashMap<Str, usize>,
    /// By the text.
    pub(crate) copies: BTreeMap<String, Copies>,
    /// The entries of the present life that were added.
    taken: usize,
}

impl Truth {
    /// Adds the entries that the service has committed since the last call.
    pub(crate) fn update(&mut self, committed: &[Committed]) {
        for Committed { serial, connection, texts, stored_at, is_hidden } in
            &committed[self.taken..]
        {
            for (index, text) in texts.iter().enumerate() {
                let text = without_padding(text);
                self.by_serial.insert(format!("{serial}:{index:03}").into(), self.messages.len());
                self.copies.entry(text.to_owned()).or_default().add(*stored_at);
                self.messages.push(Message {
                    entry: serial.clone(),
                    text: text.to_owned(),
                    connection: connection.clone(),
                    is_hidden: *is_hidden,
                });
            }
        }
        self.taken = committed.len();
    }

    /// The server starts again: its list of entries is empty.
    pub(crate) fn restarted(&mut self) {
        self.taken = 0;
    }

    pub(crate) fn find(&self, serial: &str) -> Option<(usize, &Message)> {
        let index = *self.by_serial.get(serial)?;
        Some((index, &self.messages[index]))
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The index of the first message after a channel serial.
    fn after(&self, serial: &str) -> usize {
        // From the end: a position is usually near it.
        let after = self.messages.iter().rposition(|message| &*message.entry <= serial);
        after.map_or(0, |index| index + 1)
    }

    /// The messages between two indexes that a client must have received, unless it published them and has no echo.
    fn missed(&self, from: usize, to: usize, skips: &[Str]) -> Vec<&str> {
        let missed = self.messages[from.min(to)..to].iter();
        let missed = missed.filter(|it| {
            let is_own =
                it.connection.as_ref().is_some_and(|connection| skips.contains(connection));
            !is_own && !it.is_hidden
        });
        missed.map(|message| &*message.text).collect()
    }
}

/// The place of a listener in a channel.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    /// The index of the next message. None before the channel was attached.
    next: Option<usize>,
    /// Messages from before may come first.
    rewinds: bool,
    /// So many messages may be missing, which could not be read.
    unreadable: usize,
    /// The index of the next message of a replay.
    replay: Option<usize>,
    /// The channel serial of the first message since continuity was lost last.
    pub(crate) oldest: Option<Str>,
}

impl Listener {
    /// The listener continues after a channel serial.
    pub(crate) fn starts(&mut self, truth: &Truth, after: Option<&Str>, rewinds: bool) {
        self.next = after.map(|serial| truth.after(serial));
        self.rewinds = rewinds;
        self.unreadable = 0;
        self.replay = None;
        self.oldest = None;
    }

    /// A message that cannot be read is left out.
    pub(crate) fn misses(&mut self) {
        self.unreadable += 1;
    }

    /// A message arrives.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn receives(
        &mut self,
        truth: &Truth,
        serial: &str,
        text: &str,
        skips: &[Str],
    ) -> Result<(), String> {
        let Some((index, message)) = truth.find(serial) else {
            return Err(format!("invented: {text} with the serial {serial} was never committed"));
        };
        if message.text != text {
            return Err(format!("invented: {text} is not {} of {serial}", message.text));
        }
        let next = self.next.unwrap_or(index);
        if index < next && !self.rewinds {
            return Err(format!("repeated: {text} arrives again"));
        }
        let missed = truth.missed(next, index.max(next), skips);
        if missed.len() > self.unreadable {
            return Err(format!("lost: {missed:?} before {text}"));
        }
        self.unreadable -= missed.len();
        self.rewinds = false;
        self.next = Some(index + 1);
        self.oldest.get_or_insert_with(|| message.entry.clone());
        Ok(())
    }

    /// A replay begins after a channel serial.
    pub(crate) fn replay_starts(&mut self, truth: &Truth, after: &str) {
        self.replay = Some(truth.after(after));
    }

    /// A message of a replay arrives.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn replays(
        &mut self,
        truth: &Truth,
        serial: &str,
        text: &str,
        skips: &[Str],
    ) -> Result<(), String> {
        let Some((index, _)) = truth.find(serial) else {
            return Err(format!("invented: {text} with the serial {serial} was never committed"));
        };
        let Some(next) = self.replay else {
            return Err(format!("replayed: {text} without a replay"));
        };
        if index < next {
            return Err(format!("replayed: {text} comes twice"));
        }
        let missed = truth.missed(next, index, skips);
        if missed.len() > self.unreadable {
            return Err(format!("replayed: {missed:?} is left out before {text}"));
        }
        self.unreadable -= missed.len();
        self.replay = Some(index + 1);
        Ok(())
    }

    /// A replay ends; with `complete`, everything up to the place of the listener was in it.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn replay_ends(
        &mut self,
        truth: &Truth,
        complete: bool,
        skips: &[Str],
    ) -> Result<(), String> {
        let (Some(at), Some(next), true) = (self.replay.take(), self.next, complete) else {
            return Ok(());
        };
        let missed = truth.missed(at, next, skips);
        match missed.len() <= self.unreadable {
            true => Ok(()),
            false => Err(format!("replayed: {missed:?} is left out at the end")),
        }
    }

    /// Nothing is on its way any more.
    ///
    /// # Errors
    /// What has not arrived.
    pub(crate) fn ends(&self, truth: &Truth, skips: &[Str]) -> Result<(), String> {
        let Some(next) = self.next else { return Ok(()) };
        let missed = truth.missed(next, truth.len(), skips);
        match missed.len() <= self.unreadable {
            true => Ok(()),
            false => Err(format!("lost: {missed:?} at the end")),
        }
    }
}

/// A member of a user on a channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Own {
    /// The data; none after it has left.
    pub(crate) data: Option<String>,
    /// The result of the last call is unknown.
    pub(crate) is_uncertain: bool,
}
