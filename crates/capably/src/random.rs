//! Random bytes from the operating system, for ids and initialization vectors.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use capably_protocol::ErrorCode;

use crate::{Error, Result};

/// Random bytes.
///
/// # Errors
/// Code 50000 when the operating system provides no random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorCode::INTERNAL_ERROR, 500, "the system provides no random bytes")
            .with_source(error)
    })?;
    Ok(bytes)
}

/// 12 random bytes in URL-safe base64, for request ids and message ids (RSC7c, RSL1k1).
///
/// # Errors
/// As for [`bytes`].
pub(crate) fn id() -> Result<String> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes::<12>()?))
}
