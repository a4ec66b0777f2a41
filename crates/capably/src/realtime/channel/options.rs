//! What a channel is asked to be (TB).

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

/// What a channel is asked to be (TB).
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct RealtimeChannelOptions {
    /// With what payloads are encrypted and decrypted (TB2b).
    pub cipher: Option<CipherParams>,
    /// Channel parameters, such as `rewind` (TB2c).
    pub params: Params,
    /// The modes to ask for; none means the service's default (TB2d).
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
    /// Code 40003 for a key that cannot be (RSE1e).
    pub fn with_cipher_key(key: impl Into<CipherKey>) -> Result<Self> {
        Ok(Self::new().cipher(crypto::default_params(&CipherParamOptions::new(key))?))
    }

    /// Sets a channel parameter, such as `rewind` (TB2c).
    pub fn param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.params.insert(name.into(), value.to_string());
        self
    }

    /// Asks for these modes only (TB2d).
    pub fn modes(mut self, modes: impl IntoIterator<Item = ChannelMode>) -> Self {
        self.modes = modes.into_iter().collect();
        self
    }

    /// Encrypts and decrypts payloads (TB2b).
    pub fn cipher(mut self, cipher: CipherParams) -> Self {
        self.cipher = Some(cipher);
        self
    }

    /// Whether subscribing to messages or presence attaches the channel, unless the subscriber says
    /// otherwise; true by default (TB4).
    pub fn attach_on_subscribe(mut self, attach: bool) -> Self {
        self.attach_on_subscribe = attach;
        self
    }

    /// For the core, with the product that made the channel.
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
    /// The options the channel has; they are not always what the service granted: see
    /// [`modes`](Self::modes) and [`params`](Self::params).
    pub fn options(&self) -> RealtimeChannelOptions {
        self.shared.options().as_ref().clone()
    }

    /// Replaces the options when it is awaited (RTL16). If there are params or modes among them, and the channel is attached or
    /// attaching, it attaches anew with them and this waits until it has (RTL16a); else they count from the
    /// next attach on. Subscriptions stay.
    ///
    /// # Errors
    /// Why the channel is not attached any more, as [`attach`](Self::attach) says; 90001 if it was released
    /// or detached meanwhile. The channel has the new options nevertheless.
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
                // What handles see and what the driver does change in the same order.
                let mut own = lock(&shared.options);
                *own = Arc::new(options);
                handle.send(Command::SetOptions(shared.id, core, reply));
            }
            received(answer).await
        })
    }
}
