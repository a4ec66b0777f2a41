//! Requests to the JetStream interface of the brokers.
//!
//! Written against the interface itself: few requests are needed, brokers from 2.9 on answer them alike, and each error
//! code is seen.

use std::time::Duration;

use async_nats::{
    Client, HeaderMap, Message, Request, RequestErrorKind, StatusCode, Subject, Subscriber,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{clock, failure::Failure};

/// The header by which brokers recognise a message that was published before.
pub(super) const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The header with the last sequence on a subject that a publisher expects.
pub(super) const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
/// The header with the seconds after which a message is removed, from brokers of version 2.11 on.
pub(super) const TTL: &str = "Nats-TTL";
/// The header of a message sent on: its sequence in the stream.
pub(super) const SEQUENCE: &str = "Nats-Sequence";

/// How long one request may take. A broker that has a leader for the stream answers within milliseconds.
pub(super) const REQUEST: Duration = Duration::from_secs(2);
/// After how long a replica counts as away. Replicas that have nothing to store answer their leader each second.
const SILENT: Duration = Duration::from_secs(5);
/// How long to wait before a request is repeated.
const RETRY: Duration = Duration::from_millis(200);

/// A connection, with the requests that it serves.
#[derive(Clone, Debug)]
pub(super) struct Api {
    pub(super) client: Client,
    /// How long a read is repeated while the brokers elect a leader.
    pub(super) patience: Duration,
}

/// The state of a stream.
#[derive(Debug, Deserialize)]
pub(super) struct StreamInfo {
    /// The configuration, with what this version does not know.
    pub(super) config: Value,
    pub(super) state: StreamState,
    /// The replicas, of brokers that are a cluster.
    #[serde(default)]
    cluster: Option<Group>,
}

/// The replicas of a stream, as one of them sees the others.
#[derive(Debug, Deserialize)]
struct Group {
    #[serde(default)]
    leader: Option<String>,
    /// The replicas other than the leader.
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Debug, Deserialize)]
struct Replica {
    /// For how long it has been silent, in ns.
    #[serde(default)]
    active: u64,
}

impl StreamInfo {
    /// Whether the stream has a leader that can commit. A leader that is cut off from the other replicas answers all the
    /// same, and goes on to answer when it is no leader any more.
    pub(super) fn has_majority(&self) -> bool {
        let Some(Group { leader, replicas }) = &self.cluster else { return true };
        let silent =
            replicas.iter().filter(|replica| u128::from(replica.active) > SILENT.as_nanos());
        leader.is_some() && 2 * silent.count() <= replicas.len()
    }
}

/// The part of a stream's state that the engine reads.
#[derive(Debug, Deserialize)]
pub(super) struct StreamState {
    pub(super) last_seq: u64,
    #[serde(default)]
    pub(super) subjects: std::collections::BTreeMap<String, u64>,
}

/// The acknowledgement of a published message.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Acknowledged {
    pub(super) seq: u64,
    #[serde(default)]
    pub(super) duplicate: bool,
}

/// A message of a stream.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) subject: Subject,
    /// The id that it was published with, where a single read or a scan of headers found the message.
    pub(super) id: Option<String>,
    pub(super) payload: Bytes,
    /// The time at which the broker stored it, in ms since the epoch, where the request asked for it.
    pub(super) time: Option<i64>,
}

