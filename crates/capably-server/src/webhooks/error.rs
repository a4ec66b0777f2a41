//! Why a rule is refused.

use std::fmt;

use capably_protocol::{ErrorCode, ErrorInfo};

/// A rule that is not valid (40000).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError(String);

impl RuleError {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RuleError {}

impl From<RuleError> for ErrorInfo {
    fn from(error: RuleError) -> Self {
        Self::new(ErrorCode(40000), 400, error.0)
    }
}
