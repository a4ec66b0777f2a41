//! Running many schedules on several threads.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{Failure, draw, run};

/// Runs the schedules of these seeds. Returns those that break a rule.
pub fn sweep(seeds: Range<u64>, threads: usize) -> BTreeMap<u64, Failure> {
    let next = AtomicU64::new(seeds.start);
    let failures = Mutex::<BTreeMap<u64, Failure>>::default();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            if let Err(failure) = run(&draw(seed)) {
                failures.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, failure);
            }
        }
    };
    thread::scope(|scope| (0..threads.max(1)).for_each(|_| drop(scope.spawn(work))));
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}
