//! One client.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use capably::{
    Channel, ClientOptions, PresenceAction, Realtime,
    realtime::{ConnectionState, SubscriptionEvent},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use super::{Acknowledged, CHANNELS, Entry, Leave, Log, Shared, channel_name};
use crate::balancer::Balancer;

/// The most publishes in flight.
const IN_FLIGHT: usize = 10;

pub(super) struct Client {
    number: usize,
    realtime: Realtime,
    balancer: Arc<Balancer>,
    shared: Arc<Shared>,
    connected: Arc<Mutex<Vec<Connected>>>,
    receipts: Arc<tokio::sync::Mutex<JoinSet<()>>>,
    watching: JoinSet<()>,
}

/// A time in which the client was connected, in ms since the epoch.
#[derive(Clone, Copy)]
pub(super) struct Connected {
    pub(super) from: i64,
    pub(super) until: i64,
}

impl Client {
    pub(super) async fn start(
        number: usize,
        nodes: &[u16],
        key: &str,
        shared: &Arc<Shared>,
    ) -> Self {
        let balancer = Arc::new(Balancer::start(nodes.to_vec()).await);
        let realtime =
            Realtime::new(options(key, &balancer, &id(number)).auto_connect(false)).unwrap();
        let mut client = Self {
            number,
            realtime,
            balancer,
            shared: Arc::clone(shared),
            connected: Arc::default(),
            receipts: Arc::default(),
            watching: JoinSet::new(),
        };
        client.watch_connection();
        client.realtime.connection().connect();
        for channel in client.subscribed() {
            client.subscribe(channel).await;
        }
        client.watch_leaves().await;
        client.channel(client.home()).presence().enter().await.unwrap();
        client
    }

    pub(super) fn id(&self) -> String {
        id(self.number)
    }

    pub(super) fn realtime(&self) -> &Realtime {
        &self.realtime
    }

    /// The channel whose member the client is.
    pub(super) fn home(&self) -> usize {
        self.number % CHANNELS
    }

    /// The times in which it was connected.
    pub(super) fn connected(&self) -> Vec<Connected> {
        self.connected.lock().unwrap().clone()
    }

    /// Ends the client as a crash of its machine would.
    pub(super) fn vanish(self) {
        self.balancer.cut_off();
    }

    pub(super) fn channel(&self, channel: usize) -> Channel {
        self.realtime.channels().get(channel_name(channel))
    }

    fn subscribed(&self) -> [usize; 3] {
        [0, 1, 3].map(|step| (self.number + step) % CHANNELS)
    }

    fn watch_connection(&mut self) {
        let mut changes = self.realtime.connection().changes();
        let connection = self.realtime.connection().clone();
        let (connected, shared, name) =
            (Arc::clone(&self.connected), Arc::clone(&self.shared), self.id());
        self.watching.spawn(async move {
            let mut last_id = None;
            while let Some(change) = changes.next().await {
                if change.current == ConnectionState::Connected
                    && change.previous != ConnectionState::Connected
                {
                    let current = connection.id();
                    if last_id.is_some() && current != last_id {
                        let reason = &change.reason;
                        shared.fault(format!("{name} began a new connection: {reason:?}"));
                    }
                    last_id = current;
                    shared.connections.fetch_add(1, Ordering::Relaxed);
                    connected.lock().unwrap().push(Connected { from: now(), until: i64::MAX });
                } else if change.previous == ConnectionState::Connected
                    && let Some(last) = connected.lock().unwrap().last_mut()
                {
                    last.until = now();
                }
                if matches!(change.current, ConnectionState::Failed | ConnectionState::Suspended) {
                    shared.fault(format!("{name} is {:?}: {:?}", change.current, change.reason));
                }
            }
        });
    }

    async fn subscribe(&mut self, channel: usize) {
        let mut messages = self.channel(channel).subscribe().await.unwrap();
        let balancer = Arc::clone(&self.balancer);
        let log = Log { subscriber: self.id(), channel, received: Mutex::default(), balancer };
        let (log, shared) = (Arc::new(log), Arc::clone(&self.shared));
        shared.logs.lock().unwrap().push(Arc::clone(&log));
        self.watching.spawn(async move {
            while let Some(event) = messages.next_event().await {
                match event {
                    SubscriptionEvent::Message(message) => {
                        let mut received = log.received.lock().unwrap();
                        received.entries.push(Entry::new(&message));
                        received.times.push(SystemTime::now());
                    }
                    other => shared.fault(format!(
                        "{} on {}: {other:?}",
                        log.subscriber,
                        channel_name(log.channel)
                    )),
                }
            }
        });
    }

