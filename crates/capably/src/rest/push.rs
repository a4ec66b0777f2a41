//! The administration of push notifications (RSH1).
//!
//! Push notifications reach phones and browsers through the push services of their platforms. Devices register with
//! the service. A program on a server sends notifications to them, for which it needs the capability `push-admin`.
//!
//! | to | see |
//! |---|---|
//! | push to a client, a device or an address | [`PushAdmin::publish`] |
//! | read, register and remove devices | [`PushDeviceRegistrations`] |
//! | subscribe devices to the notifications of channels | [`PushChannelSubscriptions`] |
//! | push to all push subscribers of a channel | publish a message with `push` among its [extras](super::RestPublish::extras) |
//!
//! A program that is itself a device uses [`push`](crate::push).
//!
//! A device has an id, and may belong to a client. A push to a client goes to all of its devices. A channel has push
//! subscribers only in a namespace with push enabled.
//!
//! A device with the transport `ablyChannel` receives notifications as messages named `__ably_push__` on a channel.
//! This is useful for end-to-end tests, here with the embedded server.
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
//! #         "keys": [{}], "namespaces": [{"id": "news", "pushEnabled": true}],
//! #     }))
//! #     .await?;
//! # let key = app.items()[0]["keys"][0]["keyStr"].as_str().ok_or("a key")?.to_owned();
//! # let options = options.key(key.as_str());
//! use capably::{
//!     DeviceDetails, DeviceFormFactor, DevicePlatform, DevicePushDetails, PushChannelSubscription,
//!     Rest, rest::PushRecipient,
//! };
//! use serde_json::{Value, json};
//!
//! let rest = Rest::new(options)?;
//! let admin = rest.push().admin();
//!
//! let address = json!({"transportType": "ablyChannel", "channel": "inbox", "ablyKey": key});
//! let phone = DeviceDetails {
//!     id: "phone-1".into(),
//!     client_id: Some("ada".into()),
//!     platform: Some(DevicePlatform::Android),
//!     form_factor: Some(DeviceFormFactor::Phone),
//!     push: DevicePushDetails {
//!         recipient: address.as_object().cloned().unwrap_or_default(),
//!         ..DevicePushDetails::default()
//!     },
//!     ..DeviceDetails::default()
//! };
//! admin.device_registrations().save(&phone).await?;
//! let phones = admin.device_registrations().list().client_id("ada").limit(10).await?;
//! assert_eq!(phones.items().len(), 1);
//!
//! // To all devices of a client,
//! let hello = json!({"notification": {"title": "Hello", "body": "world"}});
//! admin.publish(PushRecipient::client("ada"), hello.clone()).await?;
//!
//! // or to the push subscribers of a channel.
//! let subscription = PushChannelSubscription::for_client("news:local", "ada");
//! admin.channel_subscriptions().save(&subscription).await?;
//! let extras = json!({"push": hello});
//! rest.channels().get("news:local").publish("event", "data").extras(extras).await?;
//!
//! let inbox = rest.channels().get("inbox").history().await?;
//! assert_eq!(inbox.items().len(), 2);
//! let pushed: Value = serde_json::from_str(inbox.items()[0].data.as_str().ok_or("text")?)?;
//! assert_eq!(pushed, hello);
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! | code | meaning |
//! |---|---|
//! | 40000 | the recipient, the payload, the device or the subscription is invalid; an empty recipient or payload is refused without a request |
//! | 40003 | the device id is empty, or a filter would remove everything |
//! | 40160 | the credentials lack `push-admin`, or push is not enabled for the channel |
//! | 40400 | no device has this id |

use std::{fmt, sync::Arc};

use capably_protocol::{
    DeviceDetails, ErrorCode, JsonObject, PushChannelSubscription, Str, codec::encode_body,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    call::{Call, escape},
    pipeline::Pipeline,
    push_channel::authenticated,
    query::{Query, wrong},
    response::Reply,
};
use crate::{
    Error, Result,
    http::{BoxFuture, HttpMethod},
};

