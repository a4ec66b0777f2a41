//! Reading objects.

use std::fmt;

use capably_protocol::{Data, ErrorCode, Str};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    ObjectsPath, RestObject,
    operation::{empty_id, explain},
};
use crate::{
    Error, Result,
    http::BoxFuture,
    rest::{
        call::{Call, escape},
        channel::RestChannel,
        response::Reply,
    },
    typed,
};

/// A request for objects, before it is sent.
///
/// Awaiting it reads their compact form, which is plain JSON: a map is an object and a counter its number. Bytes are base64
/// text, and a JSON leaf is its JSON text. A map that contains itself is `{"objectId": …}` at the inner place.
/// [`full`](Self::full) and [`read_as`](Self::read_as) read the full form, which keeps types and ids.
///
/// At most 120 levels of a reply are read. In the full form a map takes four of them: it is read about 30 maps deep, and
/// the compact form about 100, where `capably-server` shows ids instead. Read deeper objects in parts, by path or id.
///
/// # Errors
/// Code 92004 for an object that does not exist, 92005 for a path without a value; 40003 for a path with a wildcard; 40160
/// without the capability `object-subscribe`; 40013 for objects that nest too deep for one reply, and for a reply that cannot
/// be read; the service's reason.
#[derive(Clone)]
#[must_use = "nothing is read until this is awaited"]
pub struct RestObjectsGet {
    channel: RestChannel,
    object_id: Option<Str>,
    path: Option<ObjectsPath>,
}

impl RestObjectsGet {
    pub(super) fn new(channel: RestChannel, object_id: Option<Str>) -> Self {
        Self { channel, object_id, path: None }
    }

    /// Reads the value at this path only. The path begins at the object of this request, or at the root.
    pub fn path(mut self, path: impl Into<ObjectsPath>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Reads the full form when awaited: each object with its id, and each leaf with its type.
    pub fn full(self) -> BoxFuture<'static, Result<RestObject>> {
        Box::pin(async move { read(&self.send(false).await?) })
    }

    /// Reads the value with all that is below it when awaited, as a type of the program. Maps are read as structs or maps,
    /// counters as numbers.
    ///
    /// # Errors
    /// Those of the request; code 40013 if the value is not of this type.
    pub fn read_as<T: DeserializeOwned + 'static>(self) -> BoxFuture<'static, Result<T>> {
        Box::pin(async move { typed::read(&read(&self.send(false).await?)?) })
    }

    async fn send(&self, compact: bool) -> Result<Reply> {
        let mut target = self.channel.path("object");
        if let Some(id) = &self.object_id {
            // An empty id would be the path of the root, which is another object.
            if id.is_empty() {
                return Err(empty_id());
            }
            target = format!("{target}/{}", escape(id));
        }
        let mut call = Call::get(target);
        if let Some(path) = &self.path {
            call = call.param("path", path);
        }
        if !compact {
            call = call.param("compact", false);
        }
        // Each map within a map takes several levels of the reply.
        let reply = self.channel.pipeline().send(&call).await;
        reply.map(Reply::deep).map_err(|error| explain(error, None))
    }
}

impl IntoFuture for RestObjectsGet {
    type Output = Result<Value>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            Ok(match read(&self.send(true).await?)? {
                Data::None => Value::Null,
                Data::Json(value) => value,
                Data::Text(text) => Value::String(text.to_string()),
                Data::Binary(bytes) => super::value::bytes_json(&bytes),
            })
        })
    }
}

/// Reads a reply.
///
/// # Errors
/// Code 40013 for objects that nest too deep, and for a reply of another form.
fn read<T: DeserializeOwned>(reply: &Reply) -> Result<T> {
    reply.decode().map_err(|error| {
        if error.code() == ErrorCode::INVALID_DATA_OR_ENCODING && is_too_deep(&error) {
            error.with_remedy("read a part of the objects, by its path or id")
        } else {
            error
        }
    })
}

fn is_too_deep(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    let source = source.and_then(|source| source.downcast_ref());
    matches!(source, Some(capably_protocol::DecodeError::TooDeep { .. }))
}

impl fmt::Debug for RestObjectsGet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestObjectsGet")
            .field("channel", &self.channel.name())
            .field("object_id", &self.object_id)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
