//! API keys.

use std::{fmt, str::FromStr};

use crate::{ErrorCode, ErrorInfo};

/// An API key: its name (`appId.keyId`) and its secret.
///
/// Neither `Debug` nor an error prints the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    text: String,
    colon: usize,
}

impl ApiKey {
    /// The part before the colon: `appId.keyId`.
    pub fn name(&self) -> &str {
        &self.text[..self.colon]
    }

    /// The part after the colon.
    pub fn secret(&self) -> &str {
        &self.text[self.colon + 1..]
    }

    /// The app's id: the name up to its first dot.
    pub fn app_id(&self) -> &str {
        self.name().split('.').next().unwrap_or_default()
    }

    /// The whole key with its secret, as an Authorization header has it.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl FromStr for ApiKey {
    type Err = ErrorInfo;

    /// Reads `appId.keyId:secret`.
    ///
    /// # Errors
    /// Code 40101 when the text has not that form.
    fn from_str(text: &str) -> Result<Self, ErrorInfo> {
        let invalid = || {
            ErrorInfo::new(
                ErrorCode::from(40101),
                401,
                "an API key has the form `appId.keyId:secret`",
            )
        };
        let colon = text.find(':').ok_or_else(invalid)?;
        let (name, secret) = (&text[..colon], &text[colon + 1..]);
        let dot = name.find('.').ok_or_else(invalid)?;
        if dot == 0 || dot + 1 == name.len() || secret.is_empty() {
            return Err(invalid());
        }
        Ok(Self { text: text.to_owned(), colon })
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}:[redacted])", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_name_and_a_secret() {
        let key: ApiKey = "app.id:se:cret".parse().unwrap();
        assert_eq!((key.name(), key.secret(), key.app_id()), ("app.id", "se:cret", "app"));
        assert_eq!(key.expose(), "app.id:se:cret");
        assert_eq!(format!("{key:?}"), "ApiKey(app.id:[redacted])");
    }

    #[test]
    fn other_text_is_refused_without_being_quoted() {
        for text in ["", "hush", "app:hush", "app.id", "app.id:", ".id:hush", "app.:hush", ":hush"]
        {
            let error = text.parse::<ApiKey>().unwrap_err();
            assert_eq!((error.code.0, error.status_code), (40101, 401), "{text}");
            assert!(!error.message.contains("hush"));
        }
    }
}
