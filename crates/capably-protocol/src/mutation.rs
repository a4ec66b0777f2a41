//! Changing messages that were published (MOP, UDR).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{MessageVersion, Str};

/// Author and reason of a change to a message (MOP1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageOperation {
    /// The client that makes the change (MOP2a).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Str>,
    /// The reason of the change (MOP2b).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Str>,
    /// Further details (MOP2c).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

impl From<MessageOperation> for MessageVersion {
    /// The operation as the `version` of the message to send (RSL15b7).
    fn from(operation: MessageOperation) -> Self {
        let MessageOperation { client_id, description, metadata } = operation;
        Self { client_id, description, metadata, ..Self::default() }
    }
}

/// The result of changing a message (UDR1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateDeleteResult {
    /// The serial of the new version; `None` when a later change overtook it (UDR2a).
    pub version_serial: Option<Str>,
}
