//! The push subscriptions of the program, as a device, to channels (RSH6, RSH7).
//!
//! The device is the one that [`push`](crate::push) activates, or one that the program has registered by other means and
//! set with [`Rest::set_device`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = capably_server::Server::builder().start().await?;
//! # let options = capably::ClientOptions::default()
//! #     .endpoint(server.endpoint()).port(server.port()).tls(false);
//! # let app = capably::Rest::new(options.clone().key(server.key()))?
//! #     .request(capably::http::HttpMethod::Post, "/apps")
//! #     .body(serde_json::json!({
//! #         "keys": [{"capability": {"*": ["push-subscribe"]}}],
//! #         "namespaces": [{"id": "news", "pushEnabled": true}],
//! #     }))
//! #     .await?;
//! # let key = app.items()[0]["keys"][0]["keyStr"].as_str().ok_or("a key")?.to_owned();
//! # let options = options.key(key);
//! # let token = "a token";
//! use capably::{DevicePlatform, Rest};
//! use capably::push::{MemoryPushStorage, PushOptions, PushRecipient};
//!
//! let push = PushOptions::new(
//!     DevicePlatform::Android,
//!     MemoryPushStorage::new(),
//!     PushRecipient::fcm(token),
//! );
//! let rest = Rest::new(options.push(push))?;
//! rest.push().activate().await?;
//!
//! let push = rest.channels().get("news:local").push();
//! push.subscribe_device().await?;
//! assert_eq!(push.list_subscriptions().await?.items().len(), 1);
//! push.unsubscribe_device().await?;
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use capably_core::push::LocalDevice;
use capably_protocol::{ErrorCode, PushChannelSubscription, Str};

use super::{
    PushChannelSubscriptions, Rest, RestChannel,
    call::Call,
    pipeline::Pipeline,
    query::{Prepared, Query},
};
use crate::{Error, Result, http::BoxFuture, push::PushDevice};

impl Call {
    /// Adds the device's authentication (RSH6): its token (RSH6a), or else its secret (RSH6b).
    pub(crate) fn authenticated_as(self, device: &LocalDevice) -> Self {
        match (&device.device_identity_token, &device.device_secret) {
            (Some(token), _) => self.header("X-Ably-DeviceToken", &**token),
            (None, Some(secret)) => self.header("X-Ably-DeviceSecret", &**secret),
            (None, None) => self,
        }
    }
}

impl Rest {
    /// The program as a push device: as set with [`set_device`](Self::set_device), or as this client has used it last
    /// (RSH8). A client with the option [`push`](crate::ClientOptions::push) does not load the device for this: see
    /// [`Push::device`](super::Push::device).
    pub fn device(&self) -> Option<LocalDevice> {
        self.pipeline.device().clone()
    }

    /// Sets the program's push device, or removes it with `None`, for programs that register their device by other means
    /// than [`Push::activate`](super::Push::activate). From then on requests about this device are authenticated as the
    /// device (RSH6). A client with the option [`push`](crate::ClientOptions::push) replaces what is set here.
    pub fn set_device(&self, device: impl Into<Option<LocalDevice>>) {
        *self.pipeline.device() = device.into();
    }
}

impl RestChannel {
    /// The program's push subscriptions to the channel (RSH7).
    pub fn push(&self) -> PushChannel {
        PushChannel { channel: self.clone() }
    }
}

/// The push subscriptions of the program, as a device, to a channel (RSH7).
#[derive(Clone, Debug)]
pub struct PushChannel {
    channel: RestChannel,
}

