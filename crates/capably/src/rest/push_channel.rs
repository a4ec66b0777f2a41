//! Push notifications for the program itself, when it is a device that can be pushed to (RSH6 to RSH8).
//!
//! Such a program registers itself, keeps what it is registered under, and says so to its client. It is not
//! activated by the SDK, which knows no platform's push service (RSH3).
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

/// The program as a device that can be pushed to (RSH8). `Debug` shows neither token nor secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LocalDevice {
    /// The id that it is registered under (PCD2).
    pub id: Str,
    /// The client that it belongs to, if it is not the client's own (PCD3, RSH8d).
    pub client_id: Option<Str>,
    /// The token that it got when it was registered, by which it shows who it is (RSH8k1).
    pub device_identity_token: Option<Str>,
    /// The secret that it has been registered with, by which it shows who it is without a token (RSH8k2).
    pub device_secret: Option<Str>,
}

impl LocalDevice {
    /// The call with what shows that it comes from this device (RSH6).
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
    /// What the program has said that it is as a device (RSH8).
    pub fn device(&self) -> Option<LocalDevice> {
        self.pipeline.device().clone()
    }

    /// Says what the program is as a device, or that it is none. From now on requests about this device
    /// show that they come from it (RSH6).
    pub fn set_device(&self, device: impl Into<Option<LocalDevice>>) {
        *self.pipeline.device() = device.into();
    }
}

impl RestChannel {
    /// What the program gets of what is pushed to the channel (RSH7).
    pub fn push(&self) -> PushChannel {
        PushChannel { channel: self.clone() }
    }
}

/// Subscribes the program, as a device, to what is pushed to a channel (RSH7).
#[derive(Clone, Debug)]
pub struct PushChannel {
    channel: RestChannel,
}

impl PushChannel {
    /// Has this device get what is pushed to the channel, when it is awaited (RSH7a).
    ///
    /// # Errors
    /// Code 40000 for a device that is not registered, and what the service says.
    pub fn subscribe_device(&self) -> BoxFuture<'static, Result<()>> {
        let push = self.clone();
        Box::pin(async move { push.subscriptions().save(&push.of_device()?).await.map(drop) })
    }

    /// Has all devices of this device's client get what is pushed to the channel, when it is awaited (RSH7b).
    ///
    /// # Errors
    /// Code 40000 for a device of no client, and what the service says.
    pub fn subscribe_client(&self) -> BoxFuture<'static, Result<()>> {
        let push = self.clone();
        Box::pin(async move { push.subscriptions().save(&push.of_client()?).await.map(drop) })
    }

    /// Has this device no longer get what is pushed to the channel, when it is awaited (RSH7c).
    ///
    /// # Errors
    /// As [`subscribe_device`](Self::subscribe_device).
    pub fn unsubscribe_device(&self) -> BoxFuture<'static, Result<()>> {
        let push = self.clone();
        Box::pin(async move { push.subscriptions().remove(&push.of_device()?).await })
    }

    /// Has the devices of this device's client no longer get what is pushed to the channel, except for
    /// those that have subscribed themselves (RSH7d).
    ///
    /// # Errors
    /// As [`subscribe_client`](Self::subscribe_client).
    pub fn unsubscribe_client(&self) -> BoxFuture<'static, Result<()>> {
        let push = self.clone();
        Box::pin(async move { push.subscriptions().remove(&push.of_client()?).await })
    }

    /// Reads the subscriptions of this device and of its client to the channel when it is awaited (RSH7e).
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
        device.ok_or_else(|| unfit("the client has not been told which device it is"))
    }

    /// The device's client, or else the one that the SDK's client is known to be (RSH8d).
    fn client_id(&self, device: &LocalDevice) -> Option<Str> {
        let own = || self.channel.pipeline().session().client_id();
        device.client_id.clone().or_else(own).filter(|client_id| *client_id != "*")
    }
}

fn unfit(message: &str) -> Error {
    Error::new(ErrorCode::BAD_REQUEST, 400, message)
        .with_remedy("register the device and give its details to `Rest::set_device`")
}

/// The call, with what shows that it comes from the device that it is about, if that is this one (RSH6).
pub(super) fn authenticated(pipeline: &Pipeline, call: Call, device_id: Option<&str>) -> Call {
    match &*pipeline.device() {
        Some(device) if device_id.is_some_and(|id| device.id == id) => device.authenticate(call),
        Some(_) | None => call,
    }
}
