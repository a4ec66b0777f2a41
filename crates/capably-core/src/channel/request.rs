//! Requests to attach and detach: a request joins the same one under way, and waits for the opposite (RTL4, RTL5).

use std::mem;

use capably_protocol::{ClientFrame, ErrorInfo, Flags, frame::Attach};

use super::{Channel, State};
use crate::{ChannelState, ConnectionState, OpId, Timer, context::Cx, errors};

/// A request of the application, with the operation that ends when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Attach(OpId),
    Detach(OpId),
    /// Attach with other options (RTL16a).
    Reattach(OpId),
}

impl Request {
    pub(crate) fn op(self) -> OpId {
        match self {
            Self::Attach(op) | Self::Detach(op) | Self::Reattach(op) => op,
        }
    }
}

impl Channel {
    /// Starts a request, or appends it to those that wait for the one under way.
    pub(crate) fn request(&mut self, request: Request, cx: &mut Cx<'_>) {
        if self.waiting.is_empty() {
            self.start(request, cx);
        } else {
            self.waiting.push_back(request);
        }
    }

    fn start(&mut self, request: Request, cx: &mut Cx<'_>) {
        let is_connected = cx.is_connected();
        match (request, self.state) {
            (Request::Attach(op), State::Attached) => self.request_done(op, Ok(()), cx),
            (Request::Attach(op), State::Attaching { .. })
            | (Request::Detach(op), State::Detaching { .. }) => self.ops.push(op),
            // Without a connection no attach is under way at the service (RTL5l).
            (Request::Detach(op), State::Attaching { .. }) if !is_connected => {
                let attaching = mem::take(&mut self.ops);
                self.give_up(cx);
                self.enter(State::Detached, None, cx);
                for attach in attaching {
                    self.request_done(attach, Err(errors::detached()), cx);
                }
                self.request_done(op, Ok(()), cx);
            }
            // The ATTACH that is to be sent will have the new options.
            (Request::Reattach(op), State::Attaching { .. }) if !is_connected => self.ops.push(op),
            (Request::Attach(_), State::Detaching { .. })
            | (Request::Detach(_) | Request::Reattach(_), State::Attaching { .. }) => {
                self.waiting.push_back(request);
            }
            // The answers of two requests could not be told apart.
            (Request::Detach(_) | Request::Reattach(_), State::Attached)
                if self.is_replaying() && is_connected =>
            {
                self.waiting.push_back(request);
                self.stop_replay(cx);
            }
            (Request::Reattach(op), State::Attached) => {
                self.ops.push(op);
                self.begin_attach(None, cx);
            }
            // The request it waited for left the channel without an attachment.
            (
                Request::Reattach(op),
                State::Initialized
                | State::Detaching { .. }
                | State::Detached
                | State::Suspended
                | State::Failed,
            ) => {
                let error = errors::channel_state(self.state(), self.error_reason.as_ref());
                self.request_done(op, Err(error), cx);
            }
            (
                Request::Attach(op),
                State::Initialized | State::Detached | State::Suspended | State::Failed,
            ) => match self.attach_implicitly(cx) {
                Ok(()) => self.ops.push(op),
                Err(error) => self.request_done(op, Err(error), cx),
            },
            (Request::Detach(op), State::Initialized | State::Detached) => {
                self.request_done(op, Ok(()), cx);
            }
            (Request::Detach(op), State::Failed) => {
                let reason = self.error_reason.as_ref();
                let error = errors::channel_state(ChannelState::Failed, reason);
                self.request_done(op, Err(error), cx);
            }
            (Request::Detach(op), State::Attached) if is_connected => {
                self.ops.push(op);
                self.begin_detach(true, cx);
            }
            (Request::Detach(op), State::Attached | State::Suspended) => {
                self.give_up(cx);
                self.enter(State::Detached, None, cx);
                self.request_done(op, Ok(()), cx);
            }
        }
    }

    /// Attaches a channel that is neither attached nor about to be, if the connection's state allows
    /// (RTL4b).
    pub(crate) fn attach_implicitly(&mut self, cx: &mut Cx<'_>) -> Result<(), ErrorInfo> {
        let state = cx.connection.state();
        match state {
            ConnectionState::Initialized
            | ConnectionState::Connecting
            | ConnectionState::Connected
            | ConnectionState::Disconnected => {
                self.error_reason = None;
                self.begin_attach(None, cx);
                Ok(())
            }
            ConnectionState::Suspended
            | ConnectionState::Closing
            | ConnectionState::Closed
            | ConnectionState::Failed => {
                Err(errors::connection_state(state, cx.connection.error_reason.as_ref()))
            }
        }
    }

