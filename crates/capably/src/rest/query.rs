//! Queries: requests for pages of items.

use std::{fmt, marker::PhantomData, sync::Arc, time::SystemTime};

use capably_core::push::LocalDevice;
use capably_protocol::{
    Annotation, CipherParams, Data, DeviceDetails, ErrorCode, Message, Millis, PresenceMessage,
    PushChannelSubscription, Stats, StatsUnit, Str, encoding,
};

use super::{call::Call, page::PaginatedResult, pipeline::Pipeline, response::Reply};
use crate::{Error, Result, http::BoxFuture};

/// The largest number of items on a page.
const MAX_LIMIT: u32 = 1000;

/// The default number of items on a page.
const DEFAULT_LIMIT: u32 = 100;

/// The size limit for a page, in bytes, whatever its number of items.
pub(crate) const MAX_PAGE: usize = 256 * 1024 * 1024;

/// The order of items.
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

/// A time that bounds a query: ms since the epoch, or a [`SystemTime`] (RSL2b1, RSP4b1, RSC6b1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(Millis);

impl From<Millis> for Timestamp {
    fn from(millis: Millis) -> Self {
        Self(millis)
    }
}

impl From<SystemTime> for Timestamp {
    /// Rounds down to whole ms.
    fn from(time: SystemTime) -> Self {
        let millis = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Millis::try_from(after.as_millis()).unwrap_or(Millis::MAX),
            Err(before) => {
                let before = before.duration().as_nanos().div_ceil(1_000_000);
                Millis::try_from(before).map_or(Millis::MIN, |before| -before)
            }
        };
        Self(millis)
    }
}

/// The part of a query that is known only when it is awaited.
pub(super) type Prepare = Arc<dyn Fn() -> BoxFuture<'static, Result<Prepared>> + Send + Sync>;

/// Further parameters of a query, and the device that sends it (RSH6).
pub(super) struct Prepared {
    pub(super) params: Vec<(&'static str, String)>,
    pub(super) device: LocalDevice,
}

/// A query before it is sent. Awaiting it reads the first page; the page has links to the other pages.
///
/// # Errors
/// 40003 for a limit outside 1 to 1,000, for a start after the end, and for an empty message serial; 40013 for a reply
/// that cannot be read; the service's reason.
#[must_use = "nothing is read until this is awaited"]
pub struct Query<T> {
    pipeline: Arc<Pipeline>,
    path: Result<String>,
    cipher: Option<CipherParams>,
    params: Vec<(String, String)>,
    start: Option<Millis>,
    end: Option<Millis>,
    limit: Option<u32>,
    prepare: Option<Prepare>,
    items: PhantomData<fn() -> T>,
}

/// A query for a channel's history. By default a page has 100 messages, the newest first (RSL2).
pub type History = Query<Message>;

impl<T> Query<T> {
    pub(crate) fn new(pipeline: &Arc<Pipeline>, path: impl Into<String>) -> Self {
        Self {
            pipeline: Arc::clone(pipeline),
            path: Ok(path.into()),
            cipher: None,
            params: Vec::new(),
            start: None,
            end: None,
            limit: None,
            prepare: None,
            items: PhantomData,
        }
    }

    /// Adds what is known only when the query is awaited.
    pub(super) fn prepared(mut self, prepare: Prepare) -> Self {
        self.prepare = Some(prepare);
        self
    }

    /// A query for this path. It fails when awaited if the path is an error.
    pub(crate) fn at(pipeline: &Arc<Pipeline>, path: Result<String>) -> Self {
        Self { path, ..Self::new(pipeline, "") }
    }

    /// Makes the query fail when awaited.
    pub(crate) fn failing(self, error: Error) -> Self {
        Self { path: Err(error), ..self }
    }

    /// Sets the cipher that decrypts payloads.
    pub(crate) fn with_cipher(mut self, cipher: Option<CipherParams>) -> Self {
        self.cipher = cipher;
        self
    }

