//! Recovery keys (RTN16g).

use std::{collections::BTreeMap, fmt};

use crate::{ErrorInfo, Str};

/// What a later process needs to continue a connection (RTN16g).
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryKey {
    /// The connection's secret (RTN9).
    pub connection_key: Str,
    /// The serial of the next publish.
    pub msg_serial: u64,
    /// The position of each attached channel.
    pub channel_serials: BTreeMap<Str, Str>,
}

impl RecoveryKey {
    /// The key as text, to be stored; any unicode channel name survives (RTN16g1).
    pub fn encode(&self) -> String {
        String::new()
    }

    /// Reads the text of [`encode`](Self::encode).
    ///
    /// # Errors
    /// Code 40000 when the text is not a recovery key (RTN16f1).
    pub fn decode(text: &str) -> Result<Self, ErrorInfo> {
        let _ = text;
        Err(ErrorInfo::new(40000.into(), 400, "not a recovery key"))
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
