//! The bytes of all logs of an app.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The total size of the entries in all logs of an app. Each log adds and subtracts its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<AtomicUsize>);

impl Meter {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
