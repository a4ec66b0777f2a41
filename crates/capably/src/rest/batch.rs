//! Batches: one request for many channels (RSC22, RSC24).
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
//! // Two batches in one request; there is a result for each, and in it an outcome for each channel.
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
    /// Publishes messages to several channels in one request, when it is awaited (RSC22c).
    ///
    /// # Errors
    /// Code 40003 when there is no channel or no message, 40013 for a payload that cannot be encoded,
    /// and what the service says of the batch as a whole. What it says of a channel is in the result.
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

    /// Publishes several batches in one request, when it is awaited; there is a result for each (RSC22c).
    ///
    /// # Errors
    /// As [`batch_publish`](Self::batch_publish); 40003 when there is no batch.
    pub fn batch_publish_all(
        &self,
        specs: impl Into<Vec<BatchPublishSpec>>,
    ) -> BoxFuture<'static, Result<Vec<BatchResult<BatchPublishResult>>>> {
        let (rest, specs) = (self.clone(), specs.into());
        Box::pin(async move {
            if specs.is_empty() {
                return Err(wrong("there is nothing to publish"));
            }
            let channels: Vec<_> = specs.iter().map(|spec| spec.channels.len()).collect();
            let specs =
                specs.into_iter().map(|spec| rest.prepare(spec)).collect::<Result<Vec<_>>>()?;
            regroup(rest.publish_batch(&specs).await?, &channels)
        })
    }

    /// Reads who is present on several channels in one request, when it is awaited (RSC24).
    ///
    /// Payloads of encrypted channels are left as they are: a batch knows no channel's cipher.
    ///
    /// # Errors
    /// Code 40003 when there is no channel, or one whose name has a comma, which the request cannot
    /// express; and what the service says of the batch as a whole. What it says of a channel is in the
    /// result.
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

    /// Checks a batch and makes its messages ready for the wire.
    fn prepare(&self, mut spec: BatchPublishSpec) -> Result<BatchPublishSpec> {
        if spec.channels.is_empty() {
            return Err(wrong("a batch names no channel to publish to"));
        }
        if spec.messages.is_empty() {
            return Err(wrong("a batch holds no message to publish"));
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

/// The names of channels as one value of a query.
///
/// # Errors
/// Code 40003 when there is none, or one that is empty or has a comma.
fn joined<C: AsRef<str>>(channels: impl IntoIterator<Item = C>) -> Result<String> {
    let mut names = String::new();
    for (index, channel) in channels.into_iter().enumerate() {
        let channel = channel.as_ref();
        if channel.is_empty() || channel.contains(',') {
            return Err(wrong(format!("`{channel}` cannot be asked for in a batch"))
                .with_remedy("ask for the presence of this channel by itself"));
        }
        if index > 0 {
            names.push(',');
        }
        names.push_str(channel);
    }
    if names.is_empty() {
        return Err(wrong("there is no channel to ask for"));
    }
    Ok(names)
}

/// One result, or one for each batch; or, from some services, the outcomes of all channels in a row.
#[derive(Deserialize)]
#[serde(untagged)]
enum BatchPublishReply {
    Many(Vec<BatchResult<BatchPublishResult>>),
    One(BatchResult<BatchPublishResult>),
}

/// A result for each batch, of which we know how many channels it has.
fn regroup(
    body: BatchPublishReply,
    channels: &[usize],
) -> Result<Vec<BatchResult<BatchPublishResult>>> {
    let results = match body {
        BatchPublishReply::One(result) => vec![result],
        BatchPublishReply::Many(results) => results,
    };
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
