//! End-to-end encryption of payloads (RSE, RSL5).
//!
//! A channel with a key encrypts the payloads that it publishes, and decrypts the payloads that it receives. The
//! service stores and delivers them without the key. See the page about [encryption](crate::guide::encryption).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = capably_server::Server::builder().start().await?;
//! # let options = capably::ClientOptions::new(server.key())
//! #     .endpoint(server.endpoint()).port(server.port()).tls(false);
//! # let rest = capably::Rest::new(options)?;
//! use capably::{crypto, rest::ChannelOptions};
//!
//! // Make the key once, and give it to all readers, but not through the channel.
//! let key = crypto::generate_random_key(None)?;
//!
//! let channel = rest.channels().get_with("diary", ChannelOptions::with_cipher_key(key)?);
//! channel.publish("entry", "for your eyes only").await?;
//! let page = channel.history().await?;
//! assert_eq!(page.items()[0].data.as_str(), Some("for your eyes only"));
//!
//! // Without the key, a reader receives the encrypted payload.
//! channel.set_options(ChannelOptions::default());
//! let page = channel.history().await?;
//! assert_eq!(page.items()[0].encoding.as_deref(), Some("utf-8/cipher+aes-256-cbc"));
//! # Ok(())
//! # }
//! ```

use std::fmt;

use capably_protocol::{CipherParams, ErrorCode};

use crate::{Error, Result, random};

/// Makes cipher parameters from options, with defaults for missing ones (RSE1).
///
/// ```
/// use capably::crypto::{CipherParamOptions, default_params};
///
/// let params = default_params(&CipherParamOptions::new([7; 32]).key_length(256))?;
/// assert_eq!((params.algorithm(), params.key_length(), params.mode()), ("aes", 256, "cbc"));
/// # Ok::<(), capably::Error>(())
/// ```
///
/// # Errors
/// Code 40003 for an algorithm other than AES, a mode other than CBC, a key that is not base64 or not of
/// 128 or 256 bits, and a length other than the key's (RSE1e).
pub fn default_params(options: &CipherParamOptions) -> Result<CipherParams> {
    for (given, known, name) in
        [(&options.algorithm, "aes", "algorithm"), (&options.mode, "cbc", "mode")]
    {
        if let Some(given) = given
            && !given.eq_ignore_ascii_case(known)
        {
            return Err(invalid(format!(
                "the cipher {name} is `{given}`; only `{known}` is supported"
            )));
        }
    }
    let params = match &options.key {
        CipherKey::Bytes(key) => CipherParams::from_key(key)?,
        CipherKey::Base64(key) => CipherParams::from_base64(key)?,
    };
    match options.key_length {
        Some(given) if given != params.key_length() => {
            let real = params.key_length();
            Err(invalid(format!("the cipher key has {real} bits, not the {given} stated")))
        }
        Some(_) | None => Ok(params),
    }
}

/// Makes a random key of 128 or 256 bits; 256 by default (RSE2).
///
/// # Errors
/// Code 40003 for another length; 50000 when the operating system provides no random bytes.
pub fn generate_random_key(bits: Option<usize>) -> Result<Vec<u8>> {
    match bits {
        None | Some(256) => Ok(random::bytes::<32>()?.to_vec()),
        Some(128) => Ok(random::bytes::<16>()?.to_vec()),
        Some(other) => Err(invalid(format!("a cipher key has 128 or 256 bits, not {other}"))),
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorCode::INVALID_PARAMETER_VALUE, 400, message)
}

/// Options for [`CipherParams`] (CO). `Debug` shows no key.
#[derive(Clone, Debug)]
pub struct CipherParamOptions {
    algorithm: Option<String>,
    key: CipherKey,
    key_length: Option<usize>,
    mode: Option<String>,
}

impl CipherParamOptions {
    /// Makes options with a key (CO2b).
    pub fn new(key: impl Into<CipherKey>) -> Self {
        Self { algorithm: None, key: key.into(), key_length: None, mode: None }
    }

    /// Sets the algorithm. Only `aes` is supported (CO2a).
    #[must_use]
    pub fn algorithm(mut self, algorithm: impl Into<String>) -> Self {
        self.algorithm = Some(algorithm.into());
        self
    }

