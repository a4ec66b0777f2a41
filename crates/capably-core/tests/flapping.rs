//! A connection that flaps: it is established again and again, and drops before the service has answered anything.
//! No point of the specification ends an operation then, since each loss sends its frame once more (RTN19a, RTN19b)
//! and each new connection starts the wait for SUSPENDED anew. Every operation ends nevertheless.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, time::Duration};

use capably_core::{
    ChannelId, ChannelOptions, ChannelState, Config, ConnectionState, Instant, MembersQuery, OpId,
    Outcome, Timer,
};
use capably_protocol::{
    Annotation, ClientFrame, Flags, PresenceAction, PresenceMessage, ServerFrame,
    frame::{Ack, Attached, Delivery, Nack},
};
use fastrand::Rng;

use support::*;

mod support;

const CHANNEL: ChannelId = ChannelId(0);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The connectionStateTtl and the realtimeRequestTimeout of the default configuration.
const TTL: Duration = seconds(120);
const REQUEST: Duration = seconds(10);

const SEEDS: u64 = 120;

/// How often the connection of a random client is lost at most.
const FLAPS: usize = 300;

/// How long operations survive losses of the connection.
const LIMIT: Duration = seconds(130);

/// Loses the connection every ten seconds, and gets it back two seconds later.
fn flap(bench: &mut Bench) {
    bench.lose(80003);
    bench.advance(seconds(2));
    bench.grant(2);
    bench.accept(connected("connection"));
    bench.advance(seconds(8));
}

/// Flaps until the operation ends. Returns its outcome, and when it ended.
fn flap_until_done(bench: &mut Bench, op: OpId) -> (Result<Outcome, u32>, Duration) {
    let begun = bench.now.instant;
    while bench.now.instant.since(begun) < seconds(3_600) {
        let did = bench.did();
        assert!(!did.entered().contains(&ConnectionState::Suspended), "{did:?}");
        if let Some((_, outcome)) = did.done.into_iter().find(|(own, _)| *own == op) {
            return (outcome, bench.now.instant.since(begun));
        }
        flap(bench);
    }
    panic!("{op:?} has not ended in an hour");
}

/// A client that is connected, with a channel that is not attached.
fn with_channel() -> Bench {
    let mut config = with_key();
    config.client_id = Some("ada".into());
    let mut bench = Bench::connected(config);
    bench.client.open_channel(CHANNEL, "ch".into(), ChannelOptions::default());
    bench
}

/// A client that is connected, with a channel that is attached.
fn with_attached_channel() -> Bench {
    let mut bench = with_channel();
    bench.attached(CHANNEL, "ch");
    bench
}

fn state(bench: &Bench) -> ChannelState {
    bench.client.channel(CHANNEL).unwrap().state()
}

fn enter() -> PresenceMessage {
    PresenceMessage { action: Some(PresenceAction::Enter), ..PresenceMessage::default() }
}

// Spec: RTL4f, RTN19b
#[test]
fn an_attach_ends() {
    let mut bench = with_channel();
    bench.client.attach(CHANNEL, OpId(1), bench.now);
    let (outcome, after) = flap_until_done(&mut bench, OpId(1));
    assert_eq!(outcome, Err(90007));
    assert!((LIMIT..=LIMIT + seconds(10)).contains(&after), "{after:?}");
    // The channel attaches again with the next connection (RTL3d).
    assert_eq!(state(&bench), ChannelState::Attaching);
    bench.say(attached("ch"));
    assert_eq!(state(&bench), ChannelState::Attached);
}

// Spec: RTL4f
#[test]
fn an_attach_that_is_given_up_suspends_the_channel_until_the_next_connection() {
    let mut bench = with_channel();
    bench.client.attach(CHANNEL, OpId(1), bench.now);
    for _ in 0..13 {
        flap(&mut bench);
    }
    assert_eq!(state(&bench), ChannelState::Attaching);
    assert_eq!(bench.did().done, []);
    bench.lose(80003);
    assert_eq!(state(&bench), ChannelState::Suspended);
    assert_eq!(bench.did().done, [(OpId(1), Err(90007))]);
    // Without a connection no attempt to attach is due (RTL13c).
    assert_ne!(bench.next_timer(), Some(Timer::Reattach(CHANNEL)));
}

