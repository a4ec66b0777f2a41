//! Settings of an app: those of its server, with the limits of its own.

use std::{sync::Arc, time::Duration};

use capably_protocol::Str;
use serde::{Deserialize, Serialize};

use super::{access::secret::Secret, log::Retention};

/// The settings of an app.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) server_id: Str,
    /// The secret that signs connection keys.
    pub(crate) connection_secret: Secret,
    pub(crate) connection_state_ttl: Duration,
    pub(crate) max_idle_interval: Duration,
    /// Largest publish, in bytes.
    pub(crate) max_message_size: usize,
    /// Largest frame, in bytes.
    pub(crate) max_frame_size: usize,
    /// Most members of a channel.
    pub(crate) max_presence_members: usize,
    /// How long members stay while their client is disconnected.
    pub(crate) presence_remain: Duration,
    /// Most objects of a channel.
    pub(crate) max_objects: usize,
    /// About the largest size of the objects of a channel, in bytes.
    pub(crate) max_objects_bytes: usize,
    /// How long deleted objects stay.
    pub(crate) objects_grace_period: Duration,
    /// Most messages a second that a connection publishes.
    pub(crate) max_inbound_rate: Option<u32>,
    /// Most channels of an app.
    pub(crate) max_channels: Option<usize>,
    /// Most connections of an app.
    pub(crate) max_connections: Option<usize>,
    /// Most REST requests a second of an app.
    pub(crate) max_request_rate: Option<u32>,
    /// Most bytes of all logs of an app.
    pub(crate) max_log_bytes: usize,
    pub(crate) retention: Retention,
}

/// The limits that an app sets in place of those of its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Limits {
    /// Most members of a channel.
    pub(crate) max_presence_members: Option<usize>,
    /// Largest publish, in bytes.
    pub(crate) max_message_size: Option<usize>,
    /// Most messages a second that a connection publishes.
    pub(crate) max_inbound_rate: Option<u32>,
    /// Most channels.
    pub(crate) max_channels: Option<usize>,
    /// Most connections.
    pub(crate) max_connections: Option<usize>,
    /// Most REST requests a second.
    pub(crate) max_request_rate: Option<u32>,
    /// Most bytes of the logs of all channels, in memory.
    pub(crate) max_log_bytes: Option<usize>,
    /// Most objects of a channel.
    pub(crate) max_objects: Option<usize>,
    /// About the largest size of the objects of a channel, in bytes.
    pub(crate) max_objects_bytes: Option<usize>,
}

impl Limits {
    /// The settings of an app with these limits.
    pub(crate) fn apply(self, settings: Arc<Settings>) -> Arc<Settings> {
        if self == Self::default() {
            return settings;
        }
        Arc::new(Settings {
            max_presence_members: self
                .max_presence_members
                .unwrap_or(settings.max_presence_members),
            max_message_size: self.max_message_size.unwrap_or(settings.max_message_size),
            max_inbound_rate: self.max_inbound_rate.or(settings.max_inbound_rate),
            max_channels: lower(self.max_channels, settings.max_channels),
            max_connections: lower(self.max_connections, settings.max_connections),
            max_request_rate: lower(self.max_request_rate, settings.max_request_rate),
            max_log_bytes: self
                .max_log_bytes
                .map_or(settings.max_log_bytes, |own| own.min(settings.max_log_bytes)),
            max_objects: self
                .max_objects
                .map_or(settings.max_objects, |own| own.min(settings.max_objects)),
            max_objects_bytes: self
                .max_objects_bytes
                .map_or(settings.max_objects_bytes, |own| own.min(settings.max_objects_bytes)),
            ..(*settings).clone()
        })
    }
}

/// The lower of both limits: an app cannot exceed the limit that the operator sets for every app.
fn lower<T: Ord>(own: Option<T>, of_server: Option<T>) -> Option<T> {
    match (own, of_server) {
        (Some(own), Some(of_server)) => Some(own.min(of_server)),
        (own, of_server) => own.or(of_server),
    }
}