    /// The largest number of items on a page, from 1 to 1,000; 100 by default (RSL2b3, RSC6b3, RSP3a1, RSP4b3).
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Adds a parameter to the request's query (RSL14a, RSAN3a).
    pub fn param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.params.push((name.into(), value.to_string()));
        self
    }

    /// The size limit for a page, in bytes: enough for the requested number of the largest messages. The factor of two
    /// covers metadata and the encoding of payloads.
    fn max_response(&self) -> usize {
        let items = self.limit.unwrap_or(DEFAULT_LIMIT) as usize;
        let item = self.pipeline.config().options.max_message_size.saturating_mul(2);
        items.saturating_mul(item).min(MAX_PAGE)
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
        let mut call = Call::get(self.path.clone()?).expecting(self.max_response());
        if let Some(start) = self.start {
            call = call.param("start", start);
        }
        if let Some(end) = self.end {
            call = call.param("end", end);
        }
        if let Some(limit) = self.limit {
            call = call.param("limit", limit);
        }
        for (name, value) in &self.params {
            call = call.param(name, value);
        }
        Ok(call)
    }
}

macro_rules! ranged {
    ($($type:ty),*) => {$(
        impl Query<$type> {
            /// Reads items from this time, inclusive (RSL2b1, RSP4b1, RSC6b1).
            pub fn start(mut self, start: impl Into<Timestamp>) -> Self {
                self.start = Some(start.into().0);
                self
            }

            /// Reads items up to this time, inclusive (RSL2b1, RSP4b1, RSC6b1).
            pub fn end(mut self, end: impl Into<Timestamp>) -> Self {
                self.end = Some(end.into().0);
                self
            }

            /// Sets the order of items; backwards by default (RSL2b2, RSP4b2, RSC6b2).
            pub fn direction(self, direction: Direction) -> Self {
                self.param("direction", direction.as_str())
            }
        }
    )*};
}

ranged!(Message, PresenceMessage, Stats);

impl Query<PresenceMessage> {
    /// Selects members with this client id (RSP3a2).
    pub fn client_id(self, client_id: impl AsRef<str>) -> Self {
        self.param("clientId", client_id.as_ref())
    }

    /// Selects members of this connection (RSP3a3).
    pub fn connection_id(self, connection_id: impl AsRef<str>) -> Self {
        self.param("connectionId", connection_id.as_ref())
    }
}

impl Query<Stats> {
    /// Sets the length of the intervals; a minute by default (RSC6b4).
    pub fn unit(self, unit: StatsUnit) -> Self {
        self.param("unit", unit.as_str())
    }
}

impl Query<DeviceDetails> {
    /// Selects the device with this id (RSH1b2).
    pub fn device_id(self, device_id: impl AsRef<str>) -> Self {
        self.param("deviceId", device_id.as_ref())
    }

    /// Selects devices of this client (RSH1b2).
    pub fn client_id(self, client_id: impl AsRef<str>) -> Self {
        self.param("clientId", client_id.as_ref())
    }
}

impl Query<PushChannelSubscription> {
    /// Selects subscriptions to this channel (RSH1c1).
    pub fn channel(self, channel: impl AsRef<str>) -> Self {
        self.param("channel", channel.as_ref())
    }

    /// Selects subscriptions of this device (RSH1c1).
    pub fn device_id(self, device_id: impl AsRef<str>) -> Self {
        self.param("deviceId", device_id.as_ref())
    }

    /// Selects subscriptions of this client (RSH1c1).
    pub fn client_id(self, client_id: impl AsRef<str>) -> Self {
        self.param("clientId", client_id.as_ref())
    }
}

impl<T: QueryItem> Query<T> {
    /// Reads the first page, with each item converted. An item that cannot be converted is one of the page's
    /// [`unreadable`](PaginatedResult::unreadable) items.
    pub(crate) async fn load_as<U>(
        self,
        convert: impl Fn(T) -> Result<U> + Send + Sync + 'static,
    ) -> Result<PaginatedResult<U>> {
        let call = self.call()?;
        let cipher = self.cipher;
        let decode = move |reply: &Reply| {
            T::read(reply, cipher.as_ref())?.into_iter().map(&convert).collect()
        };
        PaginatedResult::load(self.pipeline, call, decode).await
    }
}

