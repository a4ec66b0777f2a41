//! The options of a channel, and how they change while the channel is in use (TB, RTL16).

use capably_protocol::{ChannelMode, CipherParams, frame::Params};

use super::{Channel, Request, State};
use crate::{OpId, Outcome, context::Cx};

/// The options of a channel (TB).
#[derive(Clone, Debug, Default)]
pub struct ChannelOptions {
    /// Channel parameters, such as `rewind` (TB2c).
    pub params: Params,
    /// The modes to request; none requests the service's default (TB2d).
    pub modes: Vec<ChannelMode>,
    /// The cipher that decrypts payloads (TB2b).
    pub cipher: Option<CipherParams>,
    /// The product that opened the channel. The ATTACH names it (WP7).
    pub agent: Option<String>,
}

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

impl Channel {
    /// Replaces the options. An attached or attaching channel requests params and modes anew; any other
    /// channel does so when it is attached next (RTL16a).
    pub(crate) fn set_options(&mut self, options: ChannelOptions, op: OpId, cx: &mut Cx<'_>) {
        let requests_any = !options.params.is_empty() || !options.modes.is_empty();
        self.options = options;
        if requests_any && matches!(self.state, State::Attaching { .. } | State::Attached) {
            self.request(Request::Reattach(op), cx);
        } else {
            cx.done(op, Ok(Outcome::Done));
        }
    }
}
