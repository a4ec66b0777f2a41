//! Many channels in one request.

use capably_protocol::{ErrorInfo, Message, PresenceMessage, Str};
use futures_util::future::join_all;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::call::Call;
use crate::{
    front::{app::AppHandle, http::reply::Reply},
    hub::{
        Direction, MembersQuery, PageQuery, Published,
        auth::Identity,
        ephemeral::{self, EPHEMERAL},
        error,
    },
};

/// Most channels of a request or of one of its specs, and most specs of a request.
const MAX_BATCH: usize = 100;

/// Most members in the result of a channel.
const MAX_MEMBERS: usize = 1000;

/// `POST /messages` (RSC22).
pub(super) async fn publish(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
) -> Result<Reply, ErrorInfo> {
    let specs: OneOrMany<Spec> = call.decode()?;
    let single = matches!(specs, OneOrMany::One(_));
    let mut specs: Vec<_> = specs
        .into_vec()
        .into_iter()
        .map(|spec| (spec.channels.into_vec(), spec.messages.into_vec()))
        .collect();
    check_count(specs.len(), "specs")?;
    for (channels, messages) in &mut specs {
        check_count(channels.len(), "channels")?;
        call.count_messages(channels.len() * messages.len());
        ephemeral::mark(call.query.get(EPHEMERAL), messages)?;
    }
    let publish = async |channel: Str, messages: Vec<Message>| {
        let accepted = app
            .commit(|hub, outputs| hub.publish(identity, &channel, messages, call.now, outputs))
            .await;
        (channel, accepted.map(|accepted| Success::Published(accepted.into())))
    };
    let mut batches = Vec::new();
    for (channels, messages) in specs {
        let publishes = channels.into_iter().map(|channel| publish(channel, messages.clone()));
        // At once, so that an engine commits them together.
        batches.push(Batch::new(join_all(publishes).await.into_iter()));
    }
    if call.version() < 3.0 {
        return Ok(flat(call, StatusCode::CREATED, batches));
    }
    Ok(match batches.first().filter(|_| single) {
        Some(batch) => call.reply(StatusCode::CREATED, batch),
        None => call.reply(StatusCode::CREATED, &batches),
    })
}

/// `GET /presence?channels=a,b` (RSC24).
pub(super) async fn presence(
    call: &Call<'_>,
    app: &AppHandle,
    identity: &Identity,
) -> Result<Reply, ErrorInfo> {
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
    let mut found = Vec::with_capacity(channels.len());
    for channel in channels {
        let members = app.members(identity, &channel, &query).await;
        found.push((channel, members.map(|members| Success::Members(members.items))));
    }
    let batch = Batch::new(found.into_iter());
    if call.version() < 3.0 {
        return Ok(flat(call, StatusCode::OK, vec![batch]));
    }
    Ok(call.reply(StatusCode::OK, &batch))
}

fn check_count(count: usize, unit: &str) -> Result<(), ErrorInfo> {
    match count {
        0 => Err(error::bad_request(format!("the batch has no {unit}"))),
        1..=MAX_BATCH => Ok(()),
        _ => Err(error::bad_request(format!("the batch has more than {MAX_BATCH} {unit}"))),
    }
}

/// The messages for some channels (BSP2).
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

/// The results of a batch, a result for each channel (BAR).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    success_count: usize,
    failure_count: usize,
    results: Vec<Outcome>,
}

/// The result for a channel (BPR, BPF, BGR, BGF).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    channel: Str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serials: Option<Vec<Str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence: Option<Vec<PresenceMessage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorInfo>,
}

enum Success {
    Published(Published),
    Members(Vec<PresenceMessage>),
}

impl Batch {
    fn new(results: impl Iterator<Item = (Str, Result<Success, ErrorInfo>)>) -> Self {
        let mut batch = Self { success_count: 0, failure_count: 0, results: Vec::new() };
        for (channel, result) in results {
            match result {
                Ok(_) => batch.success_count += 1,
                Err(_) => batch.failure_count += 1,
            }
            batch.results.push(Outcome::new(channel, result));
        }
        batch
    }
}

impl Outcome {
    fn new(channel: Str, result: Result<Success, ErrorInfo>) -> Self {
        let empty = Self { channel, message_id: None, serials: None, presence: None, error: None };
        match result {
            Ok(Success::Published(Published { message_id, serials })) => {
                Self { message_id: Some(message_id), serials: Some(serials), ..empty }
            }
            Ok(Success::Members(members)) => Self { presence: Some(members), ..empty },
            Err(error) => Self { error: Some(error), ..empty },
        }
    }
}

/// The reply before protocol version 3: one list of results, inside an error unless every channel succeeded.
fn flat(call: &Call<'_>, status: StatusCode, batches: Vec<Batch>) -> Reply {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Failed {
        error: ErrorInfo,
        batch_response: Vec<Outcome>,
    }

    let mut outcomes: Vec<_> = batches.into_iter().flat_map(|batch| batch.results).collect();
    // That version has no serials.
    outcomes.iter_mut().for_each(|outcome| outcome.serials = None);
    if outcomes.iter().all(|outcome| outcome.error.is_none()) {
        return call.reply(status, &outcomes);
    }
    let error = error::batch_failed();
    let body = Failed { error: error.clone(), batch_response: outcomes };
    Reply::error_with(call.format, &error, &body)
}
