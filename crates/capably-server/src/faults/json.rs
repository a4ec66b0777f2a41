//! Rules, actions and the log in the language of Ably's test proxy, with extensions.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Direction, Entry, Event, Fate, Log, Params, Side,
    rule::{Any, Rule, Strike},
    script,
    table::Listed,
    wire::{OneOrMany, WireRule},
};

impl Rule<Any> {
    /// Reads a rule in the language of Ably's test proxy. [`FaultControl`](super::FaultControl) describes the language.
    ///
    /// ```
    /// use capably_server::faults::Rule;
    /// use serde_json::json;
    ///
    /// let rule = Rule::from_json(json!({
    ///     "match": { "type": "ws_connect", "count": 2 },
    ///     "action": { "type": "refuse_connection" },
    ///     "times": 1,
    /// }))?;
    /// assert_eq!(rule.to_json()["action"]["type"], "refuse_connection");
    /// # Ok::<_, String>(())
    /// ```
    ///
    /// # Errors
    /// A text that describes what is wrong with the rule.
    pub fn from_json(rule: Value) -> Result<Self, String> {
        if !rule.is_object() {
            return Err("a rule must be an object".into());
        }
        let wire: WireRule = serde_json::from_value(rule).map_err(|problem| problem.to_string())?;
        wire.try_into()
    }

    /// The rule in the language of Ably's test proxy.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(WireRule::from(self)).unwrap_or_default()
    }
}

/// The rules of a request, and whether they go in front of the others.
pub(super) fn rules_from_json(body: Value) -> Result<(Vec<Rule<Any>>, bool), String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Several {
        rules: Vec<Value>,
        #[serde(default)]
        position: Position,
    }

    #[derive(Default, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Position {
        #[default]
        Append,
        Prepend,
    }

    let (rules, first) = match body {
        Value::Array(rules) => (rules, false),
        Value::Object(body) if body.contains_key("rules") => {
            let several: Several =
                serde_json::from_value(body.into()).map_err(|problem| problem.to_string())?;
            (several.rules, several.position == Position::Prepend)
        }
        rule => (vec![rule], false),
    };
    Ok((rules.into_iter().map(Rule::from_json).collect::<Result<_, _>>()?, first))
}

/// The faults of `POST /actions`, and the number of the connection; none for all connections.
pub(super) fn strike_from_json(mut body: Value) -> Result<(Option<u64>, Strike), String> {
    let number = match body.as_object_mut().and_then(|body| body.remove("connection")) {
        None => None,
        Some(number) => Some(number.as_u64().ok_or("the `connection` must be a number")?),
    };
    let OneOrMany(actions) = serde_json::from_value(body).map_err(|problem| problem.to_string())?;
    let mut strike = Strike::default();
    for action in actions {
        let name = action.name();
        if !action.strike(&mut strike)? {
            return Err(format!("the action `{name}` can only be used in a rule"));
        }
    }
    Ok((number, strike))
}

/// All rules.
pub(super) fn rules_to_json(rules: &[Listed]) -> Value {
    let rules = rules.iter().map(|listed| {
        let mut rule = listed.rule.to_json();
        rule["id"] = listed.id.0.into();
        rule["applied"] = listed.applied.into();
        rule
    });
    json!({ "rules": rules.collect::<Vec<_>>() })
}

/// The log.
pub(super) fn log_to_json(log: &Log) -> Value {
    let events: Vec<_> = log.entries().map(entry_to_json).collect();
    json!({ "events": events, "forgotten": log.forgotten() })
}

fn entry_to_json(entry: &Entry) -> Value {
    let mut value = event_to_json(&entry.event);
    let number = match entry.event {
        Event::Request { .. } | Event::Response { .. } => "request",
        _ => "connection",
    };
    value[number] = entry.number.into();
    value["timestamp"] = entry.timestamp.into();
    value["ruleMatched"] = entry.rule.map(|rule| rule.0).into();
    value
}

