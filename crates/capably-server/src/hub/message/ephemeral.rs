//! Ephemeral messages: delivered to the current subscribers, and not stored. Also the check of privileged extras.

use capably_protocol::{ErrorInfo, Message};
use serde_json::Value;

use crate::hub::{
    access::{capability::Operation, identity::Identity},
    error,
};

/// The key in `extras` of an ephemeral message, and the parameter that makes all messages of a publish ephemeral.
pub(crate) const EPHEMERAL: &str = "ephemeral";

/// The key in `extras` that only trusted publishers may set.
const PRIVILEGED: &str = "privileged";

/// Makes the messages ephemeral if the publish parameter [`EPHEMERAL`] has the value `true`.
///
/// # Errors
/// Code 40003 for a value that is neither `true` nor `false`.
pub(crate) fn mark(value: Option<&str>, messages: &mut [Message]) -> Result<(), ErrorInfo> {
    match value {
        None | Some("false") => {}
        Some("true") => {
            for message in messages {
                let extras = message.extras.get_or_insert_default();
                extras.insert(EPHEMERAL.to_owned(), Value::Bool(true));
            }
        }
        Some(_) => {
            return Err(error::bad_parameter("`ephemeral` is neither `true` nor `false`"));
        }
    }
    Ok(())
}

/// Whether the message is ephemeral.
///
/// # Errors
/// Code 40032 for a value that is not a boolean.
pub(crate) fn is_ephemeral(message: &Message) -> Result<bool, ErrorInfo> {
    match message.extras.as_ref().and_then(|extras| extras.get(EPHEMERAL)) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(ephemeral)) => Ok(*ephemeral),
        Some(_) => Err(error::bad_extras("`extras.ephemeral` is neither true nor false")),
    }
}

/// Whether all messages of a publish are ephemeral.
///
/// # Errors
/// Code 40032 for a value that is not a boolean, 40000 when only some of the messages are ephemeral.
pub(crate) fn are_ephemeral(messages: &[Message]) -> Result<bool, ErrorInfo> {
    let Some((first, rest)) = messages.split_first() else { return Ok(false) };
    let ephemeral = is_ephemeral(first)?;
    for message in rest {
        if is_ephemeral(message)? != ephemeral {
            return Err(error::bad_request(
                "ephemeral messages cannot be published together with messages that are not ephemeral",
            ));
        }
    }
    Ok(ephemeral)
}

/// Checks that the publisher may set `extras.privileged`, if a message has it.
///
/// # Errors
/// Code 40160 for the capability.
pub(crate) fn require_privilege(
    identity: &Identity,
    channel: &str,
    messages: &[Message],
) -> Result<(), ErrorInfo> {
    let is_privileged = |message: &Message| {
        let extras = message.extras.as_ref();
        extras.and_then(|extras| extras.get(PRIVILEGED)).is_some_and(|value| !value.is_null())
    };
    if messages.iter().any(is_privileged) {
        identity.require(channel, Operation::PrivilegedHeaders)?;
    }
    Ok(())
}
