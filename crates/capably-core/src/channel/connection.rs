//! What the connection's states do to channels (RTL3).

use capably_protocol::ErrorInfo;

use super::State;
use crate::{ChannelId, Client, Instant, errors};

impl Client {
    /// The connection is there: every channel that should be attached asks for it (RTL3d), and a detach
    /// under way is sent again (RTN19b).
    pub(crate) fn channels_on_connected(&mut self, now: Instant) {
        let reason = self.shared.connection.error_reason.clone();
        for id in self.channel_ids() {
            let Some(channel) = self.channels.get_mut(id) else { continue };
            if let Some(reason) = &reason {
                channel.not_continued(reason);
            }
            match channel.state {
                State::Attaching => self.send_attach(id, now),
                State::Attached | State::Suspended => self.begin_attach(id, None, now),
                State::Detaching { .. } => {
                    self.await_detached(id, now);
                    self.send_detach(id);
                }
                State::Initialized | State::Detached | State::Failed => {}
            }
        }
    }

    /// Without a connection nothing is answered and nothing retried; once there is one, what is under way
    /// is sent again (RTL13c, RTN19b).
    pub(crate) fn pause_channels(&mut self, now: Instant) {
        for id in self.channel_ids() {
            self.clear_channel_timers(id);
            self.leave_replay(id);
            self.start_waiting(id, now);
        }
    }

    /// The connection is suspended (RTL3c). A detach needs no answer any more (RTL5l).
    pub(crate) fn suspend_channels(&mut self, error: &ErrorInfo, now: Instant) {
        for id in self.channel_ids() {
            self.leave_connection(id, State::Suspended, Some(error), now);
        }
    }

    /// The connection is closed (RTL3b).
    pub(crate) fn detach_all_channels(&mut self, now: Instant) {
        for id in self.channel_ids() {
            self.leave_connection(id, State::Detached, None, now);
        }
    }

    /// The connection failed (RTL3a).
    pub(crate) fn fail_channels(&mut self, error: &ErrorInfo, now: Instant) {
        for id in self.channel_ids() {
            self.leave_connection(id, State::Failed, Some(error), now);
        }
    }

    fn leave_connection(
        &mut self,
        id: ChannelId,
        state: State,
        error: Option<&ErrorInfo>,
        now: Instant,
    ) {
        let Some(channel) = self.channels.get(id) else { return };
        let was = channel.state;
        self.clear_channel_timers(id);
        match was {
            State::Attaching | State::Attached => {
                self.enter_channel(id, state, error.cloned());
                let error = error.cloned().unwrap_or_else(errors::closed);
                self.settle(id, Err(error), now);
            }
            State::Detaching { .. } => {
                self.enter_channel(id, State::Detached, error.cloned());
                self.settle(id, Ok(()), now);
            }
            State::Initialized | State::Detached | State::Suspended | State::Failed => {}
        }
    }

    /// The user connects again after the connection ended (RTN11d).
    pub(crate) fn reinitialize_channels(&mut self) {
        for id in self.channel_ids() {
            let Some(channel) = self.channels.get_mut(id) else { continue };
            channel.error_reason = None;
            channel.channel_serial = None;
            channel.retries = 0;
            if channel.state != State::Initialized {
                self.enter_channel(id, State::Initialized, None);
            }
        }
    }
}
