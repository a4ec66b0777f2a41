//! One recorded connection, played to a client.

use std::{collections::HashMap, time::Duration};

use capably_server::protocol::frame::Action;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};

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
) {
    let mut player =
        Player { number, socket, format, received: Vec::new(), serials: HashMap::new() };
    // An end of the client ends the play, wherever it is.
    let _ = player.play(&lines, speed).await;
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
    serials: HashMap<u64, Value>,
}

/// The connection has ended.
struct Ended;

impl Player {
    async fn play(&mut self, lines: &[Line], speed: f64) -> Result<(), Ended> {
        let mut last = lines.first().map_or(0, |line| line.ms);
        for line in lines {
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
                    let frame = self.for_client(frame);
                    self.send(&frame).await?;
                }
                Event::Frame { to: Peer::Service, frame, .. } if !is(frame, Action::Heartbeat) => {
                    self.wait_for(frame).await?;
                }
                Event::Closed { by: Peer::Service, code, .. } => {
                    self.pause(pause).await?;
                    let close =
                        code.map(|code| CloseFrame { code: code.into(), reason: "".into() });
                    let _ = self.socket.send(Message::Close(close)).await;
                    return Err(Ended);
                }
                _ => {}
            }
        }
        // The recorded client ended the connection, or the recording ended: the client decides.
        loop {
            self.receive_until(None).await?;
            let closes = self.received.iter().any(|frame| is(frame, Action::Close));
            if closes {
                self.send(&json!({ "action": Action::Closed.number() })).await?;
                return Err(Ended);
            }
            self.received.clear();
        }
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
            let like = |frame: &Value| {
                frame["action"] == recorded["action"] && frame["channel"] == recorded["channel"]
            };
            if let Some(found) = self.received.iter().position(like) {
                let frame = self.received.remove(found);
                if let Some(serial) = recorded["msgSerial"].as_u64() {
                    self.serials.insert(serial, frame["msgSerial"].clone());
                }
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
                    let name = name(recorded);
                    let number = self.number;
                    notice(format_args!(
                        "Connection {number} waits for the client to send {}.",
                        visible(&name)
                    ));
                }
                self.send(&json!({ "action": Action::Heartbeat.number() })).await?;
            }
        }
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

    /// A recorded frame, with the msgSerial of this client.
    fn for_client(&self, frame: &Value) -> Value {
        let mut frame = frame.clone();
        if (is(&frame, Action::Ack) || is(&frame, Action::Nack))
            && let Some(serial) = frame["msgSerial"].as_u64()
            && let Some(own) = self.serials.get(&serial)
        {
            frame["msgSerial"] = own.clone();
        }
        frame
    }
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
