//! What the operating system says of the network (RTN20).

use super::{State, attempt::Phase};
use crate::{Client, Now, Output, errors};

impl Client {
    /// There is no network any more (RTN20a).
    pub fn network_lost(&mut self, now: Now) {
        let now = now.instant;
        match self.shared.connection.state {
            State::Connected { transport } => {
                self.push(Output::Shut { transport });
                self.connection_lost(errors::network_lost(), now);
            }
            // A token that the user asked for may come from elsewhere.
            State::Connecting(Phase::Authorizing) => {}
            State::Connecting(_) => {
                self.halt_attempt();
                self.attempt_failed(errors::network_lost(), now);
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
    pub fn network_available(&mut self, now: Now) {
        let now = now.instant;
        match self.shared.connection.state {
            State::Disconnected | State::Suspended => self.start_connecting(now),
            State::Connecting(Phase::Authorizing) => {}
            State::Connecting(_) => {
                self.halt_attempt();
                self.start_connecting(now);
            }
            State::Initialized
            | State::Connected { .. }
            | State::Closing(_)
            | State::Closed
            | State::Failed => {}
        }
    }
}