impl<T: QueryItem> IntoFuture for Query<T> {
    type Output = Result<PaginatedResult<T>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = match self.prepare.take() {
                None => self.call()?,
                Some(prepare) => {
                    let Prepared { params, device } = prepare().await?;
                    let params = params.into_iter().map(|(name, value)| (name.to_owned(), value));
                    self.params.splice(0..0, params);
                    self.call()?.authenticated_as(&device)
                }
            };
            let cipher = self.cipher;
            let decode = move |reply: &Reply| T::read(reply, cipher.as_ref());
            PaginatedResult::load(self.pipeline, call, decode).await
        })
    }
}

impl<T> Clone for Query<T> {
    fn clone(&self) -> Self {
        Self {
            pipeline: Arc::clone(&self.pipeline),
            path: self.path.clone(),
            cipher: self.cipher.clone(),
            params: self.params.clone(),
            prepare: self.prepare.clone(),
            items: PhantomData,
            ..*self
        }
    }
}

impl<T> fmt::Debug for Query<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("call", &self.call()).finish_non_exhaustive()
    }
}

/// An item of a [`Query`].
pub trait QueryItem: sealed::Sealed + Send + Sync + 'static {}

mod sealed {
    use super::{CipherParams, Reply, Result};

    pub trait Sealed: Sized {
        #[expect(private_interfaces, reason = "the trait is sealed")]
        fn read(reply: &Reply, cipher: Option<&CipherParams>) -> Result<Vec<Self>>;
    }
}

/// Items whose payloads are decoded (RSL6, RSP5, TAN3).
macro_rules! with_payload {
    ($($type:ty),*) => {$(
        impl QueryItem for $type {}

        #[expect(private_interfaces, reason = "the trait is sealed")]
        impl sealed::Sealed for $type {
            fn read(reply: &Reply, cipher: Option<&CipherParams>) -> Result<Vec<Self>> {
                let mut items: Vec<Self> = reply.items()?;
                for item in &mut items {
                    decode(&mut item.data, &mut item.encoding, item.id.as_ref(), cipher);
                }
                Ok(items)
            }
        }
    )*};
}

with_payload!(Message, PresenceMessage, Annotation);

macro_rules! without_payload {
    ($($type:ty),*) => {$(
        impl QueryItem for $type {}

        #[expect(private_interfaces, reason = "the trait is sealed")]
        impl sealed::Sealed for $type {
            fn read(reply: &Reply, _: Option<&CipherParams>) -> Result<Vec<Self>> {
                reply.decode()
            }
        }
    )*};
}

without_payload!(Stats, DeviceDetails, PushChannelSubscription, Str);

/// Decodes a received payload.
pub(crate) fn decode(
    data: &mut Data,
    steps: &mut Option<Str>,
    id: Option<&Str>,
    cipher: Option<&CipherParams>,
) {
    if let Err(error) = encoding::decode(data, steps, cipher) {
        // The item is delivered as far as it could be decoded (RSL6b).
        tracing::error!(id = id.map(|id| &**id), %error, "a payload could not be decoded");
    }
}

pub(crate) fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::INVALID_PARAMETER_VALUE, 400, message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_of_the_system_is_its_milliseconds() {
        let epoch = SystemTime::UNIX_EPOCH;
        for (time, millis) in [
            (epoch, 0),
            (epoch + Duration::from_micros(1_999), 1),
            (epoch - Duration::from_micros(1), -1),
            (epoch - Duration::from_millis(2), -2),
            (epoch + Duration::from_secs(1_609_459_200), 1_609_459_200_000),
        ] {
            assert_eq!(Timestamp::from(time), Timestamp(millis));
        }
    }
}
