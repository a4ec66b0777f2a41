//! The window of unacknowledged publishes.

use tokio::sync::Semaphore;

use crate::{Result, realtime::driver::gone};

/// Bounds the unacknowledged publishes of a client to 64 MiB of memory. Further publishes wait, so that a slow or
/// unreachable service cannot fill the memory.
#[derive(Debug)]
pub(crate) struct PublishWindow(Semaphore);

/// The size of the window, in units.
const WINDOW: usize = 65_536;

/// The size of a unit, in bytes. A publish reserves at least one.
const UNIT: usize = 1024;

impl PublishWindow {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(WINDOW))
    }

    /// Waits for room for a publish that takes this many bytes of memory, and reserves it. Returns the number of units, for
    /// [`release`](Self::release).
    ///
    /// # Errors
    /// Code 80017 when the client has ended.
    pub(crate) async fn reserve(&self, size: usize) -> Result<u32> {
        let units = size.div_ceil(UNIT).clamp(1, WINDOW) as u32;
        // With room, reserve without a yield to the runtime: publishes that are awaited together keep their
        // order. The semaphore has no room left while another publish waits, so none is overtaken.
        let permit = match self.0.try_acquire_many(units) {
            Ok(permit) => permit,
            Err(_) => self.0.acquire_many(units).await.map_err(|_| gone())?,
        };
        permit.forget();
        Ok(units)
    }

    /// Returns the units of settled publishes.
    pub(crate) fn release(&self, units: usize) {
        if units > 0 {
            self.0.add_permits(units);
        }
    }

    /// Ends every wait for room.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}
