//! The results of checks, as lines for people and as JSON.

use capably::ErrorCode;
use serde_json::json;

use crate::{
    failure::{Exit, Failure},
    output::Output,
    visible::visible,
};

/// The result of a check.
#[derive(Debug)]
pub(super) enum Outcome {
    Ok,
    Warning { remedy: String },
    Failed { exit: Exit, code: Option<ErrorCode>, remedy: String },
    Skipped,
}

/// Prints results, and remembers the first failure.
pub(super) struct Report {
    output: Output,
    json: bool,
    passed: usize,
    warnings: usize,
    failed: usize,
    first: Option<(Exit, &'static str)>,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        let output = Output::stdout();
        Self { output, json, passed: 0, warnings: 0, failed: 0, first: None }
    }

    pub(super) fn ok(&mut self, check: &'static str, message: &str) -> Result<(), Failure> {
        self.add(check, message, Outcome::Ok)
    }

    pub(super) fn skipped(&mut self, check: &'static str, message: &str) -> Result<(), Failure> {
        self.add(check, message, Outcome::Skipped)
    }

    /// A failure that another part of the command reports.
    pub(super) fn failed(&mut self, check: &'static str, failure: Failure) -> Result<(), Failure> {
        match failure {
            Failure::Error { exit, code, message, remedy } => {
                let remedy = remedy.unwrap_or_default();
                self.add(check, &message, Outcome::Failed { exit, code, remedy })
            }
            closed @ Failure::OutputClosed => Err(closed),
        }
    }

    /// Prints the result of a check.
    pub(super) fn add(
        &mut self,
        check: &'static str,
        message: &str,
        outcome: Outcome,
    ) -> Result<(), Failure> {
        let (name, code, remedy) = match &outcome {
            Outcome::Ok => ("ok", None, None),
            Outcome::Skipped => ("skipped", None, None),
            Outcome::Warning { remedy } => ("warning", None, Some(remedy)),
            Outcome::Failed { code, remedy, .. } => ("failed", *code, Some(remedy)),
        };
        let remedy = remedy.filter(|remedy| !remedy.is_empty());
        match outcome {
            Outcome::Ok => self.passed += 1,
            Outcome::Warning { .. } => self.warnings += 1,
            Outcome::Failed { exit, .. } => {
                self.failed += 1;
                self.first.get_or_insert((exit, check));
            }
            Outcome::Skipped => {}
        }
        if self.json {
            let mut line = json!({ "check": check, "result": name, "message": message });
            if let Some(code) = code {
                line["code"] = code.0.into();
            }
            if let Some(remedy) = remedy {
                line["remedy"] = remedy.as_str().into();
            }
            return self.output.json_now(line);
        }
        self.output.line(format_args!("{name:<8} {check:<11} {}", visible(message)))?;
        if let Some(code) = code {
            self.output.line(format_args!("         code: {code:?}"))?;
        }
        if let Some(remedy) = remedy {
            self.output.line(format_args!("         remedy: {}", visible(remedy)))?;
        }
        self.output.flush()
    }

    /// The result of all checks: that of the first that failed.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let Self { passed, warnings, failed, .. } = self;
        if !self.json {
            self.output.line_now(format_args!(
                "\nChecks passed: {passed}, warnings: {warnings}, failed: {failed}"
            ))?;
        }
        match self.first {
            None => Ok(()),
            Some((exit, check)) => {
                let message = format!("the check `{check}` failed");
                let (code, remedy) = (None, None);
                Err(Failure::Error { exit, code, message, remedy })
            }
        }
    }
}
