//! Where a channel stands in its stream of messages (RTL15).

use capably_core::Channel as CoreChannel;
use capably_protocol::Str;
use tokio::sync::oneshot;

use crate::realtime::{Channel, driver::Command};

/// Where a channel stands in its stream of messages (CP1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ChannelProperties {
    /// Where the current attachment started: it moves when continuity is lost (CP2a, RTL15c).
    pub attach_serial: Option<Str>,
    /// The position after what was received last; none without an attachment (CP2b, RTL15b, RTL15b2).
    pub channel_serial: Option<Str>,
}

impl ChannelProperties {
    pub(crate) fn new(channel: &CoreChannel) -> Self {
        Self {
            attach_serial: channel.attach_serial().cloned(),
            channel_serial: channel.channel_serial().cloned(),
        }
    }
}

impl Channel {
    /// Where the channel stands in its stream of messages, after all that has arrived by now (RTL15). The
    /// specification calls this experimental. Empty once the channel was released or the client has ended.
    pub async fn properties(&self) -> ChannelProperties {
        let (reply, answer) = oneshot::channel();
        self.handle.send(Command::Properties(self.shared.id, reply));
        answer.await.unwrap_or_default()
    }
}
