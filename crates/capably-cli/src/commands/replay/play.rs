//! One recorded connection, played to a client.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use capably_server::protocol::frame::Action;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};

use super::compare::{FirstSerials, Tally, differences, is_like};
use crate::{
    local::ClientSocket,
    output::notice,
    trace::{self, Event, FrameFormat, Line, Peer},
    visible::visible,
};

/// How long the server waits for a frame of the client before it says so, and sends a heartbeat, so that the client
/// keeps the connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a closing WebSocket may take.
const LINGER: Duration = Duration::from_secs(2);

/// Plays the lines of one connection.
pub(super) async fn run(
    number: u64,
    socket: ClientSocket,
    lines: Vec<Line>,
    format: FrameFormat,
    speed: f64,
    tally: Arc<Tally>,
) {
    let (received, serials) = (Vec::new(), BTreeMap::new());
    let mut player =
        Player { number, socket, format, received, serials, first: None, next: 0, tally };
    // An end of the client ends the play, wherever it is.
    let _ = player.play(&lines, speed).await;
    player.report_rest(&lines);
    let _ = timeout(LINGER, player.socket.close(None)).await;
    notice(format_args!("Connection {number} has ended."));
}

struct Player {
    number: u64,
    socket: ClientSocket,
    format: FrameFormat,
    /// Frames of the client that no recorded frame was found for yet.
    received: Vec<Value>,
    /// For a recorded msgSerial, that of the client.
    serials: BTreeMap<u64, u64>,
    first: FirstSerials,
    /// The number of lines that are played.
    next: usize,
    tally: Arc<Tally>,
}

/// The connection has ended.
struct Ended;

impl Player {
    async fn play(&mut self, lines: &[Line], speed: f64) -> Result<(), Ended> {
        let mut last = lines.first().map_or(0, |line| line.ms);
        for (played, line) in lines.iter().enumerate() {
            self.next = played;
            let pause = Duration::from_millis(line.ms.saturating_sub(last));
            last = line.ms;
            let pause = match speed > 0.0 {
                true => Duration::try_from_secs_f64(pause.as_secs_f64() / speed)
                    .unwrap_or(Duration::MAX),
                false => Duration::ZERO,
            };
            match &line.event {
                Event::Frame { to: Peer::Client, frame, .. } => {
                    // The client's pings get answers of their own.
                    if is(frame, Action::Heartbeat) && frame["id"].is_string() {
                        continue;
                    }
                    self.pause(pause).await?;
                    for frame in for_client(frame, &self.serials) {
                        self.send(&frame).await?;
                    }
                }
                Event::Frame { to: Peer::Service, frame, .. } if !is(frame, Action::Heartbeat) => {
                    self.wait_for(frame).await?;
                }
                Event::Closed { by: Peer::Service, code, .. } => {
                    self.next = lines.len();
                    self.pause(pause).await?;
                    let close =
                        code.map(|code| CloseFrame { code: code.into(), reason: "".into() });
                    let _ = self.socket.send(Message::Close(close)).await;
                    return Err(Ended);
                }
                _ => {}
            }
        }
        self.next = lines.len();
        // The recorded client ended the connection, or the recording ended: the client decides.
        loop {
            self.receive_until(None).await?;
            if self.received.iter().any(|frame| is(frame, Action::Close)) {
                self.send(&json!({ "action": Action::Closed.number() })).await?;
                return Err(Ended);
            }
        }
    }

    /// Reports the frames that only one side has.
    fn report_rest(&self, lines: &[Line]) {
        for frame in self.received.iter().filter(|frame| !is(frame, Action::Close)) {
            self.tally.unexpected.fetch_add(1, Relaxed);
            self.say(format_args!(
                "the client sends {}, which is not in the recording",
                name(frame)
            ));
        }
        for line in lines.iter().skip(self.next) {
            if let Event::Frame { to: Peer::Service, frame, .. } = &line.event
                && !is(frame, Action::Heartbeat)
                && !is(frame, Action::Close)
            {
                self.tally.missing.fetch_add(1, Relaxed);
                self.say(format_args!(
                    "the client ends without {}, which it sent in the recording",
                    name(frame)
                ));
            }
        }
    }

    fn say(&self, what: std::fmt::Arguments<'_>) {
        notice(format_args!("Connection {}: {}.", self.number, visible(&what.to_string())));
    }

    /// Waits, and receives meanwhile.
    async fn pause(&mut self, pause: Duration) -> Result<(), Ended> {
        let Some(end) = Instant::now().checked_add(pause) else { return Err(Ended) };
        while Instant::now() < end {
            self.receive_until(Some(end)).await?;
        }
        Ok(())
    }

    /// Waits for a frame like the recorded one.
    async fn wait_for(&mut self, recorded: &Value) -> Result<(), Ended> {
        let mut told = false;
        loop {
            if let Some(frame) = self.take_like(recorded) {
                self.compare(recorded, &frame);
                return Ok(());
            }
            if self.received.iter().any(|frame| is(frame, Action::Close)) {
                self.send(&json!({ "action": Action::Closed.number() })).await?;
                return Err(Ended);
            }
            let patience = Instant::now() + PATIENCE;
            self.receive_until(Some(patience)).await?;
            if Instant::now() >= patience {
                if !told {
                    told = true;
                    self.say(format_args!("waits for the client to send {}", name(recorded)));
                }
                self.send(&json!({ "action": Action::Heartbeat.number() })).await?;
            }
        }
    }

