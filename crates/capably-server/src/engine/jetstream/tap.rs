//! Following a stream: each message once, in the order of the stream, without a gap.
//!
//! Brokers send every committed message on to a live subject, with its sequence. That is fast, and it is not reliable:
//! a message can be lost between two brokers, with a connection, or when this node reads too slowly. Sequences of a stream
//! have no gaps of their own, so a loss shows with the next message. A pulse asks for the newest sequence, in case
//! that there is no next message. Lost messages are read from the stream.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        watch,
    },
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

use super::{
    api::{Api, SEQUENCE, Stored, StreamInfo, StreamState},
    events::Events,
    failure::Failure,
    scan::{Scan, stored},
};

/// How often a pulse asks for the newest sequence.
const PULSE: Duration = Duration::from_secs(1);
/// How often a pulse asks for the subjects as well, where messages end by themselves.
const LISTED_PULSE: Duration = Duration::from_millis(500);
/// After how many failed pulses the brokers count as lost.
const FAILED_PULSES: u32 = 3;
/// How many pulses must agree that the stream ends before what was received.
const REGRESS: u32 = 3;
/// How long to wait after a failed read.
const RETRY: Duration = Duration::from_millis(200);

/// Receives the messages of a stream.
pub(super) trait Sink {
    /// Takes the next message.
    fn accept(&mut self, stored: Stored);

    /// Whether messages that were missed are of interest.
    fn wants_missed(&self) -> bool {
        true
    }

    /// Takes the list of the stream's subjects, as it was when `newest` was the newest sequence. The sink has all messages
    /// up to `done`.
    fn listed(&mut self, done: u64, newest: u64, subjects: &BTreeMap<String, u64>) {
        let _ = (done, newest, subjects);
    }
}

/// What a [`Tap`] follows.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) stream: String,
    /// All subjects of the stream.
    pub(super) subjects: String,
    /// The subjects on which the brokers send on what is committed.
    pub(super) live: String,
    /// Whether the sink takes [lists](Sink::listed) of subjects.
    pub(super) is_listed: bool,
}

/// The connection between a stream and a [`Sink`].
#[derive(Debug)]
pub(super) struct Tap {
    api: Api,
    source: Source,
    live: Subscriber,
    pulses: mpsc::Receiver<Pulse>,
    pulse: JoinHandle<()>,
    /// The sequence of the next message.
    next: u64,
    /// The newest sequence at the last pulse.
    newest: u64,
    /// The next sequence that pulses in a row found too high, and their number.
    regress: (u64, u32),
}

/// The state of a stream.
#[derive(Debug)]
pub(super) struct Pulse {
    newest: u64,
    /// The subjects, where the sink takes them.
    subjects: BTreeMap<String, u64>,
    /// Whether the connection was new, so that messages are likely to be missing.
    is_reconnected: bool,
}

/// What a [`Tap`] waits for.
#[derive(Debug)]
pub(super) enum Incoming {
    Message(Message),
    Pulse(Pulse),
    /// The connection is closed.
    End,
}

impl Tap {
    /// Starts to follow the messages that are committed from here on. `connects` counts the connections. Failures of
    /// pulses are reported to `health`, where there is one.
    pub(super) async fn open(
        api: &Api,
        source: Source,
        connects: watch::Receiver<u64>,
        health: Option<Arc<Events>>,
    ) -> Result<Self, Failure> {
        let (live, info) = api.subscribe(source.live.clone(), &source.stream).await?;
        let newest = info.state.last_seq;
        let (sender, pulses) = mpsc::channel(1);
        let pulse = tokio::spawn(pulse(api.clone(), source.clone(), connects, health, sender));
        let (api, next, regress) = (api.clone(), newest + 1, (0, 0));
        Ok(Self { api, source, live, pulses, pulse, next, newest, regress })
    }

    /// The sequence of the newest message that the sink has.
    pub(super) fn done(&self) -> u64 {
        self.next - 1
    }

    /// Waits for the next input, which must be given to [`advance`](Self::advance). Nothing is lost when this future is
    /// dropped.
    pub(super) async fn wait(&mut self) -> Incoming {
        tokio::select! {
            message = self.live.next() => message.map_or(Incoming::End, Incoming::Message),
            pulse = self.pulses.recv() => pulse.map_or(Incoming::End, Incoming::Pulse),
        }
    }

