//! Getting a token: from a callback, an auth URL, or the service itself (RSA8).

use std::panic::AssertUnwindSafe;

use capably_protocol::{
    ApiKey, ErrorCode, Millis, TokenDetails, TokenParams, TokenRequest, codec::encode_body,
};
use futures_util::FutureExt;

use super::{
    calling,
    credentials::{Credentials, TokenProvider},
    failed,
    source::{Resolved, TokenSource, checked},
    url,
};
use crate::{
    Error, Result, random,
    rest::{Call, Pipeline, escape},
};

/// Gets a token.
///
/// # Errors
/// 40171 without a way to get a token; 40170 when the callback or the auth URL returns none in time; the service's
/// reason for refusing a token request.
pub(super) async fn token(
    pipeline: &Pipeline,
    credentials: &Credentials,
    params: TokenParams,
) -> Result<TokenDetails> {
    // A panic in the program's callback must not spread to the other calls that wait for the token.
    let outcome = AssertUnwindSafe(get(pipeline, credentials, params)).catch_unwind().await;
    outcome.unwrap_or_else(|_| Err(failed("the auth callback panicked")))
}

async fn get(
    pipeline: &Pipeline,
    credentials: &Credentials,
    params: TokenParams,
) -> Result<TokenDetails> {
    let source = match (&credentials.source, &credentials.key) {
        (Some(TokenProvider::Callback(callback)), _) => {
            let session = pipeline.session();
            calling::refuse_callback_of(session.client())?;
            let _call = session.calls.begin()?;
            let limit = pipeline.config().options.http_request_timeout;
            let call = calling::called_by(session.client(), callback.call(params));
            match tokio::time::timeout(limit, call).await {
                Ok(answer) => answer?,
                Err(_) => {
                    let limit = limit.as_millis();
                    let message = format!("the auth callback returned no token within {limit} ms");
                    return Err(failed(message).with_remedy(
                        "return a token sooner, and do not wait for requests of the client that needs the token",
                    ));
                }
            }
        }
        (Some(TokenProvider::Url(url)), _) => url::fetch(pipeline, url, &params).await?,
        (None, Some(key)) => TokenSource::Request(
            signed_request(pipeline, key, params, credentials.query_time).await?,
        ),
        (None, None) => return Err(cannot_renew()),
    };
    match source.resolve()? {
        Resolved::Token(details) => Ok(details),
        Resolved::Request(request) => exchange(pipeline, &request).await,
    }
}

/// Makes a signed token request (RSA9).
///
/// # Errors
/// The errors of a request for the service's time, if it is queried; 50000 when the system provides no random bytes.
pub(super) async fn signed_request(
    pipeline: &Pipeline,
    key: &ApiKey,
    mut params: TokenParams,
    query_time: bool,
) -> Result<TokenRequest> {
    if params.timestamp.is_none() {
        params.timestamp = Some(service_time(pipeline, query_time).await?);
    }
    if params.nonce.is_none() {
        params.nonce = Some(random::id()?.into());
    }
    Ok(TokenRequest::signed(key, params))
}

/// The time by the service's clock if it is known or `query` is set, else by the local clock (RSA9d, RSA10k, RTO16).
pub(crate) async fn service_time(pipeline: &Pipeline, query: bool) -> Result<Millis> {
    let clock = &pipeline.config().options.clock;
    let session = pipeline.session();
    if session.offset().is_none() && query {
        let time = pipeline.time(&Call::get("/time").unattributed()).await?;
        session.set_offset(time.saturating_sub(clock.now()));
    }
    Ok(clock.now().saturating_add(session.offset().unwrap_or_default()))
}

/// Exchanges a token request for a token.
///
/// # Errors
/// The service's reason; 40170 when its reply has an invalid token.
pub(super) async fn exchange(pipeline: &Pipeline, request: &TokenRequest) -> Result<TokenDetails> {
    let body = encode_body(pipeline.config().format(), request).map_err(|error| {
        Error::new(ErrorCode::BAD_REQUEST, 400, "the token request cannot be encoded")
            .with_source(error)
    })?;
    let path = format!("/keys/{}/requestToken", escape(&request.key_name));
    let call = Call::post(path, body).unattributed();
    let details: TokenDetails = pipeline.send_anonymously(&call).await?.decode()?;
    checked(details)
}

pub(crate) fn cannot_renew() -> Error {
    let message = "a new token is needed, and the client has no way to get one";
    Error::new(ErrorCode::TOKEN_RENEWAL_NOT_CONFIGURED, 401, message)
}
