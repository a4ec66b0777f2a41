//! `capably demo`.

use std::{
    fmt,
    time::{Duration, Instant},
};

use capably::{Channel, ClientOptions, Data, Message, Realtime, Subscription};
use capably_server::Server;
use clap::Args;
use futures_util::future::{join3, try_join3};
use serde_json::{Map, Value, json};

use crate::{
    failure::Failure,
    output::Output,
    payload::describe,
    stats::{Latencies, rate, short, thousands},
};

/// A demo that takes longer hangs.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Messages of a burst.
const BURST: usize = 2_000;

/// Bytes of each message of a burst.
const BURST_SIZE: usize = 100;

/// Messages sent one at a time in each direction.
const SINGLES: usize = 100;

/// Show two clients that exchange messages through a server, all on this machine
#[derive(Debug, Args)]
#[command(after_help = "\
Starts a server on a free port, and connects two clients: one uses MessagePack, the
other JSON. Checks that every message arrives at both exactly once, in order and
unchanged. Takes a second or two, and needs no key.

Examples:
  capably demo
  capably demo --json | jq -r .messages")]
pub(crate) struct Demo {
    /// Print one JSON object at the end: the messages, their rates and their latencies
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut story = Story { output: Output::stdout(), is_told: !self.json };
        let figures = tokio::time::timeout(TIME_LIMIT, demo(&mut story))
            .await
            .unwrap_or_else(|_| Err(Failure::timed_out("the demo did not end in time")))?;
        if self.json {
            story.output.json_now(figures)?;
        }
        Ok(())
    }
}

/// The lines for people, which are left out with `--json`.
struct Story {
    output: Output,
    is_told: bool,
}

impl Story {
    fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        if self.is_told { self.output.line_now(line) } else { Ok(()) }
    }
}

/// Runs the demo, and returns its figures.
async fn demo(output: &mut Story) -> Result<Value, Failure> {
    let server = Server::builder()
        .start()
        .await
        .map_err(|error| Failure::failed(format!("cannot start the server: {error}")))?;
    output.line("Two clients and a server, all in this process.\n")?;
    output.line(format_args!("  server  {}:{}", server.endpoint(), server.port()))?;

    let mut ada = Party::connect(&server, "ada", true).await?;
    output.line(format_args!("  ada     connected, uses MessagePack"))?;
    let mut bo = Party::connect(&server, "bo", false).await?;
    output.line(format_args!("  bo      connected, uses JSON"))?;

    output.line("\nThey publish in turn, and both receive what each publishes:\n")?;
    let exchanged = exchange(&mut ada, &mut bo, output).await?;

    output.line(format_args!(
        "\nBursts of {} messages of {BURST_SIZE} bytes, without waiting in between:\n",
        thousands(BURST as u64)
    ))?;
    let rates = [burst(&mut ada, &mut bo, output).await?, burst(&mut bo, &mut ada, output).await?];

    output.line(format_args!("\n{SINGLES} messages each way, one at a time:\n"))?;
    let latencies = singles(&mut ada, &mut bo, output).await?;

    // A message delivered twice would show up before these.
    for sender in [0, 1] {
        let (from, to) = if sender == 0 { (&mut ada, &mut bo) } else { (&mut bo, &mut ada) };
        send(from, to, Message::new("end", ())).await?;
    }

    let total = exchanged + 2 * BURST + 2 * SINGLES + 2;
    output.line(format_args!(
        "\nAll {} messages arrived at both clients exactly once, in order and unchanged.",
        thousands(total as u64)
    ))?;
    ada.client.connection().close().await;
    bo.client.connection().close().await;
    server.shutdown().await;
    Ok(json!({ "messages": total, "burstsPerSecond": rates, "latencies": latencies }))
}

/// A client, its channel, and its subscription.
struct Party {
    name: &'static str,
    client: Realtime,
    channel: Channel,
    messages: Subscription,
}

impl Party {
    async fn connect(server: &Server, name: &'static str, binary: bool) -> Result<Self, Failure> {
        let options = ClientOptions::new(server.key())
            .endpoint(server.endpoint())
            .port(server.port())
            .tls(false)
            .use_binary_protocol(binary)
            .client_id(name);
        let client = Realtime::connect(options).await?;
        let channel = client.channels().get("demo");
        let messages = channel.subscribe().await?;
        Ok(Self { name, client, channel, messages })
    }

    /// Receives the next message, and checks that it is the expected one.
    async fn receive(&mut self, from: &str, expected: &Message) -> Result<(), Failure> {
        let Some(message) = self.messages.next().await else {
            return Err(Failure::failed(format!("{}: the subscription ended", self.name)));
        };
        let seen = (message.client_id.as_deref(), &message.name, &message.data);
        if seen == (Some(from), &expected.name, &expected.data) {
            return Ok(());
        }
        let describe = |sender: Option<&str>, name: Option<&str>, data: &Data| {
            let kind = kind(data);
            format!("`{}` from {} ({kind})", name.unwrap_or("-"), sender.unwrap_or("nobody"))
        };
        Err(Failure::failed(format!(
            "{} expected {}, and received {}",
            self.name,
            describe(Some(from), expected.name.as_deref(), &expected.data),
            describe(seen.0, seen.1.as_deref(), seen.2),
        )))
    }
}