    /// Gives the sink what an input yields: no message, one, or many.
    pub(super) async fn advance(&mut self, incoming: Incoming, sink: &mut impl Sink) {
        match incoming {
            Incoming::Message(message) => {
                let Some(sequence) = sequence(&message) else { return };
                if sequence < self.next {
                    return;
                }
                if sequence > self.next {
                    self.fill(sequence - 1, sink).await;
                }
                self.next = sequence + 1;
                sink.accept(stored(sequence, message));
            }
            Incoming::Pulse(pulse) => {
                self.check_regress(pulse.newest);
                // What was committed before the pulse before has had a second to arrive.
                let due = if pulse.is_reconnected { pulse.newest } else { self.newest };
                self.newest = pulse.newest;
                if due >= self.next {
                    self.fill(due, sink).await;
                }
                if self.source.is_listed {
                    sink.listed(self.done(), pulse.newest, &pulse.subjects);
                }
            }
            Incoming::End => {}
        }
    }

    /// Notices a stream that ends before what was received: brokers have lost data, or somebody has replaced the stream.
    fn check_regress(&mut self, newest: u64) {
        if newest + 1 >= self.next {
            self.regress = (0, 0);
            return;
        }
        // A pulse may be old by the time it is handled, so several must agree.
        let (next, count) = self.regress;
        self.regress = (self.next, if next == self.next { count + 1 } else { 1 });
        if self.regress.1 > REGRESS {
            tracing::error!(
                stream = self.source.stream,
                received = self.next - 1,
                newest,
                "the brokers have lost the end of the stream"
            );
            self.next = newest + 1;
        }
    }

    /// Reads missed messages from the stream, up to `until`.
    async fn fill(&mut self, until: u64, sink: &mut impl Sink) {
        if sink.wants_missed() {
            tracing::debug!(
                stream = self.source.stream,
                from = self.next,
                until,
                "reading missed messages"
            );
            while let Err(reason) = self.read(until, sink).await {
                tracing::debug!(stream = self.source.stream, %reason, "cannot read missed messages yet");
                sleep(RETRY).await;
            }
        }
        self.next = self.next.max(until + 1);
    }

    async fn read(&mut self, until: u64, sink: &mut impl Sink) -> Result<(), Failure> {
        let Source { stream, subjects, .. } = &self.source;
        let scan = Scan::new(&self.api, stream, subjects.clone(), self.next, until);
        let mut scan = scan.up_to_committed();
        while let Some(stored) = scan.next().await? {
            self.next = stored.sequence + 1;
            sink.accept(stored);
        }
        Ok(())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.pulse.abort();
    }
}

/// Asks for the state of the stream again and again, and after each connection.
async fn pulse(
    api: Api,
    source: Source,
    mut connects: watch::Receiver<u64>,
    health: Option<Arc<Events>>,
    pulses: mpsc::Sender<Pulse>,
) {
    let Source { stream, subjects, is_listed, .. } = &source;
    let interval = if *is_listed { LISTED_PULSE } else { PULSE };
    let mut failed = 0;
    let mut is_reconnected = false;
    connects.mark_unchanged();
    while !pulses.is_closed() {
        match timeout_at(Instant::now() + interval, connects.changed()).await {
            Ok(Ok(())) => is_reconnected = true,
            // The engine is closed.
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        let info = if *is_listed {
            api.subjects(stream, subjects, 0).await
        } else {
            api.stream(stream).await
        };
        let majority = |info: StreamInfo| {
            let without =
                || Failure::Odd("the stream has no leader with most of its replicas".into());
            if info.has_majority() { Ok(info) } else { Err(without()) }
        };
        match info.and_then(majority) {
            Ok(info) => {
                failed = 0;
                if let Some(health) = &health {
                    health.regained();
                }
                let StreamState { last_seq: newest, subjects } = info.state;
                // A tap that is busy takes a later pulse. Waiting for it would delay the news that the brokers are back.
                match pulses.try_send(Pulse { newest, subjects, is_reconnected }) {
                    Ok(()) => is_reconnected = false,
                    Err(TrySendError::Full(_)) => {}
                    Err(TrySendError::Closed(_)) => return,
                }
            }
            Err(reason) => {
                failed += 1;
                if let Some(health) = &health
                    && failed >= FAILED_PULSES
                {
                    health.lost(&reason);
                    health.release();
                }
            }
        }
    }
}

fn sequence(message: &Message) -> Option<u64> {
    message.headers.as_ref()?.get(SEQUENCE)?.as_str().parse().ok()
}
