//! The room of an outbox: the bytes that its publishes may have, and the publishes that wait for some.

use std::{
    collections::BTreeMap,
    sync::{Mutex, mpsc::Sender},
};

use capably_protocol::ErrorCode;

use super::{
    WhenFull,
    handle::closed,
    worker::{Acceptance, Job},
};
use crate::{Error, Result, sync::lock};

/// Admits publishes to the queue of the store's thread while there is room.
///
/// Admitted publishes count from the moment in which they enter the queue. So the queue and the store together have no
/// more than the limit, also while a disk is slow. A publish that waits for room is held by its future: it leaves with
/// the future.
#[derive(Debug)]
pub(super) struct Room {
    max_bytes: u64,
    when_full: WhenFull,
    state: Mutex<RoomState>,
}

#[derive(Debug, Default)]
struct RoomState {
    /// The bytes of the entries in the store.
    stored: u64,
    /// The bytes of admitted publishes that are not in the store yet.
    admitted: u64,
    /// Publishes that wait for room, in their order.
    waiting: BTreeMap<u64, Acceptance>,
    next_ticket: u64,
    is_closed: bool,
}

impl Room {
    pub(super) fn new(max_bytes: u64, when_full: WhenFull, stored: u64) -> Self {
        let state = RoomState { stored, ..RoomState::default() };
        Self { max_bytes, when_full, state: Mutex::new(state) }
    }

    /// Puts a publish into the queue, or lets it wait for room behind those that wait already. A publish that waits
    /// leaves when the returned ticket is dropped.
    ///
    /// # Errors
    /// 50004 when there is no room, and the publish does not wait for it; 80017 when the outbox is closed.
    pub(super) fn enter<'a>(
        &'a self,
        acceptance: Acceptance,
        jobs: &'a Sender<Job>,
    ) -> Result<Option<Ticket<'a>>> {
        let bytes = acceptance.bytes();
        let mut state = lock(&self.state);
        if state.is_closed {
            return Err(closed());
        }
        if state.waiting.is_empty() && state.has_room(bytes, self.max_bytes) {
            state.admitted += bytes;
            // Inside the lock: publishes enter the queue in the order in which they are admitted.
            jobs.send(Job::Accept(acceptance)).map_err(|_| closed())?;
            return Ok(None);
        }
        if self.when_full == WhenFull::Refuse || bytes > self.max_bytes {
            return Err(self.full());
        }
        let number = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.insert(number, acceptance);
        Ok(Some(Ticket { room: self, jobs, number }))
    }

    /// Takes the publishes that waited and have room now.
    pub(super) fn admit(&self) -> Vec<Acceptance> {
        let mut state = lock(&self.state);
        let mut admitted = Vec::new();
        while state.can_admit(self.max_bytes)
            && let Some((_, acceptance)) = state.waiting.pop_first()
        {
            state.admitted += acceptance.bytes();
            admitted.push(acceptance);
        }
        admitted
    }

    /// Whether a publish that waits has room.
    pub(super) fn can_admit(&self) -> bool {
        lock(&self.state).can_admit(self.max_bytes)
    }

    /// Takes room for publishes of the thread itself.
    ///
    /// # Errors
    /// 50004 when there is no room.
    pub(super) fn reserve(&self, bytes: u64) -> Result<()> {
        let mut state = lock(&self.state);
        if !state.has_room(bytes, self.max_bytes) {
            return Err(self.full());
        }
        state.admitted += bytes;
        Ok(())
    }

    /// This many admitted bytes have left the queue, and the store has this many now.
    pub(super) fn settle(&self, admitted: u64, stored: u64) {
        let mut state = lock(&self.state);
        state.admitted = state.admitted.saturating_sub(admitted);
        state.stored = stored;
    }

    /// Ends every wait, and lets nothing in any more.
    pub(super) fn close(&self) {
        let waiting = {
            let mut state = lock(&self.state);
            state.is_closed = true;
            std::mem::take(&mut state.waiting)
        };
        for acceptance in waiting.into_values() {
            let _ = acceptance.accepted.send(Err(closed()));
        }
    }

    fn full(&self) -> Error {
        let max_bytes = self.max_bytes;
        let message =
            format!("the outbox has no room: it may have {max_bytes} bytes (`max_bytes`)");
        Error::new(ErrorCode::SERVER_TEMPORARILY_BUSY, 0, message).with_remedy(
            "publish again once the service has acknowledged more, allow more bytes, or let publishes wait with \
             `WhenFull::Wait`",
        )
    }
}

impl RoomState {
    fn has_room(&self, bytes: u64, max_bytes: u64) -> bool {
        self.stored.saturating_add(self.admitted).saturating_add(bytes) <= max_bytes
    }

    fn can_admit(&self, max_bytes: u64) -> bool {
        let first = self.waiting.first_key_value();
        first.is_some_and(|(_, first)| self.has_room(first.bytes(), max_bytes))
    }
}

/// The place of a publish that waits for room.
#[must_use = "the publish waits no longer when this is dropped"]
pub(super) struct Ticket<'a> {
    room: &'a Room,
    jobs: &'a Sender<Job>,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let (left, others_fit) = {
            let mut state = lock(&self.room.state);
            let left = state.waiting.remove(&self.number);
            let others_fit = left.is_some() && state.can_admit(self.room.max_bytes);
            (left, others_fit)
        };
        drop(left);
        if others_fit {
            // An error means that the thread has ended, and has told them.
            let _ = self.jobs.send(Job::Admit);
        }
    }
}
