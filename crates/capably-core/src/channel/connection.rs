//! The channel follows the connection's state (RTL3).

use capably_protocol::ErrorInfo;

use super::{Channel, State};
use crate::{context::Cx, errors};

impl Channel {
    /// The connection is established: a channel that should be attached sends ATTACH (RTL3d). A detach under way is sent
    /// again later, by [`detach_again`](Self::detach_again).
    pub(crate) fn connected(&mut self, cx: &mut Cx<'_>) {
        if let Some(reason) = &cx.connection.error_reason {
            self.not_continued(reason);
        }
        match self.state {
            State::Attaching { .. } => self.send_attach(cx),
            State::Attached | State::Suspended => self.begin_attach(None, cx),
            State::Detaching { .. } => self.await_detached(cx),
            State::Initialized | State::Detached | State::Failed => {}
        }
    }

    /// The frames without an acknowledgement were sent again. A DETACH under way follows (RTN19b).
    pub(crate) fn detach_again(&self, cx: &mut Cx<'_>) {
        if matches!(self.state, State::Detaching { .. }) {
            self.send_detach(cx);
        }
    }

    /// There is no connection for now. No answer can arrive, so no deadline runs; once there is a connection,
    /// requests under way are sent again (RTL13c, RTN19b).
    pub(crate) fn disconnected(&mut self, cx: &mut Cx<'_>) {
        self.clear_timers(cx);
        self.leave_replay(cx);
        self.start_waiting(cx);
    }

    /// The connection was lost. A request that has been sent for too long fails as if its deadline had passed, which
    /// each loss clears (RTL4f, RTL5f).
    pub(crate) fn connection_lost(&mut self, cx: &mut Cx<'_>) {
        match self.state {
            State::Attaching { since } if cx.is_overdue(since) => self.attach_timed_out(cx),
            State::Detaching { since, .. } if cx.is_overdue(since) => self.detach_timed_out(cx),
            State::Initialized
            | State::Attaching { .. }
            | State::Attached
            | State::Detaching { .. }
            | State::Detached
            | State::Suspended
            | State::Failed => {}
        }
        self.presence.connection_lost(cx);
        if let Some(objects) = &mut self.objects {
            objects.connection_lost(cx);
        }
    }

    /// The connection is suspended (RTL3c).
    pub(crate) fn connection_suspended(&mut self, error: &ErrorInfo, cx: &mut Cx<'_>) {
        self.leave_connection(State::Suspended, Some(error), cx);
    }

    /// The connection is closed (RTL3b).
    pub(crate) fn connection_closed(&mut self, cx: &mut Cx<'_>) {
        self.leave_connection(State::Detached, None, cx);
    }

    /// The connection failed (RTL3a).
    pub(crate) fn connection_failed(&mut self, error: &ErrorInfo, cx: &mut Cx<'_>) {
        self.leave_connection(State::Failed, Some(error), cx);
    }

    fn leave_connection(&mut self, state: State, error: Option<&ErrorInfo>, cx: &mut Cx<'_>) {
        self.clear_timers(cx);
        match self.state {
            State::Attaching { .. } | State::Attached => {
                self.enter(state, error.cloned(), cx);
                self.settle(Err(error.cloned().unwrap_or_else(errors::closed)), cx);
            }
            // Without a connection the channel is not attached at the service: the detach needs no answer
            // (RTL5l).
            State::Detaching { .. } => {
                self.enter(State::Detached, error.cloned(), cx);
                self.settle(Ok(()), cx);
            }
            State::Initialized | State::Detached | State::Suspended | State::Failed => {}
        }
    }

    /// The application connects again after the connection ended (RTN11d).
    pub(crate) fn reinitialize(&mut self, cx: &mut Cx<'_>) {
        self.error_reason = None;
        self.channel_serial = None;
        self.retries = 0;
        self.enter(State::Initialized, None, cx);
    }
}
