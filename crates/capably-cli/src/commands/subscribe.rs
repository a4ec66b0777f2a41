//! `capably subscribe`.

use std::time::Duration;

use capably::{Plugin, Realtime, plugin::Vcdiff, realtime::RealtimeChannelOptions};
use clap::Args;
use futures_util::FutureExt;

use crate::{
    failure::Failure,
    interrupt::Interrupts,
    output::{Output, notice},
    payload,
    service::Service,
    time::seconds,
    visible::visible,
};

/// Print the messages of a channel as they arrive
#[derive(Debug, Args)]
#[command(after_help = "\
Runs until Ctrl-C, until --count messages have arrived, or until the --timeout.
Messages are written to stdout. A line on stderr says when the channel is attached.
With --json, each message is an object with the field names of the protocol; binary
data is base64, with \"encoding\": \"base64\".

Examples:
  capably subscribe greetings
  capably subscribe greetings --json | jq .data
  capably subscribe greetings --count 1 --timeout 30 --json
  capably subscribe prices --delta")]
pub(crate) struct Subscribe {
    /// Channel to subscribe to
    channel: String,

    /// Print one JSON object per line, for other programs
    #[arg(long)]
    json: bool,

    /// Receive each message as its difference from the one before, to save bandwidth; messages are printed in full
    #[arg(long)]
    delta: bool,

    /// End after N messages
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after this time; with --count, it is an error (exit code 5) when fewer messages have arrived
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,

    #[command(flatten)]
    service: Service,
}

impl Subscribe {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut interrupts = Interrupts::listen()?;
        let mut output = Output::stdout();
        let mut client = None;
        let mut received = 0;
        let timeout = async {
            match self.timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            result = self.print(&mut client, &mut output, &mut received) => result,
            _ = interrupts.next() => self.ended(received, Failure::failed, "before the interrupt"),
            () = timeout => self.ended(received, Failure::timed_out, "in time"),
        };
        if let Some(client) = client {
            client.connection().close().await;
        }
        result.and(output.flush())
    }

    /// Prints messages, until `count` are printed.
    async fn print(
        &self,
        client: &mut Option<Realtime>,
        output: &mut Output,
        received: &mut u64,
    ) -> Result<(), Failure> {
        let (connected, options) = if self.delta {
            let plugin = Plugin::vcdiff(Vcdiff);
            let connected = self.service.connect_with(|options| options.plugin(plugin)).await?;
            (connected, RealtimeChannelOptions::new().param("delta", "vcdiff"))
        } else {
            (self.service.connect().await?, RealtimeChannelOptions::new())
        };
        let client = client.insert(connected);
        let channel = client.channels().get_with(self.channel.as_str(), options);
        let mut messages = channel.subscribe().await?;
        notice(format_args!("Subscribed to {}", visible(&self.channel)));
        while self.count.is_none_or(|count| *received < count) {
            // Messages that have arrived already are written together, and flushed once.
            let next = match messages.next().now_or_never() {
                Some(next) => next,
                None => {
                    output.flush()?;
                    messages.next().await
                }
            };
            let Some(message) = next else {
                let ended = || Failure::failed("the subscription has ended");
                return Err(messages.end_reason().map_or_else(ended, |e| e.clone().into()));
            };
            *received += 1;
            if self.json {
                output.json(payload::json_line(&self.channel, &message))?;
            } else {
                output.line(payload::human_line(&message))?;
            }
        }
        Ok(())
    }

    /// The result when the interrupt or the timeout comes first: a failure if messages are missing.
    fn ended(
        &self,
        received: u64,
        failure: fn(String) -> Failure,
        when: &str,
    ) -> Result<(), Failure> {
        match self.count {
            Some(count) => {
                Err(failure(format!("only {received} of {count} messages arrived {when}")))
            }
            None => Ok(()),
        }
    }
}
