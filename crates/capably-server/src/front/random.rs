//! Random bytes and text, from the system.

use std::fmt;

use crate::hub::secret::Secret;

/// The system gave no random bytes.
#[derive(Debug)]
pub(crate) struct RandomError(getrandom::Error);

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for RandomError {}

/// Random bytes.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(RandomError)?;
    Ok(bytes)
}

/// A new secret.
pub(crate) fn secret() -> Result<Secret, RandomError> {
    text(43).map(Secret::new)
}

/// `length` random letters and digits.
pub(super) fn text(length: usize) -> Result<String, RandomError> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        // Bytes past the last whole multiple of the alphabet would make some letters likelier.
        let letters = bytes::<32>()?
            .into_iter()
            .filter(|byte| *byte < 248)
            .map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        text.extend(letters.take(length - text.len()));
    }
    Ok(text)
}
