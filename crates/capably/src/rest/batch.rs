//! Batch requests: one request for many channels (RSC22, RSC24).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = capably_server::Server::builder().start().await?;
//! # let options = capably::ClientOptions::new(server.key())
//! #     .endpoint(server.endpoint()).port(server.port()).tls(false);
//! # let rest = capably::Rest::new(options)?;
//! use capably::{BatchPublishSpec, Message};
//!
//! // Two batches in one request. Each has a result, with an outcome for each channel.
//! let hello = BatchPublishSpec::new(["a", "b"], [Message::new("greeting", "hello")]);
//! let bye = BatchPublishSpec::new(["c"], [Message::new("greeting", "bye")]);
//! let results = rest.batch_publish_all([hello, bye]).await?;
//! assert_eq!((results[0].success_count, results[1].success_count), (2, 1));
//!
//! // One batch.
//! let spec = BatchPublishSpec::new(["a", "b"], [Message::new("greeting", "again")]);
//! let result = rest.batch_publish(spec).await?;
//! for outcome in &result.results {
//!     match outcome {
//!         Ok(published) => println!("{}: {:?}", published.channel, published.serials),
//!         Err(failure) => println!("{}: {}", failure.channel, failure.error),
//!     }
//! }
//! assert_eq!((result.success_count, result.failure_count), (2, 0));
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use capably_protocol::{
    BatchPresenceResult, BatchPublishResult, BatchPublishSpec, BatchResult, ErrorCode,
    codec::encode_body,
};
use serde::{Deserialize, Serialize};

use super::{
    Rest,
    call::Call,
    publish,
    query::{MAX_PAGE, decode, wrong},
};
use crate::{Error, Result, http::BoxFuture, payload};

impl Rest {
    /// Publishes messages to several channels in one request when awaited (RSC22c).
    ///
    /// # Errors
    /// Code 40003 without a channel or without a message; 40013 for a payload that cannot be encoded; the service's
    /// reason for refusing the whole batch. The failure of a single channel is in the result.
    pub fn batch_publish(
        &self,
        spec: BatchPublishSpec,
    ) -> BoxFuture<'static, Result<BatchResult<BatchPublishResult>>> {
        let rest = self.clone();
        Box::pin(async move {
            let channels = spec.channels.len();
            let spec = rest.prepare(spec)?;
            let mut results = regroup(rest.publish_batch(&spec).await?, &[channels])?;
            results.pop().ok_or_else(miscounted)
        })
    }

    /// Publishes several batches in one request when awaited. Each batch has a result (RSC22c).
    ///
    /// # Errors
    /// As for [`batch_publish`](Self::batch_publish); 40003 without a batch.
    pub fn batch_publish_all(
        &self,
        specs: impl Into<Vec<BatchPublishSpec>>,
    ) -> BoxFuture<'static, Result<Vec<BatchResult<BatchPublishResult>>>> {
        let (rest, specs) = (self.clone(), specs.into());
        Box::pin(async move {
            if specs.is_empty() {
                return Err(wrong("there is no batch to publish"));
            }
            let channels: Vec<_> = specs.iter().map(|spec| spec.channels.len()).collect();
            let specs =
                specs.into_iter().map(|spec| rest.prepare(spec)).collect::<Result<Vec<_>>>()?;
            regroup(rest.publish_batch(&specs).await?, &channels)
        })
    }

    /// Reads the present members of several channels in one request when awaited (RSC24).
    ///
    /// Payloads of encrypted channels stay encrypted: a batch does not know the channels' ciphers.
    ///
    /// # Errors
    /// Code 40003 without a channel, or for a channel name with a comma, which the request cannot express; the
    /// service's reason for refusing the whole batch. The failure of a single channel is in the result.
    pub fn batch_presence<C: AsRef<str>>(
        &self,
        channels: impl IntoIterator<Item = C>,
    ) -> BoxFuture<'static, Result<BatchResult<BatchPresenceResult>>> {
        let (pipeline, names) = (Arc::clone(&self.pipeline), joined(channels));
        Box::pin(async move {
            let call = Call::get("/presence").param("channels", names?).expecting(MAX_PAGE);
            let mut result: BatchResult<BatchPresenceResult> =
                pipeline.send(&call).await?.decode()?;
            for member in result.results.iter_mut().flatten().flat_map(|found| &mut found.presence)
            {
                decode(&mut member.data, &mut member.encoding, member.id.as_ref(), None);
            }
            Ok(result)
        })
    }

    /// Checks a batch, and encodes its messages.
    fn prepare(&self, mut spec: BatchPublishSpec) -> Result<BatchPublishSpec> {
        if spec.channels.is_empty() {
            return Err(wrong("the batch has no channel"));
        }
        if spec.messages.is_empty() {
            return Err(wrong("the batch has no message"));
        }
        if self.pipeline.config().options.idempotent_rest_publishing {
            publish::add_ids(&mut spec.messages)?;
        }
        for message in &mut spec.messages {
            payload::encode(message, None)?;
        }
        Ok(spec)
    }

    async fn publish_batch(&self, specs: &impl Serialize) -> Result<BatchPublishReply> {
        let body = encode_body(self.pipeline.config().format(), specs).map_err(|error| {
            let message = format!("the batch cannot be encoded: {error}");
            Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message).with_source(error)
        })?;
        self.pipeline.send(&Call::post("/messages", body)).await?.decode()
    }
}

/// Joins the names of channels into one query parameter.
///
/// # Errors
/// Code 40003 without a name, and for a name that is empty or contains a comma.
fn joined<C: AsRef<str>>(channels: impl IntoIterator<Item = C>) -> Result<String> {
    let mut names = String::new();
    for (index, channel) in channels.into_iter().enumerate() {
        let channel = channel.as_ref();
        if channel.is_empty() || channel.contains(',') {
            return Err(wrong(format!("the channel name `{channel}` cannot be part of a batch"))
                .with_remedy("read the presence of this channel with a request of its own"));
        }
        if index > 0 {
            names.push(',');
        }
        names.push_str(channel);
    }
    if names.is_empty() {
        return Err(wrong("the batch has no channel"));
    }
    Ok(names)
}

/// One result, or one for each batch. Some services send one result with the outcomes of all channels.
#[derive(Deserialize)]
#[serde(untagged)]
enum BatchPublishReply {
    Many(Vec<BatchResult<BatchPublishResult>>),
    One(BatchResult<BatchPublishResult>),
}

/// Regroups the outcomes into one result for each batch, by the number of its channels.
fn regroup(
    body: BatchPublishReply,
    channels: &[usize],
) -> Result<Vec<BatchResult<BatchPublishResult>>> {
    let results = match body {
        BatchPublishReply::One(result) => vec![result],
        BatchPublishReply::Many(results) => results,
    };
    // The usual form of the reply.
    if results.len() == channels.len() {
        return Ok(results);
    }
    let mut outcomes: Vec<_> = results.into_iter().flat_map(|result| result.results).collect();
    if outcomes.len() != channels.iter().sum::<usize>() {
        return Err(miscounted());
    }
    Ok(channels.iter().map(|&count| outcomes.drain(..count).collect()).collect())
}

fn miscounted() -> Error {
    let message = "the reply to a batch does not have one outcome for each of its channels";
    Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message)
}
