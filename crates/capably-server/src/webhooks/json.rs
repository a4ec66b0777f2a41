//! Rules as JSON, in the shape of the service's control API.

use capably_protocol::{Format, JsonObject};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{RequestMode, Rule, RuleError, Source};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default = "enabled")]
    status: String,
    rule_type: String,
    #[serde(default = "single")]
    request_mode: String,
    source: WireSource,
    target: WireTarget,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSource {
    #[serde(default)]
    channel_filter: Option<String>,
    r#type: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTarget {
    url: String,
    #[serde(default)]
    headers: Option<Vec<WireHeader>>,
    #[serde(default)]
    signing_key_id: Option<String>,
    #[serde(default)]
    enveloped: Option<bool>,
    #[serde(default)]
    format: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WireHeader {
    name: String,
    value: String,
}

fn enabled() -> String {
    "enabled".to_owned()
}

fn single() -> String {
    "single".to_owned()
}

impl Rule {
    /// Reads a rule, in the shape of the service's control API, and checks it.
    ///
    /// ```
    /// use capably_server::webhooks::Rule;
    ///
    /// let rule = Rule::from_json(
    ///     r#"{
    ///         "ruleType": "http",
    ///         "requestMode": "batch",
    ///         "source": { "type": "channel.message", "channelFilter": "^chat:" },
    ///         "target": { "url": "http://example.com/hook", "format": "json" }
    ///     }"#,
    /// )?;
    /// assert!(Rule::from_json(r#"{"ruleType": "amqp"}"#).is_err());
    /// # Ok::<_, capably_server::webhooks::RuleError>(())
    /// ```
    ///
    /// # Errors
    /// Why it is not a rule, or the first field that is not valid.
    pub fn from_json(text: &str) -> Result<Self, RuleError> {
        let value = serde_json::from_str(text)
            .map_err(|problem| RuleError::new(format!("the rule is not JSON: {problem}")))?;
        Self::from_value(value)
    }

    /// Reads rules, an array of those that [`from_json`](Self::from_json) reads.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json), with the number of the rule.
    pub fn list_from_json(text: &str) -> Result<Vec<Self>, RuleError> {
        let rules: Vec<Value> = serde_json::from_str(text).map_err(|problem| {
            RuleError::new(format!("the rules are not a JSON array: {problem}"))
        })?;
        let numbered = rules.into_iter().enumerate().map(|(index, value)| {
            Self::from_value(value)
                .map_err(|error| RuleError::new(format!("rule {}: {error}", index + 1)))
        });
        numbered.collect()
    }

    pub(crate) fn from_value(value: Value) -> Result<Self, RuleError> {
        let wire: Wire = serde_json::from_value(value)
            .map_err(|problem| RuleError::new(format!("the rule is not valid: {problem}")))?;
        let Wire { id, status, rule_type, request_mode, source, target } = wire;
        if rule_type != "http" {
            return Err(RuleError::new("`ruleType` must be `http`: the server has no others"));
        }
        let is_enabled = match status.as_str() {
            "enabled" => true,
            "disabled" => false,
            _ => return Err(RuleError::new("`status` must be `enabled` or `disabled`")),
        };
        let mode = match request_mode.as_str() {
            "single" => RequestMode::Single,
            "batch" => RequestMode::Batch,
            _ => return Err(RuleError::new("`requestMode` must be `single` or `batch`")),
        };
        let format = match target.format.as_deref() {
            None | Some("json") => Format::Json,
            Some("msgpack") => Format::MsgPack,
            Some(_) => return Err(RuleError::new("`target.format` must be `json` or `msgpack`")),
        };
        let source_type = Source::of(&source.r#type).ok_or_else(|| {
            RuleError::new(
                "`source.type` must be `channel.message`, `channel.presence`, `channel.lifecycle` or `channel.occupancy`",
            )
        })?;
        let headers = target.headers.unwrap_or_default().into_iter();
        let rule = Self {
            id,
            is_enabled,
            source: source_type,
            filter: source.channel_filter.unwrap_or_default(),
            mode,
            url: target.url,
            headers: headers.map(|header| (header.name, header.value)).collect(),
            signing_key_id: target.signing_key_id.filter(|id| !id.is_empty()),
            is_enveloped: target.enveloped.unwrap_or(true),
            format,
        };
        rule.check()?;
        Ok(rule)
    }

    /// The rule with the fields of a patch in place of its own: a JSON Merge Patch (RFC 7396) of the rule's JSON. A `null` sets
    /// a field to its default.
    ///
    /// # Errors
    /// The first field that is not valid, also for another `id`.
    pub(crate) fn patched(&self, patch: JsonObject) -> Result<Self, RuleError> {
        let is_other = |id: &Value| id.as_str() != self.id.as_deref();
        if patch.get("id").is_some_and(is_other) {
            return Err(RuleError::new("the `id` of a rule cannot be changed"));
        }
        let mut rule = Value::Object(self.to_object());
        merge(&mut rule, Value::Object(patch));
        Self::from_value(rule)
    }

    /// The rule as JSON.
    pub(crate) fn to_object(&self) -> JsonObject {
        let wire = Wire {
            id: self.id.clone(),
            status: if self.is_enabled { "enabled" } else { "disabled" }.to_owned(),
            rule_type: "http".to_owned(),
            request_mode: self.mode.name().to_owned(),
            source: WireSource {
                channel_filter: Some(self.filter.clone()),
                r#type: self.source.name().to_owned(),
            },
            target: WireTarget {
                url: self.url.clone(),
                headers: Some(
                    self.headers
                        .iter()
                        .map(|(name, value)| WireHeader {
                            name: name.clone(),
                            value: value.clone(),
                        })
                        .collect(),
                ),
                signing_key_id: self.signing_key_id.clone(),
                enveloped: Some(self.is_enveloped),
                format: Some(self.format.name().to_owned()),
            },
        };
        match serde_json::to_value(wire) {
            Ok(Value::Object(object)) => object,
            _ => JsonObject::new(),
        }
    }
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (name, value) in patch {
                if value.is_null() {
                    object.remove(&name);
                } else {
                    merge(object.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (into, patch) => *into = patch,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_is_the_same_after_json() {
        let value = json!({
            "id": "a-1",
            "status": "disabled",
            "ruleType": "http",
            "requestMode": "batch",
            "source": {"channelFilter": "^a", "type": "channel.presence"},
            "target": {
                "url": "http://example.com/",
                "headers": [{"name": "X-A", "value": "b"}],
                "signingKeyId": "bw66AB",
                "enveloped": false,
                "format": "msgpack",
            },
        });
        let rule = Rule::from_value(value.clone()).unwrap();
        assert_eq!(Value::Object(rule.to_object()), value);
    }

    #[test]
    fn a_patch_replaces_the_fields_that_it_has() {
        let rule = Rule::new(Source::Message, "http://a/").id("a").header("X-A", "b");
        let rule = rule.signing_key_id("key").channel_filter("^a");
        let patch = |patch: Value| rule.patched(patch.as_object().cloned().unwrap());
        assert_eq!(patch(json!({})).unwrap().to_object(), rule.to_object());
        let patched = patch(json!({
            "id": "a",
            "status": "disabled",
            "source": {"channelFilter": null},
            "target": {"url": "http://b/", "signingKeyId": null, "headers": []},
        }));
        let expected = Rule::new(Source::Message, "http://b/").id("a").enabled(false);
        assert_eq!(patched.unwrap().to_object(), expected.to_object());
        for (wrong, field) in [
            (json!({"id": "b"}), "id"),
            (json!({"source": null}), "source"),
            (json!({"source": {"type": "channel.any"}}), "source.type"),
            (json!({"target": {"url": "ftp://a"}}), "target.url"),
            (json!({"requestMode": "many"}), "requestMode"),
        ] {
            let error = patch(wrong).unwrap_err().to_string();
            assert!(error.contains(field), "{field}: {error}");
        }
    }

    #[test]
    fn the_reason_names_the_field() {
        let valid = json!({
            "ruleType": "http",
            "requestMode": "single",
            "source": {"channelFilter": "", "type": "channel.message"},
            "target": {"url": "http://example.com/", "format": "json"},
        });
        assert!(Rule::from_value(valid.clone()).is_ok());
        for (pointer, value) in [
            ("/ruleType", json!("amqp")),
            ("/requestMode", json!("many")),
            ("/source/type", json!("channel.other")),
            ("/source/channelFilter", json!("(")),
            ("/target/url", json!("ftp://a")),
            ("/target/format", json!("xml")),
        ] {
            let mut wrong = valid.clone();
            *wrong.pointer_mut(pointer).unwrap() = value;
            let error = Rule::from_value(wrong).unwrap_err().to_string();
            let field = pointer.rsplit('/').next().unwrap();
            assert!(error.contains(field), "{pointer}: {error}");
        }
    }
}
