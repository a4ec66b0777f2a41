//! The passing of time: each deadline goes to the part of the client that set it.

use super::Client;
use crate::{Channel, Now, Timer, errors};

impl Client {
    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.shared.timers.expire(now.instant) {
            match timer {
                Timer::Connect => self.connect_timed_out(now.instant),
                Timer::Token(id) => self.token_timed_out(id, now.instant),
                Timer::Auth => self.auth_timed_out(),
                Timer::Retry => self.retry(now.instant),
                Timer::Suspend => self.state_ttl_passed(now.instant),
                Timer::Idle => self.check_idle(now.instant),
                Timer::Close => self.close_timed_out(now.instant),
                Timer::Ping(op) => self.pings.timed_out(op, &mut self.shared.cx(now)),
                Timer::Attach(id) => self.with_channel(id, now, Channel::attach_timed_out),
                Timer::Detach(id) => self.with_channel(id, now, Channel::detach_timed_out),
                Timer::Reattach(id) => self.with_channel(id, now, Channel::reattach),
                Timer::Sync(id) => self.with_channel(id, now, Channel::sync_timed_out),
                Timer::Ack => self.fail_publishes(&errors::ack_timed_out(), now.instant),
                Timer::Replay(id) => self.with_channel(id, now, Channel::replay_timed_out),
            }
        }
    }
}