// Spec: RTN19b
#[test]
fn an_attach_survives_losses_of_the_connection_for_a_while() {
    let mut bench = with_channel();
    bench.client.attach(CHANNEL, OpId(1), bench.now);
    for _ in 0..12 {
        flap(&mut bench);
    }
    bench.say(attached("ch"));
    assert_eq!(bench.did().done, [(OpId(1), Ok(Outcome::Done))]);
    // The next request has the whole time again.
    bench.client.detach(CHANNEL, OpId(2), bench.now);
    for _ in 0..12 {
        flap(&mut bench);
    }
    bench.say(ServerFrame::Detached { channel: "ch".into(), error: None });
    assert_eq!(bench.did().done, [(OpId(2), Ok(Outcome::Done))]);
}

// Spec: RTL3e, RTN14e
#[test]
fn one_outage_ends_nothing_before_the_connection_is_suspended() {
    let mut bench = with_channel();
    // The service is silent for longer than an outage takes until the connection is suspended.
    bench.publish(CHANNEL, "a", OpId(1));
    bench.advance(seconds(24));
    bench.client.attach(CHANNEL, OpId(2), bench.now);
    bench.lose(80003);
    while bench.client.connection_state() != ConnectionState::Suspended {
        assert_eq!(bench.did().done, []);
        bench.lose(80003);
        bench.advance(seconds(1));
    }
    assert_eq!(bench.did().done, [(OpId(1), Err(80002)), (OpId(2), Err(80002))]);
    assert!(bench.now.instant.since(Instant::default()) > LIMIT);
}

// Spec: RTL5f, RTN19b
#[test]
fn a_detach_ends() {
    let mut bench = with_attached_channel();
    bench.client.detach(CHANNEL, OpId(1), bench.now);
    let (outcome, after) = flap_until_done(&mut bench, OpId(1));
    assert_eq!(outcome, Err(90007));
    assert!((LIMIT..=LIMIT + seconds(10)).contains(&after), "{after:?}");
    // The channel is what it was before, so it attaches with the next connection.
    assert_eq!(state(&bench), ChannelState::Attaching);
}

#[test]
fn requests_that_wait_for_each_other_end_one_after_the_other() {
    let mut bench = with_channel();
    bench.client.attach(CHANNEL, OpId(1), bench.now);
    bench.client.detach(CHANNEL, OpId(2), bench.now);
    bench.client.attach(CHANNEL, OpId(3), bench.now);
    let (outcome, after) = flap_until_done(&mut bench, OpId(3));
    assert_eq!(outcome, Err(90007));
    // A channel that was suspended is detached at once (RTL5j).
    assert!((LIMIT..=2 * (LIMIT + seconds(10))).contains(&after), "{after:?}");
}

// Spec: RTN7e, RTN19a
#[test]
fn a_publish_ends() {
    let mut bench = with_channel();
    bench.publish(CHANNEL, "a", OpId(1));
    let (outcome, after) = flap_until_done(&mut bench, OpId(1));
    assert_eq!(outcome, Err(50003));
    assert!((LIMIT..=LIMIT + seconds(10)).contains(&after), "{after:?}");
    // It is not sent any more.
    bench.did();
    flap(&mut bench);
    assert_eq!(bench.did().published(), []);
}

/// The time counts from the publish, however long the client had none before, and whether or not an earlier one was
/// acknowledged.
// Spec: RTN7e, RTN19a
#[test]
fn a_publish_of_a_client_that_was_quiet_has_as_long_as_any_other() {
    let mut bench = with_channel();
    for (op, serial) in [(1, 0), (2, 1)] {
        for _ in 0..60 {
            bench.advance(seconds(10));
            bench.say(ServerFrame::Heartbeat { id: None });
        }
        bench.publish(CHANNEL, "a", OpId(op));
        for _ in 0..12 {
            flap(&mut bench);
        }
        assert_eq!(bench.did().done, []);
        bench.say(ack(serial));
        assert_eq!(bench.did().done, [(OpId(op), Ok(Outcome::Published(Default::default())))]);
    }
}

// Spec: RTN7e, RTL6c2
#[test]
fn a_publish_that_was_queued_ends() {
    let mut bench = with_channel();
    bench.lose(80003);
    bench.publish(CHANNEL, "a", OpId(1));
    bench.accept(connected("connection"));
    let (outcome, after) = flap_until_done(&mut bench, OpId(1));
    assert_eq!(outcome, Err(50003));
    assert!((LIMIT..=LIMIT + seconds(10)).contains(&after), "{after:?}");
}

// Spec: RTN19a
#[test]
fn publishes_survive_losses_as_long_as_the_service_acknowledges_any() {
    let mut bench = with_channel();
    for op in 0..50 {
        bench.publish(CHANNEL, "a", OpId(op));
    }
    bench.did();
    for op in 0..50 {
        for _ in 0..12 {
            flap(&mut bench);
        }
        bench.say(ack(op));
        assert_eq!(bench.did().done, [(OpId(op), Ok(Outcome::Published(Default::default())))]);
    }
}

