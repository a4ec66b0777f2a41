//! Deliveries: the payload of a push, its recipient, and its way there.

use std::fmt;

use capably_protocol::{Data, ErrorInfo, JsonObject, Message, Str};
use serde_json::Value;

use crate::hub::{Now, error};

/// The transport that delivers a push by publishing it to a channel.
const CHANNEL_TRANSPORT: &str = "ablyChannel";

/// The transports with which devices register. The server delivers by [`CHANNEL_TRANSPORT`] only.
const TRANSPORTS: [&str; 5] = ["apns", "fcm", "gcm", "web", CHANNEL_TRANSPORT];

/// The name of messages that carry a push.
const MESSAGE_NAME: Str = Str::from_static("__ably_push__");

/// A push on its way to a channel. `Debug` leaves out the API key.
pub(crate) struct Delivery {
    /// The recipient, if it is a registered device.
    pub(crate) device_id: Option<Str>,
    /// The API key to publish with.
    pub(crate) key: Str,
    pub(crate) channel: Str,
    data: Str,
    /// The time of the push.
    pub(crate) now: Now,
}

impl Delivery {
    /// `None` for an address of another transport: the push is accepted, and not delivered.
    pub(super) fn new(
        device_id: Option<&Str>,
        address: &JsonObject,
        payload: &Payload,
        now: Now,
    ) -> Option<Self> {
        let text = |name| address.get(name).and_then(Value::as_str).map(Str::from);
        (text("transportType")? == CHANNEL_TRANSPORT).then_some(())?;
        let (key, channel) = (text("ablyKey")?, text("channel")?);
        Some(Self { device_id: device_id.cloned(), key, channel, data: payload.0.clone(), now })
    }

    pub(crate) fn message(&self) -> Message {
        let data = Data::Text(self.data.clone());
        Message { name: Some(MESSAGE_NAME), data, ..Message::default() }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("device_id", &self.device_id)
            .field("channel", &self.channel)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

/// The payload of a push, as JSON text.
#[derive(Debug)]
pub(crate) struct Payload(Str);

impl Payload {
    /// Reads the `notification` and the `data` of an object.
    ///
    /// # Errors
    /// Code 40000 for an object without either, or with one that is not an object.
    pub(crate) fn read(object: &JsonObject) -> Result<Self, ErrorInfo> {
        let mut payload = JsonObject::new();
        for name in ["notification", "data"] {
            match object.get(name) {
                None | Some(Value::Null) => {}
                Some(part @ Value::Object(_)) => {
                    payload.insert(name.to_owned(), part.clone());
                }
                Some(_) => {
                    return Err(error::bad_request(format!("the `{name}` is not an object")));
                }
            }
        }
        if payload.is_empty() {
            return Err(error::bad_request("there is neither `notification` nor `data` to push"));
        }
        Ok(Self(Value::Object(payload).to_string().into()))
    }
}

/// Whom to push to.
pub(super) enum Recipient {
    /// All devices of the client.
    Client(Str),
    Device(Str),
    /// An address of a transport.
    Address(JsonObject),
}

impl Recipient {
    /// # Errors
    /// Code 40000 when it is none.
    pub(super) fn read(recipient: Option<Value>) -> Result<Self, ErrorInfo> {
        let Some(Value::Object(recipient)) = recipient else {
            return Err(error::bad_request("a push needs a `recipient` that is an object"));
        };
        let id = |name| match recipient.get(name) {
            Some(Value::String(id)) if !id.is_empty() => Some(Str::from(&**id)),
            _ => None,
        };
        if recipient.contains_key("transportType") {
            check_address(&recipient)?;
            return Ok(Self::Address(recipient));
        }
        match (id("deviceId"), id("clientId")) {
            (Some(device), _) => Ok(Self::Device(device)),
            (None, Some(client)) => Ok(Self::Client(client)),
            (None, None) => Err(error::bad_request(
                "the recipient has neither a `clientId`, a `deviceId` nor a `transportType`",
            )),
        }
    }
}

/// # Errors
/// Code 40000 for an address that no transport has.
pub(super) fn check_address(address: &JsonObject) -> Result<(), ErrorInfo> {
    let text = |name: &str| address.get(name).and_then(Value::as_str);
    let Some(transport) = text("transportType").filter(|it| TRANSPORTS.contains(it)) else {
        return Err(error::bad_request("the recipient's `transportType` is not one there is"));
    };
    if transport == CHANNEL_TRANSPORT && (text("channel").is_none() || text("ablyKey").is_none()) {
        return Err(error::bad_request("the recipient needs a `channel` and an `ablyKey`"));
    }
    Ok(())
}
