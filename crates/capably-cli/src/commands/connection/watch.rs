//! `capably connection watch`.

use capably::{
    Error, ErrorCode, Realtime, Str,
    realtime::{ChannelStateChange, ConnectionState, ConnectionStateChange},
};
use clap::Args;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::change::Change;
use crate::{failure::Failure, interrupt::Interrupts, output::Output, service::Service};

/// Print each change of the state of a connection, with its time and its reason
#[derive(Debug, Args)]
#[command(after_help = "\
Runs until Ctrl-C, which closes the connection, or until the connection fails for good
(exit code 4 if the service refuses the key). A change has the host, the id of the
connection and whether it was resumed, and the time until the next attempt. Times are
in UTC.

With --json, each change is an object with \"type\" connection or channel, \"state\",
\"previous\", \"event\" (the state, or update), \"retryInMs\", and the \"reason\" with its
code and its remedy.

Examples:
  capably connection watch
  capably connection watch --channel greetings --channel lobby
  capably connection watch --json | jq .state")]
pub(super) struct Watch {
    /// Attach to a channel, and print its changes, too; the option may be repeated
    #[arg(long, value_name = "CHANNEL")]
    channel: Vec<String>,

    /// Print one JSON object per line, for other programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

enum Event {
    Connection(ConnectionStateChange),
    Channel(usize, ChannelStateChange),
}

impl Watch {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut interrupts = Interrupts::listen()?;
        let client = Realtime::new(self.service.options()?.auto_connect(false))
            .map_err(Failure::wrong_usage)?;
        let mut output = Output::stdout();
        let mut events = self.start(&client);
        let mut last_id = None;
        let result = tokio::select! {
            result = self.print(&client, &mut events, &mut last_id, &mut output) => result,
            _ = interrupts.next() => Ok(()),
        };
        let closing = client.connection().close();
        if result.is_ok() {
            // The last changes are printed, too.
            tokio::join!(closing, async {
                let _ = self.print(&client, &mut events, &mut last_id, &mut output).await;
            });
        } else {
            closing.await;
        }
        result
    }

    /// The changes of the connection and of the channels, all from the first.
    fn start(&self, client: &Realtime) -> BoxStream<'static, Event> {
        let mut events = vec![client.connection().changes().map(Event::Connection).boxed()];
        for (index, name) in self.channel.iter().enumerate() {
            let channel = client.channels().get(name.as_str());
            events.push(channel.changes().map(move |change| Event::Channel(index, change)).boxed());
            let attaching = channel.attach();
            // A failure is a change of the channel, and printed as such.
            tokio::spawn(async move { drop(attaching.await) });
        }
        client.connection().connect();
        stream::select_all(events).boxed()
    }

    /// Prints changes until the connection is closed or has failed.
    async fn print(
        &self,
        client: &Realtime,
        events: &mut BoxStream<'static, Event>,
        last_id: &mut Option<Str>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        while let Some(event) = events.next().await {
            let (change, end) = match event {
                Event::Connection(change) => {
                    let end = match change.current {
                        ConnectionState::Failed => Some(Err(change.reason.clone())),
                        ConnectionState::Closed => Some(Ok(())),
                        _ => None,
                    };
                    (Change::of_connection(change, client.connection(), last_id), end)
                }
                Event::Channel(index, change) => {
                    (Change::of_channel(&self.channel[index], change), None)
                }
            };
            match self.json {
                true => output.json_now(change.json_line())?,
                false => output.line_now(change.human_lines())?,
            }
            if let Some(end) = end {
                return end.map_err(|reason| {
                    let failed =
                        || Error::new(ErrorCode::CONNECTION_FAILED, 0, "the connection has failed");
                    reason.map_or_else(failed, Error::from).into()
                });
            }
        }
        Ok(())
    }
}
