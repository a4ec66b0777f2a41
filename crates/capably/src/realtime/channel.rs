//! The handle of a channel (RTL).

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use capably_core::{Channel as CoreChannel, ChannelId};
use capably_protocol::{ChannelMode, Data, ErrorCode, ErrorInfo, Message, Str, frame::Params};

mod collection;
mod derive;
mod history;
mod options;
mod properties;

pub use collection::Channels;
pub use derive::DeriveOptions;
pub use options::RealtimeChannelOptions;
pub use properties::ChannelProperties;

use super::{
    Changes, ChannelState, ChannelStateChange, MessagePublish, Subscribe,
    changes::ChangeSender,
    driver::{Command, DriverHandle, Reply, gone},
    objects::ObjectsShared,
};
use crate::{
    Error, Rest, Result,
    http::BoxFuture,
    rest::{self, RestChannel},
    sync::lock,
};

/// A channel of a [`Realtime`](crate::Realtime) client (RTL): a handle, cheap to clone.
///
/// The futures and builders that its methods return borrow nothing, so they can be spawned, stored or joined.
#[derive(Clone, Debug)]
pub struct Channel {
    pub(crate) handle: DriverHandle,
    pub(crate) shared: Arc<ChannelShared>,
    rest: Rest,
}

/// The state of a channel that its handles read and the driver writes.
#[derive(Debug)]
pub(crate) struct ChannelShared {
    pub(crate) id: ChannelId,
    pub(crate) name: Str,
    pub(super) options: Mutex<Arc<RealtimeChannelOptions>>,
    /// The agent of the wrapper SDK that made the channel (WP7).
    pub(super) agent: Option<String>,
    snapshot: Mutex<ChannelSnapshot>,
    presence_synced: AtomicBool,
    changes: ChangeSender<ChannelStateChange>,
    /// Boxed, as most channels have no objects.
    objects: OnceLock<Box<ObjectsShared>>,
}

#[derive(Clone, Debug)]
struct ChannelSnapshot {
    /// Whether the channel was released or its client has ended. The snapshot then stays as it is.
    ended: bool,
    state: ChannelState,
    error_reason: Option<Error>,
    modes: Vec<ChannelMode>,
    params: Params,
    attach_serial: Option<Str>,
}

impl ChannelSnapshot {
    fn new(channel: &CoreChannel, state: ChannelState) -> Self {
        Self {
            ended: false,
            state,
            error_reason: channel.error_reason().cloned().map(Error::from),
            modes: channel.modes().to_vec(),
            params: channel.params().clone(),
            attach_serial: channel.attach_serial().cloned(),
        }
    }
}

impl ChannelShared {
    pub(crate) fn new(
        id: ChannelId,
        name: Str,
        options: RealtimeChannelOptions,
        agent: Option<String>,
    ) -> Self {
        Self {
            id,
            name,
            options: Mutex::new(Arc::new(options)),
            agent,
            snapshot: Mutex::new(ChannelSnapshot {
                ended: false,
                state: ChannelState::Initialized,
                error_reason: None,
                modes: Vec::new(),
                params: Params::new(),
                attach_serial: None,
            }),
            presence_synced: AtomicBool::new(false),
            changes: ChangeSender::new(),
            objects: OnceLock::new(),
        }
    }

    /// Updates the snapshot, then notifies every listener: a listener that reads the state sees the new one.
    pub(crate) fn changed(&self, channel: &CoreChannel, change: &ChannelStateChange) {
        self.update(ChannelSnapshot::new(channel, change.current));
        self.changes.send(change);
    }

    /// Updates the snapshot of an attached channel.
    pub(crate) fn granted(&self, channel: &CoreChannel) {
        self.update(ChannelSnapshot::new(channel, ChannelState::Attached));
    }

    fn update(&self, new: ChannelSnapshot) {
        let mut snapshot = lock(&self.snapshot);
        if !snapshot.ended {
            *snapshot = new;
        }
    }

    /// The current options.
    pub(crate) fn options(&self) -> Arc<RealtimeChannelOptions> {
        Arc::clone(&lock(&self.options))
    }

    /// The serial at which the attachment started, while the channel is attached.
    pub(super) fn attachment(&self) -> Option<Str> {
        let snapshot = lock(&self.snapshot);
        let attached = snapshot.state == ChannelState::Attached;
        snapshot.attach_serial.clone().filter(|_| attached)
    }

