//! `capably bench`.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use capably::{Channel, ClientOptions, Message, Realtime, Subscription};
use capably_server::Server;
use clap::Args;
use futures_util::future::try_join;
use serde_json::json;

use crate::{
    failure::Failure,
    output::{Output, notice},
    service::{Format, Place},
    stats::{Latencies, rate, short, thousands},
};

/// Without a message for this time, the bench has stalled.
const STALLED: Duration = Duration::from_secs(30);

/// Messages that are sent before the measured ones.
const WARM_UP: u64 = 50;

/// Digits of the number with which each payload begins.
const DIGITS: usize = 10;

/// Measure how fast messages are acknowledged and delivered
#[derive(Debug, Args)]
#[command(after_help = "\
Starts a server on a free port. To measure another service, use --endpoint and
--key. Publishes on one connection and receives on another: first one message at a
time, to measure latencies, then without waiting, to measure messages per second.

The exit code is 1 unless every message arrives exactly once, in order and
unchanged. It is 5 when no message arrives for 30 seconds.

With --json, prints two lines for each format: one with \"measure\": \"latency\", in
microseconds, and one with \"measure\": \"throughput\", in messages per second.

Examples:
  capably bench
  capably bench --format msgpack --count 1000000 --size 100
  capably bench --json | jq 'select(.measure == \"throughput\") | .receivedPerSecond'
  capably bench --endpoint localhost --key local1.key:secret --count 10000")]
pub(crate) struct Bench {
    /// Format of the protocol [default: both, one after the other]
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// Messages to send one at a time
    #[arg(long, value_name = "N", default_value_t = 2_000,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    samples: u64,

    /// Messages to send without waiting
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    count: u64,

    /// Bytes of text in each message
    #[arg(long, value_name = "BYTES", default_value_t = 300,
          value_parser = clap::value_parser!(u64).range(DIGITS as u64..=65_536))]
    size: u64,

    /// Most messages that wait for an acknowledgement at the same time
    #[arg(long, value_name = "N", default_value_t = 1_024,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    in_flight: u64,

    /// Print one JSON object per line, for other programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: Place,
}

impl Bench {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let service = Service::find(&self.place).await?;
        if cfg!(debug_assertions) {
            notice("This is a debug build, and its figures are too low. Build with --release.");
        }
        let mut output = Output::stdout();
        if !self.json {
            output.line_now(service.introduction())?;
        }
        for format in [Format::Json, Format::Msgpack] {
            if self.format.is_none_or(|chosen| chosen == format) {
                self.measure(&service, format, &mut output).await?;
            }
        }
        service.end().await;
        output.flush()
    }

    async fn measure(
        &self,
        service: &Service<'_>,
        format: Format,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let mut pair = Pair::connect(service.options(format)?, self.size).await?;
        if !self.json {
            output.line_now(format_args!("\n{}", format.name()))?;
        }
        let progress = Arc::clone(&pair.receiver.progress);
        let times = unless_stalled(&progress, pair.one_at_a_time(self.samples)).await?;
        self.print_times(format, times, output)?;
        let burst = unless_stalled(&progress, pair.pipelined(self.count, self.in_flight)).await?;
        self.print_burst(format, burst, output)
    }

    fn print_times(
        &self,
        format: Format,
        times: Times,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let [acknowledged, received] = [times.acknowledged, times.received]
            .map(|mut times| [50, 99, 100].map(|p| times.percentile(p)));
        if self.json {
            let micros = |[p50, p99, max]: [Duration; 3]| {
                let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
                json!({ "p50": micros(p50), "p99": micros(p99), "max": micros(max) })
            };
            return output.json_now(json!({
                "measure": "latency",
                "format": format.name(),
                "size": self.size,
                "samples": self.samples,
                "acknowledgedMicros": micros(acknowledged),
                "receivedMicros": micros(received),
            }));
        }
        output.line(format_args!(
            "  {:34}  {:>8}  {:>8}  {:>8}",
            format!("{} of {} bytes, one at a time", thousands(self.samples), self.size),
            "p50",
            "p99",
            "max"
        ))?;
        for (label, times) in [("acknowledged", acknowledged), ("received", received)] {
            let [p50, p99, max] = times.map(short);
            output.line_now(format_args!("    {label:32}  {p50:>8}  {p99:>8}  {max:>8}"))?;
        }
        Ok(())
    }

    fn print_burst(
        &self,
        format: Format,
        burst: Burst,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let [acknowledged, received] =
            [burst.acknowledged, burst.received].map(|elapsed| rate(self.count, elapsed));
        if self.json {
            return output.json_now(json!({
                "measure": "throughput",
                "format": format.name(),
                "size": self.size,
                "count": self.count,
                "inFlight": self.in_flight,
                "acknowledgedPerSecond": acknowledged,
                "receivedPerSecond": received,
            }));
        }
        output.line(format_args!(
            "  {} of {} bytes, {} in flight",
            thousands(self.count),
            self.size,
            thousands(self.in_flight)
        ))?;
        for (label, rate) in [("acknowledged", acknowledged), ("received", received)] {
            output.line_now(format_args!("    {label:32}  {:>8} messages/s", thousands(rate)))?;
        }
        Ok(())
    }
}

