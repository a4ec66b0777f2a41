//! A channel's handle (RTL).

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use capably_core::{Channel as CoreChannel, ChannelId};
use capably_protocol::{ChannelMode, Data, ErrorCode, Message, Str, frame::Params};

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
};
use crate::{
    Error, Rest, Result,
    http::BoxFuture,
    rest::{self, RestChannel},
    sync::lock,
};

/// A channel of a [`Realtime`](crate::Realtime) client (RTL): a handle, cheap to clone.
///
/// What its methods return borrows nothing of it, and can be spawned, stored or joined.
#[derive(Clone, Debug)]
pub struct Channel {
    pub(crate) handle: DriverHandle,
    pub(crate) shared: Arc<ChannelShared>,
    rest: Rest,
}

/// What the handles of a channel and the driver share.
#[derive(Debug)]
pub(crate) struct ChannelShared {
    pub(crate) id: ChannelId,
    pub(crate) name: Str,
    pub(super) options: Mutex<Arc<RealtimeChannelOptions>>,
    /// The product that made the channel (WP7).
    pub(super) agent: Option<String>,
    snapshot: Mutex<ChannelSnapshot>,
    presence_synced: AtomicBool,
    changes: ChangeSender<ChannelStateChange>,
}

#[derive(Clone, Debug)]
struct ChannelSnapshot {
    /// Released, or without a client: it changes no more.
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
        }
    }

    /// Updates the snapshot, then tells every listener.
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

    /// The options there are now.
    pub(crate) fn options(&self) -> Arc<RealtimeChannelOptions> {
        Arc::clone(&lock(&self.options))
    }

    /// Where the attachment started, while there is one.
    pub(super) fn attachment(&self) -> Option<Str> {
        let snapshot = lock(&self.snapshot);
        let attached = snapshot.state == ChannelState::Attached;
        snapshot.attach_serial.clone().filter(|_| attached)
    }

    /// Whether it is known who is present.
    pub(crate) fn is_presence_synced(&self) -> bool {
        self.presence_synced.load(Ordering::Acquire)
    }

    /// It has become known who is present, or is to be learnt anew.
    pub(crate) fn presence_synced(&self, synced: bool) {
        self.presence_synced.store(synced, Ordering::Release);
    }

    /// The channel was released, or the client has ended: it is not attached any more, and will not change.
    pub(crate) fn end(&self) {
        let mut snapshot = lock(&self.snapshot);
        snapshot.ended = true;
        if !matches!(snapshot.state, ChannelState::Initialized | ChannelState::Failed) {
            snapshot.state = ChannelState::Detached;
        }
        drop(snapshot);
        self.presence_synced(false);
        self.changes.end();
    }
}

impl Channel {
    pub(crate) fn new(handle: DriverHandle, shared: Arc<ChannelShared>, rest: Rest) -> Self {
        Self { handle, shared, rest }
    }

    /// The same channel over REST.
    pub(crate) fn rest_channel(&self) -> RestChannel {
        let options = rest::ChannelOptions { cipher: self.shared.options().cipher.clone() };
        self.rest.channels().detached(self.shared.name.clone(), options)
    }

    /// Asks the driver for something when it is awaited.
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

    /// Attaches when it is awaited, so that messages arrive (RTL4). Waits for the connection while connecting or
    /// disconnected; done at once when attached.
    ///
    /// # Errors
    /// Why the channel is not attached: the service's reason (40160 without the right to), 90007 without
    /// an answer within the realtime request timeout, or 80000, 80002 or 80017 in a state without a
    /// connection to wait for (RTL4b); 50003 when nobody connects the client within the connectionStateTtl.
    pub fn attach(&self) -> BoxFuture<'static, Result<()>> {
        let channel = self.clone();
        Box::pin(async move {
            if channel.state() != ChannelState::Attached {
                channel.handle.check_may_wait()?;
            }
            channel.handle.ask(|reply| Command::Attach(channel.shared.id, reply)).await
        })
    }

    /// Detaches when it is awaited (RTL5). Subscriptions stay, and go on once the channel is attached again.
    ///
    /// # Errors
    /// 90001 if the channel has failed (RTL5b); 90007 without an answer within the realtime request
    /// timeout: the channel is then still attached (RTL5f).
    pub fn detach(&self) -> BoxFuture<'static, Result<()>> {
        let id = self.shared.id;
        self.ask(move |reply| Command::Detach(id, reply))
    }

    /// Publishes a name and a payload (RTL6i1). Await it for the acknowledgement; [`MessagePublish`] says more.
    pub fn publish(&self, name: impl Into<Str>, data: impl Into<Data>) -> MessagePublish {
        self.publish_message(Message::new(name, data))
    }

    /// Publishes a payload without a name (RTL6i1).
    pub fn publish_data(&self, data: impl Into<Data>) -> MessagePublish {
        self.publish_message(Message::unnamed(data))
    }

    /// Publishes one message (RTL6i1).
    pub fn publish_message(&self, message: Message) -> MessagePublish {
        MessagePublish::new(self, vec![message])
    }

    /// Publishes messages in one frame: all or none (RTL6i2).
    pub fn publish_messages(&self, messages: impl Into<Vec<Message>>) -> MessagePublish {
        MessagePublish::new(self, messages.into())
    }

    /// Listens to messages (RTL7). Await it to be attached when it returns.
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

    /// Waits for a state (RTL25): `None` at once in it (RTL25a), else the change that led to it (RTL25b).
    ///
    /// It ends when the channel is detached, has failed or was released, since no other state follows before
    /// the next [`attach`](Self::attach). In any other state the wait has no limit of its own: put it into a
    /// timeout to wait for so long only.
    ///
    /// # Errors
    /// Why the channel has failed; 90001 when it is detached or was released, 80017 when the client has
    /// ended; 40170 for ATTACHED in the auth callback that is to give the token for the connection.
    pub async fn when(&self, state: ChannelState) -> Result<Option<ChannelStateChange>> {
        let mut changes = self.changes();
        if self.state() == state {
            return Ok(None);
        }
        if state == ChannelState::Attached {
            self.handle.check_may_wait()?;
        }
        if self.ended().is_some() {
            // The client may have been told to attach the channel already.
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

    /// Why no other state follows, if none does.
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

    /// Every change from now on, in order (RTL2).
    pub fn changes(&self) -> Changes<ChannelStateChange> {
        self.shared.changes.listen()
    }
}

fn released() -> Error {
    let code = ErrorCode::CHANNEL_OPERATION_FAILED_INVALID_CHANNEL_STATE;
    Error::new(code, 400, "the channel was released")
}

/// Whether no other state follows before the user attaches the channel.
fn is_final(state: ChannelState) -> bool {
    matches!(state, ChannelState::Detached | ChannelState::Failed)
}

fn detached() -> Error {
    let code = ErrorCode::CHANNEL_OPERATION_FAILED_INVALID_CHANNEL_STATE;
    Error::new(code, 400, "the channel is detached")
        .with_remedy("begin to attach the channel before you wait for a state")
}
