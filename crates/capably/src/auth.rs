//! Who the client is, and how it proves it (RSA).

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use capably_protocol::{ApiKey, Str};

use crate::options::Config;

/// What a client knows of its own identity (RSC5).
#[derive(Clone, Debug)]
pub struct Auth {
    config: Arc<Config>,
}

impl Auth {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self { config }
    }

    /// The client id, when one is set (RSA7, RSC17).
    pub fn client_id(&self) -> Option<&str> {
        self.config.options.client_id.as_deref()
    }
}

/// What proves the identity.
#[derive(Clone)]
pub(crate) enum Credentials {
    /// Basic authentication (RSA2, RSA11).
    Key(ApiKey),
    /// A token of unknown content (RSA3).
    Token(Str),
}

impl Credentials {
    /// The value of the `Authorization` header.
    pub(crate) fn authorization(&self) -> String {
        match self {
            Self::Key(key) => format!("Basic {}", BASE64_STANDARD.encode(key.expose())),
            // Base64 is optional (RSA3b) and only needed for what a header cannot hold.
            Self::Token(token) if token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                format!("Bearer {token}")
            }
            Self::Token(token) => format!("Bearer {}", BASE64_STANDARD.encode(token)),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::Token(_) => f.write_str("Token([redacted])"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // UTS: rest/unit/RSA2/basic-auth-header-format-0
    #[test]
    fn a_key_is_basic_authentication() {
        let key = "app123.key456:secretXYZ".parse().expect("the key is well formed");
        assert_eq!(Credentials::Key(key).authorization(), "Basic YXBwMTIzLmtleTQ1NjpzZWNyZXRYWVo=");
    }

    #[test]
    fn a_token_is_sent_as_it_is_unless_a_header_cannot_hold_it() {
        assert_eq!(Credentials::Token("a.b-c".into()).authorization(), "Bearer a.b-c");
        assert_eq!(Credentials::Token("a\nb".into()).authorization(), "Bearer YQpi");
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = "app.key:s3cr3t".parse().expect("the key is well formed");
        assert_eq!(format!("{:?}", Credentials::Key(key)), "ApiKey(app.key:[redacted])");
        assert_eq!(format!("{:?}", Credentials::Token("s3cr3t".into())), "Token([redacted])");
    }
}
