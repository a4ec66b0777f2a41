//! Simulated hours with random faults in virtual time, between whole clients and a scripted service: each acknowledged
//! message is published once, every future resolves, and no task is left.
//!
//! A seed decides the faults, the calls of the clients and the times of retries: the same seed gives the same hour.

use std::{
    future::IntoFuture,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use capably::{
    Channel, ClientOptions, Data, Error, ErrorCode, Realtime, Subscription,
    auth::TokenSource,
    http::HttpResponse,
    realtime::{ConnectionState, SubscriptionEvent},
};
use capably_protocol::{Format, TokenDetails};
use fastrand::Rng;
use futures_util::FutureExt;
use tokio::{
    runtime::{Builder, Handle},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use self::world::{Tally, World, position_of};
use crate::{
    http::scripted_http::{Answer, ScriptedHttp},
    support::scripted,
};

mod service;
mod world;

const CHANNEL: &str = "ch";
/// The number of hours, unless `CAPABLY_HOURS` is set.
const HOURS: u64 = 50;
const HOUR: Duration = Duration::from_secs(3_600);
/// A longer run counts as a hang.
const PATIENCE: Duration = Duration::from_secs(900);
/// The last message, whose number does not matter.
const LAST: &str = "last";

// Spec: RTN7a, RTN7e, RTN14d, RTN14e, RTN15a, RTN15b, RTN15c6, RTN15c7, RTN15h, RTN19a, RTN22, RTN23a, RTL2f, RTL4c1
#[test]
fn hours_of_faults_lose_and_repeat_no_message() {
    let hours = setting("CAPABLY_HOURS").unwrap_or(HOURS);
    let first = setting("CAPABLY_FIRST_HOUR").unwrap_or(0);
    let next = AtomicU64::new(first);
    let total = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + hours {
                        return;
                    }
                    let ran = std::panic::catch_unwind(|| run(seed));
                    total.lock().unwrap().add(ran.unwrap_or_else(|_| panic!("seed {seed}")));
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    for (what, count) in total.counts() {
        // Without each of these cases, the test would prove nothing.
        assert!(count > 0 || hours < HOURS, "{what} in none of {hours} hours");
    }
    report(hours, total);
}

#[test]
fn a_seed_gives_the_same_hour() {
    for seed in 0..6 {
        assert_eq!(run(seed).counts(), run(seed).counts(), "seed {seed}");
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

#[allow(clippy::print_stdout, reason = "figures for whoever asks for them with --nocapture")]
fn report(hours: u64, total: Tally) {
    let counts = total.counts().map(|(what, count)| format!("{count} {what}"));
    println!("{hours} hours: {}", counts.join(", "));
}

fn run(seed: u64) -> Tally {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(hour(seed))
}

/// An hour of two clients, one that publishes and one that subscribes, each with its own network.
async fn hour(seed: u64) -> Tally {
    let world = World::new(seed);
    let bit = |number: u32| (seed >> number) & 1 == 0;
    let format = |json| if json { Format::Json } else { Format::MsgPack };
    let mut servers = JoinSet::new();
    let mut client = |format, tokens, chance| {
        let options = options(&world, tokens).seed(seed ^ chance);
        let (options, service) = scripted(format, options);
        servers.spawn(service::serve(Arc::clone(&world), service));
        Realtime::new(options).unwrap()
    };
    let has_tokens = [bit(2), bit(3)];
    let publisher = client(format(bit(0)), has_tokens[0], 4);
    let subscriber = client(format(bit(1)), has_tokens[1], 5);

    tokio::select! {
        biased;
        () = play(&world, [&publisher, &subscriber], has_tokens, seed) => {}
        Some(ended) = servers.join_next() => panic!("the service failed: {ended:?}"),
    }
    assert_eq!(publisher.connection().state(), ConnectionState::Closed);
    assert_eq!(subscriber.connection().state(), ConnectionState::Closed);
    servers.shutdown().await;
    assert_eq!(tasks_left().await, 2, "each client has its task, and no more");
    drop((publisher, subscriber));
    assert_eq!(tasks_left().await, 0, "no task outlives its client");
    world.state().tally
}

fn options(world: &Arc<World>, tokens: bool) -> ClientOptions {
    let clock = Arc::clone(world);
    let online = HttpResponse::new(200, "yes\n");
    let options = match tokens {
        true => {
            let world = Arc::clone(world);
            ClientOptions::default().auth_callback(move |_| token(Arc::clone(&world)))
        }
        false => ClientOptions::new("appId.keyId:keySecret"),
    };
    options
        .fallback_hosts(["a.example.com", "b.example.com"])
        .wall_clock(move || clock.wall())
        .http_client(Arc::new(ScriptedHttp::always(Answer::Raw(online))))
}

/// A token, good for two to twenty minutes; or none.
async fn token(world: Arc<World>) -> Result<TokenSource, Error> {
    if world.chance(10) {
        return Err(Error::new(ErrorCode::INTERNAL_ERROR, 500, "no token now"));
    }
    if world.chance(10) {
        // Sometimes longer than the client's time limit.
        sleep(world.millis(100..15_000)).await;
    }
    let issued = world.wall();
    let expires = issued + world.millis(120_000..1_200_000).as_millis() as i64;
    let mut details = TokenDetails::new(format!("token:{expires}"));
    (details.issued, details.expires) = (Some(issued), Some(expires));
    Ok(details.into())
}

async fn tasks_left() -> usize {
    // Each task ends at its next turn.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    Handle::current().metrics().num_alive_tasks()
}

/// Everything that must end has ended.
async fn ends<T>(what: &str, future: impl IntoFuture<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} is stuck"))
}

async fn play(
    world: &Arc<World>,
    [publisher, subscriber]: [&Realtime; 2],
    has_tokens: [bool; 2],
    seed: u64,
) {
    let end = Instant::now() + HOUR;
    publisher.connection().connect();
    subscriber.connection().connect();
    let busy = async {
        tokio::join!(
            publish(world, publisher, Rng::with_seed(seed ^ 1), end),
            chores(publisher, has_tokens[0], Rng::with_seed(seed ^ 2), end),
            chores(subscriber, has_tokens[1], Rng::with_seed(seed ^ 3), end),
            watch(world, publisher, end),
            watch(world, subscriber, end),
            sleep_until(end).map(|()| world.heal()),
        );
        let channel = publisher.channels().get(CHANNEL);
        // The subscriber may be disconnected, and lose continuity after one of these.
        for number in 0.. {
            let _ = ends("publish", channel.publish(LAST, "").id(format!("{LAST}-{number}"))).await;
            sleep(Duration::from_secs(10)).await;
        }
    };
    let received = timeout_at(end + PATIENCE, receive(world, subscriber));
    tokio::select! {
        biased;
        () = busy => {}
        received = received => received.expect("the subscriber gets the last message"),
    }
    ends("close", publisher.close()).await;
    ends("close", subscriber.close()).await;
}

/// Publishes from time to time, and records the results.
async fn publish(world: &Arc<World>, client: &Realtime, mut rng: Rng, end: Instant) {
    let channel = client.channels().get(CHANNEL);
    let mut receipts = JoinSet::new();
    let mut number = 0;
    while Instant::now() < end {
        for _ in 0..rng.u8(1..6) {
            let id = format!("message-{number}");
            let publish = channel.publish(id.as_str(), data(&id)).id(id.as_str());
            let receipt = ends("submit", publish.submit()).await.unwrap();
            let world = Arc::clone(world);
            receipts.spawn(async move {
                match ends("publish", receipt).await {
                    Ok(result) => {
                        world.state().acknowledge(&id, result.serials[0].as_deref().unwrap())
                    }
                    Err(_) => world.count(|tally| tally.not_published += 1),
                }
            });
            number += 1;
        }
        sleep(Duration::from_millis(rng.u64(1..10_000))).await;
    }
    world.count(|tally| tally.submitted += number);
    while let Some(ended) = receipts.join_next().await {
        ended.unwrap();
    }
}

fn data(id: &str) -> String {
    format!("the data of {id}")
}

/// Other calls of applications.
async fn chores(client: &Realtime, tokens: bool, mut rng: Rng, end: Instant) {
    while Instant::now() < end {
        sleep(Duration::from_millis(rng.u64(1..200_000))).await;
        let connection = client.connection();
        match rng.u8(..10) {
            0..5 => {
                let _ = ends("ping", connection.ping()).await;
            }
            5..7 => {
                // No client exchanges its key for a token here.
                if tokens {
                    let _ = ends("authorize", client.auth().authorize()).await;
                }
            }
            7 => connection.connect(),
            8 => connection.network_available(),
            _ => {
                connection.network_lost();
                sleep(Duration::from_millis(rng.u64(1..60_000))).await;
                connection.network_available();
            }
        }
    }
}

/// Checks that the connection never fails.
async fn watch(world: &Arc<World>, client: &Realtime, end: Instant) {
    let mut changes = client.connection().changes();
    while let Ok(change) = timeout_at(end, changes.next()).await {
        let change = change.expect("the client lives");
        match change.current {
            ConnectionState::Suspended => world.count(|tally| tally.suspended += 1),
            ConnectionState::Failed => panic!("{change:?}"),
            _ => {}
        }
    }
}

/// Receives until the last message, and checks that each message arrives once and in order, or lies in a reported gap.
async fn receive(world: &Arc<World>, client: &Realtime) {
    let channel = client.channels().get(CHANNEL);
    let mut messages = subscribe(&channel).await;
    // The next expected position.
    let mut next = None;
    loop {
        let message = match messages.next_event().await.expect("the subscription goes on") {
            SubscriptionEvent::Message(message) => message,
            SubscriptionEvent::Gap(gap) => {
                let [after, until] =
                    [gap.after, gap.until].map(|serial| position_of(serial.as_deref().unwrap()));
                assert!(next.is_none_or(|next| after == next), "{next:?}: a gap begins at {after}");
                assert!(world.state().began_at(until), "no attachment began at {until}");
                world.count(|tally| tally.gaps += usize::from(until > after));
                next = Some(until);
                continue;
            }
            other => panic!("unexpected: {other:?}"),
        };
        let position = position_of(message.serial.as_deref().unwrap());
        assert!(next.is_none_or(|next| position == next), "{next:?} is to come, not {position}");
        next = Some(position + 1);
        world.count(|tally| tally.delivered += 1);
        let name = message.name.as_deref().unwrap();
        if name == LAST {
            return;
        }
        assert_eq!(message.data, Data::from(data(name)));
    }
}

/// Subscribes, with as many attempts as needed.
async fn subscribe(channel: &Channel) -> Subscription {
    loop {
        match ends("subscribe", channel.subscribe()).await {
            Ok(messages) => return messages,
            Err(_) => sleep(Duration::from_secs(1)).await,
        }
    }
}
