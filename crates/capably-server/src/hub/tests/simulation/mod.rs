//! A cluster in virtual time: several hubs over a model of their engine, and clients that move between them.
//!
//! Each seed is a schedule: random delays, lost acknowledgements, nodes that die, are cut off or start, and clients that
//! lose their transports and resume elsewhere. In the end, and on the way, all must agree with an [`oracle`].
//!
//! `CAPABLY_SCHEDULES=100000 cargo test --release -p capably-server --lib simulation` runs so many schedules. A schedule
//! that fails is named: `CAPABLY_SCHEDULE=17` runs it alone, and prints what happens.

mod client;
pub(super) mod engine;
mod node;
mod oracle;
pub(super) mod reads;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use fastrand::Rng;

use self::world::{Event, World};

/// The channels of all schedules.
const CHANNELS: [&str; 3] = ["mutable:a", "mutable:b", "c"];

/// The schedules of a usual test run.
const SCHEDULES: u64 = 300;

/// The time after the last step in which everything settles: members leave and connections expire.
const END: Duration = Duration::from_secs(120);

/// The time after the load of all channels in which the members of nodes that are gone leave.
const LOADED: Duration = Duration::from_secs(30);

/// What can fail in a schedule.
#[derive(Clone, Copy, Debug)]
struct Profile {
    deaths: bool,
    cuts: bool,
    lost_acks: bool,
}

/// Whether the events of the schedule are printed.
fn is_traced() -> bool {
    std::env::var_os("CAPABLY_SCHEDULE").is_some()
}

fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let profile = Profile { deaths: rng.bool(), cuts: rng.bool(), lost_acks: rng.bool() };
    let active = Duration::from_secs(rng.u64(15..45));
    let mut world = World::new(rng, profile);
    for index in 0..world.clients.len() {
        world.soon(1000, Event::Step(index));
    }
    world.soon(20_000, Event::Fault);
    world.pass(active);

    world.is_ending = true;
    for id in world.nodes.keys().copied().collect::<Vec<_>>() {
        world.join(id);
    }
    for index in 0..world.clients.len() {
        world.clients[index].stays_away = world.rng.u8(..5) == 0;
    }
    world.pass(END);
    world.load_all();
    world.pass(LOADED);
    for id in world.nodes.keys().copied().collect::<Vec<_>>() {
        world.tell(id, false);
    }
    world.pass(Duration::from_secs(1));
    world.check();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a_cluster_agrees_with_the_oracle_in_every_schedule() {
    if let Some(seed) = number("CAPABLY_SCHEDULE") {
        return run(seed);
    }
    let schedules = number("CAPABLY_SCHEDULES").unwrap_or(SCHEDULES);
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= schedules || seed > failed.load(Ordering::Relaxed) {
                return;
            }
            if catch_unwind(AssertUnwindSafe(|| run(seed))).is_err() {
                failed.fetch_min(seed, Ordering::Relaxed);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let failed = failed.into_inner();
    assert_eq!(failed, u64::MAX, "run this schedule alone with CAPABLY_SCHEDULE={failed}");
}