impl PushChannel {
    /// Subscribes this device to the channel's notifications when awaited (RSH7a).
    ///
    /// # Errors
    /// Code 40000 for a device that is not registered; the service's reason.
    pub fn subscribe_device(&self) -> BoxFuture<'static, Result<()>> {
        let push = self.clone();
        Box::pin(async move { push.subscriptions().save(&push.of_device().await?).await.map(drop) })
    }

    /// Subscribes all devices of this device's client to the channel's notifications when awaited (RSH7b).
    ///
    /// # Errors
    /// Code 40000 for a device without a client id; the service's reason.
    pub fn subscribe_client(&self) -> BoxFuture<'static, Result<()>> {
        let push = self.clone();
        Box::pin(async move { push.subscriptions().save(&push.of_client().await?).await.map(drop) })
    }

    /// Unsubscribes this device from the channel's notifications when awaited (RSH7c).
    ///
    /// # Errors
    /// As for [`subscribe_device`](Self::subscribe_device).
    pub fn unsubscribe_device(&self) -> BoxFuture<'static, Result<()>> {
        let push = self.clone();
        Box::pin(async move { push.subscriptions().remove(&push.of_device().await?).await })
    }

    /// Unsubscribes the client of this device from the channel's notifications when awaited. Subscriptions of single
    /// devices stay (RSH7d).
    ///
    /// # Errors
    /// As for [`subscribe_client`](Self::subscribe_client).
    pub fn unsubscribe_client(&self) -> BoxFuture<'static, Result<()>> {
        let push = self.clone();
        Box::pin(async move { push.subscriptions().remove(&push.of_client().await?).await })
    }

    /// Reads the subscriptions of this device and of its client to the channel when awaited (RSH7e).
    pub fn list_subscriptions(&self) -> Query<PushChannelSubscription> {
        let list = self.subscriptions().list();
        let push = self.clone();
        list.prepared(Arc::new(move || {
            let push = push.clone();
            Box::pin(async move {
                let device = push.device().await?;
                let mut params = vec![
                    ("channel", push.channel.name().to_owned()),
                    ("deviceId", device.id.to_string()),
                    ("concatFilters", "true".to_owned()),
                ];
                let client_id = push.client_id(&device);
                params.extend(client_id.map(|client_id| ("clientId", client_id.to_string())));
                // The service shows the subscriptions of a device only to the device, and to administrators.
                Ok(Prepared { params, device })
            })
        }))
    }

    fn subscriptions(&self) -> PushChannelSubscriptions {
        PushChannelSubscriptions::new(self.channel.pipeline())
    }

    async fn of_device(&self) -> Result<PushChannelSubscription> {
        let device = self.device().await?;
        if !device.is_registered() {
            return Err(unfit("the device has no deviceIdentityToken: it is not registered"));
        }
        Ok(PushChannelSubscription::for_device(self.channel.name(), device.id))
    }

    async fn of_client(&self) -> Result<PushChannelSubscription> {
        let client_id = self.client_id(&self.device().await?);
        let client_id = client_id.ok_or_else(|| unfit("the device has no clientId"))?;
        Ok(PushChannelSubscription::for_client(self.channel.name(), client_id))
    }

    /// The device of the client's options, loaded if it is not yet (RSH8a), or the one that the program has set.
    async fn device(&self) -> Result<LocalDevice> {
        let pipeline = self.channel.pipeline();
        if pipeline.push_device().is_some() {
            return PushDevice::load(pipeline).await;
        }
        let device = pipeline.device().clone();
        device.ok_or_else(|| unfit("the client has no push device"))
    }

    /// The device's client id, or else the client id of the SDK's client (RSH8d).
    fn client_id(&self, device: &LocalDevice) -> Option<Str> {
        let own = || self.channel.pipeline().session().client_id();
        device.client_id.clone().or_else(own).filter(|client_id| *client_id != "*")
    }
}

fn unfit(message: &str) -> Error {
    Error::new(ErrorCode::BAD_REQUEST, 400, message).with_remedy(
        "activate the device with `push().activate()`, or pass its details to `Rest::set_device`",
    )
}

/// Authenticates a call about a device as that device, if it is the program's own (RSH6).
pub(super) fn authenticated(pipeline: &Pipeline, call: Call, device_id: Option<&str>) -> Call {
    match &*pipeline.device() {
        Some(device) if device_id.is_some_and(|id| device.id == id) => {
            call.authenticated_as(device)
        }
        Some(_) | None => call,
    }
}
