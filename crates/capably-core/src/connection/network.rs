//! Changes of the network that the operating system reports (RTN20).

use super::{Connection, ConnectionCx, State, attempt::Phase};
use crate::errors;

impl Connection {
    /// There is no network any more (RTN20a).
    pub(crate) fn network_lost(&mut self, cx: &mut ConnectionCx<'_>) {
        match self.state {
            State::Connected { transport } => {
                self.fail_transport(transport, errors::network_lost(), cx);
            }
            // A token that the application requested may come from elsewhere than the network.
            State::Connecting(Phase::Authorizing) => {}
            State::Connecting(_) => {
                self.halt_attempt(cx);
                self.attempt_failed(errors::network_lost(), cx);
            }
            State::Initialized
            | State::Disconnected
            | State::Suspended
            | State::Closing(_)
            | State::Closed
            | State::Failed => {}
        }
    }

    /// There is a network again, or another one (RTN20b, RTN20c).
    pub(crate) fn network_available(&mut self, cx: &mut ConnectionCx<'_>) {
        match self.state {
            State::Disconnected | State::Suspended => self.start_connecting(cx),
            State::Connecting(Phase::Authorizing) => {}
            State::Connecting(_) => self.restart_attempt(cx),
            State::Initialized
            | State::Connected { .. }
            | State::Closing(_)
            | State::Closed
            | State::Failed => {}
        }
    }
}
