//! Encodes payloads before they are sent, with fresh random bytes for encryption (RSL4, RSL5).

use capably_protocol::{CipherParams, Data, Message, Str, encoding};

use crate::{Result, random};

/// Encodes the payload of a message.
///
/// # Errors
/// Code 40013 for a payload that cannot be encoded (RSL4a); 50000 when the system provides no random bytes.
pub(crate) fn encode(message: &mut Message, cipher: Option<&CipherParams>) -> Result<()> {
    encode_data(&mut message.data, &mut message.encoding, cipher)
}

/// Encodes any payload.
///
/// # Errors
/// As for [`encode`].
pub(crate) fn encode_data(
    data: &mut Data,
    encoding: &mut Option<Str>,
    cipher: Option<&CipherParams>,
) -> Result<()> {
    let cipher = match cipher {
        Some(cipher) => Some((cipher, random::bytes()?)),
        None => None,
    };
    Ok(encoding::encode(data, encoding, cipher)?)
}
