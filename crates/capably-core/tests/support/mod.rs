//! A client with sorted outputs, and a service and a clock that the test controls.

#![allow(dead_code, reason = "not every test uses everything")]

use std::{sync::Arc, time::Duration};

use capably_core::{
    AuthId, ChannelId, ChannelOptions, CheckId, Client, Config, ConnectRequest, ConnectionState,
    Credentials, Event, Grant, Now, OpId, Outcome, Output, Timer, TokenNeed, TransportEvent,
    TransportId,
};
use capably_protocol::{
    ClientFrame, ConnectionDetails, ErrorInfo, Message, ServerFrame,
    frame::{Ack, Attached, Connected, ErrorFrame},
};

/// The outputs of a client since the last call, sorted.
#[derive(Debug, Default)]
pub(crate) struct Did {
    /// The states it entered, with the codes of their reasons and the waits until the next attempt.
    pub(crate) states: Vec<(ConnectionState, Option<u32>, Option<Duration>)>,
    pub(crate) opened: Vec<ConnectRequest>,
    pub(crate) shut: Vec<TransportId>,
    pub(crate) sent: Vec<ClientFrame>,
    pub(crate) tokens: Vec<(AuthId, TokenNeed)>,
    pub(crate) abandoned: Vec<AuthId>,
    pub(crate) checks: Vec<CheckId>,
    pub(crate) done: Vec<(OpId, Result<Outcome, u32>)>,
    /// All other events.
    pub(crate) told: Vec<Event>,
}

pub(crate) struct Bench {
    pub(crate) client: Client,
    pub(crate) now: Now,
    /// The transport that was opened last, once one was.
    transport: Option<TransportId>,
    did: Did,
}

/// The configuration of a client with a key and without fallback domains.
pub(crate) fn with_key() -> Config {
    Config::new(Credentials::Key("app.key:secret".parse().unwrap()))
}

/// The configuration of a client with tokens.
pub(crate) fn with_tokens() -> Config {
    Config::new(Credentials::Tokens)
}

impl Bench {
    pub(crate) fn new(config: Config) -> Self {
        let now = Now::default();
        let client = Client::new(Arc::new(config), 1, now);
        Self { client, now, transport: None, did: Did::default() }
    }

    /// A client that is connected as `connection`, without outputs.
    pub(crate) fn connected(config: Config) -> Self {
        let mut bench = Self::new(config);
        bench.client.connect(bench.now);
        bench.grant(1);
        bench.accept(connected("connection"));
        bench.did();
        bench
    }

    /// The outputs since the last call.
    pub(crate) fn did(&mut self) -> Did {
        self.drain();
        std::mem::take(&mut self.did)
    }

    /// The name of the next deadline.
    pub(crate) fn next_timer(&mut self) -> Option<Timer> {
        self.drain().map(|(_, timer)| timer)
    }

    fn drain(&mut self) -> Option<(capably_core::Instant, Timer)> {
        let did = &mut self.did;
        loop {
            match self.client.poll_output() {
                Output::Timeout(next) => return next,
                Output::Open { transport, request } => {
                    self.transport = Some(transport);
                    did.opened.push(*request);
                }
                Output::Send { frame, .. } => did.sent.push(frame),
                Output::Shut { transport } => did.shut.push(transport),
                Output::RequestToken { auth, need } => did.tokens.push((auth, need)),
                Output::AbandonToken { auth } => did.abandoned.push(auth),
                Output::CheckConnectivity { check } => did.checks.push(check),
                Output::Event(Event::Connection(change)) => {
                    let code = change.reason.map(|reason| reason.code.0);
                    did.states.push((change.current, code, change.retry_in));
                }
                Output::Event(Event::Done(op, outcome)) => {
                    did.done.push((op, outcome.map_err(|error| error.code.0)));
                }
                Output::Event(event) => did.told.push(event),
            }
        }
    }

