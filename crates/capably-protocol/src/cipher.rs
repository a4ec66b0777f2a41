//! Payload encryption (RSL5, RSE, TZ).

use std::{fmt, sync::Arc};

use aes::{
    Aes128, Aes256,
    cipher::{BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit, block_padding::Pkcs7},
};
use bytes::Bytes;

use crate::{ErrorCode, ErrorInfo, encoding::from_base64};

/// The length of an initialization vector, in bytes.
pub const IV_SIZE: usize = 16;

/// A parameter with a value that cannot be.
const INVALID_PARAMETER: ErrorCode = ErrorCode(40003);

/// The cipher of a channel: AES in CBC mode with a key of 128 or 256 bits (TZ2, RSL5b).
///
/// Cheap to clone; the key is expanded once. Neither `Debug` nor an error prints it.
#[derive(Clone)]
pub struct CipherParams {
    aes: Arc<Aes>,
    key: Arc<[u8]>,
}

enum Aes {
    Bits128(Aes128),
    Bits256(Aes256),
}

impl CipherParams {
    /// Encryption with this key of 16 or 32 bytes (RSE1c).
    ///
    /// # Errors
    /// Code 40003 when the key has another length (RSE1e).
    pub fn from_key(key: &[u8]) -> Result<Self, ErrorInfo> {
        let aes = match key.len() {
            16 => Aes128::new_from_slice(key).ok().map(Aes::Bits128),
            32 => Aes256::new_from_slice(key).ok().map(Aes::Bits256),
            _ => None,
        };
        let Some(aes) = aes else {
            let bits = key.len() * 8;
            return Err(invalid_key(format!("a cipher key has 128 or 256 bits, not {bits}")));
        };
        Ok(Self { aes: Arc::new(aes), key: key.into() })
    }

    /// Encryption with a key given as base64 or base64url text, padded or not (RSE1c).
    ///
    /// # Errors
    /// Code 40003 when the text is not base64 or the key not 128 or 256 bits long (RSE1e).
    pub fn from_base64(key: &str) -> Result<Self, ErrorInfo> {
        let standard = key.trim().replace('-', "+").replace('_', "/");
        match from_base64(standard.as_bytes()) {
            Some(key) => Self::from_key(&key),
            None => Err(invalid_key("a cipher key given as text must be base64".to_owned())),
        }
    }

    /// The algorithm, `aes` (TZ2a).
    pub fn algorithm(&self) -> &'static str {
        "aes"
    }

    /// The cipher mode, `cbc` (TZ2c).
    pub fn mode(&self) -> &'static str {
        "cbc"
    }

    /// The length of the key, in bits: 128 or 256 (TZ2b).
    pub fn key_length(&self) -> usize {
        self.key.len() * 8
    }

    /// The key itself, a secret (TZ2d).
    pub fn expose_key(&self) -> &[u8] {
        &self.key
    }

    /// The encoding step that this encryption is.
    pub(crate) fn step(&self) -> &'static str {
        match *self.aes {
            Aes::Bits128(_) => "cipher+aes-128-cbc",
            Aes::Bits256(_) => "cipher+aes-256-cbc",
        }
    }

    /// The vector, followed by the encrypted and padded bytes (RSL5b).
    pub(crate) fn encrypt(&self, plain: &[u8], iv: [u8; IV_SIZE]) -> Bytes {
        let padded = (plain.len() / IV_SIZE + 1) * IV_SIZE;
        let mut out = vec![0; IV_SIZE + padded];
        let (head, body) = out.split_at_mut(IV_SIZE);
        head.copy_from_slice(&iv);
        let encrypted = match &*self.aes {
            Aes::Bits128(aes) => cbc::Encryptor::inner_iv_init(aes, &iv.into())
                .encrypt_padded_b2b::<Pkcs7>(plain, body),
            Aes::Bits256(aes) => cbc::Encryptor::inner_iv_init(aes, &iv.into())
                .encrypt_padded_b2b::<Pkcs7>(plain, body),
        };
        encrypted.expect("the buffer has the length of the padded text");
        out.into()
    }

    /// The plain bytes; `None` when the vector or a whole block is missing, or the padding shows that the
    /// key is another one.
    pub(crate) fn decrypt(&self, encrypted: &[u8]) -> Option<Bytes> {
        let (iv, body) = encrypted.split_first_chunk::<IV_SIZE>()?;
        let iv = (*iv).into();
        let plain = match &*self.aes {
            Aes::Bits128(aes) => {
                cbc::Decryptor::inner_iv_init(aes, &iv).decrypt_padded_vec::<Pkcs7>(body)
            }
            Aes::Bits256(aes) => {
                cbc::Decryptor::inner_iv_init(aes, &iv).decrypt_padded_vec::<Pkcs7>(body)
            }
        };
        plain.ok().map(Bytes::from)
    }
}

fn invalid_key(message: String) -> ErrorInfo {
    ErrorInfo::new(INVALID_PARAMETER, 400, message)
}

impl PartialEq for CipherParams {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for CipherParams {}

impl fmt::Debug for CipherParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CipherParams")
            .field("key_length", &self.key_length())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: RSE1, RSE1a, RSE1b, RSE1c, RSE1d
    #[test]
    fn a_key_may_come_as_bytes_or_any_base64() {
        let key = [0xfb, 0xef, 0xbe, 0xff, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        let params = CipherParams::from_key(&key).unwrap();
        assert_eq!((params.algorithm(), params.mode(), params.key_length()), ("aes", "cbc", 128));
        assert_eq!(params.expose_key(), key);
        for text in [
            "++++/wABAgMEBQYHCAkKCw==",
            "----_wABAgMEBQYHCAkKCw==",
            "----_wABAgMEBQYHCAkKCw",
            " ++++/wABAgMEBQYHCAkKCw==\n",
        ] {
            assert_eq!(CipherParams::from_base64(text).unwrap(), params, "{text}");
        }
        let longer = CipherParams::from_key(&[0; 32]).unwrap();
        assert_eq!((longer.key_length(), longer.mode()), (256, "cbc"));
        assert_ne!(params, CipherParams::from_key(&[0; 16]).unwrap());
    }

    // Spec: RSE1e
    #[test]
    fn a_key_of_another_length_is_refused() {
        for length in [0, 15, 17, 24, 33] {
            let error = CipherParams::from_key(&vec![0; length]).unwrap_err();
            assert_eq!((error.code.0, error.status_code), (40003, 400), "{length} bytes");
        }
        for text in ["AAAA", "not base64!"] {
            assert_eq!(CipherParams::from_base64(text).unwrap_err().code.0, 40003);
        }
    }

    #[test]
    fn the_key_is_not_in_debug() {
        let params = CipherParams::from_key(&[0xab; 16]).unwrap();
        assert_eq!(format!("{params:?}"), "CipherParams { key_length: 128, .. }");
    }
}
