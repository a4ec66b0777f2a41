//! A cluster in virtual time: several hubs over a model of their engine, and clients that move between them.
//!
//! Each seed is a schedule: random delays, lost acknowledgements, nodes that die, are cut off or start, and clients that
//! lose their transports and resume elsewhere. In the end, and on the way, all must agree with an [`oracle`].
//!
//! `CAPABLY_SCHEDULES=100000 cargo test --release -p capably-server --lib simulation` runs so many schedules, from seed
//! `CAPABLY_SCHEDULES_FROM` on. It names all that fail: `CAPABLY_SCHEDULE=17` runs one alone, and prints what happens.

mod client;
pub(super) mod node;
mod oracle;
pub(super) mod time;
mod world;

use std::{
    any::Any,
    collections::BTreeMap,
    panic::catch_unwind,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use fastrand::Rng;

use self::{
    time::VirtualTime,
    world::{Event, World},
};

/// The channels of all schedules.
const CHANNELS: [&str; 3] = ["mutable:a", "mutable:b", "c"];

/// The schedules of a usual test run.
const SCHEDULES: u64 = 300;

/// Schedules that have failed, and run each time.
const FAILED: [u64; 23] = [
    325, 372, 473, 581, 1711, 1996, 2007, 2238, 3395, 9472, 10_777, 11_316, 14_877, 15_697, 16_878,
    23_087, 23_993, 32_236, 32_967, 34_066, 35_661, 81_481, 87_449,
];

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
pub(super) fn is_traced() -> bool {
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

pub(super) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs schedules, and returns those that fail with the first line of what each says.
fn run_all(seeds: impl Iterator<Item = u64> + Send) -> BTreeMap<u64, String> {
    let seeds = Mutex::new(seeds);
    let failed = Mutex::<BTreeMap<_, _>>::default();
    let work = || {
        loop {
            let next = seeds.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(seed) = next else { return };
            if let Err(panic) = catch_unwind(|| run(seed)) {
                let line = first_line(&*panic);
                println!("schedule {seed} fails: {line}");
                failed.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, line);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The first line of what a panic says.
pub(super) fn first_line(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_cluster_agrees_with_the_oracle_in_every_schedule() {
    if let Some(seed) = number("CAPABLY_SCHEDULE") {
        return run(seed);
    }
    let first = number("CAPABLY_SCHEDULES_FROM").unwrap_or(0);
    let schedules = number("CAPABLY_SCHEDULES").unwrap_or(SCHEDULES);
    let range = first..first + schedules;
    let others = FAILED.into_iter().filter(|seed| !range.contains(seed));
    let failed = run_all(range.clone().chain(others));
    assert!(failed.is_empty(), "run these schedules alone with CAPABLY_SCHEDULE=n: {failed:#?}");
}
