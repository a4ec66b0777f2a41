//! The configuration of an app, as JSON.

use std::sync::Arc;

use capably_protocol::{Millis, PresenceMessage, Str};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::hub::{
    AppSpec, Limits, Namespace,
    access::{capability, identity::Key},
    presence,
};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    /// The time of creation, in ms since the epoch.
    created: Millis,
    keys: Vec<SpecKey>,
    namespaces: Vec<SpecNamespace>,
    /// The fixtures, by channel.
    channels: Vec<(Str, Vec<PresenceMessage>)>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecKey {
    id: Str,
    secret: Str,
    /// The text of the capability as it was configured.
    capability: String,
    revocable: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecNamespace {
    id: Str,
    persisted: bool,
    mutable: bool,
    push_enabled: bool,
}

pub(crate) fn write(spec: &AppSpec) -> Vec<u8> {
    let AppSpec { id: _, keys, namespaces, members, created, limits } = spec;
    let keys = keys.iter().map(|key| SpecKey {
        id: key.id.clone(),
        secret: key.secret().clone(),
        capability: key.capability_text.clone(),
        revocable: key.revocable,
    });
    let namespaces = namespaces.iter().map(|namespace| {
        let Namespace { id, persisted, mutable, push_enabled } = namespace.clone();
        SpecNamespace { id, persisted, mutable, push_enabled }
    });
    let spec = Spec {
        created: created.unwrap_or_default(),
        keys: keys.collect(),
        namespaces: namespaces.collect(),
        channels: members.clone(),
        limits: *limits,
    };
    serde_json::to_vec(&spec).unwrap_or_default()
}

/// Reads a configuration.
///
/// # Errors
/// The reason why it is invalid.
pub(crate) fn read(id: &str, bytes: &[u8]) -> Result<AppSpec, String> {
    let spec: Spec = serde_json::from_slice(bytes).map_err(|problem| problem.to_string())?;
    let Spec { created, keys, namespaces, channels, limits } = spec;
    let keys = keys.into_iter().map(|it| {
        let text = Value::String(it.capability);
        let (capability, text) = capability::read(&text).map_err(|error| error.message)?;
        let mut key = Key::new(it.id, it.secret, capability);
        key.capability_text = text;
        key.revocable = it.revocable;
        Ok(Arc::new(key))
    });
    let members = channels.into_iter().map(|(channel, members)| {
        Ok((channel, presence::fixtures(members).map_err(|error| error.message)?))
    });
    let namespaces = namespaces.into_iter().map(|it| {
        let SpecNamespace { id, persisted, mutable, push_enabled } = it;
        Namespace { id, persisted, mutable, push_enabled }
    });
    Ok(AppSpec {
        id: id.into(),
        keys: keys.collect::<Result<_, String>>()?,
        namespaces: namespaces.collect(),
        members: members.collect::<Result<_, String>>()?,
        created: Some(created),
        limits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_specification_may_set_or_omit_limits() {
        let limits = Limits { max_inbound_rate: Some(7), ..Limits::default() };
        let bytes = write(&AppSpec { limits, ..AppSpec::default() });
        assert_eq!(read("app-id", &bytes).unwrap().limits, limits);
        let older = br#"{"created":1,"keys":[],"namespaces":[],"channels":[]}"#;
        assert_eq!(read("app-id", older).unwrap().limits, Limits::default());
    }
}
