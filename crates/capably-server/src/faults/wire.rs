//! The JSON of rules, actions and responses.

use std::{collections::BTreeMap, num::NonZeroU64, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::frame::Action;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::{
    Direction,
    rule::{
        Answer, Any, End, Frames, Moment, Opened, Opening, Requests, Rule, Strike, Treatment,
        Trigger, Which,
    },
    script::{Body, Frame, Response},
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireRule {
    #[serde(rename = "match")]
    matches: WireMatch,
    #[serde(default)]
    action: OneOrMany,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

/// A trigger with conditions. [`check`](Self::check) refuses conditions that the trigger cannot have.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireMatch {
    #[serde(rename = "type")]
    kind: MatchKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connection: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    query_contains: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    action: Option<ActionName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_contains: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MatchKind {
    #[default]
    WsConnect,
    WsFrameToClient,
    WsFrameToServer,
    DelayAfterWsConnect,
    HttpRequest,
}

#[derive(Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub(super) enum WireAction {
    Passthrough,
    RefuseConnection,
    AcceptAndClose {
        #[serde(default = "normal")]
        close_code: u16,
    },
    Disconnect,
    Close {
        #[serde(default = "normal")]
        close_code: u16,
    },
    Suppress,
    SuppressOnwards,
    Delay {
        delay_ms: u64,
    },
    Replace {
        message: Value,
    },
    InjectToClient {
        message: Value,
    },
    InjectToServer {
        message: Value,
    },
    InjectToClientAndClose {
        message: Value,
        #[serde(default = "normal")]
        close_code: u16,
    },
    HttpRespond(WireResponse),
    HttpReplaceResponse(WireResponse),
    HttpDelay {
        delay_ms: u64,
    },
    HttpDrop,
}

/// The code of a normal close (RFC 6455, 7.4.1).
fn normal() -> u16 {
    1000
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WireResponse {
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    /// A body of bytes, in place of a `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
}

/// An action: its name, or its number as a number or as text.
#[derive(Clone, Copy)]
struct ActionName(u32);

impl Serialize for ActionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Action::from_number(self.0) {
            Some(action) => serializer.serialize_str(action.name()),
            None => serializer.collect_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for ActionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = match &value {
            Value::String(name) => match Action::from_name(name) {
                Some(action) => Some(action.number()),
                None => name.parse().ok(),
            },
            other => other.as_u64().and_then(|number| number.try_into().ok()),
        };
        let name = || value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        number.map(Self).ok_or_else(|| de::Error::custom(format!("`{}` is not an action", name())))
    }
}

/// One action, or an array of actions.
#[derive(Default)]
pub(super) struct OneOrMany(pub(super) Vec<WireAction>);

impl Serialize for OneOrMany {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [] => WireAction::Passthrough.serialize(serializer),
            [action] => action.serialize(serializer),
            actions => actions.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let actions = if value.is_array() {
            serde_json::from_value(value)
        } else {
            serde_json::from_value(value).map(|action| vec![action])
        };
        actions.map(Self).map_err(de::Error::custom)
    }
}

impl TryFrom<WireRule> for Rule<Any> {
    type Error = String;

    fn try_from(wire: WireRule) -> Result<Self, String> {
        let WireRule { matches, action: OneOrMany(actions), times, comment } = wire;
        matches.check()?;
        let nth = matches.count.map(NonZeroU64::get);
        let times = times.map(NonZeroU64::get);
        let mut trigger = matches.trigger()?;
        for action in actions {
            let name = action.name();
            let fits = action.apply(&mut trigger)?;
            if !fits {
                let kind = name_of(&matches.kind);
                return Err(format!("the match `{kind}` cannot have the action `{name}`"));
            }
        }
        Ok(Self { trigger: Any(trigger), nth, times, comment })
    }
}

impl WireMatch {
    /// Checks that the trigger can have all conditions.
    fn check(&self) -> Result<(), String> {
        let allowed: &[&str] = match self.kind {
            MatchKind::WsConnect => &["count", "connection", "queryContains"],
            MatchKind::DelayAfterWsConnect => &["count", "connection", "queryContains", "delayMs"],
            MatchKind::WsFrameToClient | MatchKind::WsFrameToServer => {
                &["count", "connection", "queryContains", "action", "channel"]
            }
            MatchKind::HttpRequest => &["count", "method", "pathContains"],
        };
        let fields = serde_json::to_value(self).unwrap_or_default();
        let fields = fields.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        match fields.into_iter().find(|name| *name != "type" && !allowed.contains(name)) {
            None => Ok(()),
            Some(name) => Err(format!(
                "the match `{}` cannot have the condition `{name}`",
                name_of(&self.kind)
            )),
        }
    }

    /// The trigger, without a fault.
    fn trigger(&self) -> Result<Trigger, String> {
        let params = self
            .query_contains
            .iter()
            .map(|(name, value)| (name.clone(), (value != "*").then(|| value.clone())));
        let which = Which { number: self.connection, params: params.collect() };
        let frames = |direction| {
            Trigger::Frames(Frames {
                which: which.clone(),
                action: self.action.map(|action| action.0),
                channel: self.channel.clone(),
                ..Rule::frames(direction).trigger
            })
        };
        Ok(match self.kind {
            MatchKind::WsConnect => Trigger::Opening(Opening { which, ..Rule::opening().trigger }),
            MatchKind::DelayAfterWsConnect => {
                let delay = self.delay_ms.ok_or("`delayMs` is missing")?;
                Trigger::Moment(Moment { which, ..Rule::after(millis(delay)).trigger })
            }
            MatchKind::WsFrameToClient => frames(Direction::ToClient),
            MatchKind::WsFrameToServer => frames(Direction::ToServer),
            MatchKind::HttpRequest => Trigger::Requests(Requests {
                method: self.method.clone(),
                path: self.path_contains.clone(),
                ..Rule::request().trigger
            }),
        })
    }
}

impl WireAction {
    /// The name of the action in JSON.
    pub(super) fn name(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value["type"].as_str().unwrap_or_default().to_owned()
    }

    /// Adds the fault to a trigger. Returns `false` when the trigger cannot have it.
    fn apply(self, trigger: &mut Trigger) -> Result<bool, String> {
        match (trigger, self) {
            (_, Self::Passthrough) => {}
            (Trigger::Opening(opening), action) => match action {
                Self::RefuseConnection => opening.answer = Opened::Refuse,
                Self::AcceptAndClose { close_code } => {
                    opening.answer = Opened::End(End::Close(close_code));
                }
                Self::Disconnect => opening.answer = Opened::End(End::Disconnect),
                Self::Delay { delay_ms } => opening.delay = millis(delay_ms),
                Self::HttpRespond(response) => {
                    opening.answer = Opened::Respond(response.try_into()?);
                }
                _ => return Ok(false),
            },
            (Trigger::Requests(requests), action) => match action {
                Self::HttpRespond(response) => {
                    requests.answer = Answer::Respond(response.try_into()?);
                }
                Self::HttpReplaceResponse(response) => {
                    requests.answer = Answer::Replace(response.try_into()?);
                }
                Self::HttpDelay { delay_ms } => requests.delay = millis(delay_ms),
                Self::HttpDrop => requests.answer = Answer::Drop,
                _ => return Ok(false),
            },
            (Trigger::Frames(frames), action) => match action {
                Self::Suppress => frames.treatment = Treatment::Suppress,
                Self::SuppressOnwards => frames.treatment = Treatment::SuppressOnwards,
                Self::Delay { delay_ms } => frames.delay = millis(delay_ms),
                Self::Replace { message } => {
                    frames.treatment = Treatment::Replace(Frame::from_json(message)?);
                }
                other => return other.strike(&mut frames.strike),
            },
            (Trigger::Moment(moment), action) => return action.strike(&mut moment.strike),
        }
        Ok(true)
    }

    /// Adds the fault to those of an open connection. Returns `false` when it is none of them.
    pub(super) fn strike(self, strike: &mut Strike) -> Result<bool, String> {
        match self {
            Self::InjectToClient { message } => {
                strike.frames.push((Direction::ToClient, Frame::from_json(message)?));
            }
            Self::InjectToServer { message } => {
                strike.frames.push((Direction::ToServer, Frame::from_json(message)?));
            }
            Self::InjectToClientAndClose { message, close_code } => {
                strike.frames.push((Direction::ToClient, Frame::from_json(message)?));
                strike.end = Some(End::Close(close_code));
            }
            Self::Close { close_code } => strike.end = Some(End::Close(close_code)),
            Self::Disconnect => strike.end = Some(End::Disconnect),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl From<&Rule<Any>> for WireRule {
    fn from(rule: &Rule<Any>) -> Self {
        let mut matches = WireMatch::default();
        let mut actions = Vec::new();
        match &rule.trigger.0 {
            Trigger::Opening(Opening { which, delay, answer }) => {
                matches.set_which(which);
                actions.extend(delay_of(*delay).map(|delay_ms| WireAction::Delay { delay_ms }));
                actions.extend(match answer {
                    Opened::Pass => None,
                    Opened::Refuse => Some(WireAction::RefuseConnection),
                    Opened::Respond(response) => Some(WireAction::HttpRespond(response.into())),
                    Opened::End(End::Close(close_code)) => {
                        Some(WireAction::AcceptAndClose { close_code: *close_code })
                    }
                    Opened::End(End::Disconnect) => Some(WireAction::Disconnect),
                });
            }
            Trigger::Moment(Moment { which, delay, strike }) => {
                matches.kind = MatchKind::DelayAfterWsConnect;
                matches.set_which(which);
                matches.delay_ms = Some(in_millis(*delay));
                actions.extend(strike_actions(strike));
            }
            Trigger::Frames(frames) => {
                matches.kind = match frames.direction {
                    Direction::ToClient => MatchKind::WsFrameToClient,
                    Direction::ToServer => MatchKind::WsFrameToServer,
                };
                matches.set_which(&frames.which);
                matches.action = frames.action.map(ActionName);
                matches.channel.clone_from(&frames.channel);
                let delay = delay_of(frames.delay);
                actions.extend(delay.map(|delay_ms| WireAction::Delay { delay_ms }));
                actions.extend(match &frames.treatment {
                    Treatment::Pass => None,
                    Treatment::Suppress => Some(WireAction::Suppress),
                    Treatment::SuppressOnwards => Some(WireAction::SuppressOnwards),
                    Treatment::Replace(frame) => {
                        Some(WireAction::Replace { message: frame.to_json() })
                    }
                });
                actions.extend(strike_actions(&frames.strike));
            }
            Trigger::Requests(Requests { method, path, delay, answer }) => {
                matches.kind = MatchKind::HttpRequest;
                matches.method.clone_from(method);
                matches.path_contains.clone_from(path);
                actions.extend(delay_of(*delay).map(|delay_ms| WireAction::HttpDelay { delay_ms }));
                actions.extend(match answer {
                    Answer::Pass => None,
                    Answer::Drop => Some(WireAction::HttpDrop),
                    Answer::Respond(response) => Some(WireAction::HttpRespond(response.into())),
                    Answer::Replace(response) => {
                        Some(WireAction::HttpReplaceResponse(response.into()))
                    }
                });
            }
        }
        matches.count = rule.nth.and_then(NonZeroU64::new);
        Self {
            matches,
            action: OneOrMany(actions),
            times: rule.times.and_then(NonZeroU64::new),
            comment: rule.comment.clone(),
        }
    }
}

impl WireMatch {
    fn set_which(&mut self, which: &Which) {
        self.connection = which.number;
        let params = which.params.iter();
        self.query_contains = params
            .map(|(name, value)| (name.clone(), value.clone().unwrap_or_else(|| "*".to_owned())))
            .collect();
    }
}

fn strike_actions(strike: &Strike) -> impl Iterator<Item = WireAction> {
    let frames = strike.frames.iter().map(|(direction, frame)| {
        let message = frame.to_json();
        match direction {
            Direction::ToClient => WireAction::InjectToClient { message },
            Direction::ToServer => WireAction::InjectToServer { message },
        }
    });
    frames.chain(strike.end.map(|end| match end {
        End::Close(close_code) => WireAction::Close { close_code },
        End::Disconnect => WireAction::Disconnect,
    }))
}

impl TryFrom<WireResponse> for Response {
    type Error = String;

    fn try_from(wire: WireResponse) -> Result<Self, String> {
        if !(200..=999).contains(&wire.status) {
            return Err("the `status` must be a number from 200 to 999".into());
        }
        let response =
            Self { headers: wire.headers.into_iter().collect(), ..Self::new(wire.status) };
        match (wire.body, wire.body_base64) {
            (Some(_), Some(_)) => {
                Err("a response cannot have both a `body` and a `bodyBase64`".into())
            }
            (Some(body), None) => Ok(response.body(body)),
            (None, Some(base64)) => STANDARD
                .decode(base64)
                .map(|bytes| response.bytes(bytes))
                .map_err(|_| "the `bodyBase64` is not base64".into()),
            (None, None) => Ok(response),
        }
    }
}

impl From<&Response> for WireResponse {
    fn from(response: &Response) -> Self {
        let (body, body_base64) = match &response.body {
            Body::Value(value) => (Some(value.clone()), None),
            Body::Bytes(bytes) if bytes.is_empty() => (None, None),
            Body::Bytes(bytes) => (None, Some(STANDARD.encode(bytes))),
        };
        let headers = response.headers.iter().cloned().collect();
        Self { status: response.status, body, body_base64, headers }
    }
}

fn name_of(kind: &MatchKind) -> String {
    serde_json::to_value(kind)
        .ok()
        .and_then(|kind| Some(kind.as_str()?.to_owned()))
        .unwrap_or_default()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn in_millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// The delay in ms, or none for zero.
fn delay_of(delay: Duration) -> Option<u64> {
    (!delay.is_zero()).then(|| in_millis(delay))
}
