//! Connection keys: `connectionId!signature-generation`.
//!
//! Every node of a cluster signs with the same secret, so each can check the keys of all.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use capably_protocol::Str;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::hub::access::secret::Secret;

/// The bytes of a signature that a key has.
const SIGNATURE_LEN: usize = 16;

/// A connection key whose signature is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionKey {
    pub(crate) id: Str,
    /// The number of transports of the connection when the key was made.
    pub(crate) generation: u32,
}

impl ConnectionKey {
    /// Reads a key. `None` if it is not of this service.
    pub(crate) fn read(text: &str, secret: &Secret) -> Option<Self> {
        let (id, rest) = text.split_once('!')?;
        let (signature, generation) = rest.rsplit_once('-')?;
        let generation = generation.parse().ok().filter(|generation| *generation > 0)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if signature.len() != SIGNATURE_LEN {
            return None;
        }
        mac(id, secret).verify_truncated_left(&signature).ok()?;
        Some(Self { id: id.into(), generation })
    }

    /// The text of the key.
    pub(super) fn text(&self, secret: &Secret) -> Str {
        let Self { id, generation } = self;
        let signature = mac(id, secret).finalize().into_bytes();
        let signature = URL_SAFE_NO_PAD.encode(&signature[..SIGNATURE_LEN]);
        format!("{id}!{signature}-{generation}").into()
    }
}

fn mac(id: &str, secret: &Secret) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes())
        .expect("HMAC accepts keys of every length");
    mac.update(b"connection:");
    mac.update(id.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_valid_for_their_secret_alone() {
        let secret = Secret::new("s3cr3t");
        let key = ConnectionKey { id: "a-b_c".into(), generation: 7 };
        let text = key.text(&secret);
        assert_eq!(ConnectionKey::read(&text, &secret), Some(key));
        assert_eq!(ConnectionKey::read(&text, &Secret::new("other")), None);
        let later = text.replace("-7", "-8");
        assert_eq!(ConnectionKey::read(&later, &secret).map(|key| key.generation), Some(8));
        let (id, rest) = text.split_once('!').unwrap();
        for garbage in ["", "!", "a-b_c", "a-b_c!-1", &format!("x!{rest}"), &format!("{id}!AAAA-1")]
        {
            assert_eq!(ConnectionKey::read(garbage, &secret), None, "{garbage}");
        }
        assert_eq!(ConnectionKey::read(&text.replace("-7", "-0"), &secret), None);
    }
}
