//! Listeners of every speed, with random faults in virtual time: each listener receives each item exactly once and in
//! order, or a gap in its place; queues stay within their bounds; no replay loops, and every wait ends.
//!
//! A seed decides everything.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use capably::{
    Channel,
    realtime::{
        ChannelState, Gap, SubscriptionEvent,
        annotations::{AnnotationEvent, AnnotationSubscription},
        presence::{PresenceEvent, PresenceSubscription},
    },
};
use capably_protocol::{ClientFrame, Flags, Format, PresenceAction, ServerFrame, frame::Attach};
use fastrand::Rng;
use futures_util::FutureExt;
use serde_json::json;
use tokio::{
    runtime::Builder,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::support::*;

const SEEDS: u64 = 150;
const DURATION: Duration = Duration::from_secs(60);
/// A longer run counts as a hang.
const PATIENCE: Duration = Duration::from_secs(200);
/// The most frames that arrive together: the service pauses after them.
const TOGETHER: usize = 20;
/// The most items of a frame.
const ITEMS: usize = 8;
/// The fewest items that a queue receives in a replay.
const REPLAYED: usize = 256;

/// The type of items of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Message,
    Presence,
    Annotation,
}

const KINDS: [Kind; 3] = [Kind::Message, Kind::Presence, Kind::Annotation];

#[derive(Clone, Copy, Debug)]
struct Item {
    kind: Kind,
    /// The name, the action or the type that listeners may select.
    first: bool,
    /// The frame's channel serial, if it has one.
    position: Option<usize>,
    damaged: bool,
    /// The channel attached without continuity before it was sent, so presence and annotation listeners missed it.
    skipped: bool,
}

/// A frame of the log, by the numbers of its items. A frame without items is for other clients.
struct Frame {
    items: Vec<usize>,
}

struct State {
    rng: Rng,
    items: Vec<Item>,
    log: Vec<Frame>,
    /// The service no longer keeps frames before this position.
    kept_from: usize,
    /// The last position that was sent or skipped.
    sent: usize,
    /// The client may still request sent frames: it attached without continuity during a replay.
    unsure: bool,
    /// The answer was late: the client is attaching, and ignores frames sent meanwhile (RTL17).
    unanswered: bool,
    attaches: usize,
    misfortunes: usize,
    unplaced: usize,
    /// The number of ATTACH frames at this instant.
    at_once: (Instant, usize),
}

/// The service.
struct World {
    state: Mutex<State>,
    /// The service keeps every frame and answers every request.
    kind: bool,
    /// The number of frames.
    end: watch::Sender<usize>,
    stop: Instant,
    over: watch::Sender<bool>,
}

fn serial(position: usize) -> String {
    format!("ch-serial@{position:05}")
}

fn position_of(serial: &str) -> usize {
    serial.rsplit_once('@').map_or(0, |(_, position)| position.parse().unwrap())
}