fn event_to_json(event: &Event) -> Value {
    match event {
        Event::Connect { params } => {
            json!({ "type": "ws_connect", "queryParams": params_to_json(params) })
        }
        Event::ToServer { frame, fate } => {
            let mut message = script::client_frame_to_json(frame);
            if let Some(token) = message.pointer_mut("/auth/accessToken") {
                *token = REDACTED.into();
            }
            frame_to_json(Direction::ToServer, *fate, "message", message)
        }
        Event::ToClient { frame, fate } => {
            let message = script::server_frame_to_json(frame);
            frame_to_json(Direction::ToClient, *fate, "message", message)
        }
        Event::Unreadable { direction, bytes, fate } => {
            frame_to_json(*direction, *fate, "unreadableBytes", (*bytes).into())
        }
        Event::Disconnect { by, code } => {
            let initiator = match by {
                Side::Client => "client",
                Side::Service => "server",
                Side::Faults => "proxy",
            };
            json!({ "type": "ws_disconnect", "initiator": initiator, "closeCode": code })
        }
        Event::Request { method, path, params } => json!({
            "type": "http_request",
            "method": method,
            "path": path,
            "queryParams": params_to_json(params),
        }),
        Event::Response { status } | Event::Refused { status } => {
            json!({ "type": "http_response", "status": status })
        }
    }
}

fn frame_to_json(direction: Direction, fate: Fate, name: &str, content: Value) -> Value {
    let direction = match direction {
        Direction::ToClient => "server_to_client",
        Direction::ToServer => "client_to_server",
    };
    let fate = match fate {
        Fate::Passed => "passed",
        Fate::Suppressed => "suppressed",
        Fate::Replaced => "replaced",
        Fate::Injected => "injected",
    };
    let mut value = json!({ "type": "ws_frame", "direction": direction, "fate": fate });
    value[name] = content;
    value
}

const REDACTED: &str = "[redacted]";