/// Publishes a message that both clients must receive next. Returns the times until the acknowledgement and until the
/// delivery to the other client.
async fn send(
    from: &mut Party,
    to: &mut Party,
    message: Message,
) -> Result<(Duration, Duration), Failure> {
    let started = Instant::now();
    let receipt = from.channel.publish_message(message.clone()).submit().await?;
    let sender = from.name;
    let (acknowledged, delivered, echoed) = join3(
        async { receipt.await.map(|_| started.elapsed()) },
        async { to.receive(sender, &message).await.map(|()| started.elapsed()) },
        from.receive(sender, &message),
    )
    .await;
    echoed?;
    Ok((acknowledged?, delivered?))
}

/// Sends a message with each type of data in each direction. Returns the number of messages.
async fn exchange(ada: &mut Party, bo: &mut Party, output: &mut Story) -> Result<usize, Failure> {
    let payloads = [
        Data::from("Hello! Grüße! こんにちは 👋"),
        Data::from(b"bytes that happen to be UTF-8".to_vec()),
        Data::from(vec![0xff, 0x00, 0xfe, 0x80, 0xc3, 0x28]),
        Data::from(json!({ "celsius": 21.5, "tags": ["a", "b"], "nested": { "ok": true } })),
        Data::None,
    ];
    for payload in &payloads {
        for turn in [0, 1] {
            let (from, to) = if turn == 0 { (&mut *ada, &mut *bo) } else { (&mut *bo, &mut *ada) };
            let (_, delivered) = send(from, to, Message::new("greeting", payload.clone())).await?;
            output.line(format_args!(
                "  {:>3} → {:3}  {:6}  {:7}  {}",
                from.name,
                to.name,
                kind(payload),
                short(delivered),
                describe(payload),
            ))?;
        }
    }
    Ok(2 * payloads.len())
}

fn kind(data: &Data) -> &'static str {
    match data {
        Data::None => "none",
        Data::Text(_) => "text",
        Data::Binary(_) => "binary",
        Data::Json(_) => "JSON",
    }
}

/// Publishes without waiting for acknowledgements, while both clients receive. Returns the messages per second.
async fn burst(from: &mut Party, to: &mut Party, output: &mut Story) -> Result<u64, Failure> {
    let messages: Vec<Message> =
        (0..BURST).map(|n| Message::new("burst", format!("{n:0BURST_SIZE$}"))).collect();
    let (channel, sender) = (from.channel.clone(), from.name);
    let started = Instant::now();
    let publish = async {
        let mut receipts = Vec::with_capacity(messages.len());
        for message in &messages {
            receipts.push(channel.publish_message(message.clone()).submit().await?);
        }
        for receipt in receipts {
            receipt.await?;
        }
        Ok::<_, Failure>(started.elapsed())
    };
    let echo = async {
        for message in &messages {
            from.receive(sender, message).await?;
        }
        Ok(())
    };
    let deliver = async {
        for message in &messages {
            to.receive(sender, message).await?;
        }
        Ok(started.elapsed())
    };
    let (acknowledged, (), delivered) = try_join3(publish, echo, deliver).await?;
    let rate = rate(BURST as u64, acknowledged.max(delivered));
    output.line(format_args!(
        "  {:>3} → {:3}  all received after {}, all acknowledged after {}: {} messages/s",
        from.name,
        to.name,
        short(delivered),
        short(acknowledged),
        thousands(rate),
    ))?;
    Ok(rate)
}

/// Sends messages one at a time in both directions. Returns their latencies, in ms.
async fn singles(ada: &mut Party, bo: &mut Party, output: &mut Story) -> Result<Value, Failure> {
    let (mut acknowledged, mut delivered) = (Latencies::default(), Latencies::default());
    for n in 0..2 * SINGLES {
        let (from, to) = if n % 2 == 0 { (&mut *ada, &mut *bo) } else { (&mut *bo, &mut *ada) };
        let (ack, delivery) = send(from, to, Message::new("single", n.to_string())).await?;
        acknowledged.push(ack);
        delivered.push(delivery);
    }
    let mut figures = Map::new();
    for (label, mut latencies) in [("received", delivered), ("acknowledged", acknowledged)] {
        let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
        let (half, most) = (latencies.percentile(50), latencies.percentile(99));
        figures.insert(label.to_owned(), json!({ "p50Ms": millis(half), "p99Ms": millis(most) }));
        output.line(format_args!(
            "  {label:12}  half within {}, 99 of 100 within {}",
            short(half),
            short(most),
        ))?;
    }
    Ok(Value::Object(figures))
}
