//! The position of a channel in its stream of messages (RTL15).

use capably_core::Channel as CoreChannel;
use capably_protocol::Str;
use tokio::sync::oneshot;

use crate::{
    http::BoxFuture,
    realtime::{Channel, driver::Command},
};

/// The position of a channel in its stream of messages (CP1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ChannelProperties {
    /// The serial at which the current attachment started. It changes when continuity is lost (CP2a, RTL15c).
    pub attach_serial: Option<Str>,
    /// The serial up to which everything was received; `None` without an attachment (CP2b, RTL15b, RTL15b2).
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
    /// The position of the channel in its stream of messages when awaited, including all messages that have arrived
    /// (RTL15). The specification calls this experimental. Empty once the channel was released or the client has
    /// ended.
    pub fn properties(&self) -> BoxFuture<'static, ChannelProperties> {
        let channel = self.clone();
        Box::pin(async move {
            let (reply, properties) = oneshot::channel();
            channel.handle.send(Command::Properties(channel.shared.id, reply));
            properties.await.unwrap_or_default()
        })
    }
}
