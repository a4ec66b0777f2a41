//! Transports: dials, bytes in both directions, and their ends.

use bytes::Bytes;
use capably_core::{ConnectRequest, TransportEvent};
use capably_protocol::{ErrorInfo, websocket::Sender};

use super::{Duration, Happening, IDLE, Link, World};
use crate::{net::Stream, script::UserId};

impl World {
    /// A user dials. Returns the transport.
    pub(crate) fn dial(&mut self, user: UserId, request: &ConnectRequest) -> u64 {
        let link = self.next_link;
        self.next_link += 1;
        let own = Link {
            user,
            params: request.params.clone(),
            format: request.format(),
            up: Stream::new(Sender::Client),
            down: Stream::new(Sender::Server),
            is_wanted: true,
            is_served: false,
            is_dead: false,
            writes: false,
            has_written: false,
        };
        self.links.insert(link, own);
        let mut wait = self.delay() * 3;
        if self.users[user].offline_until > self.now.steady {
            self.after(wait, Happening::Refused(link));
        } else {
            if self.users[user].slow_dials_until > self.now.steady {
                wait += self.millis(8000);
            }
            self.after(wait, Happening::Dialled(link));
        }
        link
    }

    pub(super) fn dialled(&mut self, link: u64) {
        let wait = self.delay();
        let Some(own) = self.links.get_mut(&link) else { return };
        if own.is_dead {
            return;
        }
        if self.service.is_none() {
            return self.after(wait, Happening::Refused(link));
        }
        own.is_served = true;
        let params = own.params.clone();
        self.after(wait, Happening::Opened(link));
        self.after(IDLE / 3, Happening::Beat(link));
        self.serve(|service, now| service.open(link, &params, now));
    }

    pub(super) fn opened(&mut self, link: u64) {
        let Some(own) = self.links.get(&link) else { return };
        if own.is_wanted {
            let user = own.user;
            self.transport_event(link, TransportEvent::Opened);
            self.drain(user);
        } else {
            // The user has given the dial up before it reached the server.
            let wait = self.delay();
            self.after(wait, Happening::UpClosed(link));
        }
    }

    pub(crate) fn user_of(&self, link: u64) -> Option<UserId> {
        self.links.get(&link).map(|own| own.user)
    }

    /// A user writes to a transport.
    pub(crate) fn write_up(&mut self, link: u64, payloads: &[Bytes]) {
        let at = self.now.steady + self.delay();
        let Some(own) = self.links.get_mut(&link) else { return };
        let at = own.up.write(own.format, payloads, at);
        self.at(at, Happening::Up(link));
    }

    pub(super) fn bytes_arrive(&mut self, link: u64) {
        let now = self.now.steady;
        let Some(own) = self.links.get_mut(&link).filter(|own| own.is_served) else { return };
        let messages: Vec<Bytes> = own.up.arrive(now).into_iter().flatten().collect();
        if !messages.is_empty() {
            self.serve(|service, now| service.receive(link, &messages, now));
        }
    }

    /// A user gives a transport up. The server learns it after what was written before.
    pub(crate) fn hang_up(&mut self, link: u64) {
        let wait = self.delay();
        let now = self.now.steady;
        let Some(own) = self.links.get_mut(&link) else { return };
        own.is_wanted = false;
        let at = own.up.cut(1000, now) + wait;
        if !own.is_dead {
            self.at(at, Happening::UpClosed(link));
        }
    }

    /// The server learns that a transport is closed.
    pub(super) fn close_up(&mut self, link: u64) {
        self.bytes_arrive(link);
        let Some(own) = self.links.get_mut(&link) else { return };
        if std::mem::take(&mut own.is_served) {
            self.serve(|service, now| service.closed(link, now));
        }
        self.forget(link);
    }

    /// The user learns that a transport is closed.
    pub(super) fn close_down(&mut self, link: u64, error: ErrorInfo) {
        let Some(own) = self.links.get_mut(&link) else { return };
        if std::mem::take(&mut own.is_wanted) {
            let user = own.user;
            self.transport_event(link, TransportEvent::Closed(error));
            self.drain(user);
        }
        let wait = self.delay();
        match self.links.get(&link) {
            Some(own) if own.is_served => self.after(wait, Happening::UpClosed(link)),
            _ => self.forget(link),
        }
    }

    pub(super) fn forget(&mut self, link: u64) {
        if self.links.get(&link).is_some_and(|own| !own.is_served && !own.is_wanted) {
            self.links.remove(&link);
        }
    }

    /// The server writes what waits for a transport.
    pub(super) fn write_down(&mut self, link: u64) {
        let (now, wait) = (self.now, self.delay());
        let Some(own) = self.links.get_mut(&link) else { return };
        own.writes = false;
        let (Some(service), true) = (&mut self.service, own.is_served) else { return };
        let written = service.write(link, now);
        let mut at = now.steady + wait;
        if !written.frames.is_empty() {
            own.has_written = true;
            at = own.down.write(own.format, &written.frames, at);
            self.at(at, Happening::Down(link));
        }
        let Some(own) = self.links.get_mut(&link) else { return };
        if written.closes {
            own.is_served = false;
            let at = own.down.cut(1000, now.steady).max(at);
            if !own.is_dead {
                self.at(at, Happening::DownClosed(link));
            }
            self.serve(|service, now| service.closed(link, now));
            return self.forget(link);
        }
        // Once there is room again, a replay goes on.
        let has_more = !written.frames.is_empty();
        self.after_service();
        if has_more {
            self.schedule_write(link);
        }
    }

    pub(super) fn schedule_write(&mut self, link: u64) {
        let Some(own) = self.links.get_mut(&link).filter(|own| own.is_served && !own.writes) else {
            return;
        };
        own.writes = true;
        let slow = &mut self.users[own.user].slow_reads;
        let wait = match slow.0 {
            0 => Duration::ZERO,
            _ => {
                slow.0 -= 1;
                Duration::from_millis(slow.1)
            }
        };
        self.after(wait, Happening::Write(link));
    }

    /// The server pings a silent transport.
    pub(super) fn beat(&mut self, link: u64) {
        let at = self.now.steady + self.delay();
        let Some(own) = self.links.get_mut(&link).filter(|own| own.is_served) else { return };
        if !std::mem::take(&mut own.has_written) {
            let at = own.down.ping(at);
            self.at(at, Happening::Down(link));
        }
        self.after(IDLE / 3, Happening::Beat(link));
    }
}
