//! Revoking tokens (RSA17).

use std::{fmt, sync::Arc};

use capably_protocol::{ErrorCode, ErrorInfo, Millis, Str, codec::encode_body};
use serde::{Deserialize, Serialize};

use crate::{
    BatchResult, Error, Result,
    http::BoxFuture,
    rest::{Call, Pipeline, escape},
};

/// Selects tokens to revoke (TRT1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RevocationTarget {
    /// The attribute that selects tokens: `clientId`, `revocationKey` or `channel` (TRT2a).
    pub kind: Str,
    /// The value of the attribute (TRT2b).
    pub value: Str,
}

impl RevocationTarget {
    /// Tokens with this value of an attribute, for attributes without a method here.
    pub fn new(kind: impl Into<Str>, value: impl Into<Str>) -> Self {
        Self { kind: kind.into(), value: value.into() }
    }

    /// Tokens of a client.
    pub fn client_id(client_id: impl Into<Str>) -> Self {
        Self::new("clientId", client_id)
    }

    /// Tokens with a revocation key.
    pub fn revocation_key(key: impl Into<Str>) -> Self {
        Self::new("revocationKey", key)
    }

    /// Tokens whose capability names a channel.
    pub fn channel(name: impl Into<Str>) -> Self {
        Self::new("channel", name)
    }
}

impl fmt::Display for RevocationTarget {
    /// The form on the wire, `kind:value` (RSA17b).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.value)
    }
}

/// A successful revocation (TRS1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revocation {
    /// The target, as `kind:value` (TRS2a).
    pub target: Str,
    /// When the revocation takes effect, in ms since the epoch (TRS2b).
    pub applies_at: Millis,
    /// Tokens that were issued before this time are revoked, in ms since the epoch (TRS2c).
    pub issued_before: Millis,
}

/// A failed revocation (TRF1).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RevocationFailure {
    /// The target, as `kind:value` (TRF2a).
    pub target: Str,
    /// The reason (TRF2b).
    pub error: Error,
}

/// The outcome for each target.
pub type RevocationResult = BatchResult<Result<Revocation, RevocationFailure>>;

/// Revokes tokens when awaited (RSA17).
///
/// # Errors
/// 40162 for a client that uses a token (RSA17d); the service's reason, such as 40163 for a key without revocable
/// tokens. The failure of a single target is in the result.
#[derive(Clone)]
#[must_use = "nothing is revoked until this is awaited"]
pub struct RevokeTokens {
    pipeline: Arc<Pipeline>,
    body: RevokeRequest,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RevokeRequest {
    targets: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_before: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_reauth_margin: Option<bool>,
}

impl RevokeTokens {
    pub(super) fn new(
        pipeline: Arc<Pipeline>,
        targets: impl IntoIterator<Item = RevocationTarget>,
    ) -> Self {
        let targets = targets.into_iter().map(|target| target.to_string()).collect();
        let body = RevokeRequest { targets, issued_before: None, allow_reauth_margin: None };
        Self { pipeline, body }
    }

    /// Revokes only tokens that were issued before this time, in ms since the epoch; by default, all tokens issued so
    /// far (RSA17e).
    pub fn issued_before(mut self, time: Millis) -> Self {
        self.body.issued_before = Some(time);
        self
    }

    /// Whether connected clients have about 30 s to get a new token; false by default (RSA17f).
    pub fn allow_reauth_margin(mut self, allow: bool) -> Self {
        self.body.allow_reauth_margin = Some(allow);
        self
    }

    async fn send(self) -> Result<RevocationResult> {
        let Self { pipeline, body } = self;
        let session = pipeline.session();
        let key = match &session.credentials(None)?.key {
            Some(key) if session.is_basic() => key.clone(),
            Some(_) | None => {
                let message = "revoking tokens needs an API key, and this client uses a token";
                let code = ErrorCode::OPERATION_REQUIRES_BASIC_AUTHENTICATION;
                return Err(Error::new(code, 401, message)
                    .with_remedy("make a client with the API key and without a token"));
            }
        };
        let body = encode_body(pipeline.config().format(), &body).map_err(|error| {
            Error::new(ErrorCode::BAD_REQUEST, 400, "the targets cannot be encoded")
                .with_source(error)
        })?;
        let path = format!("/keys/{}/revokeTokens", escape(key.name()));
        let answer: RevokeReply = pipeline.send(&Call::post(path, body)).await?.decode()?;
        Ok(answer.into())
    }
}

impl IntoFuture for RevokeTokens {
    type Output = Result<RevocationResult>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl fmt::Debug for RevokeTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevokeTokens").field("body", &self.body).finish_non_exhaustive()
    }
}

/// The service's reply: the results with counts, or without.
#[derive(Deserialize)]
#[serde(untagged)]
enum RevokeReply {
    Bare(Vec<RevokeOutcome>),
    #[serde(rename_all = "camelCase")]
    Counted {
        success_count: Option<u32>,
        failure_count: Option<u32>,
        results: Vec<RevokeOutcome>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RevokeOutcome {
    #[serde(default)]
    target: Str,
    #[serde(default)]
    applies_at: Millis,
    #[serde(default)]
    issued_before: Millis,
    error: Option<ErrorInfo>,
}

impl From<RevokeReply> for RevocationResult {
    fn from(answer: RevokeReply) -> Self {
        let (successes, failures, items) = match answer {
            RevokeReply::Bare(items) => (None, None, items),
            RevokeReply::Counted { success_count, failure_count, results } => {
                (success_count, failure_count, results)
            }
        };
        let results = items.into_iter().map(|item| match item.error {
            Some(error) => Err(RevocationFailure { target: item.target, error: error.into() }),
            None => Ok(Revocation {
                target: item.target,
                applies_at: item.applies_at,
                issued_before: item.issued_before,
            }),
        });
        let mut batch: Self = results.collect();
        // The service's own counts take precedence.
        batch.success_count = successes.unwrap_or(batch.success_count);
        batch.failure_count = failures.unwrap_or(batch.failure_count);
        batch
    }
}