/// The service that is measured.
enum Service<'a> {
    Own(Box<Server>),
    Other { place: &'a Place, endpoint: &'a str },
}

impl<'a> Service<'a> {
    /// A server in this process, or the service that the options name.
    async fn find(place: &'a Place) -> Result<Self, Failure> {
        match place.endpoint() {
            Some(endpoint) => Ok(Self::Other { place, endpoint }),
            // A key alone would send all these messages to Ably, where somebody pays for them. The user must name it.
            None if place.is_given() => Err(Failure::usage("a key or a port is given, but no endpoint").remedy(
                "add --endpoint, such as `main` for Ably; to measure a server in this process, leave out --key and --port, \
                 and unset CAPABLY_KEY and CAPABLY_PORT",
            )),
            None => {
                let server = Server::builder().start().await;
                let failed = |error| Failure::failed(format!("cannot start the server: {error}"));
                Ok(Self::Own(Box::new(server.map_err(failed)?)))
            }
        }
    }

    fn introduction(&self) -> String {
        let clients = "One connection publishes, another receives";
        match self {
            Self::Own(_) => format!("{clients}. They and the server are in this process."),
            Self::Other { endpoint, .. } => format!("{clients}. The service is {endpoint}."),
        }
    }

    fn options(&self, format: Format) -> Result<ClientOptions, Failure> {
        match self {
            Self::Own(server) => Ok(ClientOptions::new(server.key())
                .endpoint(server.endpoint())
                .port(server.port())
                .tls(false)
                .use_binary_protocol(format == Format::Msgpack)),
            Self::Other { place, .. } => place.options(format),
        }
    }

    async fn end(self) {
        if let Self::Own(server) = self {
            server.shutdown().await;
        }
    }
}

/// The latencies of messages that were sent one at a time.
#[derive(Default)]
struct Times {
    acknowledged: Latencies,
    received: Latencies,
}

/// The times until the last of many messages.
struct Burst {
    acknowledged: Duration,
    received: Duration,
}

/// A client that publishes and one that receives.
struct Pair {
    publisher: Realtime,
    subscriber: Realtime,
    channel: Channel,
    payloads: Payloads,
    receiver: Receiver,
}

impl Pair {
    async fn connect(options: ClientOptions, size: u64) -> Result<Self, Failure> {
        let (publisher, subscriber) =
            try_join(Realtime::connect(options.clone()), Realtime::connect(options)).await?;
        // A random name: another bench may run at the same time.
        let id = publisher.connection().id();
        let name = format!("capably-bench-{}", id.as_deref().unwrap_or_default());
        let messages = subscriber.channels().get(name.as_str()).subscribe().await?;
        let channel = publisher.channels().get(name);
        let payloads = Payloads::new(size);
        let receiver =
            Receiver { messages, payloads: payloads.clone(), next: 0, progress: Arc::default() };
        Ok(Self { publisher, subscriber, channel, payloads, receiver })
    }

    async fn one_at_a_time(&mut self, samples: u64) -> Result<Times, Failure> {
        let mut times = Times::default();
        for n in 0..WARM_UP + samples {
            let message = self.payloads.message(self.receiver.next);
            let started = Instant::now();
            let receipt = self.channel.publish_message(message).submit().await?;
            let (acknowledged, received) =
                try_join(async { Ok(receipt.await.map(|_| started.elapsed())?) }, async {
                    self.receiver.receive(1).await.map(|()| started.elapsed())
                })
                .await?;
            if n >= WARM_UP {
                times.acknowledged.push(acknowledged);
                times.received.push(received);
            }
        }
        Ok(times)
    }

