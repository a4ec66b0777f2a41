//! Errors on the wire (TI).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{ErrorCode, Str, lenient};

/// An error as the service states it (TI1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorInfo {
    /// What went wrong, as a number of Ably's list.
    #[serde(deserialize_with = "lenient::or_default")]
    pub code: ErrorCode,
    /// The HTTP status that goes with it; 0 when none was given.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "lenient::integer_or_default")]
    pub status_code: u16,
    /// What went wrong, in words.
    #[serde(deserialize_with = "lenient::or_default")]
    pub message: Str,
    /// Where to read about it (TI4). This and the next are boxed to keep a `Result` with an error small.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub href: Option<Box<str>>,
    /// The request it belongs to (RSC7c).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Box<str>>,
    /// Structured details (TI6).
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient::string_map")]
    pub detail: BTreeMap<String, String>,
    /// What caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<ErrorInfo>>,
}

impl ErrorInfo {
    /// An error with its code, HTTP status and message.
    pub fn new(code: ErrorCode, status_code: u16, message: impl Into<Str>) -> Self {
        Self {
            code,
            status_code,
            message: message.into(),
            href: None,
            request_id: None,
            detail: BTreeMap::new(),
            cause: None,
        }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_cause(mut self, cause: ErrorInfo) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    /// Whether a new token may mend it: status 401 and a code from 40140 to 40149 (RSA4b, RTN14b).
    pub fn is_token_error(&self) -> bool {
        self.status_code == 401 && (40140..40150).contains(&self.code.0)
    }
}

impl fmt::Display for ErrorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {}", self.message, self.code)?;
        if self.status_code != 0 {
            write!(f, ", status {}", self.status_code)?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for ErrorInfo {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

fn is_zero(status: &u16) -> bool {
    *status == 0
}