/// Which message of a stream to get.
#[derive(Clone, Copy, Debug)]
pub(super) enum Get<'a> {
    /// The first on these subjects from a sequence on.
    Next(&'a str, u64),
    /// The last on these subjects.
    Last(&'a str),
}

impl Api {
    /// Sends a request and reads the answer.
    async fn call<T: DeserializeOwned>(
        &self,
        operation: &str,
        request: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(request).map_err(|error| Failure::odd(&error))?;
        let request = Request::new().payload(body.into()).timeout(Some(REQUEST));
        let subject = format!("$JS.API.{operation}");
        let answer = self.client.send_request(subject, request).await.map_err(unanswered)?;
        parse(&answer)
    }

    /// Subscribes, and reads the state of a stream once the broker serves the subscription: every message after that state
    /// is received.
    pub(super) async fn subscribe(
        &self,
        subject: String,
        stream: &str,
    ) -> Result<(Subscriber, StreamInfo), Failure> {
        let messages = self.client.subscribe(subject).await;
        let messages = messages.map_err(|error| Failure::odd(&error))?;
        // The client only queues a subscription, and its `flush` waits for the socket, not for the broker. A broker handles
        // what a connection sends in order, so that its answer to a later request shows that the subscription stands.
        let info = self.stream(stream).await?;
        Ok((messages, info))
    }

    pub(super) async fn stream(&self, name: &str) -> Result<StreamInfo, Failure> {
        self.call(&format!("STREAM.INFO.{name}"), &json!({})).await
    }

    /// The subjects of a stream that match, at most 100,000 from `offset` on.
    pub(super) async fn subjects(
        &self,
        name: &str,
        filter: &str,
        offset: usize,
    ) -> Result<StreamInfo, Failure> {
        let request = json!({ "subjects_filter": filter, "offset": offset });
        self.call(&format!("STREAM.INFO.{name}"), &request).await
    }

    pub(super) async fn create_stream(
        &self,
        name: &str,
        config: &Value,
    ) -> Result<StreamInfo, Failure> {
        self.call(&format!("STREAM.CREATE.{name}"), config).await
    }

    pub(super) async fn update_stream(
        &self,
        name: &str,
        config: &Value,
    ) -> Result<StreamInfo, Failure> {
        self.call(&format!("STREAM.UPDATE.{name}"), config).await
    }

    /// Removes the messages of a subject up to a sequence, included, or all of them.
    pub(super) async fn purge(
        &self,
        name: &str,
        subject: &str,
        until: Option<u64>,
    ) -> Result<(), Failure> {
        let mut request = json!({ "filter": subject });
        if let Some(until) = until {
            request["seq"] = json!(until + 1);
        }
        let _: Value = self.call(&format!("STREAM.PURGE.{name}"), &request).await?;
        Ok(())
    }

    /// The newest sequence of a stream. Waits while there is no leader.
    pub(super) async fn newest(&self, name: &str) -> Result<u64, Failure> {
        let info = retry(Instant::now() + self.patience, || self.stream(name)).await?;
        Ok(info.state.last_seq)
    }

    /// Reads a message from the leader of the stream, which knows all that was acknowledged. Other replicas, which
    /// direct gets and consumers ask, may be behind. Waits while there is no leader.
    pub(super) async fn get(&self, name: &str, get: Get<'_>) -> Result<Option<Stored>, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            message: Found,
        }
        #[derive(Deserialize)]
        struct Found {
            subject: String,
            seq: u64,
            #[serde(default)]
            hdrs: String,
            #[serde(default)]
            data: String,
            time: String,
        }
        let request = match get {
            Get::Next(subject, from) => json!({ "next_by_subj": subject, "seq": from.max(1) }),
            Get::Last(subject) => json!({ "last_by_subj": subject }),
        };
        let operation = format!("STREAM.MSG.GET.{name}");
        let answer: Result<Answer, _> =
            retry(Instant::now() + self.patience, || self.call(&operation, &request)).await;
        let found = match answer {
            Ok(answer) => answer.message,
            Err(failure) if failure.is_absent() => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let payload = STANDARD.decode(&found.data).map_err(|error| Failure::odd(&error))?;
        let headers = STANDARD.decode(&found.hdrs).map_err(|error| Failure::odd(&error))?;
        Ok(Some(Stored {
            sequence: found.seq,
            subject: found.subject.into(),
            id: message_id(&headers),
            payload: payload.into(),
            time: clock::parse(&found.time),
        }))
    }

    /// Publishes a message and waits until it is committed.
    pub(super) async fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Acknowledged, Failure> {
        let request = Request::new().headers(headers).payload(payload).timeout(Some(REQUEST));
        let answer = self.client.send_request(subject, request).await.map_err(unanswered)?;
        parse(&answer)
    }

    /// Creates a consumer that reads once, forwards, and that the broker removes when it is idle.
    pub(super) async fn consumer(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
        headers_only: bool,
    ) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Created {
            name: String,
        }
        let request = json!({
            "stream_name": stream,
            "config": {
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": from.max(1),
                "ack_policy": "none",
                "replay_policy": "instant",
                "filter_subject": filter,
                "inactive_threshold": 10_000_000_000_u64,
                "num_replicas": 1,
                "mem_storage": true,
                "headers_only": headers_only,
            },
        });
        let created: Created = self.call(&format!("CONSUMER.CREATE.{stream}"), &request).await?;
        Ok(created.name)
    }

    /// Removes a consumer, without waiting.
    pub(super) async fn drop_consumer(&self, stream: &str, consumer: &str) {
        let subject = format!("$JS.API.CONSUMER.DELETE.{stream}.{consumer}");
        // The broker removes an idle consumer by itself, so that a failure costs memory for some seconds only.
        drop(self.client.publish(subject, Bytes::new()).await);
    }
}