    /// Removes the frame of the client that fits best to the recorded one: one without differences, or else the first one
    /// with its action and its channel.
    fn take_like(&mut self, recorded: &Value) -> Option<Value> {
        let mut like = self.received.iter().enumerate().filter(|(_, it)| is_like(recorded, it));
        let same = like.clone().find(|(_, it)| differences(recorded, it, self.first).is_empty());
        let (found, _) = same.or_else(|| like.next())?;
        Some(self.received.remove(found))
    }

    fn compare(&mut self, recorded: &Value, sent: &Value) {
        let differences = differences(recorded, sent, self.first);
        if let (Some(theirs), Some(own)) =
            (recorded["msgSerial"].as_u64(), sent["msgSerial"].as_u64())
        {
            self.serials.insert(theirs, own);
            self.first.get_or_insert((theirs, own));
        }
        if differences.is_empty() {
            self.tally.same.fetch_add(1, Relaxed);
            return;
        }
        self.tally.different.fetch_add(1, Relaxed);
        let differences = differences.join("; ");
        self.say(format_args!("{} differs from the recording: {differences}", name(sent)));
    }

    /// Receives one frame, or waits until the time is over.
    async fn receive_until(&mut self, end: Option<Instant>) -> Result<(), Ended> {
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let message = tokio::select! {
            message = self.socket.next() => message,
            () = over => return Ok(()),
        };
        let (format, bytes) = match message {
            Some(Ok(Message::Text(text))) => (FrameFormat::Json, text.into()),
            Some(Ok(Message::Binary(bytes))) => (FrameFormat::Msgpack, bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Ended),
        };
        let Some(frame) = trace::decode(format, &bytes) else { return Ok(()) };
        if is(&frame, Action::Heartbeat) {
            if frame["id"].is_string() {
                self.send(&frame).await?;
            }
        } else {
            self.received.push(frame);
        }
        Ok(())
    }

    async fn send(&mut self, frame: &Value) -> Result<(), Ended> {
        let bytes = trace::encode(self.format, frame);
        let message = match self.format {
            FrameFormat::Json => Message::text(String::from_utf8_lossy(&bytes).into_owned()),
            FrameFormat::Msgpack => Message::binary(bytes),
        };
        self.socket.send(message).await.map_err(|_| Ended)
    }
}

/// A recorded frame, with the serials of this client. The client may have sent the messages of an acknowledgement in
/// another order, and then gets one for each.
fn for_client(frame: &Value, serials: &BTreeMap<u64, u64>) -> Vec<Value> {
    let serial = frame["msgSerial"].as_u64();
    let (true, Some(first)) = (is(frame, Action::Ack) || is(frame, Action::Nack), serial) else {
        return vec![frame.clone()];
    };
    let count = frame["count"].as_u64().unwrap_or(1);
    let last = first.saturating_add(count.saturating_sub(1));
    let mut own: Vec<(u64, u64)> =
        serials.range(first..=last).map(|(theirs, own)| (*own, *theirs)).collect();
    let is_in_order =
        own.iter().zip(own.iter().skip(1)).all(|(a, b)| a.0 + 1 == b.0 && a.1 + 1 == b.1);
    let Some((first_own, _)) = own.first().filter(|(_, theirs)| is_in_order && *theirs == first)
    else {
        own.sort_unstable();
        let one = |(own, theirs): &(u64, u64)| {
            let mut frame = frame.clone();
            frame["msgSerial"] = (*own).into();
            frame["count"] = 1.into();
            if let Some(results) = frame["res"].as_array() {
                let result = usize::try_from(theirs - first).ok().and_then(|at| results.get(at));
                frame["res"] = result.cloned().into_iter().collect();
            }
            frame
        };
        return match own.is_empty() {
            true => vec![frame.clone()],
            false => own.iter().map(one).collect(),
        };
    };
    let mut frame = frame.clone();
    frame["msgSerial"] = (*first_own).into();
    vec![frame]
}

fn is(frame: &Value, action: Action) -> bool {
    frame["action"].as_u64() == Some(action.number().into())
}

/// The name of a frame: its action and its channel.
fn name(frame: &Value) -> String {
    let number = frame["action"].as_u64().unwrap_or_default();
    let action = u32::try_from(number).ok().and_then(Action::from_number);
    let action =
        action.map_or_else(|| format!("action {number}"), |action| action.name().to_owned());
    match frame["channel"].as_str() {
        Some(channel) => format!("{action} {channel}"),
        None => action,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_gets_the_serials_of_the_client() {
        let ack =
            json!({ "action": 1, "msgSerial": 2, "count": 2, "res": [{ "a": 1 }, { "b": 2 }] });
        let serials = |pairs: &[(u64, u64)]| pairs.iter().copied().collect::<BTreeMap<_, _>>();
        let mut moved = ack.clone();
        moved["msgSerial"] = 7.into();
        assert_eq!(for_client(&ack, &serials(&[(1, 6), (2, 7), (3, 8)])), [moved]);
        assert_eq!(
            for_client(&ack, &serials(&[(2, 8), (3, 7)])),
            [
                json!({ "action": 1, "msgSerial": 7, "count": 1, "res": [{ "b": 2 }] }),
                json!({ "action": 1, "msgSerial": 8, "count": 1, "res": [{ "a": 1 }] }),
            ]
        );
        // Messages of an earlier connection.
        assert_eq!(for_client(&ack, &serials(&[])), std::slice::from_ref(&ack));
        let other = json!({ "action": 15, "msgSerial": 2 });
        assert_eq!(for_client(&other, &serials(&[(2, 7)])), std::slice::from_ref(&other));
    }
}
