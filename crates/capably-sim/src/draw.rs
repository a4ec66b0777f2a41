//! Drawing a script from a seed.

use std::time::Duration;

use capably_protocol::Format;
use fastrand::Rng;

use crate::script::{
    CHANNELS, Call, Fault, KEYS, MEMBERS, Script, ServerFault, ServerSetup, Step, USERS, UserSetup,
};

/// The script of a seed.
pub fn draw(seed: u64) -> Script {
    let rng = &mut Rng::with_seed(seed);
    let server = ServerSetup {
        engine: rng.bool(),
        entries: pick(rng, &[6, 20, 1000]),
        queue: 600_000,
        padding: pick(rng, &[0, 0, 0, 0, 0, 0, 0, 40_000]),
        delay: pick(rng, &[5, 40, 40, 400]),
    };
    let users = (0..rng.usize(1..=USERS.len())).map(|_| UserSetup {
        format: if rng.bool() { Format::Json } else { Format::MsgPack },
        token: rng.bool().then(|| Duration::from_secs(rng.u64(10..60))),
        echo: rng.u8(..3) > 0,
        ids: rng.bool(),
        objects: false,
    });
    let users: Vec<UserSetup> = users.collect();
    // A program is calm, or in a hurry: many calls and faults fall into one round trip.
    let pace = pick(rng, &[50, 500, 3000]);
    let faults = pick(rng, &[0, 8, 20, 35]);
    let mut at = Duration::ZERO;
    let mut steps = Vec::new();
    for user in 0..users.len() {
        steps.push((at, Step::Call(user, Call::Connect)));
        let channel = rng.usize(..CHANNELS.len());
        steps.push((at, Step::Call(user, Call::Attach(channel))));
    }
    for _ in 0..rng.usize(5..40) {
        let wait = if rng.u8(..20) == 0 { rng.u64(..25_000) } else { rng.u64(..=pace) };
        at += Duration::from_millis(wait);
        let user = rng.usize(..users.len());
        let step = match rng.u8(..100) {
            roll if roll >= faults => Step::Call(user, call(rng)),
            roll if roll % 5 == 0 => Step::Server(server_fault(rng, server.engine)),
            _ => Step::Fault(user, fault(rng)),
        };
        steps.push((at, step));
    }
    let mut script = Script { seed, server, users, steps };
    extend(&mut script, &mut Rng::with_seed(seed ^ 0xb1ec7));
    script
}

/// Adds what only some scripts have. It has a generator of its own, so that the rest of a seed's script stays the same.
fn extend(script: &mut Script, rng: &mut Rng) {
    let last = script.steps.last().map_or(0, |(at, _)| u64::try_from(at.as_millis()).unwrap_or(0));
    let mut steps = Vec::new();
    if rng.u8(..3) == 0 {
        script.users.iter_mut().for_each(|user| user.objects = true);
        for _ in 0..rng.usize(3..15) {
            let channel = usize::from(rng.u8(..4) == 0);
            steps.push(match rng.bool() {
                true => {
                    Step::Call(rng.usize(..script.users.len()), Call::Add(channel, rng.u32(1..9)))
                }
                false => Step::Call(
                    rng.usize(..script.users.len()),
                    Call::Set(channel, rng.usize(..KEYS.len())),
                ),
            });
        }
    }
    if rng.u8(..3) == 0 {
        let channel = usize::from(rng.u8(..4) == 0);
        let call = Call::Reply(channel, rng.usize(1..5));
        steps.push(Step::Call(rng.usize(..script.users.len()), call));
    }
    if rng.u8(..8) == 0 {
        steps.push(Step::Fault(rng.usize(..script.users.len()), Fault::NoAnswers(time(rng))));
    }
    // One only: a second frame on the same connection that cannot be read is skipped.
    if rng.u8(..8) == 0 {
        steps.push(Step::Fault(rng.usize(..script.users.len()), Fault::Garbage));
    }
    for step in steps {
        script.steps.push((Duration::from_millis(rng.u64(..=last)), step));
    }
    script.steps.sort_by_key(|(at, _)| *at);
}

fn call(rng: &mut Rng) -> Call {
    let channel = if rng.u8(..4) > 0 { 0 } else { rng.usize(..CHANNELS.len()) };
    let member = rng.usize(..MEMBERS.len());
    match rng.u8(..100) {
        0..6 => Call::Connect,
        6..8 => Call::Close,
        8..20 => Call::Attach(channel),
        20..25 => Call::Detach(channel),
        25..28 => Call::Release(channel),
        28..62 => Call::Publish(channel, rng.usize(1..4)),
        62..76 => Call::Enter(channel, member),
        76..82 => Call::Leave(channel, member),
        82..87 => Call::Members(channel),
        87..91 => Call::Rewind(channel, rng.usize(..4)),
        91..95 => Call::Replay(channel),
        95..98 => Call::Ping,
        _ => Call::Authorize,
    }
}

fn fault(rng: &mut Rng) -> Fault {
    match rng.u8(..100) {
        0..35 => Fault::Cut(rng.u64(..=1000), rng.u64(..=1000)),
        35..45 => Fault::Dead,
        45..53 => Fault::Offline(time(rng)),
        53..60 => Fault::SlowDials(time(rng)),
        60..68 => Fault::SlowReads(rng.u64(50..1500)),
        68..75 => Fault::Sleep(time(rng)),
        75..79 => Fault::ClockJump(rng.i64(-600_000..600_000)),
        79..84 => Fault::NoTokens(time(rng)),
        84..91 => Fault::Damage,
        91..94 => Fault::Kill,
        _ => Fault::Restart(rng.bool()),
    }
}

fn server_fault(rng: &mut Rng, engine: bool) -> ServerFault {
    match rng.u8(..100) {
        0..45 => ServerFault::Crash(rng.u64(..8000), rng.usize(..4)),
        45..70 => ServerFault::Stall(rng.u64(..4000)),
        70..90 => ServerFault::Refuse(rng.usize(1..4), rng.bool()),
        // Without an engine, serials follow the clock: a server that starts again must not be at an earlier time.
        _ => ServerFault::ClockJump(rng.i64(if engine { -600_000 } else { 0 }..600_000)),
    }
}

/// A time in ms: short, or longer than some of the deadlines.
fn time(rng: &mut Rng) -> u64 {
    match rng.u8(..3) {
        0 => rng.u64(..1000),
        1 => rng.u64(..8000),
        _ => rng.u64(..40_000),
    }
}

fn pick<T: Copy>(rng: &mut Rng, values: &[T]) -> T {
    values[rng.usize(..values.len())]
}
