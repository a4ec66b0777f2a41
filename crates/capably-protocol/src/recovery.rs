//! Recovery keys (RTN16g).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{ErrorCode, ErrorInfo, Str};

/// The text is not what it should be.
const BAD_REQUEST: ErrorCode = ErrorCode(40000);

/// What a later process needs to continue a connection (RTN16g).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryKey {
    /// The connection's secret (RTN9).
    pub connection_key: Str,
    /// The serial of the next publish.
    pub msg_serial: u64,
    /// The position of each attached channel.
    #[serde(default)]
    pub channel_serials: BTreeMap<Str, Str>,
}

impl RecoveryKey {
    /// The key as text, to be stored; any unicode channel name survives (RTN16g1). Whoever has it can take
    /// over the connection.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("a struct of text and numbers has a JSON form")
    }

    /// Reads the text of [`encode`](Self::encode).
    ///
    /// # Errors
    /// Code 40000 when the text is not a recovery key (RTN16f1).
    pub fn decode(text: &str) -> Result<Self, ErrorInfo> {
        // The parser's own words may quote the text, which holds a secret.
        serde_json::from_str(text)
            .map_err(|_| ErrorInfo::new(BAD_REQUEST, 400, "the text is not a recovery key"))
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryKey")
            .field("connection_key", &"[redacted]")
            .field("msg_serial", &self.msg_serial)
            .field("channel_serials", &self.channel_serials)
            .finish()
    }
}
