//! `capably history`.

use capably::rest::Direction;
use clap::{Args, ValueEnum};

use crate::{
    failure::Failure,
    listing::{Amount, Period},
    output::Output,
    payload,
    service::Service,
    style::Style,
};

/// Print the messages that were published to a channel, or its presence events
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the newest message first. With --json, each message is an object with the field
names of the protocol; binary data is base64, with \"encoding\": \"base64\".

Examples:
  capably history greetings
  capably history greetings --start '2h ago' --order oldest
  capably history greetings --start 2026-01-31T09:00:00Z --end now --all
  capably history greetings --limit 1 --json | jq -r .serial
  capably history lobby --presence")]
pub(crate) struct History {
    /// Channel whose history to print
    channel: String,

    /// Print the presence events of the channel instead of its messages
    #[arg(long)]
    presence: bool,

    /// Print one JSON object per line, for other programs
    #[arg(long)]
    json: bool,

    /// Which end of the history to start with
    #[arg(long, value_enum, default_value_t = Order::Newest)]
    order: Order,

    #[command(flatten)]
    period: Period,

    #[command(flatten)]
    amount: Amount,

    #[command(flatten)]
    service: Service,
}

/// The order of a list of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The newest first
    Newest,
    /// The oldest first
    Oldest,
}

impl History {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        self.period.check()?;
        let (mut output, style) = (Output::stdout(), Style::stdout());
        let client = self.service.rest()?;
        let channel = client.channels().get(self.channel.as_str());
        let direction = match self.order {
            Order::Newest => Direction::Backwards,
            Order::Oldest => Direction::Forwards,
        };
        // The two queries have the same methods, and no common type.
        macro_rules! query {
            ($query:expr) => {{
                let mut query = $query.direction(direction);
                if let Some(start) = self.period.start {
                    query = query.start(start);
                }
                if let Some(end) = self.period.end {
                    query = query.end(end);
                }
                query
            }};
        }
        if self.presence {
            let query = query!(channel.presence().history());
            self.amount
                .each_page(query, |events| {
                    for event in events {
                        if self.json {
                            output.json(payload::member_json_line(&self.channel, event))?;
                        } else {
                            let time = payload::time_cell(event.timestamp, style);
                            let event = payload::member_human_line(event);
                            output.line(format_args!("{time}  {event}"))?;
                        }
                    }
                    output.flush()
                })
                .await?;
        } else {
            let query = query!(channel.history());
            self.amount
                .each_page(query, |messages| {
                    for message in messages {
                        if self.json {
                            output.json(payload::json_line(&self.channel, message))?;
                        } else {
                            output.line(payload::stored_line(message, style))?;
                        }
                    }
                    output.flush()
                })
                .await?;
        }
        Ok(())
    }
}
