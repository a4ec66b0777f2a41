//! Secrets, which `Debug` does not show.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use capably_protocol::Str;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// A secret text. `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct Secret(Str);

impl Secret {
    pub(crate) fn new(text: impl Into<Str>) -> Self {
        Self(text.into())
    }

    /// The text, for storage or for its owner.
    pub(crate) fn reveal(&self) -> &Str {
        &self.0
    }

    /// The secret for one purpose.
    pub(crate) fn derive(&self, purpose: &str) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes())
            .expect("HMAC accepts keys of every length");
        mac.update(purpose.as_bytes());
        Self::new(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    /// Whether `text` is the secret. The time of the comparison does not depend on how much of the text is right, nor on
    /// the length of the secret: an attacker could guess it piece by piece.
    pub(crate) fn is(&self, text: &str) -> bool {
        let (ours, theirs) = (Sha256::digest(&*self.0), Sha256::digest(text));
        let different = |difference, (ours, theirs): (&u8, &u8)| difference | (ours ^ theirs);
        ours.iter().zip(&theirs).fold(0, different) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Differences of two bytes do not make up for each other.
    #[test]
    fn no_other_text_is_the_secret() {
        let secret = Secret::new("s3cr3t");
        assert!((0..5_000).all(|number| !secret.is(&number.to_string())));
    }

    #[test]
    fn secrets_compare_their_whole_text_and_debug_hides_it() {
        let secret = Secret::new("s3cr3t");
        assert!(secret.is("s3cr3t"));
        for other in ["", "s3cr3", "s3cr3t ", "S3cr3t", "x"] {
            assert!(!secret.is(other), "{other}");
        }
        assert_eq!(format!("{secret:?}"), "[redacted]");
        let derived = secret.derive("a");
        assert!(derived.is(secret.derive("a").reveal()));
        assert!(!derived.is(secret.derive("b").reveal()) && !derived.is("s3cr3t"));
    }
}