    /// Whether the presence sync is complete.
    pub(crate) fn is_presence_synced(&self) -> bool {
        self.presence_synced.load(Ordering::Acquire)
    }

    /// The presence sync is complete, or a new one has started.
    pub(crate) fn presence_synced(&self, synced: bool) {
        self.presence_synced.store(synced, Ordering::Release);
    }

    /// The subscribers of the channel's objects. From the first call on the driver informs them.
    pub(super) fn objects(&self) -> &ObjectsShared {
        self.objects.get_or_init(|| Box::new(ObjectsShared::new()))
    }

    /// The subscribers of the channel's objects, if there were any.
    pub(super) fn objects_if_used(&self) -> Option<&ObjectsShared> {
        self.objects.get().map(|objects| &**objects)
    }

    /// What decides whether a call on objects is allowed: the state, the granted modes and the last error.
    pub(super) fn objects_state(&self) -> (ChannelState, Vec<ChannelMode>, Option<ErrorInfo>) {
        let ChannelSnapshot { state, modes, error_reason, .. } = &*lock(&self.snapshot);
        (*state, modes.clone(), error_reason.as_ref().map(|error| error.info().clone()))
    }

    /// The channel was released, or the client has ended.
    pub(crate) fn end(&self) {
        let mut snapshot = lock(&self.snapshot);
        snapshot.ended = true;
        if !matches!(snapshot.state, ChannelState::Initialized | ChannelState::Failed) {
            snapshot.state = ChannelState::Detached;
        }
        drop(snapshot);
        self.presence_synced(false);
        self.changes.end();
        if let Some(objects) = self.objects_if_used() {
            objects.end();
        }
    }
}

impl Channel {
    pub(crate) fn new(handle: DriverHandle, shared: Arc<ChannelShared>, rest: Rest) -> Self {
        Self { handle, shared, rest }
    }

    /// The REST client of the channel's client.
    pub(super) fn rest(&self) -> &Rest {
        &self.rest
    }

    /// The same channel over REST.
    pub(crate) fn rest_channel(&self) -> RestChannel {
        let options = rest::ChannelOptions { cipher: self.shared.options().cipher.clone() };
        self.rest.channels().detached(self.shared.name.clone(), options)
    }

