//! The requests of an activation: to the service, to the transport, or to the program's callbacks.

use std::{panic::AssertUnwindSafe, sync::Arc};

use capably_core::push::{DeviceRegistration, LocalDevice, PushActivation, PushRequest};
use capably_protocol::{ErrorCode, JsonObject, Str, codec::encode_body};
use futures_util::FutureExt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::PushOptions;
use crate::{
    Error, Result,
    http::{BoxFuture, HttpMethod},
    rest::{Call, Pipeline, Reply, escape},
};

const DEVICES: &str = "/push/deviceRegistrations";

/// The result of a request, by its kind.
pub(super) enum Answer {
    Address(Result<JsonObject>),
    Registered(Result<DeviceRegistration>),
    Synced(Result<Option<Str>>),
    Deregistered(Result<()>),
}

/// Begins a request for the device as it is now.
pub(super) fn begin(
    pipeline: &Arc<Pipeline>,
    options: &PushOptions,
    request: PushRequest,
    device: LocalDevice,
) -> BoxFuture<'static, Answer> {
    let service = Arc::clone(pipeline);
    match (request, &options.register, &options.deregister) {
        (PushRequest::Details, ..) => address(options),
        (PushRequest::Deregister, _, Some(deregister)) => {
            let call = limited(options, "deregister callback", deregister(device.id));
            Box::pin(call.map(Answer::Deregistered))
        }
        (PushRequest::Deregister, _, None) => {
            Box::pin(async move { Answer::Deregistered(deregister(&service, &device).await) })
        }
        (PushRequest::Register, Some(register), _) => {
            let call = limited(options, "register callback", register(device));
            let registration =
                |token| DeviceRegistration { device_identity_token: token, client_id: None };
            Box::pin(
                call.map(move |token| {
                    Answer::Registered(token.and_then(not_empty).map(registration))
                }),
            )
        }
        (PushRequest::Register, None, _) => {
            Box::pin(async move { Answer::Registered(register(&service, &device).await) })
        }
        (_, Some(register), _) => {
            let call = limited(options, "register callback", register(device));
            Box::pin(call.map(|token| Answer::Synced(token.and_then(not_empty).map(Some))))
        }
        (PushRequest::Update { address, client_id }, None, _) => Box::pin(async move {
            Answer::Synced(update(&service, &device, address, client_id).await.map(|()| None))
        }),
        (_, None, _) => {
            Box::pin(
                async move { Answer::Synced(validate(&service, &device).await.map(|()| None)) },
            )
        }
    }
}

/// Asks the transport for the address of the device (RSH3a2d).
pub(super) fn address(options: &PushOptions) -> BoxFuture<'static, Answer> {
    let transport = Arc::clone(&options.transport);
    let call = limited(options, "push transport", async move { transport.recipient().await });
    Box::pin(call.map(|recipient| Answer::Address(recipient.and_then(|it| it.into_address()))))
}

/// A call of the program's code, which may take too long or panic.
fn limited<T: Send + 'static>(
    options: &PushOptions,
    name: &'static str,
    call: impl Future<Output = Result<T>> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send + 'static {
    let limit = options.callback_timeout;
    let call = AssertUnwindSafe(call).catch_unwind();
    async move {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                let message = format!("the {name} panicked");
                Err(Error::new(ErrorCode::INTERNAL_ERROR, 0, message))
            }
            Err(_) => {
                let message = format!("the {name} did not end within {limit:?}");
                Err(Error::new(ErrorCode::TIMEOUT_ERROR, 0, message)
                    .with_remedy("allow it more time with `PushOptions::callback_timeout`"))
            }
        }
    }
}

fn not_empty(token: Str) -> Result<Str> {
    if token.is_empty() {
        let message = "the register callback has returned an empty deviceIdentityToken";
        return Err(Error::new(ErrorCode::BAD_REQUEST, 400, message));
    }
    Ok(token)
}

/// The reply to a registration.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registration {
    #[serde(default)]
    client_id: Option<Str>,
    device_identity_token: IdentityToken,
}

/// The token alone, or with its details.
#[derive(Deserialize)]
#[serde(untagged)]
enum IdentityToken {
    Token(Str),
    Details { token: Str },
}

/// `POST /push/deviceRegistrations` (RSH3b3b).
async fn register(service: &Arc<Pipeline>, device: &LocalDevice) -> Result<DeviceRegistration> {
    let mut body = details(device)?;
    if let Some(secret) = &device.device_secret {
        body.insert("deviceSecret".to_owned(), json!(&**secret));
    }
    let reply = send(service, Call::new(HttpMethod::Post, DEVICES), &body).await?;
    let Registration { client_id, device_identity_token } = reply.decode()?;
    let (IdentityToken::Token(token) | IdentityToken::Details { token }) = device_identity_token;
    Ok(DeviceRegistration { device_identity_token: token, client_id })
}

/// `PUT /push/deviceRegistrations/:deviceId` (RSH3a2a3).
async fn validate(service: &Arc<Pipeline>, device: &LocalDevice) -> Result<()> {
    let call = Call::new(HttpMethod::Put, path(device)).authenticated_as(device);
    send(service, call, &details(device)?).await.map(drop)
}

/// `PATCH /push/deviceRegistrations/:deviceId` (RSH3d3b).
async fn update(
    service: &Arc<Pipeline>,
    device: &LocalDevice,
    address: bool,
    client_id: bool,
) -> Result<()> {
    let mut body = JsonObject::new();
    if address {
        body.insert("push".to_owned(), json!({ "recipient": device.push.recipient }));
    }
    if let Some(client_id) = device.client_id.as_deref().filter(|_| client_id) {
        body.insert("clientId".to_owned(), json!(client_id));
    }
    let call = Call::new(HttpMethod::Patch, path(device)).authenticated_as(device);
    send(service, call, &body).await.map(drop)
}

/// `DELETE /push/deviceRegistrations?deviceId=` (RSH3d2b), with the credentials of the device alone.
async fn deregister(service: &Arc<Pipeline>, device: &LocalDevice) -> Result<()> {
    let call = Call::new(HttpMethod::Delete, DEVICES).param("deviceId", &device.id);
    let call = call.authenticated_as(device).unattributed().by_device();
    match service.send_anonymously(&call).await {
        Err(error) if PushActivation::is_deregistered(error.info()) => {
            tracing::info!(error = %error.logged(), "the service does not know the push device any more");
            Ok(())
        }
        outcome => outcome.map(drop),
    }
}

fn path(device: &LocalDevice) -> String {
    format!("{DEVICES}/{}", escape(&device.id))
}

/// The details of the device, in their form on the wire (PCD1).
fn details(device: &LocalDevice) -> Result<JsonObject> {
    match serde_json::to_value(device.details()) {
        Ok(Value::Object(details)) => Ok(details),
        Ok(_) | Err(_) => Err(unencodable()),
    }
}

async fn send(service: &Arc<Pipeline>, call: Call, body: &JsonObject) -> Result<Reply> {
    let body = encode_body(service.config().format(), body).map_err(|_| unencodable())?;
    // The activation is the client's own, also if a wrapper SDK calls it (WP6c).
    service.send(&call.body(body).unattributed()).await
}

/// The reason is left out: it might quote a secret.
fn unencodable() -> Error {
    Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, "the push device cannot be encoded")
}
