//! The passing of time: each deadline goes to the part of the client that set it.

use super::Client;
use crate::{Channel, Now, Timer, connection::Connection, errors};

impl Client {
    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.shared.timers.expire(now.instant) {
            match timer {
                Timer::Connect => self.drive(now, Connection::connect_timed_out),
                Timer::Token(id) => {
                    self.drive(now, |connection, cx| connection.token_timed_out(id, cx));
                }
                Timer::Auth => self.drive(now, Connection::auth_timed_out),
                Timer::Retry => self.drive(now, Connection::retry),
                Timer::Suspend => self.drive(now, Connection::state_ttl_passed),
                Timer::Idle => self.drive(now, Connection::check_idle),
                Timer::Close => self.drive(now, Connection::close_timed_out),
                Timer::Ping(op) => self.pings.timed_out(op, &mut self.shared.cx(now)),
                Timer::Attach(id) => self.with_channel(id, now, Channel::attach_timed_out),
                Timer::Detach(id) => self.with_channel(id, now, Channel::detach_timed_out),
                Timer::Reattach(id) => self.with_channel(id, now, Channel::reattach),
                Timer::Sync(id) => self.with_channel(id, now, Channel::sync_timed_out),
                Timer::ObjectsSync(id) => {
                    self.with_channel(id, now, Channel::objects_sync_timed_out);
                }
                Timer::CollectObjects(id) => self.with_channel(id, now, Channel::collect_objects),
                Timer::Ack => self.fail_publishes(&errors::ack_timed_out(), now),
                Timer::Replay(id) => self.with_channel(id, now, Channel::replay_timed_out),
            }
        }
    }
}
