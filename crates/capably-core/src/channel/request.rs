//! Attaching and detaching as asked for: what is under way is joined, the opposite waits in line (RTL4, RTL5).

use std::mem;

use capably_protocol::{ClientFrame, ErrorInfo, Flags, frame::Attach};

use super::{Channel, Request, State};
use crate::{ChannelId, ChannelState, Client, ConnectionState, Instant, Now, OpId, Timer, errors};

impl Client {
    /// Attaches a channel (RTL4). Ends with [`Outcome::Done`](crate::Outcome::Done).
    pub fn attach(&mut self, id: ChannelId, op: OpId, now: Now) {
        self.request(id, Request::Attach(op), now.instant);
    }

    /// Detaches a channel (RTL5). Ends with [`Outcome::Done`](crate::Outcome::Done).
    pub fn detach(&mut self, id: ChannelId, op: OpId, now: Now) {
        self.request(id, Request::Detach(op), now.instant);
    }

    pub(super) fn request(&mut self, id: ChannelId, request: Request, now: Instant) {
        let Some(channel) = self.channels.get_mut(id) else {
            return self.done(request.op(), Err(errors::released()));
        };
        if channel.waiting.is_empty() {
            self.start(id, request, now);
        } else {
            channel.waiting.push_back(request);
        }
    }

    /// Does what was asked for, joins what is under way, or waits for it.
    fn start(&mut self, id: ChannelId, request: Request, now: Instant) {
        let connection = self.connection_state();
        let Some(channel) = self.channels.get_mut(id) else { return };
        match (request, channel.state) {
            (Request::Attach(op), State::Attached) => self.request_done(id, op, Ok(()), now),
            (Request::Attach(op), State::Attaching)
            | (Request::Detach(op), State::Detaching { .. }) => channel.ops.push(op),
            // Without a connection no attach is under way at the service (RTL5l).
            (Request::Detach(op), State::Attaching) if connection != ConnectionState::Connected => {
                let attaching = mem::take(&mut channel.ops);
                self.enter_channel(id, State::Detached, None);
                for attach in attaching {
                    self.request_done(id, attach, Err(errors::detached()), now);
                }
                self.request_done(id, op, Ok(()), now);
            }
            // The ATTACH that is to be sent will have the new options.
            (Request::Reattach(op), State::Attaching)
                if connection != ConnectionState::Connected =>
            {
                channel.ops.push(op);
            }
            (Request::Attach(_), State::Detaching { .. })
            | (Request::Detach(_) | Request::Reattach(_), State::Attaching) => {
                channel.waiting.push_back(request);
            }
            // The answers of two requests could not be told apart.
            (Request::Detach(_) | Request::Reattach(_), State::Attached)
                if channel.is_replaying() && connection == ConnectionState::Connected =>
            {
                channel.waiting.push_back(request);
                self.hurry_replay(id, now);
            }
            (Request::Reattach(op), State::Attached) => {
                channel.ops.push(op);
                self.begin_attach(id, None, now);
            }
            // What it waited for left the channel without an attachment.
            (
                Request::Reattach(op),
                State::Initialized
                | State::Detaching { .. }
                | State::Detached
                | State::Suspended
                | State::Failed,
            ) => {
                let error = errors::channel_state(channel.state(), channel.error_reason.as_ref());
                self.request_done(id, op, Err(error), now);
            }
            (
                Request::Attach(op),
                State::Initialized | State::Detached | State::Suspended | State::Failed,
            ) => match self.attach_implicitly(id, now) {
                Ok(()) => {
                    if let Some(channel) = self.channels.get_mut(id) {
                        channel.ops.push(op);
                    }
                }
                Err(error) => self.request_done(id, op, Err(error), now),
            },
            (Request::Detach(op), State::Initialized | State::Detached) => {
                self.request_done(id, op, Ok(()), now);
            }
            (Request::Detach(op), State::Failed) => {
                let reason = channel.error_reason.as_ref();
                let error = errors::channel_state(ChannelState::Failed, reason);
                self.request_done(id, op, Err(error), now);
            }
            (Request::Detach(op), State::Suspended) => {
                self.enter_channel(id, State::Detached, None);
                self.request_done(id, op, Ok(()), now);
            }
            (Request::Detach(op), State::Attached) => {
                if connection == ConnectionState::Connected {
                    channel.ops.push(op);
                    self.begin_detach(id, true, now);
                } else {
                    self.enter_channel(id, State::Detached, None);
                    self.request_done(id, op, Ok(()), now);
                }
            }
        }
    }