const DEVICES: &str = "/push/deviceRegistrations";
const SUBSCRIPTIONS: &str = "/push/channelSubscriptions";

/// Push notifications (RSC21).
#[derive(Clone, Debug)]
pub struct Push {
    pipeline: Arc<Pipeline>,
}

impl Push {
    pub(crate) fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline }
    }

    pub(crate) fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// The administration of push notifications. It needs the capability `push-admin` (RSH1).
    pub fn admin(&self) -> PushAdmin {
        PushAdmin { pipeline: Arc::clone(&self.pipeline) }
    }
}

/// The administration of push notifications (RSH1).
#[derive(Clone, Debug)]
pub struct PushAdmin {
    pipeline: Arc<Pipeline>,
}

impl PushAdmin {
    /// Sends a notification to a client, a device or an address when awaited (RSH1a). The payload is a JSON object with
    /// `notification`, `data`, or members for a certain transport.
    ///
    /// # Errors
    /// Code 40000 for a recipient or payload that is empty or not an object; the service's reason.
    pub fn publish(
        &self,
        recipient: impl Into<PushRecipient>,
        payload: impl Into<Value>,
    ) -> BoxFuture<'static, Result<()>> {
        let call = self.publication(recipient.into(), payload.into());
        send(&self.pipeline, call, |_| Ok(()))
    }

    fn publication(&self, recipient: PushRecipient, payload: Value) -> Result<Call> {
        let recipient = not_empty(recipient.0, "recipient")?;
        let mut body = not_empty(payload, "payload")?;
        body.insert("recipient".to_owned(), Value::Object(recipient));
        with_body(&self.pipeline, Call::new(HttpMethod::Post, "/push/publish"), &body)
    }

    /// The registered devices (RSH1b).
    pub fn device_registrations(&self) -> PushDeviceRegistrations {
        PushDeviceRegistrations { pipeline: Arc::clone(&self.pipeline) }
    }

    /// The push subscriptions of devices and clients to channels (RSH1c).
    pub fn channel_subscriptions(&self) -> PushChannelSubscriptions {
        PushChannelSubscriptions::new(&self.pipeline)
    }
}

fn not_empty(value: Value, name: &str) -> Result<JsonObject> {
    match value {
        Value::Object(object) if !object.is_empty() => Ok(object),
        _ => {
            let message =
                format!("the {name} of a push must be a JSON object with at least one member");
            Err(Error::new(ErrorCode::BAD_REQUEST, 400, message))
        }
    }
}

/// The recipient of a notification: a client, a device, or the address of a device. An address may contain secrets, so `Debug` shows nothing of it.
#[derive(Clone, PartialEq)]
pub struct PushRecipient(Value);

impl PushRecipient {
    /// All devices of a client.
    pub fn client(client_id: impl Into<String>) -> Self {
        Self(Value::Object(
            [("clientId".to_owned(), Value::String(client_id.into()))].into_iter().collect(),
        ))
    }

    /// One device.
    pub fn device(device_id: impl Into<String>) -> Self {
        Self(Value::Object(
            [("deviceId".to_owned(), Value::String(device_id.into()))].into_iter().collect(),
        ))
    }

    /// The address of an app on a device with Firebase Cloud Messaging, by its registration token.
    pub fn fcm(registration_token: impl Into<String>) -> Self {
        Self(json!({"transportType": "fcm", "registrationToken": registration_token.into()}))
    }

    /// The address of an app on a device with Apple Push Notification service, by its device token in hexadecimal.
    pub fn apns(device_token: impl Into<String>) -> Self {
        Self(json!({"transportType": "apns", "deviceToken": device_token.into()}))
    }

    /// An address that receives pushes as messages named `__ably_push__` on a channel. They are published with this API
    /// key, by the service itself. For tests, and for programs without a push service.
    pub fn ably_channel(channel: impl Into<String>, key: impl Into<String>) -> Self {
        Self(json!({
            "transportType": "ablyChannel", "channel": channel.into(), "ablyKey": key.into(),
        }))
    }

