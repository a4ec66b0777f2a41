//! Typed history: of the messages of a channel, and of its presence.

use std::{fmt, marker::PhantomData};

use capably_protocol::{Message, PresenceMessage};
use serde::de::DeserializeOwned;

use super::{Payload, PayloadFormat, TypedMessage};
use crate::{
    Result,
    http::BoxFuture,
    rest::{Direction, PaginatedResult, Query, QueryItem, Timestamp},
};

/// A query for a channel's history, or for its presence history, with payloads as values of a type. Awaiting it reads the
/// first page.
///
/// A message whose payload is not of the type is one of the page's
/// [`unreadable`](PaginatedResult::unreadable) items, and an error of
/// [`items_stream`](PaginatedResult::items_stream), at its place between the others: 40013, with the [`DecodeError`](super::DecodeError)
/// and its message as the source.
///
/// # Errors
/// Those of a [`Query`].
#[must_use = "nothing is read until this is awaited"]
pub struct TypedHistory<T, M = Message> {
    query: Query<M>,
    format: PayloadFormat,
    values: PhantomData<fn() -> T>,
}

impl<T, M> TypedHistory<T, M> {
    pub(super) fn new(query: Query<M>, format: PayloadFormat) -> Self {
        Self { query, format, values: PhantomData }
    }

    /// The largest number of messages on a page, from 1 to 1,000; 100 by default (RSL2b3, RSP4b3).
    pub fn limit(self, limit: u32) -> Self {
        Self { query: self.query.limit(limit), ..self }
    }

    /// Adds a parameter to the request's query.
    pub fn param(self, name: impl Into<String>, value: impl ToString) -> Self {
        Self { query: self.query.param(name, value), ..self }
    }
}

macro_rules! ranged {
    ($($item:ty),*) => {$(
        impl<T> TypedHistory<T, $item> {
            /// Reads messages from this time, inclusive (RSL2b1, RSP4b1).
            pub fn start(self, start: impl Into<Timestamp>) -> Self {
                Self { query: self.query.start(start), ..self }
            }

            /// Reads messages up to this time, inclusive (RSL2b1, RSP4b1).
            pub fn end(self, end: impl Into<Timestamp>) -> Self {
                Self { query: self.query.end(end), ..self }
            }

            /// Sets the order of messages; backwards by default (RSL2b2, RSP4b2).
            pub fn direction(self, direction: Direction) -> Self {
                Self { query: self.query.direction(direction), ..self }
            }
        }
    )*};
}

ranged!(Message, PresenceMessage);

impl<T, M> IntoFuture for TypedHistory<T, M>
where
    T: DeserializeOwned + Send + 'static,
    M: QueryItem + Payload + fmt::Debug + Send + Sync + 'static,
{
    type Output = Result<PaginatedResult<TypedMessage<T, M>>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { query, format, .. } = self;
        Box::pin(query.load_as(move |message| Ok(format.decode(message)?)))
    }
}

impl<T, M> fmt::Debug for TypedHistory<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedHistory")
            .field("query", &self.query)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
