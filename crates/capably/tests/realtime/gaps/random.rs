//! Runs of twenty minutes in virtual time with random faults: every missed message is reported as a gap, no message is
//! delivered twice, and with filling no message is missed.
//!
//! A seed decides the faults. The client's own jitter decides the times of retries.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use capably::{Annotation, ClientOptions, http::HttpErrorKind};
use capably_protocol::{ClientFrame, Format, frame::Attach};
use fastrand::Rng;
use serde_json::json;
use tokio::{
    runtime::Builder,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{filling::History, *};
use crate::http::scripted_http::{Answer, Request, ScriptedHttp, respond};

const SEEDS: u64 = 24;
const DURATION: Duration = Duration::from_secs(1_200);
/// A longer run counts as a hang.
const PATIENCE: Duration = Duration::from_secs(900);
/// The largest number of positions: a position has three digits.
const POSITIONS: u32 = 990;

/// The service.
struct World {
    state: Mutex<State>,
    history: History,
    /// The number of positions.
    end: watch::Sender<u32>,
    stop: Instant,
}

struct State {
    rng: Rng,
    /// The positions that are messages.
    published: BTreeSet<u32>,
    /// The positions of attachments without continuity.
    begun: Vec<u32>,
    misfortunes: u32,
}

impl World {
    fn new(seed: u64) -> Arc<Self> {
        let state = State {
            rng: Rng::with_seed(seed),
            published: BTreeSet::new(),
            begun: Vec::new(),
            misfortunes: 0,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            history: History::default(),
            end: watch::Sender::new(0),
            stop: Instant::now() + DURATION,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn end(&self) -> u32 {
        *self.end.borrow()
    }

    fn is_healed(&self) -> bool {
        Instant::now() >= self.stop
    }

    /// True in this percentage of calls, while faults are on.
    fn chance(&self, percent: u8) -> bool {
        !self.is_healed() && self.state().rng.u8(..100) < percent
    }

    fn pick(&self, range: std::ops::Range<u8>) -> u8 {
        self.state().rng.u8(range)
    }

    fn millis(&self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.state().rng.u64(range))
    }

    fn publish(&self) {
        let position = self.end() + 1;
        assert!(position < POSITIONS);
        self.history.add(position, json!({ "name": position.to_string() }));
        self.state().published.insert(position);
        self.end.send_replace(position);
    }

    /// A frame without a message moves the position.
    fn move_on(&self) {
        self.end.send_modify(|end| *end += 1);
    }

    fn frame(&self, position: u32) -> ServerFrame {
        if self.state().published.contains(&position) {
            return message(position, &position.to_string());
        }
        let mut frame = Delivery::<Annotation>::new("ch", Vec::new());
        frame.channel_serial = Some(format!("{position:03}").into());
        ServerFrame::Annotation(frame)
    }

    /// The answers of history. If `unreliable`, it keeps the last 20 messages, and fails sometimes.
    fn answer(&self, request: &Request, unreliable: bool) -> Answer {
        let mut answer = self.history.answer(request);
        if unreliable {
            let keeps_from = self.state().published.iter().rev().nth(19).copied().unwrap_or(0);
            if let Answer::Body { body, .. } = &mut answer
                && let Some(items) = body.as_array_mut()
            {
                let kept = format!("{keeps_from:03}");
                items.retain(|item| item["serial"].as_str().unwrap() >= kept.as_str());
            }
            if self.chance(10) {
                answer = Answer::Fail(HttpErrorKind::Connect);
            } else if self.chance(5) {
                answer = respond(500, json!({ "error": { "code": 50000, "statusCode": 500 } }));
            } else if self.chance(5) {
                return Answer::Hang;
            }
        }
        Answer::After(self.millis(0..3_000), Box::new(answer))
    }
}

async fn publish(world: Arc<World>) {
    while !world.is_healed() {
        for _ in 0..world.pick(1..4) {
            if world.end() + 20 < POSITIONS {
                if world.pick(0..5) == 0 { world.move_on() } else { world.publish() }
            }
        }
        sleep(world.millis(1..8_000)).await;
    }
    // The client may be disconnected, and lose continuity after one of these.
    for _ in 0..8 {
        world.publish();
        sleep(Duration::from_secs(60)).await;
    }
}

/// Answers the attempts of the client, sometimes with a delay longer than its state is kept.
async fn serve(world: Arc<World>, mut service: Service) {
    let mut connection = 0;
    loop {
        let mut attempt = service.attempt().await;
        if world.chance(15) {
            let until = Instant::now() + world.millis(1_000..400_000);
            while Instant::now() < until && !world.is_healed() {
                attempt.refuse();
                attempt = service.attempt().await;
            }
        }
        let kept = attempt.param("resume").is_some() && !world.chance(30);
        connection += u32::from(!kept);
        let mut peer = attempt.accept();
        peer.send(connected_frame(&format!("connection-{connection}"), "key"));
        session(&world, &mut peer).await;
    }
}

async fn session(world: &World, peer: &mut Peer) {
    let mut end = world.end.subscribe();
    // The next position to deliver, if the channel is attached.
    let mut next: Option<u32> = None;
    let mut heartbeat = Instant::now() + Duration::from_secs(10);
    let mut misfortune = Instant::now() + world.millis(1_000..60_000);
    loop {
        if let Some(next) = &mut next {
            while *next <= world.end() {
                peer.send(world.frame(*next));
                *next += 1;
            }
        }
        tokio::select! {
            frame = peer.receive() => match frame {
                Some(ClientFrame::Attach(attach)) => next = Some(attached(world, peer, &attach)),
                Some(ClientFrame::Heartbeat { id }) => peer.send(ServerFrame::Heartbeat { id }),
                Some(other) => panic!("not expected: {other:?}"),
                None => return,
            },
            _ = end.changed() => {}
            () = sleep_until(heartbeat) => {
                heartbeat = Instant::now() + Duration::from_secs(10);
                peer.send(ServerFrame::Heartbeat { id: None });
            }
            () = sleep_until(misfortune), if !world.is_healed() => {
                misfortune = Instant::now() + world.millis(1_000..60_000);
                world.state().misfortunes += 1;
                match world.pick(0..4) {
                    0 | 1 => return,
                    2 => {
                        next = None;
                        peer.send(detached_because("ch", 90198));
                    }
                    _ if next.is_some() => next = Some(skip(world, peer)),
                    _ => {}
                }
            }
        }
    }
}

/// Answers an ATTACH, with continuity or without. Returns the next position.
fn attached(world: &World, peer: &mut Peer, attach: &Attach) -> u32 {
    match attach.channel_serial.as_deref() {
        Some(serial) if !world.chance(40) => {
            let position: u32 = serial.parse().unwrap();
            peer.send(resumed(position));
            position + 1
        }
        _ => skip(world, peer),
    }
}

/// Attaches without continuity at the current position; a message may just have been published. Returns the next
/// position.
fn skip(world: &World, peer: &mut Peer) -> u32 {
    for _ in 0..world.pick(0..3) {
        if world.chance(50) {
            world.publish();
        }
    }
    let position = world.end();
    world.state().begun.push(position);
    peer.send(anew(position));
    position + 1
}

/// The events of a subscription.
#[derive(Debug)]
enum Heard {
    Message { position: u32, filled: bool },
    Gap { after: u32, until: u32, unfilled: Option<u32> },
}

/// Receives every event, at its own pace.
async fn listen(mut messages: Subscription, world: Arc<World>) -> Vec<Heard> {
    let mut heard = Vec::new();
    let position = |text: Option<capably::Str>| text.unwrap().parse::<u32>().unwrap();
    while let Ok(event) = timeout(PATIENCE, messages.next_event()).await {
        heard.push(match event.expect("the subscription goes on") {
            SubscriptionEvent::Message(message) => {
                Heard::Message { position: position(message.name), filled: false }
            }
            SubscriptionEvent::Filled(message) => {
                Heard::Message { position: position(message.name), filled: true }
            }
            SubscriptionEvent::Gap(gap) => Heard::Gap {
                after: position(gap.after),
                until: position(gap.until),
                unfilled: gap.unfilled.map(|error| error.code.0),
            },
            other => panic!("unexpected: {other:?}"),
        });
        if world.chance(5) {
            sleep(world.millis(0..5_000)).await;
        }
    }
    heard
}

/// Checks that no message is repeated or out of order, and that each missing one lies in a gap. Returns the number of
/// missing messages.
fn check(world: &World, heard: &[Heard]) -> usize {
    let State { published, begun, .. } = &*world.state();
    let between =
        |after: u32, before: u32| published.range(after..before).filter(|at| **at > after).count();
    // Every message up to here was delivered, or lies in a gap.
    let mut covered = begun[0];
    let mut missing = 0;
    let mut last = covered;
    for event in heard {
        match *event {
            Heard::Gap { after, until, .. } => {
                assert!(begun.contains(&until), "nothing began at {until}");
                assert!(last <= after, "{event:?} begins before {last}, which came before it");
                assert_eq!(between(covered, after + 1), 0, "{event:?} is late");
                covered = until;
            }
            Heard::Message { position, .. } => {
                assert!(position > last, "{event:?} comes after {last}");
                // After a reported gap, some of its messages may be filled in.
                let unseen = between(covered.min(position), position);
                assert_eq!(unseen, 0, "nobody says that {unseen} before {event:?} are missing");
                missing += between(last, position);
                last = position;
                covered = covered.max(position);
            }
        }
    }
    assert_eq!(last, *published.last().unwrap(), "the last comes");
    missing
}

#[derive(Debug, Default)]
struct Tally {
    misfortunes: u32,
    plain_gaps: usize,
    plain_missing: usize,
    filled: usize,
    unfilled: usize,
    missing: usize,
}

async fn twenty_minutes(seed: u64, tally: &mut Tally) {
    let world = World::new(seed);
    let format = if seed & 1 == 0 { Format::Json } else { Format::MsgPack };
    let unreliable = seed & 2 == 0;
    let asked = Arc::clone(&world);
    let http = ScriptedHttp::new(move |request, _| {
        // The network works.
        if !request.url.contains("/channels/") {
            return Answer::Raw(capably::http::HttpResponse::new(200, "yes\n"));
        }
        asked.answer(&Request(request.clone()), unreliable)
    });
    let options = |options: ClientOptions| options.http_client(Arc::new(http));
    let (client, service) = client_with(format, options);
    let serving = tokio::spawn(serve(Arc::clone(&world), service));
    client.connection().connect();
    let channel = client.channels().get("ch");
    let first = channel.subscribe().attach(false).await.unwrap();
    let filling = channel.subscribe().attach(false).fill_gaps().await.unwrap();
    while channel.attach().await.is_err() {
        sleep(Duration::from_secs(1)).await;
    }
    let publishing = tokio::spawn(publish(Arc::clone(&world)));
    let (plain, filled) =
        tokio::join!(listen(first, Arc::clone(&world)), listen(filling, Arc::clone(&world)),);
    publishing.await.unwrap();
    serving.abort();

    tally.plain_missing += check(&world, &plain);
    let missing = check(&world, &filled);
    let first_published = *world.state().published.first().unwrap();
    let mut unfilled = 0;
    for event in &filled {
        match *event {
            Heard::Message { filled, .. } => tally.filled += usize::from(filled),
            Heard::Gap { after, unfilled: code, .. } => {
                unfilled += 1;
                // Before the first message, the client cannot know that history is complete.
                let code = code.expect("a gap stays for a reason");
                assert!(unreliable || (code == 90003 && after < first_published), "{event:?}");
            }
        }
    }
    assert!(unreliable || missing == 0, "{missing} are missing");
    tally.missing += missing;
    tally.unfilled += unfilled;
    tally.plain_gaps += plain.iter().filter(|event| matches!(event, Heard::Gap { .. })).count();
    tally.misfortunes += world.state().misfortunes;
}

// Spec: RTL2f, RTL10b, RTL12, RTL15b, RTL15c, RTN15c7
#[test]
fn every_missed_message_is_filled_in_or_reported() {
    let mut total = Tally::default();
    for seed in 0..SEEDS {
        let ran = std::panic::catch_unwind(|| {
            let mut tally = Tally::default();
            let mut runtime = Builder::new_current_thread();
            let runtime = runtime.enable_time().start_paused(true).build().unwrap();
            runtime.block_on(twenty_minutes(seed, &mut tally));
            tally
        });
        let tally = ran.unwrap_or_else(|_| panic!("seed {seed}"));
        total.misfortunes += tally.misfortunes;
        total.plain_gaps += tally.plain_gaps;
        total.plain_missing += tally.plain_missing;
        total.filled += tally.filled;
        total.unfilled += tally.unfilled;
        total.missing += tally.missing;
    }
    // Without each of these cases, the test would prove nothing.
    let Tally { misfortunes, plain_gaps, plain_missing, filled, unfilled, missing } = total;
    for count in [misfortunes as usize, plain_gaps, plain_missing, filled, unfilled, missing] {
        assert!(count > 20, "{total:?}");
    }
    assert!(missing < plain_missing);
}