fn params_to_json(params: &Params) -> Value {
    let shown = params.iter().map(|(name, value)| {
        let value = match name {
            "key" => format!("{}:{REDACTED}", value.split(':').next().unwrap_or_default()),
            "access_token" | "accessToken" => REDACTED.to_owned(),
            _ => value.to_owned(),
        };
        (name.to_owned(), value.into())
    });
    Value::Object(shown.collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capably_protocol::{
        ClientFrame, ServerFrame,
        frame::{Action, AuthDetails},
    };

    use super::*;
    use crate::{
        faults::{Frame, Response, rule::Trigger, table::Link},
        front::http::query::Query,
    };

    /// Checks that a rule is unchanged after reading and writing it.
    fn same(rule: Value) {
        assert_eq!(Rule::from_json(rule.clone()).unwrap().to_json(), rule);
    }

    #[test]
    fn rules_survive_a_round_trip() {
        let message = json!({ "action": 9, "error": { "code": 50000 } });
        for rule in [
            json!({
                "match": { "type": "ws_connect", "count": 2, "connection": 3,
                           "queryContains": { "resume": "*", "clientId": "ada" } },
                "action": { "type": "refuse_connection" },
                "times": 1,
                "comment": "why",
            }),
            json!({
                "match": { "type": "ws_connect" },
                "action": [{ "type": "delay", "delayMs": 20 },
                           { "type": "accept_and_close", "closeCode": 1011 }],
            }),
            json!({
                "match": { "type": "ws_connect" },
                "action": { "type": "http_respond", "status": 503, "headers": { "a": "b" } },
            }),
            json!({ "match": { "type": "ws_connect" }, "action": { "type": "disconnect" } }),
            json!({
                "match": { "type": "ws_frame_to_client", "action": "OBJECT_SYNC", "channel": "a" },
                "action": { "type": "replace", "message": message },
            }),
            json!({
                "match": { "type": "ws_frame_to_server", "action": "99" },
                "action": [{ "type": "delay", "delayMs": 5 }, { "type": "suppress_onwards" },
                           { "type": "inject_to_server", "message": { "text": "{" } },
                           { "type": "inject_to_client", "message": { "binary": "gA==" } },
                           { "type": "close", "closeCode": 1000 }],
            }),
            json!({
                "match": { "type": "delay_after_ws_connect", "delayMs": 1000 },
                "action": { "type": "disconnect" },
            }),
            json!({
                "match": { "type": "http_request", "method": "POST", "pathContains": "/keys/" },
                "action": [{ "type": "http_delay", "delayMs": 10 },
                           { "type": "http_replace_response", "status": 503, "body": {} }],
            }),
            json!({ "match": { "type": "http_request" }, "action": { "type": "http_drop" } }),
            json!({ "match": { "type": "ws_frame_to_client" }, "action": { "type": "passthrough" } }),
        ] {
            same(rule);
        }
    }

    #[test]
    fn a_star_matches_any_value() {
        let query = json!({ "resume": "*", "clientId": "ada" });
        let matches = json!({ "type": "ws_connect", "queryContains": query });
        let rule = Rule::from_json(json!({ "match": matches })).unwrap();
        let Trigger::Opening(opening) = rule.trigger.0 else { panic!("an opening") };
        for (query, includes) in [
            ("resume=x&clientId=ada", true),
            ("resume=x&clientId=bob", false),
            ("clientId=ada", false),
        ] {
            let params = &Query::parse(query);
            assert_eq!(opening.which.includes(Link { number: 1, params }), includes, "{query}");
        }
    }

    #[test]
    fn default_values_may_be_omitted() {
        let read = |rule| Rule::from_json(rule).unwrap().to_json()["action"].clone();
        let close = json!({ "type": "close", "closeCode": 1000 });
        let after = json!({ "type": "delay_after_ws_connect", "delayMs": 1 });
        assert_eq!(read(json!({ "match": after, "action": { "type": "close" } })), close);
        let inject = json!({ "type": "inject_to_client_and_close", "message": { "action": 6 } });
        let injected = json!([{ "type": "inject_to_client", "message": { "action": 6 } }, close]);
        assert_eq!(read(json!({ "match": after, "action": inject })), injected);
        let frame = json!({ "type": "ws_frame_to_client", "action": 4 });
        assert_eq!(read(json!({ "match": frame })), json!({ "type": "passthrough" }));
    }

    #[test]
    fn invalid_rules_are_refused() {
        for (rule, why) in [
            (json!([]), "a rule must be an object"),
            (json!({}), "missing field `match`"),
            (json!({ "match": { "type": "x" } }), "unknown variant `x`"),
            (json!({ "match": { "type": "ws_connect", "count": 0 } }), "nonzero"),
            (json!({ "match": { "type": "ws_connect" }, "times": 0 }), "nonzero"),
            (json!({ "match": { "type": "ws_connect", "chanel": "a" } }), "unknown field `chanel`"),
            (
                json!({ "match": { "type": "ws_connect", "channel": "a" } }),
                "the match `ws_connect` cannot have the condition `channel`",
            ),
            (
                json!({ "match": { "type": "http_request" }, "action": { "type": "suppress" } }),
                "the match `http_request` cannot have the action `suppress`",
            ),
            (
                json!({ "match": { "type": "ws_connect" }, "action": { "type": "close" } }),
                "the match `ws_connect` cannot have the action `close`",
            ),
            (
                json!({ "match": { "type": "delay_after_ws_connect" }, "action": { "type": "close" } }),
                "`delayMs` is missing",
            ),
            (
                json!({ "match": { "type": "ws_frame_to_client", "action": "CONECTED" } }),
                "`CONECTED` is not an action",
            ),
            (
                json!({ "match": { "type": "ws_frame_to_client" },
                        "action": { "type": "replace", "message": {} } }),
                "a frame must have an `action`, a `text` or a `binary`",
            ),
            (
                json!({ "match": { "type": "http_request" },
                        "action": { "type": "http_respond", "status": 101 } }),
                "the `status` must be a number from 200 to 999",
            ),
        ] {
            let refused = Rule::from_json(rule.clone()).unwrap_err();
            assert!(refused.contains(why), "{rule}: {refused}");
        }
    }

    #[test]
    fn rules_built_in_rust_are_written_as_json() {
        let error = Frame::from(ServerFrame::Disconnected { error: None });
        let rule = Rule::after(Duration::from_millis(1500)).inject_to_client(error).any();
        assert_eq!(rule.to_json()["match"]["delayMs"], 1500);
        assert_eq!(rule.to_json()["action"]["message"], json!({ "action": 6 }));
        let rule = Rule::request().respond(Response::new(500).bytes("oh")).any();
        assert_eq!(rule.to_json()["action"]["bodyBase64"], "b2g=");
        same(rule.to_json());
        let rule = Rule::to_server().action(Action::Close).replace(ClientFrame::Disconnect).any();
        assert_eq!(rule.to_json()["match"]["action"], "CLOSE");
        assert_eq!(rule.to_json()["action"]["message"], json!({ "action": 5 }));
    }

    #[test]
    fn one_request_may_add_several_rules_in_front_of_the_others() {
        let rule = json!({ "match": { "type": "ws_connect" } });
        let read = |body| rules_from_json(body).map(|(rules, first)| (rules.len(), first));
        assert_eq!(read(rule.clone()), Ok((1, false)));
        assert_eq!(read(json!([rule, rule])), Ok((2, false)));
        assert_eq!(read(json!({ "rules": [rule], "position": "prepend" })), Ok((1, true)));
        assert_eq!(read(json!({ "rules": [rule] })), Ok((1, false)));
        assert!(read(json!({ "rules": [rule], "position": "middle" })).is_err());
        assert!(read(json!(["nonsense"])).is_err());
    }

    #[test]
    fn actions_may_name_one_connection() {
        let (number, strike) =
            strike_from_json(json!({ "type": "close", "closeCode": 4000, "connection": 2 }))
                .unwrap();
        assert_eq!(number, Some(2));
        assert_eq!(strike.end, Some(crate::faults::rule::End::Close(4000)));
        let (number, strike) =
            strike_from_json(json!([{ "type": "inject_to_client", "message": { "action": 0 } }]))
                .unwrap();
        assert_eq!((number, strike.frames.len(), strike.end), (None, 1, None));
        assert!(strike_from_json(json!({ "type": "suppress" })).is_err());
        assert!(strike_from_json(json!({ "type": "close", "connection": "x" })).is_err());
    }

    #[test]
    fn the_log_shows_no_credentials() {
        let params = Params(Query::parse("key=a.b%3Asecret&accessToken=t&resume=k&v=6"));
        let shown = event_to_json(&Event::Connect { params });
        let expected = json!({ "key": "a.b:[redacted]", "accessToken": "[redacted]",
                               "resume": "k", "v": "6" });
        assert_eq!(shown["queryParams"], expected);
        let details = AuthDetails { access_token: "secret".into() };
        let frame = ClientFrame::Auth(details);
        let shown = event_to_json(&Event::ToServer { frame, fate: Fate::Passed });
        assert_eq!(shown["message"]["auth"]["accessToken"], "[redacted]");
    }

    #[test]
    fn a_rule_numbers_either_connections_or_requests() {
        let told = |event| entry_to_json(&Entry::new((Duration::ZERO, 0), 7, None, event, 0));
        let refused = told(Event::Refused { status: 503 });
        let answered = told(Event::Response { status: 503 });
        for (told, number) in [(&refused, "connection"), (&answered, "request")] {
            assert_eq!(told["type"], "http_response");
            assert_eq!((&told["status"], &told[number]), (&json!(503), &json!(7)));
        }
        assert!(refused.get("request").is_none() && answered.get("connection").is_none());
    }
}
