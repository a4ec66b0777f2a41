//! The driver's double: it carries out the outputs of a core, and gives it what happens outside.

use capably_core::{AuthFailure, AuthId, CheckId, Grant, Output, TokenNeed, TransportEvent};
use capably_protocol::{ErrorInfo, ServerFrame, Str, codec};

use super::Duration;
use crate::{
    script::{USERS, UserId},
    world::{Happening, World},
};

impl World {
    /// Carries out the outputs of a user's core.
    pub(crate) fn drain(&mut self, user: UserId) {
        loop {
            let own = &mut self.users[user];
            let Some(core) = &mut own.core else { return };
            match core.poll_output() {
                Output::Open { transport, request } => {
                    let link = self.dial(user, &request);
                    self.users[user].link = Some((link, transport));
                }
                Output::Send { transport, frame } => {
                    if own.link.is_some_and(|(_, current)| current == transport) {
                        own.unsent.push(frame);
                    }
                }
                Output::Shut { transport } => {
                    self.flush(user);
                    let own = &mut self.users[user];
                    if let Some((link, current)) = own.link
                        && current == transport
                    {
                        own.link = None;
                        self.hang_up(link);
                    }
                }
                Output::RequestToken { auth, need } => {
                    let wait = self.delay() * 2;
                    self.after(wait, Happening::Token(user, self.users[user].life, auth, need));
                }
                Output::AbandonToken { .. } => {}
                Output::CheckConnectivity { check } => {
                    let wait = self.delay() * 2;
                    let life = self.users[user].life;
                    self.after(wait, Happening::Check(user, life, check));
                }
                Output::Event(event) => {
                    self.observe(user, event);
                }
                Output::Timeout(deadline) => {
                    self.flush(user);
                    let own = &mut self.users[user];
                    if let Some((at, _)) = deadline {
                        let at = at.since_start() + own.slept;
                        if own.armed.is_none_or(|armed| at < armed || armed < self.now.steady) {
                            own.armed = Some(at);
                            self.at(at, Happening::UserTimer(user));
                        }
                    }
                    return;
                }
            }
        }
    }

    /// Writes the frames that the core has sent.
    pub(super) fn flush(&mut self, user: UserId) {
        let own = &mut self.users[user];
        if own.unsent.is_empty() {
            return;
        }
        let frames = std::mem::take(&mut own.unsent);
        let Some((link, _)) = own.link else { return };
        let format = own.setup.format;
        let payloads = frames.iter().map(|frame| {
            let mut bytes = Vec::new();
            codec::encode_client_frame(format, frame, &mut bytes);
            bytes.into()
        });
        let payloads: Vec<bytes::Bytes> = payloads.collect();
        if self.is_traced {
            frames.iter().for_each(|frame| self.trace(&format!("{} sends {frame:?}", USERS[user])));
        }
        self.write_up(link, &payloads);
    }

    pub(crate) fn user_timer(&mut self, user: UserId) {
        let (at, wall) = (self.now.steady, self.now.wall);
        let own = &mut self.users[user];
        if own.armed.is_none_or(|armed| armed > at) {
            return;
        }
        own.armed = None;
        let now = own.now(at, wall);
        own.with(|core| core.handle_timeout(now));
        self.drain(user);
    }

    /// An event of a transport.
    pub(crate) fn transport_event(&mut self, link: u64, event: TransportEvent<'_>) {
        let (at, wall) = (self.now.steady, self.now.wall);
        let Some(user) = self.user_of(link) else { return };
        let own = &mut self.users[user];
        let now = own.now(at, wall);
        if let Some((current, transport)) = own.link
            && current == link
        {
            if matches!(event, TransportEvent::Closed(_)) {
                own.link = None;
            }
            own.with(|core| core.handle_transport(transport, event, now));
        }
    }

    /// Messages of a WebSocket arrive at a user.
    pub(crate) fn messages_arrive(
        &mut self,
        user: UserId,
        link: u64,
        messages: Vec<Option<bytes::Bytes>>,
    ) {
        let format = self.users[user].setup.format;
        let limits = capably_protocol::Limits::default();
        for message in messages {
            let Some(mut bytes) = message else {
                self.transport_event(link, TransportEvent::Activity);
                continue;
            };
            if std::mem::take(&mut self.users[user].garbles) {
                bytes = bytes::Bytes::from_static(UNREADABLE);
            }
            if self.users[user].damages && damage(&mut bytes) {
                self.users[user].damages = false;
            }
            let mut frame = ServerFrame::Closed;
            match codec::read_server_frame(format, &bytes, &limits, &mut frame) {
                Ok(()) => {
                    if self.is_traced {
                        self.trace(&format!("{} receives {frame:?}", USERS[user]));
                    }
                    self.transport_event(link, TransportEvent::Frame(&mut frame));
                }
                Err(error) => match codec::salvage_server_frame(format, &bytes, &limits) {
                    Some(damaged) => {
                        let damaged = Box::new(damaged);
                        self.transport_event(link, TransportEvent::Damaged { damaged, error });
                    }
                    None => self.transport_event(link, TransportEvent::Broken(error)),
                },
            }
        }
        self.drain(user);
    }

