//! Keys, and who a request is from.

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
    /// The capability as the key was given it.
    pub(crate) capability_text: String,
    /// Whether its tokens can be revoked.
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

    /// To be kept, and shown to nobody.
    pub(crate) fn secret(&self) -> &Str {
        self.secret.reveal()
    }

    /// Whether the request for a token was signed with this key.
    pub(crate) fn has_signed(&self, request: &TokenRequest) -> bool {
        request.is_signed_with(self.secret.reveal())
    }

    /// The HMAC-SHA256 of some text with the key's secret, to be finished or compared.
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

/// Who a connection or a request is, and what it may do.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) capability: Arc<Capability>,
    pub(crate) client: Client,
    /// Of the key that was presented, or that the token was issued with.
    pub(crate) key_id: Str,
    /// Of the token that was presented; none for a key.
    pub(crate) token: Option<Arc<TokenFacts>>,
}

/// Which client ids an identity may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// Any: a key without a client id.
    Any,
    /// Any: a token whose client id is `*`.
    Wildcard,
    /// None: a token without a client id.
    Anonymous,
    /// This one.
    Named(Str),
}

impl Client {
    /// The client that credentials for `self` identify when the request names one besides.
    ///
    /// # Errors
    /// Code 40012 for an id that no client can have, 40102 for one that the credentials do not allow.
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

    /// The client id, as `connectionDetails` tells it.
    pub(crate) fn told(&self) -> Option<Str> {
        match self {
            Self::Any | Self::Anonymous => None,
            Self::Wildcard => Some(Str::from_static("*")),
            Self::Named(id) => Some(id.clone()),
        }
    }

    /// The id of the one client that this is.
    pub(crate) fn name(&self) -> Option<&Str> {
        match self {
            Self::Named(id) => Some(id),
            Self::Any | Self::Wildcard | Self::Anonymous => None,
        }
    }
}

impl Identity {
    /// Whoever holds the key, under the client id that the request names.
    ///
    /// # Errors
    /// Code 40012 for an id that no client can have.
    pub(crate) fn of_key(key: &Key, client_id: Option<Str>) -> Result<Self, ErrorInfo> {
        let capability = Arc::clone(&key.capability);
        let key_id = key.id.clone();
        Ok(Self { capability, client: Client::Any.narrowed(client_id)?, key_id, token: None })
    }

    /// Whoever holds a token, under the client id that the request names.
    ///
    /// # Errors
    /// Code 40012 for an id that no client can have, 40102 for one that is not the token's.
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

    /// The client id to stamp on a message that has `claimed`.
    ///
    /// # Errors
    /// Code 40012 when the message claims to be from a client that the credentials are not for.
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

/// What a request or a connection presents, in a form that this service could have given.
pub(crate) enum Credentials {
    Key(PresentedKey),
    Token(PresentedToken),
}

impl Credentials {
    /// The app that they name.
    pub(crate) fn app_id(&self) -> &str {
        match self {
            Self::Key(key) => key.app_id(),
            Self::Token(token) => token.app_id(),
        }
    }
}

/// A key as a client presents it, in a form that an app of this service could have.
pub(crate) struct PresentedKey(ApiKey);

impl PresentedKey {
    /// # Errors
    /// Code 40101 when the text has not the form of a key, or its app part is not an app's id.
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

/// Whether the text could be an app's id: six characters of `[A-Za-z0-9_-]`.
pub(crate) fn is_app_id(text: &str) -> bool {
    text.len() == 6
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
