//! Push notifications for the program itself, if it is a push device (RSH6 to RSH8).
//!
//! Such a program registers itself, stores the result, and passes it to its client with [`Rest::set_device`]. The SDK
//! does not activate devices, because that needs a platform's push service (RSH3).
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
//! # let rest = capably::Rest::new(options.key(key))?;
//! use capably::{http::HttpMethod, rest::LocalDevice};
//! use serde_json::json;
//!
//! let registration = json!({
//!     "id": "phone-1", "platform": "android", "formFactor": "phone", "deviceSecret": "s3cr3t",
//!     "push": {"recipient": {"transportType": "fcm", "registrationToken": "…"}},
//! });
//! let registered =
//!     rest.request(HttpMethod::Post, "/push/deviceRegistrations").body(registration).await?;
//! let token = registered.items()[0]["deviceIdentityToken"]["token"].as_str().ok_or("a token")?;
//! rest.set_device(LocalDevice {
//!     id: "phone-1".into(),
//!     device_identity_token: Some(token.into()),
//!     ..LocalDevice::default()
//! });
//!
//! let push = rest.channels().get("news:local").push();
//! push.subscribe_device().await?;
//! push.unsubscribe_device().await?;
//! # Ok(())
//! # }
//! ```

use std::fmt;

use capably_protocol::{ErrorCode, PushChannelSubscription, Str};

use super::{
    PushChannelSubscriptions, Rest, RestChannel, call::Call, pipeline::Pipeline, query::Query,
};
use crate::{Error, Result, http::BoxFuture};

/// The program as a push device (RSH8). `Debug` shows neither token nor secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LocalDevice {
    /// The id of the registration (PCD2).
    pub id: Str,
    /// The client id of the device; `None` for the client id of the SDK's client (PCD3, RSH8d).
    pub client_id: Option<Str>,
    /// The token from the registration, which authenticates the device (RSH8k1).
    pub device_identity_token: Option<Str>,
    /// The secret of the registration, which authenticates the device if there is no token (RSH8k2).
    pub device_secret: Option<Str>,
}

impl LocalDevice {
    /// Adds the device's authentication to a call (RSH6).
    fn authenticate(&self, call: Call) -> Call {
        match (&self.device_identity_token, &self.device_secret) {
            (Some(token), _) => call.header("X-Ably-DeviceToken", &**token),
            (None, Some(secret)) => call.header("X-Ably-DeviceSecret", &**secret),
            (None, None) => call,
        }
    }
}

impl fmt::Debug for LocalDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalDevice")
            .field("id", &self.id)
            .field("client_id", &self.client_id)
            .field("registered", &self.device_identity_token.is_some())
            .finish_non_exhaustive()
    }
}

impl Rest {
    /// The program as a push device, as set with [`set_device`](Self::set_device) (RSH8).
    pub fn device(&self) -> Option<LocalDevice> {
        self.pipeline.device().clone()
    }

    /// Sets the program's push device, or removes it with `None`. From then on requests about this device are
    /// authenticated as the device (RSH6).
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
        Box::pin(async move { push.subscriptions().save(&push.of_device()?).await.map(drop) })
    }

    /// Subscribes all devices of this device's client to the channel's notifications when awaited (RSH7b).
    ///
    /// # Errors
    /// Code 40000 for a device without a client id; the service's reason.
    pub fn subscribe_client(&self) -> BoxFuture<'static, Result<()>> {
        let push = self.clone();
        Box::pin(async move { push.subscriptions().save(&push.of_client()?).await.map(drop) })
    }

    /// Unsubscribes this device from the channel's notifications when awaited (RSH7c).
    ///
    /// # Errors
    /// As for [`subscribe_device`](Self::subscribe_device).
    pub fn unsubscribe_device(&self) -> BoxFuture<'static, Result<()>> {
        let push = self.clone();
        Box::pin(async move { push.subscriptions().remove(&push.of_device()?).await })
    }

    /// Unsubscribes the client of this device from the channel's notifications when awaited. Subscriptions of single
    /// devices stay (RSH7d).
    ///
    /// # Errors
    /// As for [`subscribe_client`](Self::subscribe_client).
    pub fn unsubscribe_client(&self) -> BoxFuture<'static, Result<()>> {
        let push = self.clone();
        Box::pin(async move { push.subscriptions().remove(&push.of_client()?).await })
    }

    /// Reads the subscriptions of this device and of its client to the channel when awaited (RSH7e).
    pub fn list_subscriptions(&self) -> Query<PushChannelSubscription> {
        let device = match self.device() {
            Ok(device) => device,
            Err(error) => return Query::at(self.channel.pipeline(), Err(error)),
        };
        let list = self
            .subscriptions()
            .list()
            .channel(self.channel.name())
            .device_id(&device.id)
            .param("concatFilters", true);
        match self.client_id(&device) {
            Some(client_id) => list.client_id(client_id),
            None => list,
        }
    }

    fn subscriptions(&self) -> PushChannelSubscriptions {
        PushChannelSubscriptions::new(self.channel.pipeline())
    }

    fn of_device(&self) -> Result<PushChannelSubscription> {
        let device = self.device()?;
        if device.device_identity_token.is_none() {
            return Err(unfit("the device has no deviceIdentityToken: it is not registered"));
        }
        Ok(PushChannelSubscription::for_device(self.channel.name(), device.id))
    }

    fn of_client(&self) -> Result<PushChannelSubscription> {
        let client_id = self.client_id(&self.device()?);
        let client_id = client_id.ok_or_else(|| unfit("the device has no clientId"))?;
        Ok(PushChannelSubscription::for_client(self.channel.name(), client_id))
    }

    fn device(&self) -> Result<LocalDevice> {
        let device = self.channel.pipeline().device().clone();
        device.ok_or_else(|| unfit("the client has no push device"))
    }

    /// The device's client id, or else the client id of the SDK's client (RSH8d).
    fn client_id(&self, device: &LocalDevice) -> Option<Str> {
        let own = || self.channel.pipeline().session().client_id();
        device.client_id.clone().or_else(own).filter(|client_id| *client_id != "*")
    }
}

fn unfit(message: &str) -> Error {
    Error::new(ErrorCode::BAD_REQUEST, 400, message)
        .with_remedy("register the device, and pass its details to `Rest::set_device`")
}

/// Authenticates a call about a device as that device, if it is the program's own (RSH6).
pub(super) fn authenticated(pipeline: &Pipeline, call: Call, device_id: Option<&str>) -> Call {
    match &*pipeline.device() {
        Some(device) if device_id.is_some_and(|id| device.id == id) => device.authenticate(call),
        Some(_) | None => call,
    }
}
