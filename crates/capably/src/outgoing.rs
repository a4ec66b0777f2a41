//! The messages of a publish, before it is sent over REST or over a connection.

use std::sync::Arc;

use capably_protocol::{ErrorCode, JsonObject, Message, Str};
use serde_json::Value;

use crate::{Error, Result};

/// The messages of one publish. A setter never fails: a wrong value makes the publish fail.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// Shared from the start: a connection keeps them for a resend, and a vector would have to be copied for that.
    messages: Arc<[Message]>,
    problem: Option<Error>,
}

impl Outgoing {
    pub(crate) fn new(messages: Arc<[Message]>) -> Self {
        Self { messages, problem: None }
    }

    /// Makes the publish fail with this error.
    pub(crate) fn fail(&mut self, problem: Error) {
        self.problem = Some(problem);
    }

    /// Sets the id of a single message. Several messages get `id:0`, `id:1` and so on: the service recognises the
    /// messages of one publish by the common base (RSL1k1). An empty id counts as none.
    pub(crate) fn id(&mut self, id: &Str) {
        let is_whole = self.messages.len() == 1 || id.is_empty();
        for (index, message) in Arc::make_mut(&mut self.messages).iter_mut().enumerate() {
            let own = if is_whole { id.clone() } else { format!("{id}:{index}").into() };
            message.id = Some(own);
        }
    }

    pub(crate) fn client_id(&mut self, client_id: &Str) {
        for message in Arc::make_mut(&mut self.messages) {
            message.client_id = Some(client_id.clone());
        }
    }

    pub(crate) fn extras(&mut self, extras: Value) {
        match object(extras) {
            Ok(extras) => {
                for message in Arc::make_mut(&mut self.messages) {
                    message.extras = Some(extras.clone());
                }
            }
            Err(error) => self.problem = Some(error),
        }
    }

    /// The messages.
    ///
    /// # Errors
    /// Code 40003 after a setter received a wrong value; the error of a value that could not be encoded; 40030
    /// without any message.
    pub(crate) fn into_messages(self) -> Result<Arc<[Message]>> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if self.messages.is_empty() {
            let message = "there is no message to publish";
            return Err(Error::new(ErrorCode::INVALID_PUBLISH_REQUEST, 400, message));
        }
        Ok(self.messages)
    }
}

/// Checks that extras are a JSON object (RSL6a2).
///
/// # Errors
/// Code 40003 for any other JSON.
pub(crate) fn object(extras: Value) -> Result<JsonObject> {
    let kind = match extras {
        Value::Object(object) => return Ok(object),
        Value::Array(_) => "an array",
        Value::String(_) => "a string",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
        Value::Null => "null",
    };
    let message = format!("extras must be a JSON object, not {kind}");
    Err(Error::new(ErrorCode::INVALID_PARAMETER_VALUE, 400, message)
        .with_remedy("use an object, such as `json!({\"headers\": {\"priority\": 1}})`"))
}
