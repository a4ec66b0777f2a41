//! One request, parsed, with the helpers that handlers share.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Format, JsonObject, Limits, PROTOCOL_VERSION, codec};
use hyper::{HeaderMap, Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};

use super::page;
use crate::{
    front::{
        Shared, credentials,
        http::{
            query::Query,
            reply::{self, Reply},
        },
    },
    hub::{
        MAX_ITEMS, Now, Page, PageQuery,
        auth::{Credentials, PresentedKey},
        error,
    },
};

/// A REST request. It has secrets, so it has no `Debug`.
pub(super) struct Call<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    pub(super) query: &'a Query,
    /// The decoded segments of the path.
    pub(super) path: Vec<Cow<'a, str>>,
    /// The credentials, not checked yet, or why they cannot be read.
    pub(super) credentials: Result<Option<Credentials>, ErrorInfo>,
    /// The body, or why it cannot be read.
    pub(super) body: Result<Bytes, ErrorInfo>,
    /// The format of the response.
    pub(super) format: Format,
    /// When the body had arrived.
    pub(super) now: Now,
}

impl Call<'_> {
    /// The protocol version of the client; the latest one by default.
    pub(super) fn version(&self) -> f64 {
        let version = self.headers.get("x-ably-version").and_then(|it| it.to_str().ok());
        let version = version.or_else(|| self.query.get("v")).and_then(|it| it.parse().ok());
        version.unwrap_or(f64::from(PROTOCOL_VERSION))
    }

    /// The credentials of the request.
    ///
    /// # Errors
    /// Code 40101 when there are none, or when they cannot be read.
    pub(super) fn credentials(&self) -> Result<&Credentials, ErrorInfo> {
        self.optional_credentials()?.ok_or_else(credentials::missing)
    }

    /// The credentials of the request, if it has any.
    ///
    /// # Errors
    /// Code 40101 when they cannot be read.
    pub(super) fn optional_credentials(&self) -> Result<Option<&Credentials>, ErrorInfo> {
        self.credentials.as_ref().map(Option::as_ref).map_err(Clone::clone)
    }

    /// The key of the request.
    ///
    /// # Errors
    /// As [`credentials`](Self::credentials), and 40162 for a token.
    pub(super) fn key(&self) -> Result<&PresentedKey, ErrorInfo> {
        match self.credentials()? {
            Credentials::Key(key) => Ok(key),
            Credentials::Token(_) => Err(error::key_required()),
        }
    }

    /// Checks that the body could be read, for a method that has one.
    ///
    /// # Errors
    /// Code 40009 when the body is too large, 40000 when the connection ended before it.
    pub(super) fn check_body(&self) -> Result<(), ErrorInfo> {
        let has_body = matches!(*self.method, Method::POST | Method::PUT | Method::PATCH);
        if has_body { self.body().map(drop) } else { Ok(()) }
    }

    /// The body.
    ///
    /// # Errors
    /// As [`check_body`](Self::check_body).
    pub(super) fn body(&self) -> Result<&Bytes, ErrorInfo> {
        self.body.as_ref().map_err(Clone::clone)
    }

    /// The format of the body.
    pub(super) fn body_format(&self) -> Format {
        reply::content_type(self.headers)
    }

    /// Decodes the body.
    ///
    /// # Errors
    /// Code 40000, 40009 or 40013 when it cannot be read as this type.
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, ErrorInfo> {
        codec::decode_body(self.body_format(), self.body()?, &self.body_limits())
            .map_err(|problem| error::unreadable(&problem))
    }

    /// Decodes the body as an object.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub(super) fn decode_object(&self) -> Result<JsonObject, ErrorInfo> {
        self.decode()
    }

    /// Decodes the body as one item or an array of items.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), and 40034 for more items than a publish may have: they must not wait for the engine, as
    /// they may take hundreds of times their bytes of memory.
    pub(super) fn decode_items<T: codec::Item>(&self) -> Result<Vec<T>, ErrorInfo> {
        let items = codec::decode_items(self.body_format(), self.body()?, &self.body_limits())
            .map_err(|problem| error::unreadable(&problem))?;
        if items.len() > MAX_ITEMS {
            return Err(error::too_many_messages(MAX_ITEMS));
        }
        Ok(items)
    }

    /// Counts the messages that the request publishes.
    pub(super) fn count_messages(&self, messages: usize) {
        self.shared.operating.metrics.rest().received(messages as u64, 0);
    }

    fn body_limits(&self) -> Limits {
        Limits {
            max_size: self.shared.settings.max_frame_size,
            max_depth: codec::MAX_PUBLISH_DEPTH,
        }
    }

    /// A reply with this value as its body.
    pub(super) fn reply<T: Serialize>(&self, status: StatusCode, value: &T) -> Reply {
        Reply::value(status, self.format, value)
    }

    /// A reply with a page of items.
    pub(super) fn reply_page<T: codec::Item>(&self, query: &PageQuery, page: &Page<T>) -> Reply {
        let body = codec::encode_items(self.format, &page.items);
        self.link_pages(
            Reply::encoded(StatusCode::OK, self.format, body),
            query,
            page.next.as_deref(),
        )
    }

    /// Adds links to the first page, to this page, and to the one at the cursor `next`.
    pub(super) fn link_pages(&self, reply: Reply, query: &PageQuery, next: Option<&str>) -> Reply {
        let resource = self.path.last().map_or("", AsRef::as_ref);
        page::link(reply, resource, self.query, query, next)
    }
}
