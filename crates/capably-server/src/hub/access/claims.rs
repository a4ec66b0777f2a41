//! The claims of a JWT for channels: a `userClaim` that subscribers see, and a limit on the publish rate.
//!
//! The server replaces or removes a `userClaim` that a client sends, so that subscribers can trust the one they see.

use std::cmp::Ordering;

use capably_protocol::{ErrorInfo, JsonObject, Str, capability::Pattern};
use serde_json::Value;

use super::identity::Identity;
use crate::hub::{error, pace::Rate};

/// The prefixes of user claims for channels and for chat rooms. A name or a pattern follows.
const CHANNEL: &str = "ably.channel.";
const ROOM: &str = "ably.room.";

/// The prefix of limits on the publish rate, in messages a second. A channel's name or a pattern follows.
const MAX_RATE: &str = "ably.limits.publish.perAttachment.maxRate.";

/// The suffix in the name of a chat room's channel.
const CHAT: &str = "::$chat";

/// The key of the claim in `extras`.
const USER_CLAIM: &str = "userClaim";

/// The channel claims of a JWT.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Claims {
    /// The most specific first.
    users: Vec<(Scope, Str)>,
    /// The most specific first.
    rates: Vec<(Scope, Rate)>,
}

/// The channels of a claim.
#[derive(Clone, Debug, PartialEq)]
enum Scope {
    Channels(Pattern),
    /// Channels of chat rooms, with a pattern of the rooms' names.
    Rooms(Pattern),
}

impl Scope {
    fn covers(&self, channel: &str) -> bool {
        match self {
            Self::Channels(pattern) => pattern.matches(channel),
            Self::Rooms(pattern) => {
                channel.strip_suffix(CHAT).is_some_and(|room| pattern.matches(room))
            }
        }
    }

    /// Compares how specific two scopes are: a name is more specific than a pattern, rooms more than channels.
    fn cmp_specificity(&self, other: &Self) -> Ordering {
        let (ours, theirs) = (self.pattern(), other.pattern());
        let is_room = |scope: &Self| matches!(scope, Self::Rooms(_));
        (ours.is_exact(), is_room(self))
            .cmp(&(theirs.is_exact(), is_room(other)))
            .then_with(|| ours.cmp_specificity(theirs))
    }

    fn pattern(&self) -> &Pattern {
        match self {
            Self::Channels(pattern) | Self::Rooms(pattern) => pattern,
        }
    }
}

impl Claims {
    /// Reads the channel claims among those of a JWT.
    ///
    /// # Errors
    /// Code 40144 for a claim of the wrong type.
    pub(crate) fn read(claims: &JsonObject) -> Result<Self, ErrorInfo> {
        let mut read = Self::default();
        for (name, value) in claims.iter().filter(|(_, value)| !value.is_null()) {
            if let Some(pattern) = name.strip_prefix(MAX_RATE) {
                let rate = number(value).and_then(Rate::per_second);
                let rate = rate.ok_or_else(|| {
                    error::bad_jwt(format!("its `{name}` is not a number of messages a second"))
                })?;
                read.rates.push((Scope::Channels(Pattern::new(pattern)), rate));
                continue;
            }
            let scope = if let Some(pattern) = name.strip_prefix(CHANNEL) {
                Scope::Channels(Pattern::new(pattern))
            } else if let Some(pattern) = name.strip_prefix(ROOM) {
                Scope::Rooms(Pattern::new(pattern))
            } else {
                continue;
            };
            let text = value
                .as_str()
                .ok_or_else(|| error::bad_jwt(format!("its `{name}` is not a string")))?;
            read.users.push((scope, text.into()));
        }
        read.users.sort_by(|(one, _), (other, _)| other.cmp_specificity(one));
        read.rates.sort_by(|(one, _), (other, _)| other.cmp_specificity(one));
        Ok(read)
    }
}

/// A number, or a text with a number, as some languages write it.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

impl Identity {
    /// The `userClaim` of this identity on the channel.
    pub(crate) fn user_claim(&self, channel: &str) -> Option<&Str> {
        let users = &self.token.as_ref()?.claims.users;
        users.iter().find(|(scope, _)| scope.covers(channel)).map(|(_, claim)| claim)
    }

    /// Whether the token limits the publish rate on any channel.
    pub(crate) fn has_rates(&self) -> bool {
        self.token.as_ref().is_some_and(|token| !token.claims.rates.is_empty())
    }

    /// The limit of the publish rate on the channel, if the token has one.
    pub(crate) fn rate_of_attachment(&self, channel: &str) -> Option<Rate> {
        let rates = &self.token.as_ref()?.claims.rates;
        rates.iter().find(|(scope, _)| scope.covers(channel)).map(|(_, rate)| *rate)
    }
}