    /// Closes both connections.
    async fn pipelined(self, count: u64, in_flight: u64) -> Result<Burst, Failure> {
        let Self { publisher, subscriber, channel, mut payloads, mut receiver } = self;
        let first = receiver.next;
        let started = Instant::now();
        let publish = async {
            let mut receipts = VecDeque::new();
            for number in first..first + count {
                if receipts.len() as u64 == in_flight
                    && let Some(oldest) = receipts.pop_front()
                {
                    oldest.await?;
                }
                let message = payloads.message(number);
                receipts.push_back(channel.publish_message(message).submit().await?);
            }
            for receipt in receipts {
                receipt.await?;
            }
            let elapsed = started.elapsed();
            // A message that was delivered twice would arrive before this one.
            channel.publish_message(payloads.message(first + count)).await?;
            Ok::<_, Failure>(elapsed)
        };
        // In a task of its own: in an application, publisher and subscriber are seldom in the same task.
        let receive = tokio::spawn(async move {
            receiver.receive(count).await?;
            let elapsed = started.elapsed();
            receiver.receive(1).await?;
            Ok(elapsed)
        });
        let receive = async {
            receive.await.unwrap_or_else(|error| Err(Failure::failed(format!("bench: {error}"))))
        };
        let (acknowledged, received) = try_join(publish, receive).await?;
        publisher.close().await;
        subscriber.close().await;
        Ok(Burst { acknowledged, received })
    }
}

/// The payloads: a number, and then filler up to the size.
#[derive(Clone)]
struct Payloads(String);

impl Payloads {
    fn new(size: u64) -> Self {
        Self((0..size).map(|_| 'x').collect())
    }

    fn of(&mut self, number: u64) -> &str {
        self.0.replace_range(..DIGITS, &format!("{number:0DIGITS$}"));
        &self.0
    }

    fn message(&mut self, number: u64) -> Message {
        Message { data: self.of(number).into(), ..Message::default() }
    }
}

/// Receives messages, and checks that each is the next one.
struct Receiver {
    messages: Subscription,
    payloads: Payloads,
    next: u64,
    /// The number of received messages.
    progress: Arc<AtomicU64>,
}

impl Receiver {
    async fn receive(&mut self, count: u64) -> Result<(), Failure> {
        for _ in 0..count {
            let Some(message) = self.messages.next().await else {
                let ended = || Failure::failed("the subscription has ended");
                return Err(self.messages.end_reason().map_or_else(ended, |e| e.clone().into()));
            };
            check(&message, self.next, &mut self.payloads)?;
            self.next += 1;
            self.progress.store(self.next, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn check(message: &Message, due: u64, payloads: &mut Payloads) -> Result<(), Failure> {
    let text = message.data.as_str();
    if text == Some(payloads.of(due)) {
        return Ok(());
    }
    let number = text.and_then(|text| text.get(..DIGITS)?.parse::<u64>().ok());
    Err(Failure::failed(match number {
        Some(number) if number != due => format!("message {due} was due, and {number} came"),
        _ => format!("message {due} was due, and something else came or it was changed"),
    }))
}

/// Fails when no message arrives for too long.
async fn unless_stalled<T>(
    progress: &AtomicU64,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let stalled = async {
        let mut seen = None;
        while seen != Some(progress.load(Ordering::Relaxed)) {
            seen = Some(progress.load(Ordering::Relaxed));
            tokio::time::sleep(STALLED).await;
        }
        seen.unwrap_or_default()
    };
    tokio::select! {
        result = work => result,
        seen = stalled => Err(Failure::timed_out(format!(
            "{seen} messages arrived, and then none for {} s", STALLED.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &Message, due: u64) -> String {
        check(message, due, &mut Payloads::new(12)).unwrap_err().to_string()
    }

    #[test]
    fn a_payload_is_a_number_and_what_fills_it_up() {
        let mut payloads = Payloads::new(12);
        assert_eq!(payloads.of(0), "0000000000xx");
        assert_eq!(payloads.of(1_234_567), "0001234567xx");
        assert_eq!(payloads.message(7).data.as_str(), Some("0000000007xx"));
        assert_eq!(Payloads::new(10).of(1), "0000000001");
    }

    #[test]
    fn what_is_not_due_is_refused() {
        let mut payloads = Payloads::new(12);
        let message = payloads.message(6);
        assert!(check(&message, 6, &mut payloads).is_ok());
        assert_eq!(refused(&message, 7), "error: message 7 was due, and 6 came");
        assert_eq!(refused(&message, 5), "error: message 5 was due, and 6 came");
        let changed = "error: message 6 was due, and something else came or it was changed";
        for data in ["0000000006xy", "0000000006x", "sixth", ""] {
            assert_eq!(refused(&Message { data: data.into(), ..Message::default() }, 6), changed);
        }
        assert_eq!(refused(&Message { data: ().into(), ..Message::default() }, 6), changed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_told_from_slow_progress() {
        let progress = AtomicU64::new(0);
        let slow = async {
            for _ in 0..10 {
                tokio::time::sleep(STALLED * 9 / 10).await;
                progress.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        assert!(unless_stalled(&progress, slow).await.is_ok());
        let hang = std::future::pending::<Result<(), Failure>>();
        let failure = unless_stalled(&progress, hang).await.unwrap_err();
        assert_eq!(failure.to_string(), "error: 10 messages arrived, and then none for 30 s");
    }
}