    /// The answer to a token request.
    pub(crate) fn token_arrives(&mut self, user: UserId, life: u64, auth: AuthId, need: TokenNeed) {
        let (at, wall) = (self.now.steady, self.now.wall);
        let (moment, is_ending) = (self.now, self.is_ending);
        let own = &mut self.users[user];
        if own.life != life || at < own.no_answers_until {
            return;
        }
        let now = own.now(at, wall);
        let known = match need {
            TokenNeed::Current => own.token.0.clone(),
            TokenNeed::Replacement(generation) | TokenNeed::Successor(generation) => {
                own.token.0.clone().filter(|_| own.token.1 > generation)
            }
            TokenNeed::Authorized(_) => None,
        };
        let refused = || {
            let error = ErrorInfo::new(40170.into(), 500, "no token");
            Err(AuthFailure::Refused(error))
        };
        let outcome = match (known, &mut self.service) {
            (Some(token), _) => Ok(token),
            (None, Some(service)) if at >= own.no_tokens_until && at >= own.offline_until => {
                // At the end, tokens last.
                let usual = own.setup.token.filter(|_| !is_ending);
                let ttl = usual.unwrap_or(Duration::from_secs(3600));
                match service.issue_token(Some(Str::from_static("*")), ttl, moment) {
                    Ok(token) => {
                        own.token = (Some(token.clone()), own.token.1 + 1);
                        Ok(token)
                    }
                    Err(_) => refused(),
                }
            }
            _ => refused(),
        };
        let generation = own.token.1;
        let outcome = outcome.map(|token| Grant { token, generation, renewable: true });
        own.with(|core| core.handle_token(auth, outcome, now));
        self.drain(user);
    }

    pub(crate) fn connectivity(&mut self, user: UserId, life: u64, check: CheckId) {
        let (at, wall) = (self.now.steady, self.now.wall);
        let own = &mut self.users[user];
        if own.life == life && at >= own.no_answers_until {
            let (now, online) = (own.now(at, wall), at >= own.offline_until);
            own.with(|core| core.handle_connectivity(check, online, now));
            self.drain(user);
        }
    }

    /// The network of the user is lost, or there again.
    pub(crate) fn network(&mut self, user: UserId, is_there: bool) {
        let own = &mut self.users[user];
        let now = own.now(self.now.steady, self.now.wall);
        match is_there {
            true => own.with(|core| core.network_available(now)),
            false => own.with(|core| core.network_lost(now)),
        }
        self.drain(user);
    }

    /// The machine wakes after a sleep.
    pub(crate) fn wake(&mut self, user: UserId, slept: Duration) {
        let own = &mut self.users[user];
        own.slept += slept;
        own.armed = None;
        let now = own.now(self.now.steady, self.now.wall);
        own.with(|core| core.woke(slept, now));
        self.drain(user);
    }
}

/// The bytes of no frame, in either format.
const UNREADABLE: &[u8] = &[0xc1];

/// Makes an item of a frame with messages or members unreadable: a text of one letter becomes an array of as many bytes.
fn damage(bytes: &mut bytes::Bytes) -> bool {
    let pairs: [(&[u8], &[u8]); 6] = [
        (b"\"name\":\"m\"", b"\"name\":[1]"),
        (b"\"clientId\":\"x\"", b"\"clientId\":[1]"),
        (b"\"clientId\":\"y\"", b"\"clientId\":[1]"),
        (b"\xa4name\xa1m", b"\xa4name\x91\x01"),
        (b"\xa8clientId\xa1x", b"\xa8clientId\x91\x01"),
        (b"\xa8clientId\xa1y", b"\xa8clientId\x91\x01"),
    ];
    for (whole, broken) in pairs {
        if let Some(at) = bytes.windows(whole.len()).position(|window| window == whole) {
            let mut damaged = bytes.to_vec();
            damaged[at..at + whole.len()].copy_from_slice(broken);
            *bytes = damaged.into();
            return true;
        }
    }
    false
}
