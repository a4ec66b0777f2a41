//! The tokens of a key: issuing and revoking.

use std::sync::Arc;

use capably_protocol::{ErrorInfo, Str};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::call::Call;
use crate::{
    engine::Bucket,
    front::{app::AppHandle, http::reply::Reply},
    hub::{
        IssuedToken,
        auth::{Credentials, is_app_id},
        error,
        revocation::RevocationRequest,
        token_request,
    },
};

/// `POST /keys/{keyName}/requestToken` (RSA8).
pub(super) async fn request(call: &Call<'_>, key_name: &str) -> Result<Reply, ErrorInfo> {
    let (app, key_id) = app_of_key(call, key_name)?;
    let request = token_request::read(call.decode_object()?, key_name)?;
    // A signed request proves itself: the credentials beside it are not checked.
    let presented = match (&request.mac, call.optional_credentials()) {
        (None, Ok(Some(Credentials::Key(key)))) => Some(key),
        (None, Err(error)) => return Err(error),
        (None, Ok(Some(Credentials::Token(_)) | None)) | (Some(_), _) => None,
    };
    let nonce =
        app.with(|hub, _| hub.check_token_request(key_id, &request, presented, call.now))?;
    if let Some(nonce) = nonce {
        app.use_nonce(&nonce, call.now).await?;
    }
    let issued = app.with(|hub, _| hub.issue_token(key_id, &request, call.now))?;
    Ok(call.reply(StatusCode::CREATED, &details(&issued)))
}

/// The details of a token in a reply (TD).
pub(in crate::front) fn details(issued: &IssuedToken) -> Value {
    let mut json = json!(issued.details);
    json["keyName"] = json!(issued.key_name);
    json
}

/// Most targets of one request.
const MAX_TARGETS: usize = 100;

/// `POST /keys/{keyName}/revokeTokens` (RSA17).
pub(super) async fn revoke(call: &Call<'_>, key_name: &str) -> Result<Reply, ErrorInfo> {
    let (app, key_id) = app_of_key(call, key_name)?;
    let presented = call.key()?;
    let request = revocation(call)?;
    if presented.app_id() != app.id() {
        return Err(error::wrong_revocation_key());
    }
    let _turn = app.turn_to_revoke().await;
    let (revoked, revocations) = app.with(|hub, outputs| {
        let revoked = hub.revoke_tokens(key_id, presented, request, call.now, outputs)?;
        let revocations = serde_json::to_vec(hub.revocations()).map_err(error::protocol)?;
        Ok::<_, ErrorInfo>((revoked, revocations))
    })?;
    let fact = (call.shared.revocations_key(app.id()), Some(revocations.into()));
    call.shared.set_facts(Bucket::Revocations, vec![fact]).await?;
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
    Ok(call.reply(StatusCode::CREATED, &reply))
}

fn revocation(call: &Call<'_>) -> Result<RevocationRequest, ErrorInfo> {
    let body = call.decode_object()?;
    Ok(RevocationRequest {
        targets: body
            .get("targets")
            .and_then(Value::as_array)
            .filter(|targets| (1..=MAX_TARGETS).contains(&targets.len()))
            .and_then(|targets| targets.iter().map(|it| it.as_str().map(Str::from)).collect())
            .ok_or_else(|| {
                error::bad_request(format!(
                    "`targets` must be an array of 1 to {MAX_TARGETS} strings"
                ))
            })?,
        issued_before: match body.get("issuedBefore") {
            None | Some(Value::Null) => None,
            Some(time) => Some(time.as_i64().ok_or_else(|| {
                error::bad_request("`issuedBefore` must be a time in milliseconds since the epoch")
            })?),
        },
        allow_reauth_margin: body.get("allowReauthMargin") == Some(&Value::Bool(true)),
    })
}

/// The app of a key, and the id of the key in it, from the key's name `appId.keyId`.
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