// Spec: RTN7a
#[test]
fn an_acknowledgement_that_settles_nothing_gives_no_more_time() {
    let mut bench = with_channel();
    bench.publish(CHANNEL, "a", OpId(1));
    bench.publish(CHANNEL, "b", OpId(2));
    bench.say(ack(0));
    let begun = bench.now.instant;
    bench.did();
    loop {
        // One ACK repeats a serial that is already acknowledged. The other two answer serials that were never sent.
        let foreign =
            [ack(0), ack(7), ServerFrame::Nack(Nack { msg_serial: 9, count: 1, error: None })];
        for frame in foreign {
            bench.say(frame);
        }
        let waited = bench.now.instant.since(begun);
        match &bench.did().done[..] {
            [] => assert!(waited <= TTL, "{waited:?}"),
            done => {
                assert_eq!((done, waited), (&[(OpId(2), Err(50003))][..], TTL));
                break;
            }
        }
        bench.advance(seconds(5));
    }
}

// Spec: RTP8, RTP16a
#[test]
fn an_enter_ends_whether_or_not_the_channel_is_attached() {
    for is_attached in [false, true] {
        let mut bench = if is_attached { with_attached_channel() } else { with_channel() };
        bench.client.presence(CHANNEL, enter(), OpId(1), bench.now);
        let (outcome, after) = flap_until_done(&mut bench, OpId(1));
        // Without an attachment it fails with its channel (RTL11).
        assert_eq!(outcome, Err(if is_attached { 50003 } else { 91001 }));
        assert!((LIMIT..=LIMIT + seconds(10)).contains(&after), "{after:?}");
    }
}

// Spec: RTAN1
#[test]
fn an_annotation_ends() {
    let mut bench = with_attached_channel();
    bench.client.annotate(CHANNEL, Annotation::default(), OpId(1), bench.now);
    let (outcome, after) = flap_until_done(&mut bench, OpId(1));
    assert_eq!(outcome, Err(50003));
    assert!((LIMIT..=LIMIT + seconds(10)).contains(&after), "{after:?}");
}

// Spec: RTP11e
#[test]
fn a_query_of_members_ends_with_the_attach_that_it_needs() {
    let mut bench = with_channel();
    bench.client.members(CHANNEL, MembersQuery::default(), OpId(1), bench.now);
    let (outcome, after) = flap_until_done(&mut bench, OpId(1));
    assert_eq!(outcome, Err(90007));
    assert!((LIMIT..=LIMIT + seconds(10)).contains(&after), "{after:?}");
}

// Spec: RTP11c1
#[test]
fn a_query_of_members_that_waits_for_a_sync_ends() {
    let mut bench = with_channel();
    let syncing = || {
        let flags = Flags::HAS_PRESENCE;
        ServerFrame::Attached(Box::new(Attached {
            channel: "ch".into(),
            flags,
            ..Attached::default()
        }))
    };
    bench.client.attach(CHANNEL, OpId(0), bench.now);
    bench.say(syncing());
    bench.client.members(CHANNEL, MembersQuery::default(), OpId(1), bench.now);
    bench.did();
    let begun = bench.now.instant;
    // The client has a connection only between the deadlines of the sync.
    loop {
        bench.lose(80003);
        let did = bench.did();
        if let Some(done) = did.done.first() {
            assert_eq!(*done, (OpId(1), Err(50003)));
            break;
        }
        bench.lose(80003);
        bench.advance(seconds(10));
        bench.client.connect(bench.now);
        bench.accept(connected("connection"));
        bench.say(syncing());
        assert!(bench.now.instant.since(begun) <= 2 * LIMIT, "it has not ended");
    }
}

// Spec: RTL16a
#[test]
fn a_change_of_options_ends() {
    let mut bench = with_attached_channel();
    let mut options = ChannelOptions::default();
    options.params.insert("rewind".to_owned(), "1".to_owned());
    bench.client.set_channel_options(CHANNEL, options, OpId(1), bench.now);
    let (outcome, after) = flap_until_done(&mut bench, OpId(1));
    assert_eq!(outcome, Err(90007));
    assert!((LIMIT..=LIMIT + seconds(10)).contains(&after), "{after:?}");
}

