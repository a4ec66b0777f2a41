//! Commands that handles send to the driver.

use std::{sync::Arc, time::Duration};

use capably_core::{ChannelId, ChannelOptions, MembersQuery, SharedObjects};
use capably_protocol::{
    Annotation, ErrorInfo, Message, ObjectMessage, PresenceMessage, PublishResult, RecoveryKey,
    Str, TokenDetails, TokenParams, frame::Params,
};
use tokio::sync::oneshot;

use crate::{
    Result,
    auth::AuthOptions,
    realtime::{
        ChannelProperties,
        channel::ChannelShared,
        publishing::ReceiptId,
        subscribing::{AnySubscriber, SubscriberId},
    },
};

/// The sender for the result of a command.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, ErrorInfo>>;

/// A command from a handle.
#[derive(Debug)]
pub(crate) enum Command {
    Connect,
    /// The driver replies once the connection is not closing any more.
    Close(oneshot::Sender<()>),
    /// The driver replies once the effects of all earlier commands are visible.
    Settle(oneshot::Sender<()>),
    Ping(Reply<Duration>),
    RecoveryKey(oneshot::Sender<Option<RecoveryKey>>),
    Authorize(Box<AuthorizeCommand>),
    /// The network became available (`true`) or was lost (RTN20).
    Network(bool),
    Open {
        channel: Arc<ChannelShared>,
        options: Box<ChannelOptions>,
    },
    Release(ChannelId),
    Attach(ChannelId, Reply<()>),
    Detach(ChannelId, Reply<()>),
    SetOptions(ChannelId, Box<ChannelOptions>, Reply<()>),
    Properties(ChannelId, oneshot::Sender<ChannelProperties>),
    Publish(PublishCommand),
    PublishStored(Box<StoredPublish>),
    Annotate {
        channel: ChannelId,
        annotation: Box<Annotation>,
        /// The units that the publish reserves in the [`PublishWindow`](crate::realtime::publishing::PublishWindow).
        permits: u32,
        reply: Reply<PublishResult>,
    },
    AwaitObjects {
        channel: ChannelId,
        reply: Reply<SharedObjects>,
    },
    /// Publish operations on objects in one frame.
    PublishObjects {
        channel: ChannelId,
        messages: Arc<[ObjectMessage]>,
        /// The units that the publish reserves in the window.
        permits: u32,
        reply: Reply<PublishResult>,
    },
    Presence {
        channel: ChannelId,
        message: Box<PresenceMessage>,
        reply: Reply<()>,
    },
    Members {
        channel: ChannelId,
        query: Box<MembersQuery>,
        reply: Reply<Vec<PresenceMessage>>,
    },
    Subscribe {
        channel: ChannelId,
        subscriber: Box<AnySubscriber>,
        /// Whether to attach the channel.
        attach: bool,
        reply: Reply<()>,
    },
    Unsubscribe {
        channel: ChannelId,
        subscriber: SubscriberId,
    },
}

/// Get a new token, and use it on the connection (RTC8).
#[derive(Debug)]
pub(crate) struct AuthorizeCommand {
    pub(crate) params: Option<TokenParams>,
    pub(crate) options: Option<AuthOptions>,
    pub(crate) reply: oneshot::Sender<Result<TokenDetails>>,
}

/// Publish messages in one frame.
#[derive(Debug)]
pub(crate) struct PublishCommand {
    pub(crate) channel: ChannelId,
    pub(crate) messages: Arc<[Message]>,
    pub(crate) params: Params,
    /// The place of the result in the [`ReceiptTable`](crate::realtime::publishing::ReceiptTable).
    pub(crate) receipt: ReceiptId,
}

/// Publish messages that an outbox stores, in one frame to a channel that need not be open.
#[derive(Debug)]
pub(crate) struct StoredPublish {
    pub(crate) channel: Str,
    pub(crate) messages: Arc<[Message]>,
    pub(crate) params: Params,
    /// The session that the publish is for. In another one it fails with 80003: publishes before it may have failed in
    /// between, and would be overtaken.
    pub(crate) session: u64,
    /// How long the frame may be sent again on another connection.
    pub(crate) resend_for: Duration,
    pub(crate) reply: Reply<PublishResult>,
}
