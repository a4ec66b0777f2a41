//! Recovery keys (RTN16g).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ErrorCode, ErrorInfo, Str, secret::with_secrets};

/// The text is not a recovery key.
const BAD_REQUEST: ErrorCode = ErrorCode(40000);

with_secrets! {
    /// The data with which a later process continues a connection (RTN16g).
    #[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct RecoveryKey {
        /// The connection's secret (RTN9).
        pub connection_key: Str, secret;
        /// The serial of the next publish.
        pub msg_serial: u64;
        /// The position of each attached channel.
        #[serde(default)]
        pub channel_serials: BTreeMap<Str, Str>;
    }
}

impl RecoveryKey {
    /// The key as text, to be stored. It can contain any Unicode channel name (RTN16g1). It is a secret: a client with
    /// the key can take over the connection.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("a struct of text and numbers has a JSON form")
    }

    /// Reads the text of [`encode`](Self::encode).
    ///
    /// # Errors
    /// Code 40000 when the text is not a recovery key (RTN16f1).
    pub fn decode(text: &str) -> Result<Self, ErrorInfo> {
        // The parser's error is dropped: it may quote the text, which contains a secret.
        serde_json::from_str(text)
            .map_err(|_| ErrorInfo::new(BAD_REQUEST, 400, "the text is not a recovery key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_is_json() {
        let key = RecoveryKey {
            connection_key: "k!1".into(),
            msg_serial: 0,
            channel_serials: [("é:\"x\"".into(), "s".into())].into(),
        };
        let text = r#"{"connectionKey":"k!1","msgSerial":0,"channelSerials":{"é:\"x\"":"s"}}"#;
        assert_eq!(key.encode(), text);
        assert_eq!(RecoveryKey::decode(text), Ok(key));
    }

    #[test]
    fn other_text_is_refused_without_being_quoted() {
        for text in ["", "secret", r#"{"connectionKey":5}"#, r#"{"connectionKey":"secret"}"#, "[]"]
        {
            let error = RecoveryKey::decode(text).unwrap_err();
            assert_eq!((error.code.0, error.status_code), (40000, 400), "{text}");
            assert!(!error.message.contains("secret"));
        }
    }

    #[test]
    fn the_connection_key_is_not_in_debug() {
        let key = RecoveryKey {
            connection_key: "hush".into(),
            msg_serial: 1,
            channel_serials: BTreeMap::new(),
        };
        assert!(!format!("{key:?}").contains("hush"));
    }
}
