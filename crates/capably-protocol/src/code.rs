//! Error codes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::lenient;

mod list;

/// An error code of Ably's list, or an unknown code, whose number is kept.
///
/// The constants are generated from the public list by `cargo xtask codes`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// A short description of the code; `None` for a code that is not on the list.
    pub fn title(self) -> Option<&'static str> {
        let index = list::TITLES.binary_search_by_key(&self.0, |(code, _)| *code).ok()?;
        list::TITLES.get(index).map(|(_, title)| *title)
    }

    /// Every code of the list, in ascending order.
    ///
    /// ```
    /// use capably_protocol::ErrorCode;
    ///
    /// let tokens = ErrorCode::all().filter(|code| (40140..40150).contains(&code.0));
    /// assert!(tokens.into_iter().any(|code| code == ErrorCode::TOKEN_EXPIRED));
    /// ```
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        list::TITLES.iter().map(|(code, _)| Self(*code))
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.title() {
            Some(title) => write!(f, "{} ({title})", self.0),
            None => self.0.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        lenient::integer_or_default(d).map(Self)
    }
}

impl From<u32> for ErrorCode {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_title() {
        assert!(ErrorCode::all().is_sorted());
        assert!(ErrorCode::all().all(|code| code.title().is_some_and(|title| !title.is_empty())));
        assert_eq!(
            ErrorCode::CAPABILITY_DENIED.title(),
            Some("Client lacks the required capability")
        );
        assert_eq!(ErrorCode(40159).title(), None);
    }
}
