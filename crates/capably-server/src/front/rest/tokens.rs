//! Tokens over REST.

use std::sync::Arc;

use capably_protocol::{ErrorInfo, JsonObject, Str, codec};
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::front::{app::AppHandle, credentials, reply::Reply, router::Call};
use crate::hub::{
    IssuedToken, auth::is_app_id, error, revocation::RevocationRequest, token_request,
};

/// `POST /keys/{keyName}/requestToken` (RSA8).
pub(crate) fn request(call: &Call<'_>, key_name: &str, body: &[u8]) -> Result<Reply, ErrorInfo> {
    let (app, key_id) = app_of_key(call, key_name)?;
    let request = token_request::read(read_object(call, body)?, key_name)?;
    let presented = match request.mac {
        Some(_) => None,
        None => credentials::key(&call.head.headers, &call.query)?,
    };
    let now = call.shared.clock.now();
    let issued = app.with(|hub, _| hub.request_token(key_id, &request, presented.as_ref(), now))?;
    Ok(Reply::value(StatusCode::CREATED, call.format, &details_json(&issued)))
}

/// A token's details as they are answered (TD).
pub(crate) fn details_json(issued: &IssuedToken) -> Value {
    let mut json = json!(issued.details);
    json["keyName"] = json!(issued.key_name);
    json
}

/// Most targets of one request.
const MAX_TARGETS: usize = 100;

/// `POST /keys/{keyName}/revokeTokens` (RSA17).
pub(crate) fn revoke(call: &Call<'_>, key_name: &str, body: &[u8]) -> Result<Reply, ErrorInfo> {
    let (app, key_id) = app_of_key(call, key_name)?;
    let presented = credentials::only_key(&call.head.headers, &call.query)?;
    let body = read_object(call, body)?;
    let request = RevocationRequest {
        targets: body
            .get("targets")
            .and_then(Value::as_array)
            .filter(|targets| (1..=MAX_TARGETS).contains(&targets.len()))
            .and_then(|targets| targets.iter().map(|it| it.as_str().map(Str::from)).collect())
            .ok_or_else(|| {
                error::bad_request(format!(
                    "`targets` is not an array of up to {MAX_TARGETS} strings"
                ))
            })?,
        issued_before: match body.get("issuedBefore") {
            None | Some(Value::Null) => None,
            Some(time) => Some(time.as_i64().ok_or_else(|| {
                error::bad_request("`issuedBefore` is not a number of milliseconds")
            })?),
        },
        allow_reauth_margin: body.get("allowReauthMargin") == Some(&Value::Bool(true)),
    };
    if presented.app_id() != key_name.split('.').next().unwrap_or_default() {
        return Err(error::wrong_revocation_key());
    }
    let now = call.shared.clock.now();
    let revoked =
        app.with(|hub, outputs| hub.revoke_tokens(key_id, &presented, request, now, outputs))?;
    let failures = revoked.targets.iter().filter(|(_, result)| result.is_err()).count();
    let results = revoked.targets.iter().map(|(target, result)| match result {
        Ok(()) => json!({
            "target": &**target,
            "issuedBefore": revoked.issued_before,
            "appliesAt": revoked.applies_at,
        }),
        Err(error) => json!({ "target": &**target, "error": {
            "code": error.code.0,
            "statusCode": error.status_code,
            "message": &*error.message,
        }}),
    });
    let reply = json!({
        "successCount": revoked.targets.len() - failures,
        "failureCount": failures,
        "results": results.collect::<Vec<_>>(),
    });
    Ok(Reply::value(StatusCode::CREATED, call.format, &reply))
}

/// The app of a key's name, and the key's id in it.
fn app_of_key<'a>(
    call: &Call<'_>,
    key_name: &'a str,
) -> Result<(Arc<AppHandle>, &'a str), ErrorInfo> {
    let (app_id, key_id) = key_name
        .split_once('.')
        .filter(|(app_id, _)| is_app_id(app_id))
        .ok_or_else(|| error::unauthorized("the key's name does not begin with an app's id"))?;
    let app = call.shared.app(app_id).ok_or_else(error::unknown_app)?;
    Ok((app, key_id))
}

pub(crate) fn read_object(call: &Call<'_>, body: &[u8]) -> Result<JsonObject, ErrorInfo> {
    let (format, limits) = call.body_format();
    codec::decode_body(format, body, &limits).map_err(|problem| error::unreadable(&problem))
}
