//! The problems of options, collected into one error.

use std::{collections::BTreeMap, fmt::Write as _};

use capably_protocol::ErrorCode;

use crate::Error;

/// The problems of a set of options.
#[derive(Default)]
pub(crate) struct Problems(Vec<Problem>);

struct Problem {
    option: &'static str,
    code: ErrorCode,
    status: u16,
    message: String,
    remedy: &'static str,
}

impl Problems {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a problem with code 40000.
    pub(crate) fn bad(&mut self, option: &'static str, message: String, remedy: &'static str) {
        self.add(option, (ErrorCode::BAD_REQUEST, 400), message, remedy);
    }

    /// Adds a problem with its code and status.
    pub(crate) fn add(
        &mut self,
        option: &'static str,
        (code, status): (ErrorCode, u16),
        message: String,
        remedy: &'static str,
    ) {
        self.0.push(Problem { option, code, status, message, remedy });
    }

    /// One error for all problems.
    pub(crate) fn into_error(self) -> Error {
        let mut detail: BTreeMap<String, String> = BTreeMap::new();
        for problem in &self.0 {
            let text = format!("{}; {}", problem.message, problem.remedy);
            detail
                .entry(problem.option.to_owned())
                .and_modify(|known| {
                    let _ = write!(known, "; {text}");
                })
                .or_insert(text);
        }
        match &*self.0 {
            // Not reached: validation fails only with a problem.
            [] => Error::new(ErrorCode::INTERNAL_ERROR, 500, "the options cannot be used"),
            [only] => {
                let message = format!("option `{}`: {}", only.option, only.message);
                Error::new(only.code, only.status, message).with_remedy(only.remedy)
            }
            [first, ..] => {
                let mut message = format!("{} options are wrong: ", self.0.len());
                for (at, problem) in self.0.iter().enumerate() {
                    let separator = if at == 0 { "" } else { "; " };
                    let Problem { option, message: text, remedy, .. } = problem;
                    let _ = write!(message, "{separator}`{option}`: {text} ({remedy})");
                }
                Error::new(first.code, first.status, message)
                    .with_remedy("correct each of these options")
            }
        }
        .with_detail(detail)
    }
}