// Spec: RTC8a3, RTC8b1
#[test]
fn an_authorize_call_ends_with_the_next_connection() {
    let mut bench = Bench::connected(with_tokens());
    bench.client.authorize(OpId(1), bench.now);
    bench.grant(2);
    let (outcome, after) = flap_until_done(&mut bench, OpId(1));
    assert_eq!((outcome, after), (Ok(Outcome::Done), seconds(10)));
}

// Spec: RTN13c
#[test]
fn a_ping_ends_at_its_own_time_limit() {
    let mut bench = with_channel();
    bench.client.ping(OpId(1), bench.now);
    let (outcome, after) = flap_until_done(&mut bench, OpId(1));
    assert_eq!((outcome, after), (Err(50003), REQUEST));
}

/// How a random service treats its connections.
struct Mood {
    /// Its connections live at most this long, in ms.
    life: u64,
    /// Between two of them are at most so many ms.
    pause: u64,
    /// Whether it resumes connections.
    resumes: bool,
    /// How many, in a hundred, frames it answers.
    answers: u8,
    /// Whether its acknowledgements settle anything.
    acknowledges: bool,
}

/// A client whose connection flaps for ever.
struct World {
    rng: Rng,
    bench: Bench,
    mood: Mood,
    connections: u64,
    next_op: u64,
    /// Operations under way.
    open: BTreeMap<OpId, Call>,
    /// How many operations have ended.
    ended: u64,
}

/// An operation under way.
struct Call {
    call: &'static str,
    channel: ChannelId,
    begun: Instant,
    /// How many requests its channel had when it was made.
    ahead: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut config = if rng.bool() { with_key() } else { with_tokens() };
        config.client_id = Some("ada".into());
        let mood = Mood {
            life: rng.choice([0, 1, 900, 9_000, 60_000, 119_000]).unwrap(),
            pause: rng.choice([0, 10, 5_000, 30_000, 115_000]).unwrap(),
            resumes: rng.bool(),
            answers: rng.choice([0, 0, 0, 20, 60, 100]).unwrap(),
            acknowledges: rng.u8(..4) == 0,
        };
        let mut bench = Self::started(config);
        for id in 0..2 {
            let name = ["ch0", "ch1"][id as usize];
            bench.client.open_channel(ChannelId(id), name.into(), ChannelOptions::default());
        }
        Self { rng, bench, mood, connections: 0, next_op: 0, open: BTreeMap::new(), ended: 0 }
    }

    fn started(config: Config) -> Bench {
        let mut bench = Bench::new(config);
        bench.client.connect(bench.now);
        bench.grant(0);
        bench
    }

    /// Makes a call.
    fn call(&mut self) {
        let op = OpId(self.next_op);
        self.next_op += 1;
        let id = ChannelId(self.rng.u64(..2));
        let now = self.bench.now;
        let client = &mut self.bench.client;
        let call = match self.rng.u8(..9) {
            0 => {
                client.attach(id, op, now);
                "attach"
            }
            1 => {
                client.detach(id, op, now);
                "detach"
            }
            2 => {
                client.annotate(id, Annotation::default(), op, now);
                "annotate"
            }
            3 => {
                client.presence(id, enter(), op, now);
                "enter"
            }
            4 => {
                client.members(id, MembersQuery::default(), op, now);
                "members"
            }
            5 => {
                client.ping(op, now);
                "ping"
            }
            6 => {
                client.authorize(op, now);
                "authorize"
            }
            7 => {
                let mut options = ChannelOptions::default();
                options.params.insert("rewind".to_owned(), "1".to_owned());
                client.set_channel_options(id, options, op, now);
                "options"
            }
            _ => {
                self.bench.publish(id, "a", op);
                "publish"
            }
        };
        let requests = ["attach", "detach", "options", "members"];
        let ahead =
            self.open.values().filter(|own| own.channel == id && requests.contains(&own.call));
        let ahead = ahead.count() as u32;
        self.open.insert(op, Call { call, channel: id, begun: now.instant, ahead });
        self.check();
    }

    /// Time passes, up to so many ms, and calls are made meanwhile.
    fn wait(&mut self, most: u64) {
        let mut left = self.rng.u64(..=most);
        while left > 0 {
            let step = self.rng.u64(1..=left);
            left -= step;
            self.bench.advance(Duration::from_millis(step));
            self.check();
            if self.open.len() < 8 && self.rng.bool() {
                self.call();
            }
        }
        if self.open.len() < 8 && self.rng.u8(..3) == 0 {
            self.call();
        }
    }

    /// A connection: it comes, lives for a while, and goes.
    fn flap(&mut self) {
        let (life, pause) = (self.mood.life, self.mood.pause);
        self.wait(pause);
        if self.rng.u8(..4) == 0 {
            self.bench.client.network_available(self.bench.now);
            self.check();
        }
        self.bench.grant(self.next_op);
        self.check();
        if self.connections == 0 || !self.mood.resumes {
            self.connections += 1;
        }
        let id = ["connection-a", "connection-b"][self.connections as usize % 2];
        self.bench.open();
        self.bench.say(connected(id));
        self.check();
        for _ in 0..self.rng.u8(..3) {
            self.wait(life / 2);
            self.bench.grant(self.next_op);
            self.check();
        }
        self.bench.lose(80003);
        self.check();
    }

    /// Sends some answers, and checks what has ended.
    fn check(&mut self) {
        loop {
            let did = self.bench.did();
            let now = self.bench.now.instant;
            for (op, _) in did.done {
                self.open.remove(&op).expect("an operation ends once");
                self.ended += 1;
            }
            for (auth, _) in did.tokens {
                if self.rng.bool() {
                    let generation = self.next_op;
                    self.bench.client.handle_token(auth, Ok(grant(generation)), self.bench.now);
                }
            }
            for (op, Call { call, begun, ahead, .. }) in &self.open {
                let waited = now.since(*begun);
                assert!(waited <= limit(call, *ahead), "{op:?} ({call}) has taken {waited:?}");
            }
            let answers: Vec<_> =
                did.sent.into_iter().filter_map(|frame| self.answer(frame)).collect();
            if answers.is_empty() {
                return;
            }
            for frame in answers {
                self.bench.say(frame);
            }
        }
    }

    /// The answer to a frame, or something else.
    fn answer(&mut self, frame: ClientFrame) -> Option<ServerFrame> {
        if self.rng.u8(..100) >= self.mood.answers {
            return None;
        }
        let serial = match frame {
            ClientFrame::Attach(attach) => {
                let flags = if self.rng.bool() { Flags::HAS_PRESENCE } else { Flags::NONE };
                let attached = Attached { channel: attach.channel, flags, ..Attached::default() };
                return Some(ServerFrame::Attached(Box::new(attached)));
            }
            ClientFrame::Detach { channel } => {
                // Not the answer that the client waits for (RTL5k), or a page of a sync that has no end.
                if self.rng.bool() {
                    let attached = Attached { channel, ..Attached::default() };
                    return Some(ServerFrame::Attached(Box::new(attached)));
                }
                let mut page = Delivery::new("ch0", Vec::new());
                page.channel_serial = Some("sync:more".into());
                return Some(ServerFrame::Sync(page));
            }
            ClientFrame::Message(publish) => publish.msg_serial,
            ClientFrame::Presence(publish) => publish.msg_serial,
            ClientFrame::Annotation(publish) => publish.msg_serial,
            ClientFrame::Heartbeat { .. } => return Some(ServerFrame::Heartbeat { id: None }),
            _ => return None,
        };
        let serial = if self.mood.acknowledges { serial } else { serial + 1_000_000 };
        Some(ServerFrame::Ack(Ack { msg_serial: serial, count: 1, res: Vec::new() }))
    }
}