    async fn watch_leaves(&mut self) {
        let presence = self.channel(self.home()).presence();
        let mut leaves = presence.subscribe().action(PresenceAction::Leave).await.unwrap();
        let (observer, shared) = (self.id(), Arc::clone(&self.shared));
        self.watching.spawn(async move {
            while let Some(leave) = leaves.next().await {
                let member = leave.client_id.map_or_else(String::new, |id| id.to_string());
                let time = leave.timestamp.unwrap_or_else(now);
                let leave = Leave { observer: observer.clone(), member, time };
                shared.leaves.lock().unwrap().push(leave);
            }
        });
    }

    /// Publishes to two channels in turn, with several publishes in flight.
    pub(super) fn publish_until(&self, end: Instant) -> impl Future<Output = ()> + Send + use<> {
        let channels = [0, 1].map(|step| {
            let channel = (self.number + step) % CHANNELS;
            (channel, self.channel(channel))
        });
        let (name, shared, receipts) =
            (self.id(), Arc::clone(&self.shared), Arc::clone(&self.receipts));
        async move {
            let mut number = 0;
            while Instant::now() < end {
                let (channel, handle) = channels[fastrand::usize(..channels.len())].clone();
                for _ in 0..fastrand::usize(1..4) {
                    let text = format!("{name}:{number}");
                    number += 1;
                    shared.published.fetch_add(1, Ordering::Relaxed);
                    let receipt = handle.publish("number", text.as_str()).submit().await;
                    let shared = Arc::clone(&shared);
                    let mut receipts = receipts.lock().await;
                    receipts.spawn(async move {
                        let result = match receipt {
                            Ok(receipt) => receipt.await,
                            Err(error) => Err(error),
                        };
                        match result {
                            Ok(result) => {
                                let serial = result.serials.first().cloned().flatten();
                                let serial =
                                    serial.map_or_else(String::new, |serial| serial.to_string());
                                shared.acknowledged.lock().unwrap().push(Acknowledged {
                                    channel,
                                    text,
                                    serial,
                                });
                            }
                            Err(error) => {
                                *shared
                                    .refused
                                    .lock()
                                    .unwrap()
                                    .entry(error.to_string())
                                    .or_default() += 1;
                            }
                        }
                    });
                    while receipts.try_join_next().is_some() {}
                    while receipts.len() >= IN_FLIGHT {
                        receipts.join_next().await;
                    }
                }
                sleep(Duration::from_millis(fastrand::u64(50..350))).await;
            }
        }
    }

    /// Loses the connection now and then.
    pub(super) fn flap_until(&self, end: Instant) -> impl Future<Output = ()> + Send + use<> {
        let balancer = Arc::clone(&self.balancer);
        async move {
            loop {
                let next = Instant::now() + Duration::from_millis(fastrand::u64(3_000..20_000));
                if next >= end {
                    return;
                }
                tokio::time::sleep_until(next).await;
                balancer.cut();
            }
        }
    }

    /// Waits until the client is connected and all its publishes have ended.
    pub(super) async fn settle(&mut self, end: Instant) {
        let connected = self.realtime.connection().when(ConnectionState::Connected);
        if timeout_at(end, connected).await.is_err() {
            let reason = self.realtime.connection().error_reason();
            self.shared.fault(format!("{} is not connected: {reason:?}", self.id()));
        }
        let mut receipts = self.receipts.lock().await;
        let ended = async { while receipts.join_next().await.is_some() {} };
        if timeout_at(end, ended).await.is_err() {
            let left = receipts.len();
            self.shared.fault(format!("{left} publishes of {} do not end", self.id()));
        }
    }
}

pub(super) fn options(key: &str, balancer: &Balancer, client_id: &str) -> ClientOptions {
    ClientOptions::new(key)
        .endpoint("127.0.0.1")
        .port(balancer.port())
        .tls(false)
        .client_id(client_id)
        .disconnected_retry_timeout(Duration::from_secs(1))
        .channel_retry_timeout(Duration::from_secs(1))
}

pub(super) fn id(number: usize) -> String {
    format!("client{number}")
}

fn now() -> i64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(time.as_millis()).unwrap()
}
