//! Live activities: broadcast channels of APNs. The server checks the steps, and sends nothing to phones.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{ErrorInfo, JsonObject, Str};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Changed, Push, PushCaller, PushChange};
use crate::hub::{channel_name, error};

/// The broadcast channels of an app, by their ids.
pub(super) type Broadcasts = BTreeMap<Str, Stage>;

/// The state of a live activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Created,
    Started,
    Ended,
}

/// The most broadcast channels of an app: the limit of APNs.
const MAX_BROADCASTS: usize = 10_000;

/// A step of a live activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActivityStep {
    Start,
    Update,
    End,
}

impl Push {
    /// Checks a request for a broadcast channel.
    ///
    /// # Errors
    /// Code 40160 for the capability; 40000 for a storage policy that is neither 0 nor 1.
    pub(crate) fn check_broadcast(
        &self,
        caller: &PushCaller,
        body: &JsonObject,
    ) -> Result<(), ErrorInfo> {
        caller.require_admin()?;
        if !matches!(body.get("messageStoragePolicy").and_then(Value::as_u64), Some(0 | 1)) {
            return Err(error::bad_request("`messageStoragePolicy` is neither 0 nor 1"));
        }
        Ok(())
    }

    /// Creates a broadcast channel, and returns its ids.
    ///
    /// # Errors
    /// Code 40000 for too many broadcast channels.
    pub(crate) fn create_broadcast(&self, id: Str) -> Result<Changed<Value>, ErrorInfo> {
        if self.broadcasts.len() >= MAX_BROADCASTS {
            return Err(error::bad_request("there are as many broadcast channels as there may be"));
        }
        let reply = json!({ "id": &*id, "apnsChannelId": STANDARD.encode(&*id) });
        Ok((reply, vec![PushChange::Broadcast(id, Some(Stage::Created))]))
    }

    /// Starts, updates or ends a live activity.
    ///
    /// # Errors
    /// Code 40160 for the capability; 40400 for an unknown broadcast channel or device; 40010 for a channel's name; 40000
    /// for an invalid body, or for a step that is not possible in the current state.
    pub(crate) fn live_activity(
        &self,
        caller: &PushCaller,
        id: &str,
        step: ActivityStep,
        body: &JsonObject,
    ) -> Result<Changed<()>, ErrorInfo> {
        caller.require_admin()?;
        let stage = self.broadcasts.get(id).copied();
        let stage = stage.ok_or_else(error::unknown_broadcast)?;
        if !body.get("apns").is_some_and(Value::is_object) {
            return Err(error::bad_request("`apns` is not an object"));
        }
        let next = match (step, stage) {
            (ActivityStep::Start, Stage::Created | Stage::Started) => {
                self.check_recipient(body)?;
                Stage::Started
            }
            (ActivityStep::Update, Stage::Started) => Stage::Started,
            (ActivityStep::End, Stage::Started) => Stage::Ended,
            (_, Stage::Ended) => return Err(error::bad_request("the live activity has ended")),
            (ActivityStep::Update | ActivityStep::End, Stage::Created) => {
                return Err(error::bad_request("the live activity has not been started"));
            }
        };
        Ok(((), vec![PushChange::Broadcast(id.into(), Some(next))]))
    }

    /// Checks the recipient of a live activity: channels, or one device.
    fn check_recipient(&self, body: &JsonObject) -> Result<(), ErrorInfo> {
        let invalid =
            || error::bad_request("a live activity is for `channels` or for a `deviceId`");
        match (body.get("channels"), body.get("deviceId")) {
            (Some(Value::Array(channels)), None) if !channels.is_empty() => {
                channels.iter().try_for_each(|channel| {
                    channel_name::plain(channel.as_str().ok_or_else(invalid)?).map(drop)
                })
            }
            (None, Some(Value::String(id))) => {
                self.device(id).map(drop).ok_or_else(error::unknown_device)
            }
            _ => Err(invalid()),
        }
    }
}
