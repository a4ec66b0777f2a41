//! Statistics, and the probe whether the server is there.

use capably_protocol::{ErrorInfo, JsonObject, Stats, StatsInterval, StatsUnit, codec};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{access, call::Call, page};
use crate::{
    front::{
        app::AppHandle,
        http::{query::Query, reply::Reply},
    },
    hub::{StatsQuery, auth::Identity, error},
};

/// `POST /stats`: stores statistics of the past that a test has made up.
///
/// An empty list needs no credentials: test suites send it to probe whether the server is there.
pub(super) async fn post(call: &Call<'_>) -> Result<Reply, ErrorInfo> {
    let body: Value = call.decode()?;
    let created = call.reply(StatusCode::CREATED, &json!([]));
    if body == json!([]) {
        return Ok(created);
    }
    let (app, identity) = access::client(call)?;
    let intervals: Vec<Stats> = match body {
        Value::Array(_) => serde_json::from_value(body),
        one => serde_json::from_value(one).map(|one| vec![one]),
    }
    .map_err(|problem| error::bad_request(problem.to_string()))?;
    app.post_stats(&identity, intervals).await?;
    Ok(created)
}

/// `GET /stats` (RSC6).
pub(super) async fn get(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
) -> Result<Reply, ErrorInfo> {
    let unit = call.query.get("unit").or_else(|| call.query.get("by")).unwrap_or("minute");
    let unit = match StatsUnit::from(unit) {
        StatsUnit::Unknown(_) => {
            return Err(error::bad_parameter("`unit` must be minute, hour, day or month"));
        }
        known => known,
    };
    let page = page::of_the_past(&in_millis(call.query), call.now.wall)?;
    let query = StatsQuery { page, unit };
    let found = app.stats(identity, &query, call.now).await?;
    let body = if call.version() < 3.0 {
        let items: Vec<_> = found.items.iter().map(nested).collect();
        codec::encode_body(call.format, &items)
    } else {
        codec::encode_body(call.format, &found.items)
    };
    let body = body.map_err(|problem| error::bad_request(problem.to_string()))?;
    let reply = Reply::encoded(StatusCode::OK, call.format, body);
    Ok(call.link_pages(reply, &query.page, found.next.as_deref()))
}

/// Replaces ids of intervals by times: `start` by the first millisecond of its interval, `end` by the last of its.
fn in_millis(query: &Query) -> Query {
    let mut query = query.clone();
    for name in ["start", "end"] {
        if let Some(interval) = query.get(name).and_then(StatsInterval::parse) {
            let time = if name == "start" { interval.start() } else { interval.end() - 1 };
            query = query.without(&[name]).with(name, &time.to_string());
        }
    }
    query
}

/// Statistics as they were before protocol version 3: the dots of a name are nested objects.
fn nested(stats: &Stats) -> Value {
    let mut root = JsonObject::new();
    for (name, value) in &stats.entries {
        let value = match value {
            whole if whole.fract() == 0.0 && whole.abs() < 1e15 => json!(*whole as i64),
            other => json!(other),
        };
        let path = match name.split_once('.') {
            Some(("messages", rest)) => rest,
            Some(("apiRequests", rest)) => match rest.split_once('.') {
                Some(("tokenRequests", _)) => rest,
                Some(("other", metric)) => &format!("apiRequests.{metric}"),
                Some(_) | None => name,
            },
            Some(_) | None => name,
        };
        // A posted name may have any number of dots: a limit keeps the recursion small. Real names have fewer.
        let parts: Vec<_> = path.splitn(8, '.').collect();
        insert(&mut root, &parts, value);
    }
    root.insert("intervalId".to_owned(), json!(&*stats.interval_id));
    root.insert("unit".to_owned(), json!(stats.unit));
    if let Some(last) = &stats.in_progress {
        root.insert("inProgress".to_owned(), json!(&**last));
    }
    Value::Object(root)
}

fn insert(object: &mut JsonObject, path: &[&str], value: Value) {
    match path {
        [] => {}
        [name] => {
            object.insert((*name).to_owned(), value);
        }
        [name, rest @ ..] => {
            if let Value::Object(inner) = object.entry(*name).or_insert_with(|| json!({})) {
                insert(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nested_format_has_the_same_numbers_as_the_flat_one() {
        let entries = [
            ("messages.inbound.realtime.messages.count", 50.0),
            ("messages.all.all.data", 5000.0),
            ("connections.all.peak", 20.0),
            ("channels.mean", 1.5),
            ("apiRequests.other.succeeded", 50.0),
            ("apiRequests.tokenRequests.failed", 20.0),
            ("push.all.count", 1.0),
        ];
        let stats = Stats {
            interval_id: "2024-02-03:15:03".into(),
            unit: Some(StatsUnit::Minute),
            in_progress: Some("2024-02-03:15:03".into()),
            entries: entries.map(|(name, value)| (name.to_owned(), value)).into(),
            ..Stats::default()
        };
        let value = nested(&stats);
        assert_eq!(
            value,
            json!({
                "intervalId": "2024-02-03:15:03",
                "unit": "minute",
                "inProgress": "2024-02-03:15:03",
                "inbound": {"realtime": {"messages": {"count": 50}}},
                "all": {"all": {"data": 5000}},
                "connections": {"all": {"peak": 20}},
                "channels": {"mean": 1.5},
                "apiRequests": {"succeeded": 50},
                "tokenRequests": {"failed": 20},
                "push": {"all": {"count": 1}},
            })
        );
        assert_eq!(serde_json::from_value::<Stats>(value).unwrap(), stats);
    }
}
