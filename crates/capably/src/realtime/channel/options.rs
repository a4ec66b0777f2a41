//! The options of a realtime channel (TB).

use std::sync::Arc;

use capably_core::ChannelOptions;
use capably_protocol::{ChannelMode, CipherParams, frame::Params};
use tokio::sync::oneshot;

use crate::realtime::{
    Channel, ChannelState,
    driver::{Command, received},
};
use crate::{
    Result,
    crypto::{self, CipherKey, CipherParamOptions},
    http::BoxFuture,
    sync::lock,
};

/// The options of a realtime channel (TB).
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct RealtimeChannelOptions {
    /// Encrypts and decrypts payloads (TB2b).
    pub cipher: Option<CipherParams>,
    /// Channel parameters, such as `rewind` (TB2c).
    pub params: Params,
    /// The requested modes; empty for the service's default (TB2d).
    pub modes: Vec<ChannelMode>,
    /// Whether subscribing to messages or presence attaches the channel; true by default (TB4).
    pub attach_on_subscribe: bool,
}

impl Default for RealtimeChannelOptions {
    fn default() -> Self {
        Self { cipher: None, params: Params::new(), modes: Vec::new(), attach_on_subscribe: true }
    }
}

impl RealtimeChannelOptions {
    /// The service's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Options to encrypt and decrypt payloads with this key: 16 or 32 bytes, or base64 text of them (TB3).
    ///
    /// # Errors
    /// Code 40003 for an invalid key (RSE1e).
    pub fn with_cipher_key(key: impl Into<CipherKey>) -> Result<Self> {
        Ok(Self::new().cipher(crypto::default_params(&CipherParamOptions::new(key))?))
    }

    /// Sets a channel parameter, such as `rewind` (TB2c).
    pub fn param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.params.insert(name.into(), value.to_string());
        self
    }

    /// Requests these modes only (TB2d).
    pub fn modes(mut self, modes: impl IntoIterator<Item = ChannelMode>) -> Self {
        self.modes = modes.into_iter().collect();
        self
    }

    /// Encrypts and decrypts payloads (TB2b).
    pub fn cipher(mut self, cipher: CipherParams) -> Self {
        self.cipher = Some(cipher);
        self
    }

    /// Whether subscribing to messages or presence attaches the channel; true by default. Each subscription can
    /// override it (TB4).
    pub fn attach_on_subscribe(mut self, attach: bool) -> Self {
        self.attach_on_subscribe = attach;
        self
    }

    /// Converts the options for the core; `agent` names the wrapper SDK that made the channel.
    pub(super) fn to_core(&self, agent: Option<&String>) -> ChannelOptions {
        ChannelOptions {
            params: self.params.clone(),
            modes: self.modes.clone(),
            cipher: self.cipher.clone(),
            agent: agent.cloned(),
        }
    }
}

impl Channel {
    /// The current options. The service may have granted less: see [`modes`](Self::modes) and
    /// [`params`](Self::params).
    pub fn options(&self) -> RealtimeChannelOptions {
        self.shared.options().as_ref().clone()
    }

    /// Replaces the options when awaited (RTL16). If they contain params or modes, and the channel is attached or
    /// attaching, the channel attaches again with them, and the call waits for that (RTL16a). Otherwise they take
    /// effect with the next attach. Subscriptions stay registered.
    ///
    /// # Errors
    /// The reason why the channel is not attached any more, as [`attach`](Self::attach) describes; 90001 if it was
    /// released or detached meanwhile. The channel has the new options in any case.
    pub fn set_options(&self, options: RealtimeChannelOptions) -> BoxFuture<'static, Result<()>> {
        let channel = self.clone();
        Box::pin(async move {
            let Channel { handle, shared, .. } = &channel;
            if matches!(channel.state(), ChannelState::Attaching | ChannelState::Attached) {
                handle.check_may_wait()?;
            }
            let core = options.to_core(shared.agent.as_ref());
            let (reply, answer) = oneshot::channel();
            {
                // Under the lock, so that concurrent calls reach the driver in the order in which handles see them.
                let mut own = lock(&shared.options);
                *own = Arc::new(options);
                handle.send(Command::SetOptions(shared.id, Box::new(core), reply));
            }
            received(answer).await
        })
    }
}
