//! Keys, credentials, and the identity that they prove.

use std::{fmt, sync::Arc};

use capably_protocol::{ApiKey, ErrorInfo, Str, TokenRequest};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{
    capability::{Capability, Operation},
    secret::Secret,
    token::{PresentedToken, Token, TokenFacts},
};
use crate::hub::error;

/// A key of an app. Its secret is not in `Debug`.
pub(crate) struct Key {
    /// The part of the key's name after the app's id.
    pub(crate) id: Str,
    secret: Secret,
    pub(crate) capability: Arc<Capability>,
    /// The text of the capability as it was configured.
    pub(crate) capability_text: String,
    /// Whether tokens issued with the key can be revoked.
    pub(crate) revocable: bool,
}

impl Key {
    pub(crate) fn new(id: impl Into<Str>, secret: impl Into<Str>, capability: Capability) -> Self {
        Self {
            id: id.into(),
            secret: Secret::new(secret),
            capability_text: capability.to_string(),
            capability: Arc::new(capability),
            revocable: false,
        }
    }

    /// For storage only. It must not appear in a response or a log.
    pub(crate) fn secret(&self) -> &Str {
        self.secret.reveal()
    }

    /// Whether the request for a token was signed with this key.
    pub(crate) fn has_signed(&self, request: &TokenRequest) -> bool {
        request.is_signed_with(self.secret.reveal())
    }

    /// The HMAC-SHA256 of a text with the key's secret, not finalized.
    pub(crate) fn mac(&self, text: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(self.secret.reveal().as_bytes());
        mac.expect("HMAC takes a key of any length").chain_update(text)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The proven identity of a connection or a request, and its capability.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) capability: Arc<Capability>,
    pub(crate) client: Client,
    /// The id of the presented key, or of the key that issued the token.
    pub(crate) key_id: Str,
    /// The facts of the presented token. `None` for a key.
    pub(crate) token: Option<Arc<TokenFacts>>,
}

/// The client ids that an identity may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// Any id: a key without a client id.
    Any,
    /// Any id: a token with the client id `*`.
    Wildcard,
    /// No id: a token without a client id.
    Anonymous,
    /// This id only.
    Named(Str),
}

impl Client {
    /// The client after the request has named a client id, too.
    ///
    /// # Errors
    /// Code 40012 for an invalid id, 40102 for an id that the credentials do not allow.
    fn narrowed(self, named: Option<Str>) -> Result<Self, ErrorInfo> {
        let Some(named) = named else { return Ok(self) };
        if named.is_empty() || named == "*" {
            return Err(error::bad_client_id("a client cannot have this clientId"));
        }
        match self {
            Self::Any | Self::Wildcard => Ok(Self::Named(named)),
            Self::Named(own) if own == named => Ok(Self::Named(own)),
            Self::Named(_) | Self::Anonymous => Err(error::incompatible_client()),
        }
    }

    /// The client id in `connectionDetails` and `TokenDetails`.
    pub(crate) fn wire_id(&self) -> Option<Str> {
        match self {
            Self::Any | Self::Anonymous => None,
            Self::Wildcard => Some(Str::from_static("*")),
            Self::Named(id) => Some(id.clone()),
        }
    }

    /// The client id, if there is only one.
    pub(crate) fn name(&self) -> Option<&Str> {
        match self {
            Self::Named(id) => Some(id),
            Self::Any | Self::Wildcard | Self::Anonymous => None,
        }
    }
}

impl Identity {
    /// The identity of a key, with the client id that the request names.
    ///
    /// # Errors
    /// Code 40012 for an invalid client id.
    pub(crate) fn of_key(key: &Key, client_id: Option<Str>) -> Result<Self, ErrorInfo> {
        let capability = Arc::clone(&key.capability);
        let key_id = key.id.clone();
        Ok(Self { capability, client: Client::Any.narrowed(client_id)?, key_id, token: None })
    }

    /// The identity of a token, with the client id that the request names.
    ///
    /// # Errors
    /// Code 40012 for an invalid client id, 40102 for another than the token's.
    pub(crate) fn of_token(token: Token, client_id: Option<Str>) -> Result<Self, ErrorInfo> {
        let Token { key, capability, client, facts } = token;
        let client = client.narrowed(client_id)?;
        Ok(Self { capability, client, key_id: key.id.clone(), token: Some(Arc::new(facts)) })
    }

