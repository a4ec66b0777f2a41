//! The check of the form of a key or a token.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use capably::{Capability, ErrorCode};
use serde_json::Value;

use super::report::{Outcome, Report};
use crate::{
    clock,
    failure::{Exit, Failure},
};

/// No token is shorter.
const MIN_TOKEN: usize = 20;

/// The value of `--key`: an API key, or a token.
#[derive(Debug, PartialEq)]
pub(super) enum Credentials {
    Key,
    /// A token, with its capability if it says so.
    Token(Option<Capability>),
}

/// Checks the form of a key or a token.
pub(super) fn check(text: &str, report: &mut Report) -> Result<Option<Credentials>, Failure> {
    let wrong = |message: &str, code, remedy: &str| {
        let exit = if code == ErrorCode::TOKEN_EXPIRED { Exit::Refused } else { Exit::Usage };
        let remedy = remedy.to_owned();
        (message.to_owned(), Outcome::Failed { exit, code: Some(code), remedy })
    };
    const KEY_REMEDY: &str = "copy the whole key from the dashboard: appId.keyId:secret";
    let (message, outcome) = if text.contains(|c: char| c.is_whitespace() || c == '"' || c == '\'')
    {
        let message = "the key contains a space or a quotation mark";
        wrong(message, ErrorCode::INVALID_CREDENTIALS, KEY_REMEDY)
    } else if let Some((name, _)) = text.split_once(':') {
        report.ok("key", &format!("the key {name} has the right form"))?;
        return Ok(Some(Credentials::Key));
    } else if text.len() < MIN_TOKEN || !text.contains('.') {
        let message = "the text is neither an API key nor a token";
        wrong(message, ErrorCode::INVALID_CREDENTIALS, KEY_REMEDY)
    } else {
        let claims = claims(text);
        let expires = claims.as_ref().and_then(|claims| claims["exp"].as_i64());
        let expires = expires.map(|seconds| seconds.saturating_mul(1000));
        match expires {
            Some(time) if time < clock::now() => {
                let (day, hour) = (clock::date(time), clock::time_of_day(time));
                let message = format!("the token has expired on {day} at {hour} UTC");
                wrong(&message, ErrorCode::TOKEN_EXPIRED, "use a new token")
            }
            _ => {
                let kind = if claims.is_some() { "a JSON Web Token" } else { "a token" };
                let until = expires.map_or_else(String::new, |time| {
                    format!(" until {} {} UTC", clock::date(time), clock::time_of_day(time))
                });
                report.ok("key", &format!("{kind} has the right form{until}"))?;
                let capability = claims.and_then(|claims| {
                    claims["x-ably-capability"].as_str().and_then(|text| text.parse().ok())
                });
                return Ok(Some(Credentials::Token(capability)));
            }
        }
    };
    report.add("key", &message, outcome)?;
    Ok(None)
}

/// The claims of a JSON Web Token.
fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims.is_object().then_some(claims)
}