    /// Ends the operations of the request under way, then starts requests that wait.
    pub(super) fn settle(&mut self, outcome: Result<(), ErrorInfo>, cx: &mut Cx<'_>) {
        for op in mem::take(&mut self.ops) {
            self.request_done(op, outcome.clone(), cx);
        }
        self.start_waiting(cx);
    }

    /// Starts requests that wait, until one is under way.
    pub(super) fn start_waiting(&mut self, cx: &mut Cx<'_>) {
        while !matches!(self.state, State::Attaching { .. } | State::Detaching { .. })
            && !self.is_replaying()
            && let Some(request) = self.waiting.pop_front()
        {
            self.start(request, cx);
        }
        // Requests for what is now under way join it, as they would if they were made now.
        while let (Some(Request::Attach(op) | Request::Reattach(op)), State::Attaching { .. })
        | (Some(Request::Detach(op)), State::Detaching { .. }) =
            (self.waiting.front(), self.state)
        {
            self.ops.push(*op);
            self.waiting.pop_front();
        }
    }

    /// Enters ATTACHING, and sends ATTACH if there is a connection; else ATTACH is sent once there is
    /// (RTL4i).
    pub(super) fn begin_attach(&mut self, reason: Option<ErrorInfo>, cx: &mut Cx<'_>) {
        self.enter(State::Attaching { since: cx.now.instant }, reason, cx);
        cx.limit_wait();
        self.send_attach(cx);
    }

    pub(super) fn send_attach(&mut self, cx: &mut Cx<'_>) {
        if !cx.is_connected() || cx.detaches.is_owed(&self.name) {
            return;
        }
        self.asked_to_continue();
        cx.await_answer(Timer::Attach(self.id));
        cx.send(ClientFrame::Attach(self.attach()));
    }

    /// The ATTACH that continues after the channel's position.
    pub(super) fn attach(&self) -> Attach {
        Attach {
            channel: self.name.clone(),
            channel_serial: self.channel_serial.clone(),
            flags: self.options.modes.iter().copied().collect::<Flags>(),
            params: self.options.to_params(),
        }
    }

    /// Enters DETACHING, and sends DETACH (RTL5d).
    pub(super) fn begin_detach(&mut self, from_attached: bool, cx: &mut Cx<'_>) {
        self.enter(State::Detaching { from_attached, since: cx.now.instant }, None, cx);
        self.await_detached(cx);
        self.send_detach(cx);
    }

    pub(super) fn await_detached(&mut self, cx: &mut Cx<'_>) {
        cx.await_answer(Timer::Detach(self.id));
    }

    pub(super) fn send_detach(&self, cx: &mut Cx<'_>) {
        cx.send(ClientFrame::Detach { channel: self.name.clone() });
    }

    /// The DETACH that was owed for an earlier attachment has been sent: ATTACH can follow.
    pub(crate) fn attach_after_detach(&mut self, cx: &mut Cx<'_>) {
        if matches!(self.state, State::Attaching { .. }) {
            self.send_attach(cx);
        }
    }

    /// Gives the attachment up without waiting for DETACHED: the channel is released (RTS4a), suspended (RTL5j) or without a
    /// connection (RTL5l). In the last two cases the service need only know of it if it may have members of the client, which
    /// would stay for a client that comes back.
    pub(crate) fn give_up(&self, cx: &mut Cx<'_>) {
        let may_have_members = self.presence.may_have_members();
        let is_sent = match self.state {
            State::Detached | State::Failed => return,
            State::Attaching { .. } | State::Attached => cx.is_connected(),
            State::Initialized | State::Suspended => cx.is_connected() && may_have_members,
            // DETACH has been sent.
            State::Detaching { .. } if cx.is_connected() => {
                return cx.detaches.sent(self.name.clone(), may_have_members, cx.now.instant);
            }
            State::Detaching { .. } => false,
        };
        if is_sent {
            self.send_detach(cx);
            cx.detaches.sent(self.name.clone(), may_have_members, cx.now.instant);
        } else if may_have_members && !cx.is_connected() {
            cx.detaches.owe(self.name.clone());
        }
    }
}
