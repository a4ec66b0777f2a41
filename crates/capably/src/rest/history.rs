//! History over REST (RSL2).

use std::sync::Arc;

use capably_protocol::{CipherParams, ErrorCode, Message, Millis, encoding};

use super::{channel::RestChannel, page::PaginatedResult, request::Call};
use crate::{Error, Result, http::BoxFuture};

/// The most items that a page can be asked to hold.
const MAX_LIMIT: u32 = 1000;

/// In which order items come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The newest first.
    Backwards,
    /// The oldest first.
    Forwards,
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Self::Backwards => "backwards",
            Self::Forwards => "forwards",
        }
    }
}

/// Reads a channel's history when it is awaited; without further words the newest 100 messages, the
/// newest first.
///
/// # Errors
/// Awaiting it gives 40003 for a limit outside 1 to 1,000 and for a start after the end, and what the
/// service says.
#[derive(Clone, Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct History {
    channel: RestChannel,
    start: Option<Millis>,
    end: Option<Millis>,
    direction: Option<Direction>,
    limit: Option<u32>,
}

impl History {
    pub(crate) fn new(channel: RestChannel) -> Self {
        Self { channel, start: None, end: None, direction: None, limit: None }
    }

    /// From this time on, in ms since the epoch, inclusive (RSL2b1).
    pub fn start(mut self, start: Millis) -> Self {
        self.start = Some(start);
        self
    }

    /// Up to this time, in ms since the epoch, inclusive (RSL2b1).
    pub fn end(mut self, end: Millis) -> Self {
        self.end = Some(end);
        self
    }

    /// In which order messages come; backwards unless said otherwise (RSL2b2).
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = Some(direction);
        self
    }

    /// How many messages a page holds at most, from 1 to 1,000; 100 unless said otherwise (RSL2b3).
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    fn call(&self) -> Result<Call> {
        if let Some(limit) = self.limit
            && !(1..=MAX_LIMIT).contains(&limit)
        {
            return Err(wrong(format!("a limit of {limit} is not between 1 and {MAX_LIMIT}")));
        }
        if let (Some(start), Some(end)) = (self.start, self.end)
            && start > end
        {
            return Err(wrong(format!("the start, {start}, is after the end, {end}")));
        }
        let mut call = Call::get(self.channel.path("messages"));
        if let Some(start) = self.start {
            call = call.param("start", start);
        }
        if let Some(end) = self.end {
            call = call.param("end", end);
        }
        if let Some(direction) = self.direction {
            call = call.param("direction", direction.as_str());
        }
        if let Some(limit) = self.limit {
            call = call.param("limit", limit);
        }
        Ok(call)
    }
}

impl IntoFuture for History {
    type Output = Result<PaginatedResult<Message>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = self.call()?;
            let pipeline = Arc::clone(self.channel.pipeline());
            let cipher = self.channel.cipher();
            let decode = move |reply: &super::response::Reply| {
                let mut messages = reply.messages()?;
                for message in &mut messages {
                    complete(message, cipher.as_ref());
                }
                Ok(messages)
            };
            PaginatedResult::load(pipeline, call, decode).await
        })
    }
}

/// Decodes a message's payload.
fn complete(message: &mut Message, cipher: Option<&CipherParams>) {
    if let Err(error) = encoding::decode(&mut message.data, &mut message.encoding, cipher) {
        // The message is delivered as far as it could be decoded (RSL6b).
        tracing::error!(id = message.id.as_deref(), %error, "a payload could not be decoded");
    }
}

fn wrong(message: String) -> Error {
    Error::new(ErrorCode::INVALID_PARAMETER_VALUE, 400, message)
}