    /// Attaches a channel that is neither attached nor about to be, if the connection's state allows
    /// (RTL4b).
    pub(crate) fn attach_implicitly(
        &mut self,
        id: ChannelId,
        now: Instant,
    ) -> Result<(), ErrorInfo> {
        let connection = self.connection_state();
        match connection {
            ConnectionState::Initialized
            | ConnectionState::Connecting
            | ConnectionState::Connected
            | ConnectionState::Disconnected => {
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.error_reason = None;
                }
                self.begin_attach(id, None, now);
                Ok(())
            }
            ConnectionState::Suspended
            | ConnectionState::Closing
            | ConnectionState::Closed
            | ConnectionState::Failed => {
                Err(errors::connection_state(connection, self.error_reason()))
            }
        }
    }

    /// Goes on with what waits, once nothing is under way.
    pub(super) fn start_waiting(&mut self, id: ChannelId, now: Instant) {
        while let Some(channel) = self.channels.get_mut(id)
            && !matches!(channel.state, State::Attaching | State::Detaching { .. })
            && !channel.is_replaying()
            && let Some(request) = channel.waiting.pop_front()
        {
            self.start(id, request, now);
        }
        // What joins the attach or detach just started waits no longer.
        while let Some(channel) = self.channels.get_mut(id)
            && matches!(
                (channel.waiting.front(), channel.state),
                (Some(Request::Attach(_) | Request::Reattach(_)), State::Attaching)
                    | (Some(Request::Detach(_)), State::Detaching { .. })
            )
            && let Some(request) = channel.waiting.pop_front()
        {
            channel.ops.push(request.op());
        }
    }

    /// Ends the operations under way, then goes on with what waits.
    pub(super) fn settle(&mut self, id: ChannelId, outcome: Result<(), ErrorInfo>, now: Instant) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        for op in mem::take(&mut channel.ops) {
            self.request_done(id, op, outcome.clone(), now);
        }
        self.start_waiting(id, now);
    }

    /// Enters ATTACHING, and sends ATTACH if there is a connection; else it is sent once there is
    /// (RTL4i).
    pub(super) fn begin_attach(&mut self, id: ChannelId, reason: Option<ErrorInfo>, now: Instant) {
        self.enter_channel(id, State::Attaching, reason);
        self.shared.cx(Now::at(now, 0)).limit_wait();
        self.send_attach(id, now);
    }

    pub(super) fn send_attach(&mut self, id: ChannelId, now: Instant) {
        if self.connection_state() != ConnectionState::Connected {
            return;
        }
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.asked_to_continue();
        let frame = ClientFrame::Attach(channel.attach());
        self.shared
            .timers
            .set(Timer::Attach(id), now + self.shared.config.realtime_request_timeout);
        self.send(frame);
    }

    /// Enters DETACHING, and sends DETACH (RTL5d).
    pub(super) fn begin_detach(&mut self, id: ChannelId, from_attached: bool, now: Instant) {
        self.enter_channel(id, State::Detaching { from_attached }, None);
        self.await_detached(id, now);
        self.send_detach(id);
    }

    pub(super) fn await_detached(&mut self, id: ChannelId, now: Instant) {
        self.shared
            .timers
            .set(Timer::Detach(id), now + self.shared.config.realtime_request_timeout);
    }

    pub(super) fn send_detach(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get(id) {
            let frame = ClientFrame::Detach { channel: channel.name.clone() };
            self.send(frame);
        }
    }
}

impl Channel {
    /// The ATTACH that continues after the channel's position.
    pub(super) fn attach(&self) -> Attach {
        Attach {
            channel: self.name.clone(),
            channel_serial: self.channel_serial.clone(),
            flags: self.options.modes.iter().copied().collect::<Flags>(),
            params: self.options.to_params(),
        }
    }
}