/// Sets the publisher's claim in `extras`, or removes a claim that the client has put there.
pub(crate) fn stamp(extras: &mut Option<JsonObject>, claim: Option<&Str>) {
    match claim {
        Some(claim) => {
            let extras = extras.get_or_insert_default();
            extras.insert(USER_CLAIM.to_owned(), Value::String(claim.to_string()));
        }
        None => {
            let forged = extras.as_mut().and_then(|extras| extras.remove(USER_CLAIM));
            if forged.is_some() && extras.as_ref().is_some_and(JsonObject::is_empty) {
                *extras = None;
            }
        }
    }
}

/// Whether the extras have nothing but the claim that the server sets.
pub(crate) fn is_stamp_only(extras: Option<&JsonObject>) -> bool {
    extras.is_none_or(|extras| extras.len() == 1 && extras.contains_key(USER_CLAIM))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(claims: &Value) -> Result<Claims, ErrorInfo> {
        Claims::read(claims.as_object().unwrap())
    }

    #[test]
    fn the_most_specific_claim_applies() {
        let claims = read(&json!({
            "ably.channel.*": "any", "ably.channel.a:*": "a", "ably.channel.a:*:c": "c",
            "ably.channel.a:b": "ab", "ably.channel.*:b": "b",
            "ably.room.*": "room", "ably.room.lobby": "lobby", "ably.room.a:*": "rooms of a",
            "ably.channel.hall::$chat": "hall", "ably.channel.absent": null,
            "x-ably-clientId": "me", "ably.channels.*": "no claim", "sub": 7,
        }))
        .unwrap();
        let claim = |channel: &str| {
            let mut users = claims.users.iter();
            users.find(|(scope, _)| scope.covers(channel)).map(|(_, claim)| claim.to_string())
        };
        for (channel, expected) in [
            ("x", "any"),
            ("x:b", "b"),
            ("x:c:b", "any"),
            ("a:b", "ab"),
            ("a:x", "a"),
            ("a:b:c", "c"),
            ("absent", "any"),
            ("lobby", "any"),
            ("lobby::$chat", "lobby"),
            ("hall::$chat", "hall"),
            ("other::$chat", "room"),
            ("a:b::$chat", "rooms of a"),
            ("lobby::$chat::$reactions", "any"),
        ] {
            assert_eq!(claim(channel).as_deref(), Some(expected), "{channel}");
        }
        assert_eq!(claim("[meta]x"), None);
    }

    #[test]
    fn claims_of_the_wrong_type_are_refused() {
        for claim in [
            json!({"ably.channel.*": {"role": "host"}}),
            json!({"ably.room.a": 1}),
            json!({"ably.limits.publish.perAttachment.maxRate.*": "fast"}),
            json!({"ably.limits.publish.perAttachment.maxRate.*": -1}),
            json!({"ably.limits.publish.perAttachment.maxRate.*": "NaN"}),
            json!({"ably.limits.publish.perAttachment.maxRate.*": [1]}),
        ] {
            let error = read(&claim).unwrap_err();
            assert_eq!((error.code.0, error.status_code), (40144, 401), "{claim}");
        }
        for rate in [json!(0), json!(0.1), json!(5), json!("2.5"), json!(1e300), json!(1e-300)] {
            let claims = json!({"ably.limits.publish.perAttachment.maxRate.*": rate});
            assert_eq!(read(&claims).unwrap().rates.len(), 1, "{rate}");
        }
    }

    #[test]
    fn a_user_claim_of_a_client_is_replaced_or_removed() {
        let claim = Str::from("host");
        let stamped = |extras: Value, claim: Option<&Str>| {
            let mut extras = extras.as_object().cloned();
            stamp(&mut extras, claim);
            json!(extras)
        };
        assert_eq!(stamped(json!(null), Some(&claim)), json!({"userClaim": "host"}));
        assert_eq!(stamped(json!({}), Some(&claim)), json!({"userClaim": "host"}));
        assert_eq!(
            stamped(json!({"userClaim": "forged", "a": 1}), Some(&claim)),
            json!({"userClaim": "host", "a": 1})
        );
        assert_eq!(stamped(json!({"userClaim": "forged", "a": 1}), None), json!({"a": 1}));
        assert_eq!(stamped(json!({"userClaim": {"a": 1}}), None), json!(null));
        assert_eq!(stamped(json!({}), None), json!({}));
        assert_eq!(stamped(json!(null), None), json!(null));
    }

    #[test]
    fn extras_with_anything_but_the_claim_of_the_server_are_the_clients() {
        for (extras, expected) in [
            (json!(null), true),
            (json!({"userClaim": "host"}), true),
            (json!({}), false),
            (json!({"a": 1}), false),
            (json!({"userClaim": "host", "a": 1}), false),
        ] {
            assert_eq!(is_stamp_only(extras.as_object()), expected, "{extras}");
        }
    }
}