    /// The address, with its members.
    ///
    /// # Errors
    /// Code 40000 for one that is empty, not an object, or without a `transportType`.
    pub(crate) fn into_address(self) -> Result<JsonObject> {
        let address = not_empty(self.0, "address")?;
        if address.get("transportType").is_some_and(Value::is_string) {
            return Ok(address);
        }
        let message = "the address of a push device has no `transportType`";
        Err(Error::new(ErrorCode::BAD_REQUEST, 400, message)
            .with_remedy("make it with `PushRecipient::fcm`, `apns` or `ably_channel`"))
    }
}

impl From<JsonObject> for PushRecipient {
    /// An address of a transport, such as `transportType` and `deviceToken`.
    fn from(address: JsonObject) -> Self {
        Self(Value::Object(address))
    }
}

impl From<Value> for PushRecipient {
    /// An address of a transport, such as `transportType` and `deviceToken`.
    fn from(address: Value) -> Self {
        Self(address)
    }
}

impl fmt::Debug for PushRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushRecipient").finish_non_exhaustive()
    }
}

/// The registered devices (RSH1b).
#[derive(Clone, Debug)]
pub struct PushDeviceRegistrations {
    pipeline: Arc<Pipeline>,
}

impl PushDeviceRegistrations {
    /// Reads the device with this id when awaited (RSH1b1).
    ///
    /// # Errors
    /// Code 40400 when there is no such device, 40003 for an empty id; the service's reason.
    pub fn get(&self, device_id: &str) -> BoxFuture<'static, Result<DeviceDetails>> {
        send(&self.pipeline, self.call(HttpMethod::Get, device_id), |reply| reply.decode())
    }

    /// Reads the registered devices when awaited (RSH1b2).
    pub fn list(&self) -> Query<DeviceDetails> {
        Query::new(&self.pipeline, DEVICES)
    }

    /// Registers a device when awaited, or updates a registered one (RSH1b3). Returns the stored device.
    ///
    /// # Errors
    /// Code 40003 for an empty id; the service's reason.
    pub fn save(&self, device: &DeviceDetails) -> BoxFuture<'static, Result<DeviceDetails>> {
        let call = self.call(HttpMethod::Put, &device.id);
        let call = call.and_then(|call| with_body(&self.pipeline, call, device));
        send(&self.pipeline, call, |reply| reply.decode())
    }

    /// Removes a device when awaited. An unknown device is no error (RSH1b4).
    ///
    /// # Errors
    /// Code 40003 for an empty id; the service's reason.
    pub fn remove(&self, device_id: &str) -> BoxFuture<'static, Result<()>> {
        send(&self.pipeline, self.call(HttpMethod::Delete, device_id), |_| Ok(()))
    }

    /// Removes the matching devices when awaited. No matching device is no error (RSH1b5).
    ///
    /// # Errors
    /// Code 40003 for an empty filter; the service's reason.
    pub fn remove_where(&self, filter: &PushFilter) -> BoxFuture<'static, Result<()>> {
        send(&self.pipeline, filter.removal(&self.pipeline, DEVICES), |_| Ok(()))
    }

    /// A request about one device.
    fn call(&self, method: HttpMethod, device_id: &str) -> Result<Call> {
        let call = Call::new(method, device_path(device_id)?);
        Ok(authenticated(&self.pipeline, call, Some(device_id)))
    }
}

/// The path of a device. An empty id would make it the path of all devices.
fn device_path(device_id: &str) -> Result<String> {
    if device_id.is_empty() {
        return Err(wrong("the device id is empty"));
    }
    Ok(format!("{DEVICES}/{}", escape(device_id)))
}

/// The push subscriptions of devices and clients to channels (RSH1c).
#[derive(Clone, Debug)]
pub struct PushChannelSubscriptions {
    pipeline: Arc<Pipeline>,
}

impl PushChannelSubscriptions {
    pub(super) fn new(pipeline: &Arc<Pipeline>) -> Self {
        Self { pipeline: Arc::clone(pipeline) }
    }

