//! The results of publishes, on their way from the driver to the receipts.
//!
//! A channel for each publish would cost an allocation and two wake-ups of its own. The driver settles all publishes of
//! an acknowledgement under one lock.

use std::{
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use capably_protocol::{ErrorInfo, PublishResult};
use slab::Slab;

use crate::sync::lock;

/// The publishes of a client whose results have not been taken.
#[derive(Debug, Default)]
pub(crate) struct ReceiptTable(Mutex<Table>);

/// A publish in the table. Its number is used again once the publish has ended and its receipt is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceiptId(pub(crate) u32);

/// A publish that has ended.
pub(crate) type Settlement = (ReceiptId, Result<PublishResult, ErrorInfo>);

#[derive(Debug, Default)]
struct Table {
    slots: Slab<Slot>,
    /// Whether the driver has ended.
    ended: bool,
}

#[derive(Debug)]
struct Slot {
    /// The units that the publish reserves in the window.
    permits: u32,
    state: SlotState,
}

#[derive(Debug)]
enum SlotState {
    /// In flight. The waker is that of the task that awaits the receipt.
    InFlight(Option<Waker>),
    /// In flight, and the receipt was dropped.
    Unwanted,
    /// Ended.
    Settled(Result<PublishResult, Box<ErrorInfo>>),
    /// The driver has ended before the publish.
    Lost,
}

impl ReceiptTable {
    /// Adds a publish that reserves these units of the window.
    pub(crate) fn open(&self, permits: u32) -> ReceiptId {
        let mut table = lock(&self.0);
        let state = if table.ended { SlotState::Lost } else { SlotState::InFlight(None) };
        // The window bounds the publishes in flight far below the largest number.
        ReceiptId(table.slots.insert(Slot { permits, state }) as u32)
    }

    /// Passes results to their receipts, in order. Returns the units of the window that they release. `wakers` is empty
    /// before and after; it saves an allocation in each call.
    pub(crate) fn settle(&self, settled: &mut Vec<Settlement>, wakers: &mut Vec<Waker>) -> usize {
        let mut permits = 0;
        let mut table = lock(&self.0);
        for (id, result) in settled.drain(..) {
            let Some(slot) = table.slots.get_mut(id.index()) else { continue };
            permits += slot.permits as usize;
            match &mut slot.state {
                SlotState::InFlight(waker) => {
                    wakers.extend(waker.take());
                    slot.state = SlotState::Settled(result.map_err(Box::new));
                }
                SlotState::Unwanted => {
                    table.slots.remove(id.index());
                }
                SlotState::Settled(_) | SlotState::Lost => debug_assert!(false, "settled twice"),
            }
        }
        // A woken task locks the table at once.
        drop(table);
        wakers.drain(..).for_each(Waker::wake);
        permits
    }

    /// The result of a publish, or `None` if the driver has ended before. When ready, the publish leaves the table.
    pub(super) fn poll(
        &self,
        id: ReceiptId,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<PublishResult, ErrorInfo>>> {
        let mut table = lock(&self.0);
        let waker = table.slots.get_mut(id.index()).and_then(|slot| match &mut slot.state {
            SlotState::InFlight(waker) => Some(waker),
            SlotState::Unwanted | SlotState::Settled(_) | SlotState::Lost => None,
        });
        if let Some(waker) = waker {
            if !waker.as_ref().is_some_and(|own| own.will_wake(cx.waker())) {
                let old = waker.replace(cx.waker().clone());
                // The last waker of a task drops the task, and its receipts with it.
                drop(table);
                drop(old);
            }
            return Poll::Pending;
        }
        Poll::Ready(match table.slots.try_remove(id.index()).map(|slot| slot.state) {
            Some(SlotState::Settled(result)) => Some(result.map_err(|error| *error)),
            Some(SlotState::InFlight(_) | SlotState::Unwanted | SlotState::Lost) | None => None,
        })
    }

    /// The receipt of a publish was dropped.
    pub(super) fn abandon(&self, id: ReceiptId) {
        let mut table = lock(&self.0);
        let Some(slot) = table.slots.get_mut(id.index()) else { return };
        let old = if matches!(slot.state, SlotState::InFlight(_)) {
            std::mem::replace(&mut slot.state, SlotState::Unwanted)
        } else {
            table.slots.remove(id.index()).state
        };
        // A waker may drop a task with further receipts.
        drop(table);
        drop(old);
    }

    /// The driver has ended: ends every publish that is in flight, and those that are still to come.
    pub(crate) fn end(&self) {
        let mut wakers = Vec::new();
        let mut table = lock(&self.0);
        table.ended = true;
        table.slots.retain(|_, slot| match &mut slot.state {
            SlotState::InFlight(waker) => {
                wakers.extend(waker.take());
                slot.state = SlotState::Lost;
                true
            }
            SlotState::Unwanted => false,
            SlotState::Settled(_) | SlotState::Lost => true,
        });
        drop(table);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl ReceiptId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn result(serial: &str) -> PublishResult {
        PublishResult::new(vec![Some(serial.into())])
    }

    fn poll(table: &ReceiptTable, id: ReceiptId) -> Poll<Option<Result<PublishResult, ErrorInfo>>> {
        table.poll(id, &mut Context::from_waker(Waker::noop()))
    }

    fn settle(table: &ReceiptTable, settled: Vec<Settlement>) -> usize {
        table.settle(&mut settled.clone(), &mut Vec::new())
    }

    #[test]
    fn each_receipt_gets_its_result_and_wakes_once() {
        let table = ReceiptTable::default();
        let ids = [table.open(1), table.open(2), table.open(3)];
        let wakes = ids.map(|id| {
            let wakes = Arc::new(Wakes::default());
            let waker = wakes.clone().into();
            for _ in 0..2 {
                assert!(table.poll(id, &mut Context::from_waker(&waker)).is_pending());
            }
            wakes
        });
        let refused = ErrorInfo::new(40160.into(), 401, "denied");
        let released =
            settle(&table, vec![(ids[0], Ok(result("a"))), (ids[2], Err(refused.clone()))]);
        assert_eq!(released, 4);
        assert_eq!(wakes.map(|wakes| wakes.0.load(Ordering::Relaxed)), [1, 0, 1]);
        assert_eq!(poll(&table, ids[0]), Poll::Ready(Some(Ok(result("a")))));
        assert_eq!(poll(&table, ids[1]), Poll::Pending);
        assert_eq!(poll(&table, ids[2]), Poll::Ready(Some(Err(refused))));
    }

    #[test]
    fn a_number_is_used_again_once_publish_and_receipt_are_gone() {
        let table = ReceiptTable::default();
        let first = table.open(1);
        table.abandon(first);
        assert_ne!(table.open(1), first, "its result may still arrive");
        assert_eq!(settle(&table, vec![(first, Ok(result("a")))]), 1);
        assert_eq!(table.open(1), first);

        settle(&table, vec![(first, Ok(result("b")))]);
        assert_ne!(table.open(1), first, "its result was not taken");
        table.abandon(first);
        assert_eq!(table.open(1), first);
    }

    #[test]
    fn the_end_ends_what_is_in_flight_and_what_comes_later() {
        let table = ReceiptTable::default();
        let [settled, pending, unwanted] = [table.open(1), table.open(1), table.open(1)];
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        assert!(table.poll(pending, &mut Context::from_waker(&waker)).is_pending());
        settle(&table, vec![(settled, Ok(result("a")))]);
        table.abandon(unwanted);
        table.end();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&table, settled), Poll::Ready(Some(Ok(result("a")))));
        assert_eq!(poll(&table, pending), Poll::Ready(None));
        assert_eq!(table.open(1), pending, "nothing is left but free slots");
        assert_eq!(poll(&table, pending), Poll::Ready(None));
        assert!(lock(&table.0).slots.is_empty());
    }
}
