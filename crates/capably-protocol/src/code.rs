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
        list::title(self.0)
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