    /// Reads the push subscriptions when awaited (RSH1c1).
    pub fn list(&self) -> Query<PushChannelSubscription> {
        Query::new(&self.pipeline, SUBSCRIPTIONS)
    }

    /// Reads the names of the channels with push subscriptions when awaited (RSH1c2).
    pub fn list_channels(&self) -> Query<Str> {
        Query::new(&self.pipeline, "/push/channels")
    }

    /// Subscribes a device or a client to a channel when awaited (RSH1c3). Returns the stored subscription.
    ///
    /// # Errors
    /// The service's reason.
    pub fn save(
        &self,
        subscription: &PushChannelSubscription,
    ) -> BoxFuture<'static, Result<PushChannelSubscription>> {
        let call = Call::new(HttpMethod::Post, SUBSCRIPTIONS);
        let call = authenticated(&self.pipeline, call, subscription.device_id());
        let call = with_body(&self.pipeline, call, subscription);
        send(&self.pipeline, call, |reply| reply.decode())
    }

    /// Removes a subscription when awaited. An unknown subscription is no error (RSH1c4).
    ///
    /// # Errors
    /// The service's reason.
    pub fn remove(&self, subscription: &PushChannelSubscription) -> BoxFuture<'static, Result<()>> {
        let mut filter = PushFilter::new().channel(subscription.channel());
        if let Some(device_id) = subscription.device_id() {
            filter = filter.device_id(device_id);
        }
        if let Some(client_id) = subscription.client_id() {
            filter = filter.client_id(client_id);
        }
        self.remove_where(&filter)
    }

    /// Removes the matching subscriptions when awaited. No matching subscription is no error (RSH1c5).
    ///
    /// # Errors
    /// Code 40003 for an empty filter; the service's reason.
    pub fn remove_where(&self, filter: &PushFilter) -> BoxFuture<'static, Result<()>> {
        send(&self.pipeline, filter.removal(&self.pipeline, SUBSCRIPTIONS), |_| Ok(()))
    }
}

/// Selects devices or subscriptions to remove: those that meet every condition (RSH1b5, RSH1c5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushFilter {
    params: Vec<(String, String)>,
}

impl PushFilter {
    /// A filter without conditions. It removes nothing: add a condition.
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects subscriptions to this channel.
    #[must_use]
    pub fn channel(self, channel: impl Into<String>) -> Self {
        self.param("channel", channel)
    }

    /// Selects this device or its subscriptions.
    #[must_use]
    pub fn device_id(self, device_id: impl Into<String>) -> Self {
        self.param("deviceId", device_id)
    }

    /// Selects devices or subscriptions of this client.
    #[must_use]
    pub fn client_id(self, client_id: impl Into<String>) -> Self {
        self.param("clientId", client_id)
    }

    /// Adds a condition as a query parameter of the service.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.push((name.into(), value.into()));
        self
    }

    /// The request that removes the matching resources at this path.
    fn removal(&self, pipeline: &Pipeline, path: &str) -> Result<Call> {
        if self.params.is_empty() {
            return Err(wrong("the filter has no condition: it would remove everything"));
        }
        let mut call = Call::new(HttpMethod::Delete, path);
        for (name, value) in &self.params {
            call = call.param(name, value);
        }
        let device = self.params.iter().find(|(name, _)| name == "deviceId");
        Ok(authenticated(pipeline, call, device.map(|(_, id)| id.as_str())))
    }
}

/// Sends the call when awaited, and reads the reply. Fails when awaited if the call is an error.
fn send<T: 'static>(
    pipeline: &Arc<Pipeline>,
    call: Result<Call>,
    read: fn(Reply) -> Result<T>,
) -> BoxFuture<'static, Result<T>> {
    let pipeline = Arc::clone(pipeline);
    Box::pin(async move { read(pipeline.send(&call?).await?) })
}

fn with_body(pipeline: &Pipeline, call: Call, body: &impl Serialize) -> Result<Call> {
    let body = encode_body(pipeline.config().format(), body).map_err(|error| {
        let message = format!("the body cannot be encoded: {error}");
        Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message)
    })?;
    Ok(call.body(body))
}
