//! Error codes as candidates.

use std::ffi::OsStr;

use capably::ErrorCode;
use clap_complete::CompletionCandidate;

/// The codes that begin with the digits, with their titles.
pub(super) fn complete(word: &OsStr) -> Vec<CompletionCandidate> {
    let Some(word) = word.to_str() else { return Vec::new() };
    let codes = ErrorCode::all().map(|code| (code.to_string(), code.title()));
    let found = codes.filter(|(code, _)| code.starts_with(word));
    found.map(|(code, title)| CompletionCandidate::new(code).help(title.map(Into::into))).collect()
}
