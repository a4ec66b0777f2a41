//! Failures of a command: exit codes and error texts.

use std::{fmt, io, process::ExitCode};

use capably::{Error, ErrorCode};

use crate::{output::notice, pages::Page, visible::visible};

/// The exit codes, as `capably --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    Refused = 4,
    TimedOut = 5,
}

/// The reason why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error.
    Error { exit: Exit, code: Option<ErrorCode>, message: String, remedy: Option<String> },
    /// The reader of the output is gone, which is not an error: `| head` has read enough.
    OutputClosed,
}

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::with_exit(Exit::Failed, message)
    }

    /// Arguments that cannot be combined. clap reports arguments that are not valid by themselves.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::with_exit(Exit::Usage, message)
    }

    /// Arguments that the SDK refuses.
    pub(crate) fn wrong_usage(error: Error) -> Self {
        let mut failure = Self::from(error);
        if let Self::Error { exit, .. } = &mut failure {
            *exit = Exit::Usage;
        }
        failure
    }

    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self::with_exit(Exit::TimedOut, message)
    }

    fn with_exit(exit: Exit, message: impl Into<String>) -> Self {
        Self::Error { exit, code: None, message: message.into(), remedy: None }
    }

    #[must_use]
    pub(crate) fn remedy(mut self, text: impl Into<String>) -> Self {
        if let Self::Error { remedy, .. } = &mut self {
            *remedy = Some(text.into());
        }
        self
    }

    /// The failure for an error of standard output.
    pub(crate) fn from_output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::failed(format!("cannot write the output: {error}")),
        }
    }

    /// Writes the error to stderr, and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::OutputClosed => ExitCode::SUCCESS,
            Self::Error { exit, .. } => {
                notice(&self);
                ExitCode::from(exit as u8)
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error { code, message, remedy, .. } => {
                // A message may quote the service.
                write!(f, "error: {}", visible(message))?;
                if let Some(code) = code {
                    write!(f, "\n  code: {code:?}")?;
                }
                if let Some(remedy) = remedy {
                    write!(f, "\n  remedy: {}", visible(remedy))?;
                }
                match code.and_then(Page::find) {
                    Some(page) if page.has_causes() => {
                        let start = if remedy.is_some() { "; more: " } else { "\n  remedy: " };
                        write!(f, "{start}capably explain {}", page.code)
                    }
                    _ => Ok(()),
                }
            }
            Self::OutputClosed => f.write_str("the output is closed"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error {
            exit: exit(error.code(), error.status()),
            code: Some(error.code()),
            message: error.message().to_owned(),
            remedy: error.remediation().map(str::to_owned),
        }
    }
}

/// The exit code of an error. Scripts use it to decide whether to retry.
fn exit(code: ErrorCode, status: Option<u16>) -> Exit {
    match (code.0, status) {
        (_, Some(401 | 403)) | (40100..40400, _) => Exit::Refused,
        (50003 | 80000..=80003 | 80014, _) => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_error() {
        for (code, status, expected) in [
            (ErrorCode::INVALID_CREDENTIALS, Some(401), Exit::Refused),
            (ErrorCode::CAPABILITY_DENIED, None, Exit::Refused),
            (ErrorCode::CONNECTION_FAILED, None, Exit::Unreachable),
            (ErrorCode::CONNECTION_FAILED, Some(401), Exit::Refused),
            (ErrorCode::TIMEOUT_ERROR, None, Exit::Unreachable),
            (ErrorCode::BAD_REQUEST, Some(400), Exit::Failed),
            (ErrorCode(12345), None, Exit::Failed),
        ] {
            assert_eq!(exit(code, status), expected, "{code}, {status:?}");
        }
    }

    #[test]
    fn a_failure_shows_its_code_and_its_remedy() {
        let failure = Failure::from(Error::new(ErrorCode::INVALID_CREDENTIALS, 401, "no such key"));
        let text = failure.to_string();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("error: no such key"));
        assert_eq!(lines.next(), Some("  code: 40101 (Authentication failed)"));
        let remedy = lines.next().unwrap();
        assert!(remedy.starts_with("  remedy: check the API key"), "{remedy}");
        assert!(remedy.ends_with("; more: capably explain 40101"), "{remedy}");
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn a_failure_refers_to_the_page_about_its_code_if_that_has_more_to_say() {
        let text = |code| Failure::from(Error::new(ErrorCode(code), 0, "failed")).to_string();
        assert!(text(50000).ends_with("\n  remedy: capably explain 50000"));
        assert!(
            text(50205).ends_with("\n  code: 50205 (Routing layer could not reach the service)")
        );
        assert!(text(12345).ends_with("\n  code: 12345"));
    }
}