impl World {
    fn new(seed: u64) -> Arc<Self> {
        let state = State {
            rng: Rng::with_seed(seed),
            items: Vec::new(),
            // The position that the channel has when it is attached first.
            log: vec![Frame { items: Vec::new() }],
            kept_from: 0,
            sent: 0,
            unsure: false,
            unanswered: false,
            attaches: 0,
            misfortunes: 0,
            unplaced: 0,
            at_once: (Instant::now(), 0),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            kind: seed.is_multiple_of(3),
            end: watch::Sender::new(1),
            stop: Instant::now() + DURATION,
            over: watch::Sender::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn is_healed(&self) -> bool {
        Instant::now() >= self.stop
    }

    fn chance(&self, percent: u8) -> bool {
        self.state().rng.u8(..100) < percent
    }

    /// True in this percentage of calls, while faults are on and the service is not kind.
    fn harm(&self, percent: u8) -> bool {
        !self.kind && !self.is_healed() && self.chance(percent)
    }

    fn pick(&self, range: std::ops::Range<usize>) -> usize {
        self.state().rng.usize(range)
    }

    fn millis(&self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.state().rng.u64(range))
    }

    /// Adds items to the log. Returns their numbers.
    fn items(&self, kind: Kind, position: Option<usize>, damaged: bool) -> Vec<usize> {
        let State { rng, items, .. } = &mut *self.state();
        let count = rng.usize(1..=ITEMS);
        let bad =
            damaged.then(|| if kind == Kind::Message { rng.usize(..count) } else { count - 1 });
        let begin = items.len();
        items.extend((0..count).map(|index| Item {
            kind,
            first: rng.bool(),
            position,
            damaged: bad == Some(index),
            skipped: false,
        }));
        (begin..begin + count).collect()
    }

    fn publish(&self, kind: Option<Kind>, damaged: bool) {
        let position = self.state().log.len();
        let items = kind.map_or_else(Vec::new, |kind| self.items(kind, Some(position), damaged));
        self.state().log.push(Frame { items });
        self.end.send_replace(position + 1);
    }

    fn send(&self, peer: &mut Peer, numbers: &[usize], position: Option<usize>) {
        let Some(first) = numbers.first() else { return };
        let state = self.state();
        let items: Vec<_> = numbers
            .iter()
            .map(|number| match state.items[*number] {
                Item { damaged: true, .. } => json!({ "clientId": {} }),
                Item { kind: Kind::Message, first, .. } => {
                    json!({ "id": number.to_string(), "name": if first { "a" } else { "b" } })
                }
                Item { kind: Kind::Presence, first, .. } => {
                    json!({ "clientId": number.to_string(), "action": if first { 2 } else { 4 } })
                }
                Item { kind: Kind::Annotation, first, .. } => {
                    json!({
                        "id": number.to_string(), "action": 0, "type": if first { "a" } else { "b" },
                    })
                }
            })
            .collect();
        let (action, field) = match state.items[*first].kind {
            Kind::Message => (15, "messages"),
            Kind::Presence => (14, "presence"),
            Kind::Annotation => (21, "annotations"),
        };
        let mut fields = json!({
            "action": action, "channel": "ch", "id": format!("other:{first}"), "timestamp": 1,
            "connectionId": "other", field: items,
        });
        if let Some(position) = position {
            fields["channelSerial"] = json!(serial(position));
        }
        peer.send_fields(fields);
    }
}

async fn publish(world: Arc<World>) {
    while !world.is_healed() {
        for _ in 0..world.pick(1..12) {
            match world.pick(0..12) {
                0 => world.publish(None, false),
                other => world.publish(Some(KINDS[other % 3]), world.chance(4)),
            }
        }
        if world.chance(10) && !world.kind {
            let state = &mut *world.state();
            state.kept_from = state.rng.usize(state.kept_from..=state.log.len());
        }
        sleep(world.millis(1..4_000)).await;
    }
    // The client may be disconnected, and lose continuity after one of these.
    for _ in 0..4 {
        sleep(Duration::from_secs(60)).await;
        for kind in KINDS {
            // Listeners select from these.
            while !world.is_told(kind) {
                world.publish(Some(kind), false);
            }
        }
    }
    sleep(Duration::from_secs(120)).await;
    world.over.send_replace(true);
}

impl World {
    /// The last frames of this type had both selections.
    fn is_told(&self, kind: Kind) -> bool {
        let state = self.state();
        let last: Vec<_> = state.items.iter().rev().take(30).filter(|it| it.kind == kind).collect();
        last.iter().any(|item| item.first) && last.iter().any(|item| !item.first)
    }
}

async fn serve(world: Arc<World>, mut service: Service, first: Peer) {
    let mut connection = 1;
    let mut peer = first;
    loop {
        session(&world, &mut peer).await;
        drop(peer);
        let Some(attempt) = service.next_attempt().await else { return };
        connection += usize::from(attempt.param("resume").is_none() || world.harm(30));
        peer = attempt.accept();
        peer.send(connected_frame(&format!("connection-{connection}"), "key"));
    }
}

async fn session(world: &World, peer: &mut Peer) {
    let mut end = world.end.subscribe();
    // The next position to send, if the channel is attached.
    let mut next: Option<usize> = None;
    let mut pause = Instant::now();
    let mut asked: std::collections::VecDeque<(Instant, Instant, Attach)> = Default::default();
    let mut heartbeat = Instant::now() + Duration::from_secs(10);
    let mut misfortune = Instant::now() + world.millis(1_000..30_000);
    loop {
        let mut waits = false;
        if let Some(next) = &mut next {
            let now = Instant::now();
            for _ in 0..TOGETHER {
                if now < pause || *next >= *world.end.borrow() {
                    break;
                }
                let numbers = world.state().log[*next].items.clone();
                world.send(peer, &numbers, Some(*next));
                let state = &mut *world.state();
                state.sent = state.sent.max(*next);
                for number in numbers.iter().filter(|_| state.unanswered) {
                    state.items[*number].skipped = true;
                }
                *next += 1;
            }
            waits = *next < *world.end.borrow();
            if waits && now >= pause {
                pause = now + world.millis(1..400);
            }
            let live = !waits && asked.is_empty() && !world.state().unsure;
            if live && !world.is_healed() && !world.kind && world.chance(10) {
                // The frame is not in the log, and is sent once.
                let numbers = world.items(KINDS[world.pick(0..3)], None, false);
                world.send(peer, &numbers, None);
                world.state().unplaced += 1;
            }
        }
        let due = asked.front().map(|(due, ..)| *due);
        tokio::select! {
            biased;
            frame = peer.receive() => match frame {
                Some(ClientFrame::Attach(attach)) => {
                    asked.extend(hear(world, attach));
                }
                Some(ClientFrame::Heartbeat { id }) => peer.send(ServerFrame::Heartbeat { id }),
                Some(ClientFrame::Close) => peer.send(ServerFrame::Closed),
                Some(other) => panic!("not expected: {other:?}"),
                None => return,
            },
            () = sleep_until(due.unwrap_or(heartbeat)), if due.is_some() => {
                let (_, since, attach) = asked.pop_front().unwrap();
                let is_late = since.elapsed() >= Duration::from_secs(10);
                next = Some(answer(world, peer, &attach, is_late));
                pause = Instant::now() + world.millis(0..300);
            }
            _ = end.changed() => {}
            () = sleep_until(pause), if waits => {}
            () = sleep_until(heartbeat) => {
                heartbeat = Instant::now() + Duration::from_secs(10);
                peer.send(ServerFrame::Heartbeat { id: None });
            }
            () = sleep_until(misfortune), if !world.is_healed() => {
                misfortune = Instant::now() + world.millis(1_000..30_000);
                world.state().misfortunes += 1;
                match world.pick(0..4) {
                    0 | 1 => return,
                    2 => {
                        next = None;
                        asked.clear();
                        peer.send(detached_because("ch", 90198));
                    }
                    _ if next.is_some() && asked.is_empty() && world.harm(100) => {
                        next = Some(anew(world, peer, None));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Counts an ATTACH. It is answered at this moment, if it is.
fn hear(world: &World, attach: Attach) -> Option<(Instant, Instant, Attach)> {
    let now = Instant::now();
    {
        let state = &mut *world.state();
        state.attaches += 1;
        if state.at_once.0 != now {
            state.at_once = (now, 0);
        }
        state.at_once.1 += 1;
        assert!(state.at_once.1 < 20, "the client attaches in a loop");
    }
    if world.harm(3) {
        world.state().unanswered = true;
        return None;
    }
    let after = match () {
        () if world.harm(3) => {
            world.state().unanswered = true;
            world.millis(10_000..14_000)
        }
        () if world.chance(20) && !world.is_healed() => world.millis(0..4_000),
        () => Duration::ZERO,
    };
    Some((now + after, now, attach))
}

/// Answers an ATTACH, with continuity if possible. Returns the next position.
fn answer(world: &World, peer: &mut Peer, attach: &Attach, is_late: bool) -> usize {
    match attach.channel_serial.as_deref().map(position_of) {
        Some(position) if position >= world.state().kept_from && !world.harm(5) => {
            world.state().unsure = false;
            world.state().unanswered &= is_late;
            peer.send(attached_with("ch", |attached| {
                attached.channel_serial = attach.channel_serial.clone();
                attached.flags = Flags::RESUMED;
            }));
            position + 1
        }
        asked => anew(world, peer, asked),
    }
}

/// Attaches without continuity at the current position. Returns the next position.
fn anew(world: &World, peer: &mut Peer, asked: Option<usize>) -> usize {
    let next = *world.end.borrow();
    let state = &mut *world.state();
    // A frame that the client did not process cannot have filled a queue.
    let since = asked.unwrap_or(state.sent);
    for item in &mut state.items {
        item.skipped |= item.position.is_some_and(|position| position > since);
    }
    state.sent = next - 1;
    state.unsure = true;
    peer.send(attached_with("ch", |attached| {
        attached.channel_serial = Some(serial(next - 1).into())
    }));
    next
}

/// An event of a listener.
#[derive(Clone, Debug)]
enum Heard {
    Item(usize),
    Gap(Box<Gap>),
}

/// The selection of a listener, and its events.
#[derive(Debug)]
struct Tale {
    kind: Kind,
    only_first: bool,
    capacity: usize,
    bytes: usize,
    /// Items from this number on were sent after it began.
    from: usize,
    /// Items up to this number were sent before it ended.
    until: usize,
    heard: Vec<Heard>,
    stayed: bool,
}

enum Listener {
    Messages(capably::Subscription),
    Presence(PresenceSubscription),
    Annotations(AnnotationSubscription),
}

impl Listener {
    async fn new(channel: &Channel, tale: &Tale) -> Self {
        let Tale { kind, only_first, capacity, bytes, .. } = *tale;
        match kind {
            Kind::Message => {
                let subscribe = channel.subscribe().attach(false);
                let subscribe = subscribe.capacity(capacity).capacity_bytes(bytes);
                let subscribe = if only_first { subscribe.name("a") } else { subscribe };
                Self::Messages(subscribe.await.unwrap())
            }
            Kind::Presence => {
                let subscribe = channel.presence().subscribe().attach(false);
                let subscribe = subscribe.capacity(capacity).capacity_bytes(bytes);
                let subscribe = subscribe.action(PresenceAction::Enter);
                let subscribe =
                    if only_first { subscribe } else { subscribe.action(PresenceAction::Update) };
                Self::Presence(subscribe.await.unwrap())
            }
            Kind::Annotation => {
                let subscribe = channel.annotations().subscribe().attach(false);
                let subscribe = subscribe.capacity(capacity).capacity_bytes(bytes);
                let subscribe = if only_first { subscribe.annotation_type("a") } else { subscribe };
                Self::Annotations(subscribe.await.unwrap())
            }
        }
    }

    async fn next(&mut self) -> Option<Heard> {
        let number = |text: Option<capably::Str>| Heard::Item(text.unwrap().parse().unwrap());
        Some(match self {
            Self::Messages(messages) => match messages.next_event().await? {
                SubscriptionEvent::Message(message) => number(message.id),
                SubscriptionEvent::Gap(gap) => Heard::Gap(Box::new(gap)),
                other => panic!("unexpected: {other:?}"),
            },
            Self::Presence(presence) => match presence.next_event().await? {
                PresenceEvent::Message(message) => number(message.client_id),
                PresenceEvent::Gap(gap) => Heard::Gap(Box::new(gap)),
                other => panic!("unexpected: {other:?}"),
            },
            Self::Annotations(annotations) => match annotations.next_event().await? {
                AnnotationEvent::Annotation(annotation) => number(annotation.id),
                AnnotationEvent::Gap(gap) => Heard::Gap(Box::new(gap)),
                other => panic!("unexpected: {other:?}"),
            },
        })
    }
}

/// Receives the queued items, at its own pace.
async fn listen(world: Arc<World>, channel: Channel, seed: u64) -> Option<Tale> {
    let mut rng = Rng::with_seed(seed);
    let joins = rng.u64(..3) == 0;
    sleep(Duration::from_millis(if joins { rng.u64(..50_000) } else { 1 })).await;
    if channel.state() != ChannelState::Attached {
        return None;
    }
    let mut tale = Tale {
        kind: KINDS[rng.usize(..3)],
        only_first: rng.u8(..3) == 0,
        capacity: rng.choice([0, 1, 2, 10, 100, 100, 8_192]).unwrap(),
        bytes: rng.choice([0, 1, 3_000, 1 << 24, 1 << 24, 1 << 24]).unwrap(),
        from: 0,
        until: usize::MAX,
        heard: Vec::new(),
        stayed: true,
    };
    let mut listener = Listener::new(&channel, &tale).await;
    // Frames in flight have arrived after this.
    tale.from = world.state().items.len();
    let leaves = rng.u8(..5) == 0;
    let leaves = leaves.then(|| Instant::now() + Duration::from_millis(rng.u64(..60_000)));
    let slowness = rng.choice([0, 500, 8_000, 40_000]).unwrap();
    let mut over = world.over.subscribe();
    let mut attaches = usize::MAX;
    loop {
        // The listener reads its whole queue at once: no other task runs meanwhile.
        let now = world.state().attaches;
        let mut taken = 0;
        while let Some(heard) = listener.next().now_or_never() {
            let heard = heard.expect("the subscription goes on");
            taken += usize::from(matches!(heard, Heard::Item(_)));
            tale.heard.push(heard);
        }
        let capacity = if tale.bytes <= 1 { 1 } else { tale.capacity.max(1) };
        let most = if now == attaches { capacity } else { capacity.max(REPLAYED) };
        let batch = if now == attaches { 12 } else { TOGETHER + 12 } * ITEMS;
        assert!(taken < most + batch, "{taken} waited for {tale:?}");
        attaches = now;
        if leaves.is_some_and(|at| Instant::now() >= at) {
            tale.until = world.state().items.len();
            tale.stayed = false;
            return Some(tale);
        }
        if *over.borrow() {
            break;
        }
        let wait = if slowness == 0 || world.is_healed() { 0 } else { rng.u64(..slowness) };
        if wait > 0 {
            sleep(Duration::from_millis(wait)).await;
            continue;
        }
        tokio::select! {
            _ = over.changed() => {}
            heard = listener.next() => tale.heard.push(heard.expect("the subscription goes on")),
        }
    }
    // The client is closed now.
    while let Some(heard) = timeout(PATIENCE, listener.next()).await.expect("it ends") {
        tale.heard.push(heard);
    }
    Some(tale)
}

/// Counts of the cases that the test is about.
#[derive(Debug, Default)]
struct Tally {
    heard: usize,
    gaps: usize,
    missing: usize,
    attaches: usize,
    unplaced: usize,
    misfortunes: usize,
}

/// Checks that no item is repeated or out of order, and that each missing one lies in a gap.
fn check(world: &World, tale: &Tale, tally: &mut Tally) {
    let items = &world.state().items;
    let placed = |number: usize| items[number].position.is_some();
    let wanted = |number: usize| {
        let item = items[number];
        item.kind == tale.kind && (!tale.only_first || item.first || item.damaged)
    };
    // Every received item with its place; items without a serial have none.
    let mut heard = vec![None; items.len()];
    let mut last = [None, None];
    // The first unreported missing item, if any, and whether a gap was reported there.
    let mut expected = tale.from;
    let mut gaps: Vec<&Gap> = Vec::new();
    let mut latest_gap = None;
    let mut settle = |expected: usize, next: usize, gaps: &[&Gap]| {
        let missing = |number: &usize| wanted(*number) && placed(*number);
        let unheard: Vec<_> = (expected..next).filter(missing).collect();
        assert!(
            !world.kind || gaps.is_empty() || !unheard.is_empty() || expected == tale.from,
            "nothing is missing before {next}: {gaps:?}"
        );
        tally.missing += unheard.len();
        let by_sync = |number: &usize| tale.kind != Kind::Message && items[*number].skipped;
        unheard.into_iter().find(|number| gaps.is_empty() && !by_sync(number))
    };
    for (index, event) in tale.heard.iter().enumerate() {
        match event {
            Heard::Gap(gap) => {
                gaps.push(gap);
                latest_gap = Some(index);
                tally.gaps += 1;
            }
            Heard::Item(number) => {
                let number = *number;
                assert!(wanted(number) && !items[number].damaged, "{number} is for others");
                let last = &mut last[usize::from(placed(number))];
                assert!(last.is_none_or(|last| last < number), "{number} comes after {last:?}");
                *last = Some(number);
                heard[number] = Some(index);
                tally.heard += 1;
                if placed(number) {
                    let untold = settle(expected, number, &gaps);
                    assert_eq!(
                        untold,
                        None,
                        "before {number} {:?} {:?}",
                        items[untold.unwrap_or(0)],
                        &tale.heard[index.saturating_sub(12)..=index]
                    );
                    gaps.clear();
                    expected = expected.max(number + 1);
                }
            }
        }
    }
    let end = tale.until.min(items.len());
    let untold = settle(expected, end, &gaps);
    if !tale.stayed {
        return;
    }
    assert_eq!(untold, None, "missing at the end");
    for number in (tale.from..end).filter(|it| wanted(*it) && !placed(*it) && heard[*it].is_none())
    {
        tally.missing += 1;
        let before = (0..number).rev().filter(|it| placed(*it)).find_map(|it| heard[it]);
        assert!(latest_gap >= before, "nobody says that {number} is missing, which has no place");
    }
}

async fn run(seed: u64, tally: &mut Tally) {
    let format = if seed & 1 == 0 { Format::Json } else { Format::MsgPack };
    let (client, service, mut peer) = connected(format).await;
    let world = World::new(seed);
    let channel = client.channels().get("ch");
    let (attached, ()) = tokio::join!(channel.attach(), async {
        let attach = peer.expect_attach("ch").await;
        answer(&world, &mut peer, &attach, false);
    });
    attached.unwrap();
    // The session begins with an attachment, as every other does.
    peer.send(detached_because("ch", 90198));
    let serving = tokio::spawn(serve(Arc::clone(&world), service, peer));
    channel.when(ChannelState::Attached).await.unwrap();
    let count = world.pick(2..7) as u64;
    let listeners: Vec<_> = (0..count)
        .map(|index| {
            let seed = seed * 100 + index;
            tokio::spawn(listen(Arc::clone(&world), channel.clone(), seed))
        })
        .collect();
    // The listeners that are there from the beginning miss nothing.
    sleep(Duration::from_millis(2)).await;
    publish(Arc::clone(&world)).await;
    timeout(PATIENCE, client.close()).await.expect("closing ends");
    for listener in listeners {
        let tale = timeout(PATIENCE, listener).await.expect("it ends");
        match tale {
            Ok(Some(tale)) => check(&world, &tale, tally),
            Ok(None) => {}
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    if serving.is_finished() {
        serving.await.unwrap();
    } else {
        serving.abort();
    }
    let state = world.state();
    let most = 20 + 6 * state.misfortunes + 3 * state.log.len() * count as usize;
    assert!(state.attaches < most, "{} times ATTACH", state.attaches);
    tally.attaches += state.attaches;
    tally.unplaced += state.unplaced;
    tally.misfortunes += state.misfortunes;
}

// Spec: RTL15b, RTL17, RTL7, RTP6, RTAN4
#[test]
fn each_listener_receives_each_message_once_or_a_gap() {
    let mut total = Tally::default();
    for seed in 0..SEEDS {
        let ran = std::panic::catch_unwind(|| {
            let mut tally = Tally::default();
            let runtime =
                Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(run(seed, &mut tally));
            tally
        });
        let tally = ran.unwrap_or_else(|_| panic!("seed {seed}"));
        total.heard += tally.heard;
        total.gaps += tally.gaps;
        total.missing += tally.missing;
        total.attaches += tally.attaches;
        total.unplaced += tally.unplaced;
        total.misfortunes += tally.misfortunes;
    }
    // Without each of these cases, the test would prove nothing.
    let Tally { heard, gaps, missing, attaches, unplaced, misfortunes } = total;
    for count in [heard, gaps, missing, attaches, unplaced, misfortunes] {
        assert!(count > 100, "{total:?}");
    }
}
