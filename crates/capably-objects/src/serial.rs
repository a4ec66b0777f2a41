//! The serials of entries, in place.

use std::fmt;

/// The most bytes that are stored in place. A service's serials have about 45.
const INLINE: usize = 46;

/// A serial, which is stored in place unless it is long. An empty one stands for none.
///
/// Most entries of a pool have one. An allocation for each would take more memory and time.
#[derive(Clone)]
pub(crate) enum Serial {
    Inline { len: u8, bytes: [u8; INLINE] },
    Long(Box<str>),
}

impl Serial {
    pub(crate) fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// The bytes, which have the order of the text.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }

    /// The text. It costs a check of the bytes, as only `unsafe` could omit it.
    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl Default for Serial {
    fn default() -> Self {
        Self::Inline { len: 0, bytes: [0; INLINE] }
    }
}

impl From<&str> for Serial {
    fn from(text: &str) -> Self {
        let mut bytes = [0; INLINE];
        match (u8::try_from(text.len()), bytes.get_mut(..text.len())) {
            (Ok(len), Some(place)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Inline { len, bytes }
            }
            _ => Self::Long(text.into()),
        }
    }
}

impl PartialEq for Serial {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_of_any_length_keeps_its_text_and_order() {
        let texts = ["", "01", "é"].map(str::to_owned);
        let long = [INLINE - 1, INLINE, INLINE + 1, 300].map(|length| "s".repeat(length));
        let texts: Vec<String> = texts.into_iter().chain(long).collect();
        for text in &texts {
            let serial = Serial::from(text.as_str());
            assert_eq!((serial.as_str(), serial.is_empty()), (&**text, text.is_empty()));
            assert_eq!(matches!(serial, Serial::Inline { .. }), text.len() <= INLINE);
            for other in &texts {
                let second = Serial::from(other.as_str());
                assert_eq!(serial.as_bytes().cmp(second.as_bytes()), text.cmp(other));
                assert_eq!(serial == second, text == other);
            }
        }
    }

    #[test]
    fn a_serial_takes_no_more_than_six_words() {
        assert_eq!(size_of::<Serial>(), 48);
    }
}
