//! Convergence of objects, in virtual time: clients of `capably-core` operate on the objects of a channel through hubs that
//! share a log. Transports drop, nodes die, syncs repeat, and every site receives the operations at its own pace. After
//! each quiet time, the replicas of all clients, the hubs, and what a snapshot restores agree with a [`model`] of the log.
//!
//! `CAPABLY_OPERATIONS=1000000 cargo test --release -p capably-server --lib objects_convergence` runs schedules until so
//! many operations are committed, from seed `CAPABLY_SCHEDULES_FROM` on. `CAPABLY_SCHEDULE=17` runs one alone.

mod model;
mod node;
mod world;
mod writer;

use std::{
    collections::BTreeMap,
    panic::catch_unwind,
    sync::{Mutex, PoisonError},
    thread,
};

use self::world::World;
use super::simulation::{first_line, number};

/// The operations of a usual test run.
const OPERATIONS: u64 = 6_000;

/// What schedules did, over all of them.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Operations in the log.
    committed: u64,
    /// Operations that were refused, as their object was deleted.
    refused: u64,
    /// Operations without a result, as the connection or the node was lost.
    unknown: u64,
    drops: u64,
    resumed: u64,
    not_resumed: u64,
    deaths: u64,
    syncs: u64,
    requested_syncs: u64,
    snapshots: u64,
    restored: u64,
    compared: u64,
    collected: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.committed += other.committed;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.drops += other.drops;
        self.resumed += other.resumed;
        self.not_resumed += other.not_resumed;
        self.deaths += other.deaths;
        self.syncs += other.syncs;
        self.requested_syncs += other.requested_syncs;
        self.snapshots += other.snapshots;
        self.restored += other.restored;
        self.compared += other.compared;
        self.collected += other.collected;
    }
}

/// The schedules that are run, and their results.
#[derive(Debug)]
struct Runs {
    next: u64,
    tally: Tally,
    failed: BTreeMap<u64, String>,
}

/// Runs schedules until so many operations are committed.
fn run_all(first: u64, operations: u64) -> Runs {
    let runs = Mutex::new(Runs { next: first, tally: Tally::default(), failed: BTreeMap::new() });
    let lock = || runs.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            let seed = {
                let mut runs = lock();
                if runs.tally.committed >= operations || runs.failed.len() >= 10 {
                    return;
                }
                runs.next += 1;
                runs.next - 1
            };
            let result = catch_unwind(|| World::run(seed));
            let mut runs = lock();
            match result {
                Ok(tally) => runs.tally.add(&tally),
                Err(panic) => {
                    let line = first_line(&*panic);
                    println!("schedule {seed} fails: {line}");
                    runs.failed.insert(seed, line);
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    runs.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn replicas_hubs_and_snapshots_agree_with_the_log() {
    if let Some(seed) = number("CAPABLY_SCHEDULE") {
        println!("{:?}", World::run(seed));
        return;
    }
    let first = number("CAPABLY_SCHEDULES_FROM").unwrap_or(0);
    let operations = number("CAPABLY_OPERATIONS").unwrap_or(OPERATIONS);
    let Runs { next, tally, failed } = run_all(first, operations);
    println!("{} schedules: {tally:?}", next - first);
    assert!(failed.is_empty(), "run these schedules alone with CAPABLY_SCHEDULE=n: {failed:#?}");
    // A schedule in which nothing goes wrong would show nothing.
    let Tally {
        refused,
        drops,
        resumed,
        not_resumed,
        deaths,
        syncs,
        collected,
        requested_syncs,
        snapshots,
        restored,
        ..
    } = tally;
    let faults = [refused, drops, resumed, not_resumed, deaths];
    let work = [syncs, collected, requested_syncs, snapshots, restored];
    assert!(faults.iter().chain(&work).all(|count| *count > 0), "{tally:?}");
}
