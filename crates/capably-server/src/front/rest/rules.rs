//! The rules of an app for webhooks, in the shape of the service's control API, and the events that were given up.
//!
//! All requests need a key of the app that has every capability.

use capably_protocol::ErrorInfo;
use hyper::StatusCode;
use serde_json::Value;

use super::{access, call::Call};
use crate::{front::http::reply::Reply, hub::error, webhooks::Rule};

/// The most dead letters in an answer.
const MAX_DEAD_LETTERS: usize = 1000;

const DOING: &str = "use the rules of the app";

/// `GET /apps/{id}/rules`.
pub(super) async fn list(call: &Call<'_>, app_id: &str) -> Result<Reply, ErrorInfo> {
    let app = access::administrator(call, app_id, DOING)?;
    Ok(call.reply(StatusCode::OK, &app.webhooks.describe_all()))
}

/// `POST /apps/{id}/rules`.
///
/// # Errors
/// Code 40125 for too many rules, 40000 for an invalid one, 40400 for an unknown `signingKeyId`.
pub(super) async fn create(call: &Call<'_>, app_id: &str) -> Result<Reply, ErrorInfo> {
    let app = access::administrator(call, app_id, DOING)?;
    let rule = Rule::from_value(Value::Object(call.decode_object()?))?;
    Ok(call.reply(StatusCode::CREATED, &app.create_rule(rule).await?))
}

/// `GET /apps/{id}/rules/{rule}`.
///
/// # Errors
/// Code 40400 when there is no such rule.
pub(super) async fn get(call: &Call<'_>, app_id: &str, id: &str) -> Result<Reply, ErrorInfo> {
    let app = access::administrator(call, app_id, DOING)?;
    let rule = app.webhooks.describe(id).ok_or_else(error::unknown_rule)?;
    Ok(call.reply(StatusCode::OK, &rule))
}

/// `PATCH /apps/{id}/rules/{rule}`.
///
/// # Errors
/// Code 40400 for an unknown rule or `signingKeyId`, 40000 for a field that is not valid and for a rule that the server was
/// started with.
pub(super) async fn update(call: &Call<'_>, app_id: &str, id: &str) -> Result<Reply, ErrorInfo> {
    let app = access::administrator(call, app_id, DOING)?;
    let patch = call.decode_object()?;
    Ok(call.reply(StatusCode::OK, &app.update_rule(id, patch).await?))
}

/// `DELETE /apps/{id}/rules/{rule}`.
///
/// # Errors
/// Code 40400 when there is no such rule, 40000 for one that the server was started with.
pub(super) async fn delete(call: &Call<'_>, app_id: &str, id: &str) -> Result<Reply, ErrorInfo> {
    let app = access::administrator(call, app_id, DOING)?;
    app.delete_rule(id).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `GET /apps/{id}/rules/{rule}/deadLetters`: the number of events that were given up, and the newest of them.
///
/// # Errors
/// Code 40400 when there is no such rule, 40003 for a `limit` that is not a number.
pub(super) async fn dead_letters(
    call: &Call<'_>,
    app_id: &str,
    id: &str,
) -> Result<Reply, ErrorInfo> {
    let app = access::administrator(call, app_id, DOING)?;
    let limit = match call.query.get("limit").map(str::parse) {
        None => 100,
        Some(Ok(limit)) => MAX_DEAD_LETTERS.min(limit),
        Some(Err(_)) => return Err(error::bad_parameter("`limit` is not a number")),
    };
    let letters = app.webhooks.dead_letters(id, limit).ok_or_else(error::unknown_rule)?;
    Ok(call.reply(StatusCode::OK, &letters))
}

/// `DELETE /apps/{id}/rules/{rule}/deadLetters`.
///
/// # Errors
/// Code 40400 when there is no such rule.
pub(super) async fn clear_dead_letters(
    call: &Call<'_>,
    app_id: &str,
    id: &str,
) -> Result<Reply, ErrorInfo> {
    let app = access::administrator(call, app_id, DOING)?;
    if app.webhooks.clear_dead_letters(id) {
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    } else {
        Err(error::unknown_rule())
    }
}
