//! The payload pipeline: what is done to data before it is sent, and undone when it arrives (RSL4, RSL6).

use crate::{CipherParams, Data, ErrorInfo, Str};

/// Encodes a payload for sending (RSL4, RSL5): JSON becomes text, and with a cipher text becomes bytes
/// and bytes are encrypted. Each step is added to `encoding`. What a format needs on top (base64 in
/// JSON) is the codec's part.
///
/// # Errors
/// Code 40013 when the payload cannot be encoded.
pub fn encode(
    data: &mut Data,
    encoding: &mut Option<Str>,
    cipher: Option<&CipherParams>,
) -> Result<(), ErrorInfo> {
    let _ = (data, encoding, cipher);
    Ok(())
}

/// Decodes a payload that arrived (RSL6): undoes the steps of `encoding` from the last to the first,
/// leaving in `encoding` those that were not undone.
///
/// # Errors
/// Why the next step could not be undone (RSL6b): code 40013 for broken base64, UTF-8 or JSON, 40019 or
/// 40020-type codes for a cipher that is missing or does not fit, 40013 for a step this version does not
/// know. The payload is then what the last good step gave.
pub fn decode(
    data: &mut Data,
    encoding: &mut Option<Str>,
    cipher: Option<&CipherParams>,
) -> Result<(), ErrorInfo> {
    let _ = (data, encoding, cipher);
    Ok(())
}

/// Strips an outermost `base64` step, giving bytes: the form in which a service stores a payload, free
/// of the format it came in.
///
/// # Errors
/// Code 40013 when the base64 is broken.
pub fn strip_base64(data: &mut Data, encoding: &mut Option<Str>) -> Result<(), ErrorInfo> {
    let _ = (data, encoding);
    Ok(())
}