    /// Sends a command to the driver when awaited, and waits for the reply.
    fn ask(
        &self,
        command: impl FnOnce(Reply<()>) -> Command + Send + 'static,
    ) -> BoxFuture<'static, Result<()>> {
        let handle = self.handle.clone();
        Box::pin(async move { handle.ask(command).await })
    }

    /// The name (RTL23).
    pub fn name(&self) -> &Str {
        &self.shared.name
    }

    /// Attaches the channel when awaited, so that messages arrive (RTL4). While connecting or disconnected, it first
    /// waits for the connection. Returns at once if the channel is attached.
    ///
    /// # Errors
    /// The service's reason, such as 40160 without the right to attach; 90007 without a reply within the realtime
    /// request timeout, or within the [time limit](super::Realtime#time-limits) of a connection that is lost again and
    /// again; 80000, 80002 or 80017 in a connection state that cannot wait for a connection (RTL4b); 50003 when the
    /// client stays unconnected for the connectionStateTtl.
    pub fn attach(&self) -> BoxFuture<'static, Result<()>> {
        let channel = self.clone();
        Box::pin(async move {
            if channel.state() != ChannelState::Attached {
                channel.handle.check_may_wait()?;
            }
            channel.handle.ask(|reply| Command::Attach(channel.shared.id, reply)).await
        })
    }

    /// Detaches the channel when awaited (RTL5). Subscriptions stay registered, and receive messages once the channel
    /// is attached again.
    ///
    /// # Errors
    /// 90001 if the channel has failed (RTL5b); 90007 without a reply within the realtime request timeout, or within the
    /// [time limit](super::Realtime#time-limits) of a connection that is lost again and again; the channel is then
    /// still attached, or attaches with the next connection (RTL5f).
    pub fn detach(&self) -> BoxFuture<'static, Result<()>> {
        let id = self.shared.id;
        self.ask(move |reply| Command::Detach(id, reply))
    }

    /// Publishes a message with a name and a payload when awaited; see [`MessagePublish`] (RTL6i1).
    pub fn publish(&self, name: impl Into<Str>, data: impl Into<Data>) -> MessagePublish {
        self.publish_message(Message::new(name, data))
    }

    /// Publishes a payload without a name when awaited (RTL6i1).
    pub fn publish_data(&self, data: impl Into<Data>) -> MessagePublish {
        self.publish_message(Message::unnamed(data))
    }

    /// Publishes a message when awaited (RTL6i1).
    pub fn publish_message(&self, message: Message) -> MessagePublish {
        MessagePublish::new(self, self.handle.shared.spare.share(message))
    }

    /// Publishes several messages in one frame when awaited: all of them or none (RTL6i2).
    pub fn publish_messages(&self, messages: impl Into<Vec<Message>>) -> MessagePublish {
        MessagePublish::new(self, messages.into())
    }

    /// Subscribes to messages when awaited; the channel is then attached (RTL7).
    pub fn subscribe(&self) -> Subscribe {
        Subscribe::new(self)
    }

    /// The state (RTL2b).
    pub fn state(&self) -> ChannelState {
        lock(&self.shared.snapshot).state
    }

    /// The last error (RTL24).
    pub fn error_reason(&self) -> Option<Error> {
        lock(&self.shared.snapshot).error_reason.clone()
    }

    /// The modes the service granted (RTL4m).
    pub fn modes(&self) -> Vec<ChannelMode> {
        lock(&self.shared.snapshot).modes.clone()
    }

    /// The parameters the service recognised (RTL4k1).
    pub fn params(&self) -> Params {
        lock(&self.shared.snapshot).params.clone()
    }

    /// Waits for a state when awaited (RTL25). Returns `None` at once in that state (RTL25a), otherwise the change
    /// that led to it (RTL25b).
    ///
    /// The wait ends with an error when the channel is detached, has failed or was released, because the state then
    /// stays until the next [`attach`](Self::attach). In other states the wait has no time limit: for one, use
    /// `tokio::time::timeout`.
    ///
    /// # Errors
    /// The reason why the channel has failed; 90001 when it is detached or was released; 80017 when the client has
    /// ended; 40170 for ATTACHED in the auth callback that provides the token for the connection.
    pub fn when(
        &self,
        state: ChannelState,
    ) -> BoxFuture<'static, Result<Option<ChannelStateChange>>> {
        let channel = self.clone();
        Box::pin(async move { channel.wait_for(state).await })
    }

    async fn wait_for(&self, state: ChannelState) -> Result<Option<ChannelStateChange>> {
        let mut changes = self.changes();
        if self.state() == state {
            return Ok(None);
        }
        if state == ChannelState::Attached {
            self.handle.check_may_wait()?;
        }
        if self.ended().is_some() {
            // An earlier `attach` may still be in the queue of commands.
            self.handle.settled().await;
            if let Some(reason) = self.ended().filter(|_| self.state() != state) {
                return Err(reason);
            }
        }
        while let Some(change) = changes.next().await {
            if change.current == state {
                return Ok(Some(change));
            }
            if is_final(change.current) {
                return Err(change.reason.map_or_else(detached, Error::from));
            }
        }
        Err(if self.handle.is_gone() { gone() } else { released() })
    }

    /// The reason why the state stays as it is, in a final state.
    fn ended(&self) -> Option<Error> {
        let snapshot = lock(&self.shared.snapshot).clone();
        match snapshot.state {
            ChannelState::Detached => Some(detached()),
            ChannelState::Failed => Some(snapshot.error_reason.unwrap_or_else(detached)),
            ChannelState::Initialized
            | ChannelState::Attaching
            | ChannelState::Attached
            | ChannelState::Detaching
            | ChannelState::Suspended => None,
        }
    }

    /// A stream of all changes from this moment, in order (RTL2).
    pub fn changes(&self) -> Changes<ChannelStateChange> {
        self.shared.changes.listen(&self.handle.runtime)
    }
}

fn released() -> Error {
    let code = ErrorCode::CHANNEL_OPERATION_FAILED_INVALID_CHANNEL_STATE;
    Error::new(code, 400, "the channel was released")
}

/// Whether the state stays until the program attaches the channel.
fn is_final(state: ChannelState) -> bool {
    matches!(state, ChannelState::Detached | ChannelState::Failed)
}

fn detached() -> Error {
    let code = ErrorCode::CHANNEL_OPERATION_FAILED_INVALID_CHANNEL_STATE;
    Error::new(code, 400, "the channel is detached")
        .with_remedy("call `attach` before you wait for a state")
}
