//! Live activities: broadcast channels of APNs, made, started, updated and ended. What is sent over them is for
//! phones, and goes nowhere.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{ErrorInfo, JsonObject, Str};
use serde_json::{Value, json};

use super::PushCaller;
use crate::hub::{App, Now, channel::name as channel_name, error};

/// The broadcast channels of an app, by their ids.
pub(super) type Broadcasts = BTreeMap<Str, Stage>;

/// How far a live activity has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Made,
    Started,
    Ended,
}

/// Most broadcast channels of an app, as many as APNs has for one.
const MAX_BROADCASTS: usize = 10_000;

/// What is done with a live activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActivityStep {
    Start,
    Update,
    End,
}

impl App {
    /// Makes a broadcast channel, and gives its ids.
    ///
    /// # Errors
    /// Code 40160 for the capability; 40000 for a storage policy that is neither 0 nor 1, or when there are too
    /// many.
    pub(crate) fn make_broadcast(
        &mut self,
        caller: &PushCaller,
        body: &JsonObject,
        now: Now,
    ) -> Result<Value, ErrorInfo> {
        caller.require_admin()?;
        if !matches!(body.get("messageStoragePolicy").and_then(Value::as_u64), Some(0 | 1)) {
            return Err(error::bad_request("`messageStoragePolicy` is neither 0 nor 1"));
        }
        let id = self.channels.next_position(now).channel_serial();
        let broadcasts = &mut self.channels.push.broadcasts;
        if broadcasts.len() >= MAX_BROADCASTS {
            return Err(error::bad_request("there are as many broadcast channels as there may be"));
        }
        broadcasts.insert(id.clone(), Stage::Made);
        Ok(json!({ "id": &*id, "apnsChannelId": STANDARD.encode(&*id) }))
    }

    /// Starts, updates or ends a live activity.
    ///
    /// # Errors
    /// Code 40160 for the capability; 40400 for a broadcast channel or a device that is not there; 40010 for a
    /// channel's name; 40000 for a body that is not in order, or when it is not the time for the step.
    pub(crate) fn live_activity(
        &mut self,
        caller: &PushCaller,
        id: &str,
        step: ActivityStep,
        body: &JsonObject,
    ) -> Result<(), ErrorInfo> {
        caller.require_admin()?;
        let stage = self.channels.push.broadcasts.get(id).copied();
        let stage = stage.ok_or_else(error::unknown_broadcast)?;
        if !body.get("apns").is_some_and(Value::is_object) {
            return Err(error::bad_request("`apns` is not an object"));
        }
        let next = match (step, stage) {
            (ActivityStep::Start, Stage::Made | Stage::Started) => {
                self.check_recipient(body)?;
                Stage::Started
            }
            (ActivityStep::Update, Stage::Started) => Stage::Started,
            (ActivityStep::End, Stage::Started) => Stage::Ended,
            (_, Stage::Ended) => return Err(error::bad_request("the live activity has ended")),
            (ActivityStep::Update | ActivityStep::End, Stage::Made) => {
                return Err(error::bad_request("the live activity has not been started"));
            }
        };
        self.channels.push.broadcasts.insert(id.into(), next);
        Ok(())
    }

    /// Checks whom a live activity is started for: channels, or one device.
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
                self.channels.push.device(id).map(drop).ok_or_else(error::unknown_device)
            }
            _ => Err(invalid()),
        }
    }
}
