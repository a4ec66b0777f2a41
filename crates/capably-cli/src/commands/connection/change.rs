//! A change of a connection or of a channel, as lines for people and as JSON.

use std::time::Duration;

use capably::{
    Error, ErrorInfo, Str,
    realtime::{
        ChannelEvent, ChannelStateChange, Connection, ConnectionEvent, ConnectionState,
        ConnectionStateChange,
    },
};
use serde_json::{Map, Value, json};

use crate::{clock, stats::short, visible::visible};

/// A change, with what is known when it is printed.
pub(super) struct Change {
    /// The time, in ms since the epoch.
    timestamp: i64,
    /// The channel; none for a change of the connection.
    channel: Option<String>,
    state: String,
    previous: String,
    is_update: bool,
    host: Option<Str>,
    connection_id: Option<Str>,
    /// Whether the connection or the channel continues without a loss; none where that has no meaning.
    resumed: Option<bool>,
    retry_in: Option<Duration>,
    reason: Option<ErrorInfo>,
}

impl Change {
    /// A change of the connection. `last_id` is the id of the connection before.
    pub(super) fn of_connection(
        change: ConnectionStateChange,
        connection: &Connection,
        last_id: &mut Option<Str>,
    ) -> Self {
        let is_connected = change.current == ConnectionState::Connected;
        let connection_id = connection.id().filter(|_| is_connected);
        let resumed = connection_id.is_some().then(|| connection_id == *last_id);
        if connection_id.is_some() {
            last_id.clone_from(&connection_id);
        }
        Self {
            timestamp: clock::now(),
            channel: None,
            state: change.current.to_string(),
            previous: change.previous.to_string(),
            is_update: change.event == ConnectionEvent::Update,
            host: connection.host(),
            connection_id,
            resumed,
            retry_in: change.retry_in,
            reason: change.reason,
        }
    }

    /// A change of a channel.
    pub(super) fn of_channel(channel: &str, change: ChannelStateChange) -> Self {
        let is_attached = change.current == capably::realtime::ChannelState::Attached;
        Self {
            timestamp: clock::now(),
            channel: Some(channel.to_owned()),
            state: change.current.to_string(),
            previous: change.previous.to_string(),
            is_update: change.event == ChannelEvent::Update,
            host: None,
            connection_id: None,
            resumed: is_attached.then_some(change.resumed),
            retry_in: None,
            reason: change.reason,
        }
    }

    /// The change as lines for people.
    pub(super) fn human_lines(&self) -> String {
        let time = clock::time_of_day(self.timestamp);
        let subject = match &self.channel {
            None => "connection".to_owned(),
            Some(channel) => format!("channel {}", visible(channel)),
        };
        let state = if self.is_update { "updated" } else { &self.state };
        let mut facts = Vec::new();
        if self.connection_id.is_some()
            && let Some(host) = &self.host
        {
            facts.push(format!("host {}", visible(host)));
        }
        if let Some(id) = &self.connection_id {
            facts.push(format!("id {}", visible(id)));
        }
        match (self.resumed, self.channel.is_some()) {
            (Some(true), _) => facts.push("resumed: no message was lost".to_owned()),
            (Some(false), false) => facts.push("new".to_owned()),
            (Some(false), true) | (None, _) => {}
        }
        if let Some(retry_in) = self.retry_in {
            facts.push(match retry_in.is_zero() {
                true => "the next attempt is made at once".to_owned(),
                false => format!("the next attempt is in {}", short(retry_in)),
            });
        }
        let mut lines = format!("{time}  {subject} {state}");
        if !facts.is_empty() {
            lines.push_str(": ");
            lines.push_str(&facts.join(", "));
        }
        if let Some(reason) = self.reason.clone().map(Error::from) {
            lines.push_str(&format!("\n  reason: {}", visible(reason.message())));
            lines.push_str(&format!("\n  code: {:?}", reason.code()));
            if let Some(remedy) = reason.remediation() {
                lines.push_str(&format!("\n  remedy: {remedy}"));
            }
        }
        lines
    }

    /// The change as one JSON object.
    pub(super) fn json_line(&self) -> Value {
        let kind = if self.channel.is_some() { "channel" } else { "connection" };
        let event = if self.is_update { "update" } else { &self.state };
        let fields = [
            ("timestamp", Some(self.timestamp.into())),
            ("type", Some(kind.into())),
            ("channel", self.channel.as_deref().map(Value::from)),
            ("event", Some(event.into())),
            ("state", Some(self.state.as_str().into())),
            ("previous", Some(self.previous.as_str().into())),
            ("host", self.host.as_deref().map(Value::from)),
            ("connectionId", self.connection_id.as_deref().map(Value::from)),
            ("resumed", self.resumed.map(Value::from)),
            ("retryInMs", self.retry_in.map(|time| Value::from(time.as_millis() as u64))),
            ("reason", self.reason.clone().map(|reason| reason_json(&reason.into()))),
        ];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(fields.collect::<Map<_, _>>())
    }
}

fn reason_json(reason: &Error) -> Value {
    let mut json = json!({ "code": reason.code().0, "message": reason.message() });
    if let Some(status) = reason.status() {
        json["statusCode"] = status.into();
    }
    if let Some(remedy) = reason.remediation() {
        json["remedy"] = remedy.into();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_service_does_not_control_the_terminal() {
        let change = Change {
            timestamp: 3_600_000,
            channel: Some("a\x1b[2Jb".to_owned()),
            state: "failed".to_owned(),
            previous: "attaching".to_owned(),
            is_update: false,
            host: None,
            connection_id: None,
            resumed: None,
            retry_in: None,
            reason: Some(ErrorInfo::new(40160.into(), 401, "no\r\nway")),
        };
        let lines = change.human_lines();
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines[0], r"01:00:00.000  channel a\u{1b}[2Jb failed");
        assert_eq!(lines[1], r"  reason: no\r\nway");
        assert!(lines[2].starts_with("  code: 40160 "), "{lines:?}");
        assert!(lines[3].starts_with("  remedy: "), "{lines:?}");
        assert_eq!(lines.len(), 4);
    }
}
