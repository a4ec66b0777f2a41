//! Options that change while the channel lives (RTL16).

use capably_protocol::frame::Params;

use super::{ChannelOptions, Request, State};
use crate::{ChannelId, Client, Now, OpId, Outcome, errors};

impl ChannelOptions {
    /// The parameters of an ATTACH (RTL4k, WP7).
    pub(super) fn to_params(&self) -> Params {
        let mut params = self.params.clone();
        if let Some(agent) = &self.agent {
            params.insert("agent".to_owned(), agent.clone());
        }
        params
    }
}

impl Client {
    /// Replaces what a channel is asked to be (RTL16). Params and modes are asked for anew while the channel
    /// is attached or attaching; else they count from the next attach on (RTL16a). Ends with
    /// [`Outcome::Done`].
    pub fn set_channel_options(
        &mut self,
        id: ChannelId,
        options: ChannelOptions,
        op: OpId,
        now: Now,
    ) {
        let Some(channel) = self.channels.get_mut(id) else {
            return self.done(op, Err(errors::released()));
        };
        let asks = !options.params.is_empty() || !options.modes.is_empty();
        channel.options = options;
        if asks && matches!(channel.state, State::Attaching | State::Attached) {
            self.request(id, Request::Reattach(op), now.instant);
        } else {
            self.done(op, Ok(Outcome::Done));
        }
    }
}
