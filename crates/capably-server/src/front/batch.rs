//! REST: many channels in one request.

use capably_protocol::{ErrorInfo, Format, Message, Str, codec};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{credentials, http::Call, reply::Reply};
use crate::hub::{Direction, MembersQuery, PageQuery, error};

/// Most channels of one request or of one of its specs, and most specs.
const MAX_BATCH: usize = 100;

/// Most members that are given of a channel.
const MAX_MEMBERS: usize = 1000;

/// What is to be published where (BSP2).
#[derive(Deserialize)]
struct Spec {
    channels: OneOrMany<Str>,
    messages: OneOrMany<Message>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// `POST /messages` (RSC22).
pub(super) fn publish(call: &Call<'_>, body: &[u8]) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let (format, limits) = call.body_format();
    let specs: OneOrMany<Spec> = codec::decode_body(format, body, &limits)
        .map_err(|problem| error::bad_request(problem.to_string()))?;
    let single = matches!(specs, OneOrMany::One(_));
    let specs: Vec<_> = specs
        .into_vec()
        .into_iter()
        .map(|spec| (spec.channels.into_vec(), spec.messages.into_vec()))
        .collect();
    check_count(specs.len(), "specs")?;
    for (channels, _) in &specs {
        check_count(channels.len(), "channels")?;
    }
    let now = call.shared.clock.now();
    let publish_all = |(channels, messages): (Vec<Str>, Vec<Message>)| {
        Batch::new(channels.into_iter().map(|channel| {
            let published = app.with(|hub, outputs| {
                hub.publish(&identity, &channel, messages.clone(), now, outputs)
            });
            let success = published.map(|published| {
                let serials: Vec<&str> = published.serials.iter().map(|it| &**it).collect();
                json!({ "messageId": &*published.message_id, "serials": serials })
            });
            (channel, success)
        }))
    };
    let batches: Vec<Batch> = specs.into_iter().map(publish_all).collect();
    let body = if single {
        batches.first().map_or(Value::Null, Batch::value)
    } else {
        batches.iter().map(Batch::value).collect()
    };
    Ok(Reply::value(StatusCode::CREATED, call.format, &body))
}

/// `GET /presence?channels=a,b` (RSC24).
pub(super) fn presence(call: &Call<'_>) -> Result<Reply, ErrorInfo> {
    let (app, identity) = credentials::rest(call.shared, &call.head.headers, &call.query)?;
    let channels = call.query.get("channels").unwrap_or_default();
    let channels: Vec<Str> =
        channels.split(',').filter(|name| !name.is_empty()).map(Str::from).collect();
    check_count(channels.len(), "channels")?;
    let page = PageQuery {
        direction: Direction::Backwards,
        limit: MAX_MEMBERS,
        start: None,
        end: None,
        cursor: None,
    };
    let query = MembersQuery { page, client_id: None, connection_id: None };
    let batch = Batch::new(channels.into_iter().map(|channel| {
        let members = app.with(|hub, _| hub.members(&identity, &channel, &query));
        let success = members.map(|members| {
            // As JSON in either format: bytes are text with the encoding `base64`.
            let members = codec::encode_items(Format::Json, &members.items);
            json!({ "presence": serde_json::from_slice::<Value>(&members).unwrap_or_default() })
        });
        (channel, success)
    }));
    Ok(Reply::value(StatusCode::OK, call.format, &batch.value()))
}

fn check_count(count: usize, what: &str) -> Result<(), ErrorInfo> {
    match count {
        0 => Err(error::bad_request(format!("the batch has no {what}"))),
        1..=MAX_BATCH => Ok(()),
        _ => Err(error::bad_request(format!("the batch has more than {MAX_BATCH} {what}"))),
    }
}

/// What became of each channel of a batch (BPR, BPF, BGR, BGF).
struct Batch {
    successes: usize,
    results: Vec<Value>,
}

impl Batch {
    fn new(results: impl Iterator<Item = (Str, Result<Value, ErrorInfo>)>) -> Self {
        let mut batch = Self { successes: 0, results: Vec::new() };
        for (channel, result) in results {
            let mut value = match result {
                Ok(success) => {
                    batch.successes += 1;
                    success
                }
                Err(error) => json!({ "error": {
                    "code": error.code.0,
                    "statusCode": error.status_code,
                    "message": &*error.message,
                }}),
            };
            value["channel"] = json!(&*channel);
            batch.results.push(value);
        }
        batch
    }

    fn value(&self) -> Value {
        json!({
            "successCount": self.successes,
            "failureCount": self.results.len() - self.successes,
            "results": self.results,
        })
    }
}
