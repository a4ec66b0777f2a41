//! Ephemeral messages: delivered to whoever is attached, and kept nowhere.

use capably_protocol::{ErrorInfo, Message, Str};
use serde_json::Value;

use crate::hub::{
    Now, Output,
    access::{capability::Operation, identity::Identity},
    channel::{Channel, Channels, NewFrame},
    error,
    log::{Entry, position::Position},
};

/// The key in `extras` of an ephemeral message, and the parameter that makes all messages of a publish ephemeral.
pub(crate) const EPHEMERAL: &str = "ephemeral";

/// The key in `extras` of what only trusted publishers may say.
const PRIVILEGED: &str = "privileged";

/// Makes the messages ephemeral if the value of the publish parameter [`EPHEMERAL`] says so.
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
/// Code 40032 when it does not say so with a boolean.
pub(crate) fn is_ephemeral(message: &Message) -> Result<bool, ErrorInfo> {
    match message.extras.as_ref().and_then(|extras| extras.get(EPHEMERAL)) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(ephemeral)) => Ok(*ephemeral),
        Some(_) => Err(error::bad_extras("`extras.ephemeral` is neither true nor false")),
    }
}

/// Whether the messages of a publish are ephemeral, all of them.
///
/// # Errors
/// Code 40032 for a message that does not say so with a boolean, 40000 when some are and some are not.
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

/// Checks that the publisher may say what the messages' `extras.privileged` says.
///
/// # Errors
/// Code 40160 when it may not.
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

impl Channels {
    /// Sends one frame of ephemeral messages to the channel's subscribers. A channel that is not there has none.
    pub(crate) fn pass_on(
        &mut self,
        name: &Str,
        frame: NewFrame,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Position {
        let position = self.next_position(now);
        if let Some(channel) = self.get_mut(name) {
            channel.pass_on(position, frame, now, outputs);
        }
        position
    }
}

impl Channel {
    fn pass_on(
        &mut self,
        position: Position,
        frame: NewFrame,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let mut delivery = self.delivery_of(position, frame, now);
        // It has no place in the log: nobody can go on from there.
        delivery.channel_serial = None;
        self.send(&Entry::new(position, now.steady, delivery), |_| true, outputs);
    }
}
