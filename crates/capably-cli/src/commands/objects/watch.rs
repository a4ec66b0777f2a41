//! `capably objects watch`.

use capably::{
    ChannelMode, Realtime,
    realtime::{
        RealtimeChannelOptions,
        objects::{Change, KeyChange, OperationMessage, PathChange, PathObject},
    },
};
use clap::Args;
use serde_json::{Map, Number, Value};

use super::text::{keys, show_json, show_leaf, show_number, show_path};
use crate::{
    failure::Failure,
    interrupt::until_interrupted,
    output::{Output, notice},
    service::Service,
    visible::visible,
};

/// Print each change at a path and below it, with who made it
#[derive(Debug, Args)]
#[command(after_help = "\
Runs until Ctrl-C. Changes are written to stdout: the path that changed, the client
that changed it, and the value. A line on stderr says when the objects are in sync.
With --json, each change is an object with the path, the value, and the sender; a key
that was removed has \"removed\": true, and a counter has the \"amount\" of the change.

Examples:
  capably objects watch poll
  capably objects watch poll votes
  capably objects watch poll votes --json | jq .path")]
pub(super) struct Watch {
    /// Channel of the objects
    channel: String,

    /// Path to watch, such as votes [default: the root]
    #[arg(default_value = "", hide_default_value = true)]
    path: String,

    /// Print one JSON object per line, for other programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Watch {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let keys = keys(&self.path)?;
        until_interrupted(async |client, output| self.follow(&keys, client, output).await).await
    }

    async fn follow(
        &self,
        keys: &[String],
        client: &mut Option<Realtime>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let client = client.insert(self.service.connect().await?);
        let options = RealtimeChannelOptions::new().modes([ChannelMode::ObjectSubscribe]);
        let channel = client.channels().get_with(self.channel.as_str(), options);
        let root = channel.objects().get().await?;
        let place = keys.iter().fold(root, |place, key| place.get(key.as_str()));
        let mut changes = place.subscribe().await?;
        notice(format_args!("Watching {}", visible(&self.channel)));
        while let Some(change) = changes.next().await {
            for place in Place::of(&change) {
                if self.json {
                    output.json(place.json_line(&self.channel)?)?;
                } else {
                    output.line(place.human_line()?)?;
                }
            }
            output.flush()?;
        }
        let ended = || Failure::failed("the subscription has ended");
        Err(changes.end_reason().map_or_else(ended, |error| error.clone().into()))
    }
}

/// A place whose value changed: a key of a map, or a counter.
struct Place<'a> {
    object: PathObject,
    kind: Kind,
    message: Option<&'a OperationMessage>,
}

enum Kind {
    Set,
    Removed,
    Added(f64),
}

impl<'a> Place<'a> {
    /// The places of a change. A map is reported once, with the keys that changed.
    fn of(change: &'a PathChange) -> Vec<Self> {
        let message = change.message.as_deref();
        match &change.update.change {
            Change::Counter(amount) => {
                let kind = Kind::Added(*amount);
                vec![Self { object: change.object.clone(), kind, message }]
            }
            Change::Map(keys) => {
                let place = |(key, kind): &(_, KeyChange)| {
                    let kind = match kind {
                        KeyChange::Updated => Kind::Set,
                        KeyChange::Removed => Kind::Removed,
                    };
                    Self { object: change.object.get(capably::Str::clone(key)), kind, message }
                };
                keys.iter().map(place).collect()
            }
        }
    }

    /// The change as a line for people: its path, its sender and the value, which is that of this moment.
    fn human_line(&self) -> Result<String, Failure> {
        let path = show_path(self.object.path());
        let sender = self.message.and_then(|it| it.client_id.as_deref());
        let connection = self.message.and_then(|it| it.connection_id.as_deref());
        let from = match (sender, connection) {
            (Some(client), _) => format!(" from {}", visible(client)),
            (None, Some(connection)) => format!(" from connection {}", visible(connection)),
            (None, None) => String::new(),
        };
        let value = match self.kind {
            Kind::Removed => "removed".to_owned(),
            Kind::Set => self.value()?,
            Kind::Added(amount) => {
                let sign = if amount < 0.0 { "" } else { "+" };
                format!("{} ({sign}{})", self.value()?, show_number(amount))
            }
        };
        Ok(format!("{path}{from}: {value}"))
    }

    fn value(&self) -> Result<String, Failure> {
        if let Some(leaf) = self.object.value()? {
            return Ok(show_leaf(&leaf));
        }
        Ok(match self.object.compact_json()? {
            Some(map) => show_json(&map),
            // A later change is ahead of the one to print.
            None => "removed since".to_owned(),
        })
    }

    /// The change as one JSON object.
    fn json_line(&self, channel: &str) -> Result<Value, Failure> {
        let mut line = Map::new();
        line.insert("channel".to_owned(), channel.into());
        line.insert("path".to_owned(), self.object.path().to_string().into());
        match self.kind {
            Kind::Removed => drop(line.insert("removed".to_owned(), true.into())),
            Kind::Added(amount) => {
                line.insert("amount".to_owned(), Number::from_f64(amount).into());
            }
            Kind::Set => {}
        }
        if !matches!(self.kind, Kind::Removed)
            && let Some(value) = self.object.compact_json()?
        {
            line.insert("value".to_owned(), value);
        }
        let Some(message) = self.message else { return Ok(line.into()) };
        for (field, value) in [
            ("clientId", &message.client_id),
            ("connectionId", &message.connection_id),
            ("serial", &message.serial),
        ] {
            if let Some(value) = value {
                line.insert(field.to_owned(), value.as_str().into());
            }
        }
        if let Some(timestamp) = message.timestamp {
            line.insert("timestamp".to_owned(), timestamp.into());
        }
        Ok(line.into())
    }
}