/// How long an operation may take, with so many requests before it on its channel.
///
/// It survives losses for [`LIMIT`]. The last loss before that is followed by an outage of at most a
/// connectionStateTtl and the attempt in which it passes, and by a connection on which the operation has its own time
/// limit, which is a TTL for an acknowledgement.
fn limit(call: &str, ahead: u32) -> Duration {
    let attempt = 4 * REQUEST;
    let outage = TTL + attempt;
    let request = LIMIT + outage + REQUEST;
    let acknowledgement = LIMIT + outage + TTL;
    match call {
        "ping" => outage + REQUEST,
        "publish" | "annotate" => acknowledgement,
        // It waits for an attachment first.
        "enter" => request + acknowledgement,
        "authorize" => REQUEST + outage + REQUEST,
        "attach" | "detach" | "options" => request * (ahead + 1),
        // The sync takes as long as a request.
        "members" => request * (ahead + 2),
        other => panic!("{other}"),
    }
}

#[test]
fn every_operation_ends_however_the_connection_flaps() {
    let mut ended = 0;
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            let start = Instant::default();
            for _ in 0..FLAPS {
                if world.bench.now.instant.since(start) > seconds(6_000) {
                    break;
                }
                world.flap();
            }
            world.ended
        });
        ended += outcome.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(ended > 10_000, "the test has little to check: {ended}");
}