    /// Sets the expected length of the key in bits, as a check (CO2c).
    #[must_use]
    pub fn key_length(mut self, bits: usize) -> Self {
        self.key_length = Some(bits);
        self
    }

    /// Sets the mode. Only `cbc` is supported (C02d).
    #[must_use]
    pub fn mode(mut self, mode: impl Into<String>) -> Self {
        self.mode = Some(mode.into());
        self
    }
}

/// A key for [`CipherParams`]: bytes, or base64 or base64url text (RSE1c). `Debug` does not show it.
#[derive(Clone)]
#[non_exhaustive]
pub enum CipherKey {
    /// The key itself.
    Bytes(Vec<u8>),
    /// The key as base64 or base64url text, padded or not.
    Base64(String),
}

impl From<Vec<u8>> for CipherKey {
    fn from(key: Vec<u8>) -> Self {
        Self::Bytes(key)
    }
}

impl From<&[u8]> for CipherKey {
    fn from(key: &[u8]) -> Self {
        Self::Bytes(key.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for CipherKey {
    fn from(key: [u8; N]) -> Self {
        Self::Bytes(key.to_vec())
    }
}

impl From<&str> for CipherKey {
    fn from(key: &str) -> Self {
        Self::Base64(key.to_owned())
    }
}

impl From<String> for CipherKey {
    fn from(key: String) -> Self {
        Self::Base64(key)
    }
}

impl fmt::Debug for CipherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes(_) => "Bytes([redacted])",
            Self::Base64(_) => "Base64([redacted])",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: RSE1, RSE1a, RSE1b, RSE1c, RSE1d, CO1, CO2, CO2a, CO2b, CO2c, C02d, TZ1, TZ2, TZ2a, TZ2b, TZ2c, TZ2d
    #[test]
    fn what_options_leave_out_has_a_default() {
        let key: Vec<u8> = (0..16).map(|n| 0xf0 + n).collect();
        for options in [
            CipherParamOptions::new(key.clone()),
            CipherParamOptions::new(&*key),
            CipherParamOptions::new("8PHy8/T19vf4+fr7/P3+/w=="),
            CipherParamOptions::new("8PHy8_T19vf4-fr7_P3-_w".to_owned()),
            CipherParamOptions::new(key.clone()).algorithm("AES").mode("CBC").key_length(128),
        ] {
            let params = default_params(&options).expect("they are good");
            assert_eq!((params.algorithm(), params.mode()), ("aes", "cbc"), "{options:?}");
            assert_eq!((params.key_length(), params.expose_key()), (128, &*key), "{options:?}");
        }
        let params = default_params(&CipherParamOptions::new([1; 32])).expect("it is good");
        assert_eq!(params.key_length(), 256);
    }

    // Spec: RSE1e
    #[test]
    fn options_that_do_not_fit_together_are_refused() {
        let good = CipherParamOptions::new([1; 32]);
        for (options, word) in [
            (good.clone().algorithm("des"), "`des`"),
            (good.clone().mode("gcm"), "`gcm`"),
            (good.clone().key_length(128), "256 bits, not the 128"),
            (CipherParamOptions::new([1; 24]), "192"),
            (CipherParamOptions::new("AAAA"), "24"),
            (CipherParamOptions::new("not base64!"), "base64"),
        ] {
            let error = default_params(&options).expect_err("they are not good");
            assert_eq!((error.code().0, error.status()), (40003, Some(400)), "{error}");
            assert!(error.message().contains(word), "{error}");
        }
    }

    // Spec: RSE2, RSE2a, RSE2b
    #[test]
    fn random_keys_have_the_length_that_is_asked_for() {
        let key = |bits| generate_random_key(bits).expect("the system has randomness");
        assert_eq!((key(None).len(), key(Some(256)).len(), key(Some(128)).len()), (32, 32, 16));
        assert_ne!(key(None), key(None));
        for bits in [0, 16, 192, 257] {
            let error = generate_random_key(Some(bits)).expect_err("no such length");
            assert_eq!((error.code().0, error.status()), (40003, Some(400)));
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let text =
            format!("{:?} {:?}", CipherParamOptions::new("s3cr3t"), CipherKey::from([42; 16]));
        assert!(!text.contains("s3cr3t") && !text.contains("42"), "{text}");
    }
}