/// Repeats a request until it succeeds, cannot succeed, or the deadline is over.
pub(super) async fn retry<T, F>(deadline: Instant, request: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    loop {
        match request().await {
            Err(failure) if failure.is_temporary() && Instant::now() + RETRY < deadline => {
                sleep(RETRY).await;
            }
            result => return result,
        }
    }
}

/// Reads the answer of a JetStream interface: a failure, or `T`.
pub(super) fn parse<T: DeserializeOwned>(answer: &Message) -> Result<T, Failure> {
    #[derive(Deserialize)]
    struct Outcome {
        error: Option<Refusal>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        code: u16,
        #[serde(default)]
        err_code: u32,
        #[serde(default)]
        description: String,
    }
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Failure::NoResponders);
    }
    let outcome: Outcome =
        serde_json::from_slice(&answer.payload).map_err(|error| Failure::odd(&error))?;
    if let Some(Refusal { code, err_code, description }) = outcome.error {
        return Err(Failure::Refused { status: code, code: err_code, description });
    }
    serde_json::from_slice(&answer.payload).map_err(|error| Failure::odd(&error))
}

fn unanswered(error: async_nats::RequestError) -> Failure {
    match error.kind() {
        RequestErrorKind::TimedOut => Failure::TimedOut,
        RequestErrorKind::NoResponders => Failure::NoResponders,
        RequestErrorKind::InvalidSubject
        | RequestErrorKind::MaxPayloadExceeded
        | RequestErrorKind::Other => Failure::odd(&error),
    }
}

/// The id in headers of the wire.
fn message_id(headers: &[u8]) -> Option<String> {
    let headers = std::str::from_utf8(headers).ok()?;
    let mut lines = headers.split("\r\n").filter_map(|line| line.split_once(':'));
    let (_, id) = lines.find(|(name, _)| name.eq_ignore_ascii_case(MESSAGE_ID))?;
    Some(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_without_a_majority_cannot_commit() {
        let has_majority = |leader: Option<&str>, silent_for: &[u64]| {
            let replicas: Vec<_> = silent_for
                .iter()
                .map(|s| json!({ "name": "n", "active": s * 1_000_000_000 }))
                .collect();
            let mut cluster = json!({ "name": "c", "replicas": replicas });
            if let Some(leader) = leader {
                cluster["leader"] = json!(leader);
            }
            let info = json!({ "config": {}, "state": { "last_seq": 1 }, "cluster": cluster });
            serde_json::from_value::<StreamInfo>(info).unwrap().has_majority()
        };
        assert!(has_majority(Some("a"), &[]));
        assert!(has_majority(Some("a"), &[0, 0]));
        assert!(has_majority(Some("a"), &[0, 20]));
        assert!(has_majority(Some("a"), &[0, 20, 20, 0]));
        assert!(!has_majority(Some("a"), &[20, 20]));
        assert!(!has_majority(Some("a"), &[20, 20, 20, 0]));
        assert!(!has_majority(None, &[0, 0]));
        let alone = json!({ "config": {}, "state": { "last_seq": 1 } });
        assert!(serde_json::from_value::<StreamInfo>(alone).unwrap().has_majority());
    }
}
