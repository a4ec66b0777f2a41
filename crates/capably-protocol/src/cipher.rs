//! Payload encryption (RSL5, RSE, TZ).

use std::fmt;

/// What a channel encrypts with: AES in CBC mode with a key of 128 or 256 bits (TZ2, RSL5b).
#[derive(Clone)]
pub struct CipherParams {
    key: Vec<u8>,
}

impl fmt::Debug for CipherParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CipherParams")
            .field("key_bits", &(self.key.len() * 8))
            .finish_non_exhaustive()
    }
}
