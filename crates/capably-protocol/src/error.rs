//! Errors on the wire (TI).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{ErrorCode, Str, lenient};

/// An error of the service (TI1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorInfo {
    /// The number of the error in Ably's list.
    #[serde(deserialize_with = "lenient::or_default")]
    pub code: ErrorCode,
    /// The HTTP status of the error; 0 without one.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "lenient::integer_or_default")]
    pub status_code: u16,
    /// A description of the error.
    #[serde(deserialize_with = "lenient::or_default")]
    pub message: Str,
    /// The address of a page about the error (TI4). This and the next are boxed to keep a `Result` with an error small.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub href: Option<Box<str>>,
    /// The id of the request that failed (RSC7c).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Box<str>>,
    /// Structured details (TI6).
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lenient::string_map")]
    pub detail: BTreeMap<String, String>,
    /// The error that caused this one.
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

    /// The same error with its cause.
    #[must_use]
    pub fn with_cause(mut self, cause: ErrorInfo) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    /// Whether a new token may help: status 401 and a code from 40140 to 40149 (RSA4b, RTN14b).
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
