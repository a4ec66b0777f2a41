//! The rights that the table of routes names.

use std::sync::Arc;

use capably_protocol::{ErrorInfo, Str};
use hyper::header;

use super::call::Call;
use crate::{
    front::{
        Provisioning,
        app::AppHandle,
        credentials::{self, Admitted},
    },
    hub::{DeviceProof, PushCaller, auth::Credentials, error},
};

/// The right of a client: valid credentials of an app.
///
/// # Errors
/// Codes 40003, 40101, 40142, 40144, 40400 for the credentials; 40012, 40102 for the client id; 42918 for too many
/// requests.
pub(super) fn client(call: &Call<'_>) -> Result<Admitted, ErrorInfo> {
    let credentials = call.credentials()?;
    let client_id = credentials::client_id_in_header(call.headers)?;
    let client_id = client_id.or_else(|| call.query.get("clientId").map(Str::from));
    admit(call, credentials, client_id)
}

/// The right to use push: valid credentials of an app, the identity of a device, or both (RSH6).
///
/// `clientId` in the query is not the caller's, as elsewhere: here it is a filter.
///
/// # Errors
/// As [`client`].
pub(super) fn push(call: &Call<'_>) -> Result<(Arc<AppHandle>, PushCaller), ErrorInfo> {
    let text = |name: &str| call.headers.get(name).and_then(|value| value.to_str().ok());
    let device_token = text("x-ably-devicetoken").map(credentials::device_token);
    let client_id = || credentials::client_id_in_header(call.headers);
    let (proof, (app, identity)) = match (call.optional_credentials()?, device_token) {
        (Some(credentials), token) => {
            let proof = match token {
                Some(Ok(token)) => Some(DeviceProof::Token(token)),
                Some(Err(_)) => Some(DeviceProof::Malformed),
                None => {
                    text("x-ably-devicesecret").map(|secret| DeviceProof::Secret(secret.into()))
                }
            };
            (proof, admit(call, credentials, client_id()?)?)
        }
        (None, Some(token)) => (None, admit(call, &Credentials::Token(token?), client_id()?)?),
        (None, None) => return Err(credentials::missing()),
    };
    Ok((app, PushCaller { identity, proof }))
}

/// The right to create apps.
///
/// # Errors
/// Code 40300 when the server lets nobody create apps, 40101 without the secret that it asks for.
pub(super) fn provision(call: &Call<'_>) -> Result<(), ErrorInfo> {
    match call.shared.provisioning() {
        Provisioning::Open => Ok(()),
        Provisioning::Off => Err(error::provisioning_off()),
        Provisioning::Secret(secret) => {
            let value = call.headers.get(header::AUTHORIZATION);
            let (scheme, text) = value
                .and_then(|value| value.to_str().ok()?.split_once(' '))
                .ok_or_else(error::provisioning_secret)?;
            if scheme.eq_ignore_ascii_case("bearer") && secret.is(text.trim()) {
                Ok(())
            } else {
                Err(error::provisioning_secret())
            }
        }
    }
}

/// The right to administer an app: a key of it that has every capability.
///
/// # Errors
/// Codes 40101, 40400 for the credentials, 40160 for a key without every capability. `doing` completes the message.
pub(super) fn administrator(
    call: &Call<'_>,
    app_id: &str,
    doing: &str,
) -> Result<Arc<AppHandle>, ErrorInfo> {
    let credentials = call.credentials()?;
    if matches!(credentials, Credentials::Token(_)) {
        return Err(error::unauthorized("this request needs a key, not a token"));
    }
    if credentials.app_id() != app_id {
        return Err(error::unauthorized("the key belongs to another app"));
    }
    let (app, identity) = credentials::admit(call.shared, credentials, None)?;
    if identity.capability.is_full() { Ok(app) } else { Err(error::denied(doing)) }
}

/// Checks credentials, and counts the request against the app's request rate.
fn admit(
    call: &Call<'_>,
    credentials: &Credentials,
    client_id: Option<Str>,
) -> Result<Admitted, ErrorInfo> {
    let (app, identity) = credentials::admit(call.shared, credentials, client_id)?;
    app.with(|hub, _| hub.admit_request(call.now))?;
    Ok((app, identity))
}