    /// Time passes. Each deadline on the way takes effect at its time.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some((at, _)) = self.drain().filter(|(at, _)| *at <= end.instant) {
            self.now = self.now + at.since(self.now.instant);
            self.client.handle_timeout(self.now);
        }
        self.now = end;
        self.client.handle_timeout(end);
    }

    /// The driver obtains the token that was requested, if any.
    pub(crate) fn grant(&mut self, generation: u64) {
        self.drain();
        if let Some((auth, _)) = self.did.tokens.last() {
            self.client.handle_token(*auth, Ok(grant(generation)), self.now);
        }
    }

    /// The WebSocket opens.
    pub(crate) fn open(&mut self) {
        self.drain();
        self.client.handle_transport(self.transport.unwrap(), TransportEvent::Opened, self.now);
    }

    /// The WebSocket opens, and the service sends this.
    pub(crate) fn accept(&mut self, frame: ServerFrame) {
        self.open();
        self.say(frame);
    }

    /// The service sends a frame on the current transport.
    pub(crate) fn say(&mut self, frame: ServerFrame) {
        self.drain();
        self.feed(frame);
    }

    /// The same, before the outputs of earlier frames were polled: they arrive together.
    pub(crate) fn feed(&mut self, mut frame: ServerFrame) {
        self.handle(TransportEvent::Frame(&mut frame));
    }

    /// Something happens on the current transport.
    pub(crate) fn handle(&mut self, event: TransportEvent<'_>) {
        self.client.handle_transport(self.transport.unwrap(), event, self.now);
    }

    /// The current transport ends.
    pub(crate) fn lose(&mut self, code: u32) {
        self.drain();
        let event = TransportEvent::Closed(ErrorInfo::new(code.into(), 0, "lost"));
        self.client.handle_transport(self.transport.unwrap(), event, self.now);
    }

    /// A channel, made and attached.
    pub(crate) fn attached(&mut self, id: ChannelId, name: &'static str) {
        self.client.open_channel(id, name.into(), ChannelOptions::default());
        self.client.attach(id, OpId(1000 + id.0), self.now);
        self.say(attached(name));
        self.did();
    }

    /// A message with this text.
    pub(crate) fn publish(&mut self, id: ChannelId, text: &str, op: OpId) {
        let messages = [Message::new("event", text)];
        self.client.publish(id, messages.into(), Default::default(), op, self.now);
    }
}

impl Did {
    /// The serials of the publishes that were sent, with their texts.
    pub(crate) fn published(&self) -> Vec<(u64, &str)> {
        let publishes = self.sent.iter().filter_map(|frame| match frame {
            ClientFrame::Message(publish) => {
                Some((publish.msg_serial, publish.items[0].data.as_str().unwrap()))
            }
            _ => None,
        });
        publishes.collect()
    }

    /// The states that were entered.
    pub(crate) fn entered(&self) -> Vec<ConnectionState> {
        self.states.iter().map(|(state, ..)| *state).collect()
    }
}

pub(crate) fn error(code: u32, status: u16) -> Option<ErrorInfo> {
    Some(ErrorInfo::new(code.into(), status, "an error"))
}

pub(crate) fn connected(id: &'static str) -> ServerFrame {
    connected_with(id, |_| {})
}

pub(crate) fn connected_with(id: &'static str, change: impl FnOnce(&mut Connected)) -> ServerFrame {
    let mut connected = Connected {
        connection_id: Some(id.into()),
        details: Some(ConnectionDetails {
            connection_key: Some(format!("{id}!key").into()),
            ..ConnectionDetails::default()
        }),
        error: None,
    };
    change(&mut connected);
    ServerFrame::Connected(Box::new(connected))
}

pub(crate) fn attached(channel: &'static str) -> ServerFrame {
    ServerFrame::Attached(Box::new(Attached { channel: channel.into(), ..Attached::default() }))
}

/// An ERROR of the connection.
pub(crate) fn fatal(code: u32, status: u16) -> ServerFrame {
    ServerFrame::Error(ErrorFrame { channel: None, error: error(code, status) })
}

/// The acknowledgement of one frame.
pub(crate) fn ack(msg_serial: u64) -> ServerFrame {
    ServerFrame::Ack(Ack { msg_serial, count: 1, res: Vec::new() })
}

/// A token that can be replaced.
pub(crate) fn grant(generation: u64) -> Grant {
    Grant { token: format!("token-{generation}").into(), generation, renewable: true }
}
