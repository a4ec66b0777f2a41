//! Creating and checking the streams.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    super::{Bucket, EngineError},
    api::{Api, StreamInfo},
    clock,
    failure::{Failure, setup},
    names::Names,
    retention,
};

/// The version of the form of streams and entries.
const VERSION: &str = "1";
/// For how long brokers recognise the id of an entry. The engine promises two minutes.
const REMEMBERED: Duration = Duration::from_secs(3 * 60);

/// What streams are to be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) replicas: usize,
    /// The most bytes of the stream of entries, if it is limited.
    pub(super) max_bytes: Option<u64>,
}

/// Opens the stream of entries, and creates it if there is none. Returns its base as well: the first position.
pub(super) async fn open_log(
    api: &Api,
    names: &Names,
    wanted: Wanted,
) -> Result<(StreamInfo, u64), EngineError> {
    let name = names.log_stream();
    let config = json!({
        "name": name,
        // The time of the creation is part of the description, because older brokers store no other text of ours.
        "description": format!("capably log; version {VERSION}; created {}", clock::now()),
        "subjects": [names.log()],
        "retention": "limits",
        // A full stream refuses entries; it does not drop those that it promised to store.
        "discard": "new",
        "storage": "file",
        "num_replicas": wanted.replicas,
        "max_age": nanos(retention::SHORTEST),
        "duplicate_window": nanos(REMEMBERED),
        "max_bytes": wanted.max_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        "republish": { "src": names.log(), "dest": names.live() },
        "allow_msg_ttl": true,
    });
    let mut info = open(api, &name, &config, wanted.replicas).await?;
    if !retention::has_ttl(&info.config) {
        info = allow_ttl(api, &name, info).await;
    }
    let created =
        described(&info.config, "created").and_then(|created| created.parse::<u64>().ok());
    let created = created.ok_or_else(|| foreign(&name))?;
    Ok((info, created.saturating_mul(1000)))
}

/// Brokers that were updated since they created the stream may have learned to remove single messages.
async fn allow_ttl(api: &Api, name: &str, info: StreamInfo) -> StreamInfo {
    let mut config = info.config.clone();
    config["allow_msg_ttl"] = json!(true);
    match api.update_stream(name, &config).await {
        Ok(updated) => updated,
        Err(reason) => {
            tracing::debug!(%reason, "the brokers store all entries for the same time");
            info
        }
    }
}

/// Opens the stream of a bucket, and creates it if there is none.
pub(super) async fn open_bucket(
    api: &Api,
    names: &Names,
    bucket: Bucket,
    wanted: Wanted,
) -> Result<StreamInfo, EngineError> {
    let name = names.bucket_stream(bucket);
    let config = json!({
        "name": name,
        "description": format!("capably facts; version {VERSION}"),
        "subjects": [names.bucket(bucket)],
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "num_replicas": wanted.replicas,
        "max_msgs_per_subject": 1,
        "max_age": bucket.ttl().map_or(0, nanos),
        // Brokers refuse a window that is longer than the age.
        "duplicate_window": nanos(bucket.ttl().unwrap_or(REMEMBERED).min(REMEMBERED)),
        "republish": { "src": names.bucket(bucket), "dest": names.bucket_live(bucket) },
    });
    open(api, &name, &config, wanted.replicas).await
}

async fn open(
    api: &Api,
    name: &str,
    config: &Value,
    replicas: usize,
) -> Result<StreamInfo, EngineError> {
    let info = match api.stream(name).await {
        Ok(info) => info,
        Err(failure) if failure.is_no_stream() => match api.create_stream(name, config).await {
            Ok(info) => info,
            // Another node was faster.
            Err(failure) if failure.is_created_already() => api.stream(name).await?,
            Err(failure) => return Err(failure.error()),
        },
        Err(failure) => return Err(failure.error()),
    };
    check(name, &info.config, config, replicas)?;
    Ok(info)
}

/// Refuses a stream that is not as this version made it.
fn check(name: &str, found: &Value, expected: &Value, replicas: usize) -> Result<(), EngineError> {
    let version = described(found, "version").ok_or_else(|| foreign(name))?;
    if version != VERSION {
        return Err(EngineError::Version(format!(
            "the stream {name} has version {version}, this server knows {VERSION}; \
             start the server that made it, or use another prefix"
        )));
    }
    if found["num_replicas"] != json!(replicas) {
        return Err(setup(format!(
            "the stream {name} has {} replicas, not {replicas}; start the server with that number, \
             or change the stream with `nats stream edit {name} --replicas {replicas}`",
            found["num_replicas"]
        )));
    }
    if let Some(change) = unsafe_change(found, expected) {
        return Err(EngineError::Version(format!(
            "the stream {name} has {change}; undo that change, or use another prefix"
        )));
    }
    for field in
        ["subjects", "retention", "discard", "storage", "republish", "max_msgs_per_subject"]
    {
        let (found, expected) = (&found[field], &expected[field]);
        let is_same = match expected {
            // Brokers add fields with defaults.
            Value::Object(expected) => expected.iter().all(|(key, value)| found[key] == *value),
            Value::Null => true,
            _ => found == expected,
        };
        if !is_same {
            return Err(EngineError::Version(format!(
                "the stream {name} has {field} {found}, not {expected}; undo that change, or use another prefix"
            )));
        }
    }
    Ok(())
}

