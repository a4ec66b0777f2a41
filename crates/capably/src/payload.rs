//! Payloads on their way out: the encoding pipeline with fresh randomness (RSL4, RSL5).

use capably_protocol::{CipherParams, Data, Message, Str, encoding};

use crate::{Result, random};

/// Makes a message's payload ready for the wire.
///
/// # Errors
/// Code 40013 for a payload that cannot be encoded (RSL4a); 50000 when the system gives no random bytes.
pub(crate) fn encode(message: &mut Message, cipher: Option<&CipherParams>) -> Result<()> {
    encode_data(&mut message.data, &mut message.encoding, cipher)
}

/// The same for any payload.
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