    /// The type of the client, from its token, such as `server`.
    pub(crate) fn client_type(&self) -> Option<&str> {
        self.token.as_ref()?.client_type.as_deref()
    }

    /// # Errors
    /// Code 40160 when the capability does not allow the operation on the channel.
    pub(crate) fn require(&self, channel: &str, operation: Operation) -> Result<(), ErrorInfo> {
        if self.capability.allows(channel, &operation) {
            Ok(())
        } else {
            Err(error::denied(operation.as_str()))
        }
    }

    /// The client id for a message of this identity in which the client has put `claimed`.
    ///
    /// # Errors
    /// Code 40012 for a client id that the credentials do not allow.
    pub(crate) fn client_id_for(&self, claimed: Option<Str>) -> Result<Option<Str>, ErrorInfo> {
        match (&self.client, claimed) {
            (_, Some(claimed)) if claimed == "*" || claimed.is_empty() => {
                Err(error::bad_client_id("a message cannot have this clientId"))
            }
            (Client::Named(own), Some(claimed)) if *own != claimed => {
                Err(error::bad_client_id("the clientId of the message is not the publisher's"))
            }
            (Client::Anonymous, Some(_)) => {
                Err(error::bad_client_id("the token is for no client, so messages have none"))
            }
            (Client::Named(own), _) => Ok(Some(own.clone())),
            (Client::Any | Client::Wildcard | Client::Anonymous, claimed) => Ok(claimed),
        }
    }
}

/// The credentials of a request or a connection. Their form is valid; whether they are genuine is not checked yet.
pub(crate) enum Credentials {
    Key(PresentedKey),
    Token(PresentedToken),
}

impl Credentials {
    /// The id of the app that the credentials name.
    pub(crate) fn app_id(&self) -> &str {
        match self {
            Self::Key(key) => key.app_id(),
            Self::Token(token) => token.app_id(),
        }
    }
}

/// A key as a client presents it. Its form is valid; its secret is not checked yet.
pub(crate) struct PresentedKey(ApiKey);

impl PresentedKey {
    /// # Errors
    /// Code 40101 for a text that is not a key, or without the id of an app.
    pub(crate) fn parse(text: &str) -> Result<Self, ErrorInfo> {
        let key: ApiKey = text.parse()?;
        if is_app_id(key.app_id()) {
            Ok(Self(key))
        } else {
            Err(error::unauthorized("the key does not begin with the id of an app"))
        }
    }

    pub(crate) fn app_id(&self) -> &str {
        self.0.app_id()
    }

    /// Finds the key among those of its app.
    ///
    /// # Errors
    /// Code 40400 with status 401 when the app has no such key, 40101 when the secret is wrong.
    pub(crate) fn check(&self, keys: &[Arc<Key>]) -> Result<Arc<Key>, ErrorInfo> {
        let id = self.0.name().split_once('.').map_or("", |(_, id)| id);
        let key = keys.iter().find(|key| key.id == id).ok_or_else(error::unknown_key)?;
        if key.secret.is(self.0.secret()) {
            Ok(Arc::clone(key))
        } else {
            Err(error::unauthorized("the key's secret is wrong"))
        }
    }
}

/// Whether the text has the form of an app's id: six characters of `[A-Za-z0-9_-]`.
pub(crate) fn is_app_id(text: &str) -> bool {
    text.len() == 6
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_tells_which_key_it_is_and_hides_the_secret() {
        let key = format!("{:?}", Key::new("key-id", "s3cr3t", Capability::all()));
        assert!(key.contains("key-id") && !key.contains("s3cr3t"), "{key}");
    }

    #[test]
    fn an_id_of_an_app_has_six_characters_of_an_alphabet() {
        for id in ["appIdX", "a_-_-9", "______", "------"] {
            assert!(is_app_id(id), "{id}");
        }
        for text in ["", "appId", "appIdXY", "app.Id", "app Id", "app:Id", "appIé"] {
            assert!(!is_app_id(text), "{text}");
        }
    }
}