/// A setting by which a stream would lose, double or change what it promised to store.
fn unsafe_change(found: &Value, expected: &Value) -> Option<String> {
    let nanos = |config: &Value, field: &str| config[field].as_u64().unwrap_or(0);
    let window = "duplicate_window";
    if nanos(found, window) < nanos(expected, window) {
        return Some(format!("{window} {}, less than {}", found[window], expected[window]));
    }
    // The age of the log grows with the retention of its entries, and without an age nothing ends.
    let (age, least) = (nanos(found, "max_age"), nanos(expected, "max_age"));
    let is_log = expected["max_msgs_per_subject"].is_null();
    let is_kept = age == least || (is_log && (age == 0 || age > least));
    if !is_kept {
        return Some(format!("max_age {age}, not {least}"));
    }
    let foreign = ["mirror", "sources", "subject_transform", "no_ack", "sealed"];
    let is_unset = |value: &Value| value.is_null() || *value == json!(false) || *value == json!([]);
    let set = foreign.into_iter().find(|field| !is_unset(&found[field]))?;
    Some(format!("{set} {}", found[set]))
}

/// A value of the description, such as `1` of `capably log; version 1`.
fn described<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    let description = config["description"].as_str()?;
    let mut parts = description.split("; ");
    parts.next().filter(|title| title.starts_with("capably "))?;
    parts.find_map(|part| part.strip_prefix(key)?.strip_prefix(' '))
}

fn foreign(name: &str) -> EngineError {
    EngineError::Version(format!(
        "the stream {name} was not made by this server; use another prefix"
    ))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Compares the clock of this machine with that of the brokers.
pub(super) async fn check_clock(api: &Api, names: &Names) -> Result<(), EngineError> {
    // Facts about nodes are removed after seconds, and so is this message.
    let subject = names.probe(Bucket::Nodes);
    let before = clock::now();
    api.publish(subject.clone(), async_nats::HeaderMap::new(), bytes::Bytes::new()).await?;
    let after = clock::now();
    let stream = names.bucket_stream(Bucket::Nodes);
    let stored = api.get(&stream, super::api::Get::Last(&subject)).await?;
    match stored.and_then(|stored| stored.time) {
        Some(time) => clock::check(before + (after - before) / 2, time),
        None => Err(Failure::Odd("a message without a time".into()).error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_others_are_refused() {
        let expected = json!({
            "subjects": ["a"],
            "republish": { "src": "a" },
            "retention": "limits",
            "storage": "file",
            "duplicate_window": 100,
            "max_age": 100,
        });
        let found = |change: &dyn Fn(&mut Value)| {
            let mut found = json!({
                "description": "capably log; version 1; created 5",
                "num_replicas": 3,
                "subjects": ["a"],
                "republish": { "src": "a", "headers_only": false },
                "retention": "limits",
                "storage": "file",
                "duplicate_window": 100,
                "max_age": 500,
            });
            change(&mut found);
            check("s", &found, &expected, 3)
        };
        assert!(found(&|_| {}).is_ok());
        let error = |change: &dyn Fn(&mut Value)| found(change).unwrap_err().to_string();
        let version = error(&|found| found["description"] = json!("capably log; version 2"));
        assert!(version.contains("has version 2, this server knows 1"), "{version}");
        let foreign = error(&|found| found["description"] = Value::Null);
        assert!(foreign.contains("not made by this server"), "{foreign}");
        let replicas = error(&|found| found["num_replicas"] = json!(1));
        assert!(replicas.contains("has 1 replicas, not 3"), "{replicas}");
        for (field, value) in [
            ("duplicate_window", json!(60)),
            ("max_age", json!(99)),
            ("storage", json!("memory")),
            ("no_ack", json!(true)),
            ("sources", json!([{ "name": "x" }])),
        ] {
            let text = error(&|found| found[field] = value.clone());
            assert!(text.contains(field) && text.contains("undo"), "{text}");
        }
        assert!(found(&|found| found["max_age"] = json!(0)).is_ok());
        assert!(found(&|found| found["duplicate_window"] = json!(200)).is_ok());
        let subjects = error(&|found| found["subjects"] = json!(["a", "b"]));
        assert!(subjects.contains("subjects"), "{subjects}");
        assert_eq!(
            described(&json!({ "description": "capably log; version 1; created 5" }), "created"),
            Some("5")
        );
    }
}
