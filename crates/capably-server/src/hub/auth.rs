//! Keys, and who a request is from.

use std::{fmt, sync::Arc};

use capably_protocol::{ApiKey, ErrorInfo, Str};

use super::{
    capability::{Capability, Operation},
    error,
};

/// A key of an app. Its secret is not in `Debug`.
pub(crate) struct Key {
    /// The part of the key's name after the app's id.
    pub(crate) id: Str,
    secret: Str,
    pub(crate) capability: Capability,
}

impl Key {
    pub(crate) fn new(id: impl Into<Str>, secret: impl Into<Str>, capability: Capability) -> Self {
        Self { id: id.into(), secret: secret.into(), capability }
    }

    /// Compares in a time that does not tell how much of the secret was right.
    fn has_secret(&self, secret: &str) -> bool {
        let (ours, theirs) = (self.secret.as_bytes(), secret.as_bytes());
        let difference = ours
            .iter()
            .zip(theirs)
            .fold(0, |difference, (ours, theirs)| difference | (ours ^ theirs));
        ours.len() == theirs.len() && difference == 0
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
    pub(crate) key: Arc<Key>,
    pub(crate) client_id: Option<Str>,
}

impl Identity {
    /// # Errors
    /// Code 40160 when the capability does not allow the operation on the channel.
    pub(crate) fn require(&self, channel: &str, operation: Operation) -> Result<(), ErrorInfo> {
        if self.key.capability.allows(channel, operation) {
            Ok(())
        } else {
            Err(error::denied(operation.name()))
        }
    }

    /// The client id to stamp on a message that has `claimed`.
    ///
    /// # Errors
    /// Code 40012 when the message claims to be from another client than the one identified.
    pub(super) fn client_id_for(&self, claimed: Option<Str>) -> Result<Option<Str>, ErrorInfo> {
        match (&self.client_id, claimed) {
            (_, Some(claimed)) if claimed == "*" || claimed.is_empty() => {
                Err(error::bad_client_id("a message cannot have this clientId"))
            }
            (Some(own), Some(claimed)) if *own != claimed => {
                Err(error::bad_client_id("the clientId of the message is not the publisher's"))
            }
            (Some(own), _) => Ok(Some(own.clone())),
            (None, claimed) => Ok(claimed),
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
        if key.has_secret(self.0.secret()) {
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
