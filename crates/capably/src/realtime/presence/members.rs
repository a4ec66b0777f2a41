//! Getting the present members (RTP11).

use capably_core::MembersQuery;
use capably_protocol::{PresenceMessage, Str};

use crate::{
    Result,
    http::BoxFuture,
    realtime::{Channel, driver::Command},
};

/// A request for the present members. Awaiting it attaches the channel if necessary, waits for the sync, and returns
/// the members, sorted by connection id and client id.
///
/// # Errors
/// 50003 when the service does not complete the sync: no page of it within the realtime request timeout, or no
/// end after twelve times that, or within the [time limit](crate::Realtime#time-limits) of a connection that is lost
/// again and again; 91005 on a suspended channel, unless it does not wait for a sync (RTP11d); 90001 on
/// a channel that has failed (RTL33c), or that is detached before the sync is complete; the reason why the channel is
/// not attached, as [`Channel::attach`] describes. With [`strict_mode`](crate::ClientOptions::strict_mode), 91008 when
/// the channel is attached without the mode `presence_subscribe` (RTP11f1).
#[derive(Debug)]
#[must_use = "nothing is requested until this is awaited"]
pub struct Members {
    channel: Channel,
    query: MembersQuery,
}

impl Members {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, query: MembersQuery::default() }
    }

    /// Whether to wait until the sync is complete; true by default. Without the wait, the result has the members that
    /// are known so far; on a suspended channel, the members that were present when it was suspended (RTP11c1, RTP11d).
    pub fn wait_for_sync(mut self, wait: bool) -> Self {
        self.query.wait_for_sync = wait;
        self
    }

    /// Selects members with this client id (RTP11c2).
    pub fn client_id(mut self, client_id: impl Into<Str>) -> Self {
        self.query.client_id = Some(client_id.into());
        self
    }

    /// Selects members of this connection (RTP11c3).
    pub fn connection_id(mut self, connection_id: impl Into<Str>) -> Self {
        self.query.connection_id = Some(connection_id.into());
        self
    }
}

impl IntoFuture for Members {
    type Output = Result<Vec<PresenceMessage>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { channel, query } = self;
        let id = channel.shared.id;
        Box::pin(async move {
            channel.handle.check_may_wait()?;
            let members = |reply| Command::Members { channel: id, query: Box::new(query), reply };
            channel.handle.ask(members).await
        })
    }
}
