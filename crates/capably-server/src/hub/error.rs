//! The errors that the server sends, by their cause.

use capably_protocol::{DecodeError, ErrorCode, ErrorInfo, Str};

use super::metachannel::Metachannel;
use crate::engine::EngineError;

fn error(code: u32, status: u16, message: impl Into<Str>) -> ErrorInfo {
    ErrorInfo::new(ErrorCode(code), status, message)
}

/// An invalid request or body.
pub(crate) fn bad_request(message: impl Into<Str>) -> ErrorInfo {
    error(40000, 400, message)
}

/// A body or a frame that cannot be decoded.
pub(crate) fn unreadable(why: &DecodeError) -> ErrorInfo {
    let code = match why {
        DecodeError::TooLarge { .. } => 40009,
        DecodeError::TooDeep { .. } => 40013,
        _ => 40000,
    };
    error(code, 400, format!("the body or frame cannot be decoded: {why}"))
}

/// A publish of a delta.
pub(crate) fn published_delta() -> ErrorInfo {
    error(40013, 400, "a client cannot publish data with the encoding `vcdiff`")
}

/// A parameter whose value is not allowed.
pub(crate) fn bad_parameter(message: impl Into<Str>) -> ErrorInfo {
    error(40003, 400, message)
}

/// A REST message that names an unknown connection.
pub(crate) fn bad_connection_key() -> ErrorInfo {
    error(40006, 400, "the connectionKey of the message names no live connection")
}

/// A publish of more than the limit.
pub(crate) fn message_too_large(size: usize, limit: usize) -> ErrorInfo {
    error(
        40009,
        400,
        format!("the publish has {size} bytes, which is more than the limit of {limit}"),
    )
}

/// A frame of more than the limit.
pub(crate) fn frame_too_large(limit: usize) -> ErrorInfo {
    error(40009, 400, format!("the frame is larger than the limit of {limit} bytes"))
}

/// A request body of more than the limit.
pub(crate) fn body_too_large(limit: usize) -> ErrorInfo {
    error(40009, 413, format!("the body is larger than the limit of {limit} bytes"))
}

/// A token or secret of another device.
pub(crate) fn bad_device_credentials() -> ErrorInfo {
    error(40005, 400, "the request does not prove that it is from this device")
}

/// A channel name that is not allowed.
pub(crate) fn bad_channel_name(reason: &str) -> ErrorInfo {
    error(40010, 400, format!("the channel name is not valid: {reason}"))
}

/// An operation that a channel with a filter does not support.
pub(crate) fn filtered() -> ErrorInfo {
    bad_request(
        "a channel with a filter only supports receiving messages and reading their history",
    )
}

/// A metachannel that the server does not publish on.
pub(crate) fn unknown_metachannel() -> ErrorInfo {
    let message = format!("this server's metachannels are {}", Metachannel::names());
    error(40021, 400, message)
}

/// An operation that a metachannel does not support.
pub(crate) fn metachannel() -> ErrorInfo {
    error(
        40160,
        401,
        "only the server publishes on a metachannel: clients receive its events and read its history",
    )
}

/// A capability or modes that allow nothing on a metachannel.
pub(crate) fn metachannel_denied() -> ErrorInfo {
    error(
        40160,
        401,
        "a metachannel needs the mode `subscribe`, and a capability with its qualifier, such as \
         {\"[meta]*\":[\"subscribe\"]}",
    )
}

/// A change without the serial of its message.
pub(crate) fn serial_missing() -> ErrorInfo {
    bad_parameter("a change of a message needs the message's `serial`")
}

/// A body for another message than that of the path.
pub(crate) fn other_serial() -> ErrorInfo {
    bad_parameter("the serial in the body is not that of the path")
}

/// An append of another type of data.
pub(crate) fn bad_append() -> ErrorInfo {
    bad_request("only text can be appended to text, and bytes to bytes, in the same encoding")
}

/// Annotations whose summaries would be too large.
pub(crate) fn summary_too_large(limit: usize) -> ErrorInfo {
    error(
        40009,
        400,
        format!("the summary of the message's annotations would exceed the limit of {limit} bytes"),
    )
}

/// A client id that the credentials do not allow.
pub(crate) fn bad_client_id(message: impl Into<Str>) -> ErrorInfo {
    error(40012, 400, message)
}

/// A protocol version that is not a number.
pub(crate) fn bad_version() -> ErrorInfo {
    error(40017, 400, "the protocol version `v` is not a number")
}

/// A batch with parts that failed.
pub(crate) fn batch_failed() -> ErrorInfo {
    error(40020, 400, "not every part of the batch succeeded: see `batchResponse`")
}

/// Message ids that break the rules of idempotent publishing (RSL1k).
pub(crate) fn bad_message_ids() -> ErrorInfo {
    error(40031, 400, "the ids of messages published together must be `base:0`, `base:1` and so on")
}

/// An invalid field in a message's extras.
pub(crate) fn bad_extras(message: impl Into<Str>) -> ErrorInfo {
    error(40032, 400, message)
}

/// More messages than one publish may have.
pub(crate) fn too_many_messages(limit: usize) -> ErrorInfo {
    error(40034, 400, format!("more than {limit} messages in one publish"))
}

/// A rule for webhooks that does not exist.
pub(crate) fn unknown_rule() -> ErrorInfo {
    error(40400, 404, "the app has no rule with this id")
}

/// A rule that is part of the server's configuration.
pub(crate) fn given_rule() -> ErrorInfo {
    bad_request("the server was started with this rule: change or remove it there")
}

/// More rules for webhooks than an app may have.
pub(crate) fn too_many_rules(limit: usize) -> ErrorInfo {
    error(40125, 401, format!("the app has {limit} rules, which is the most: delete one first"))
}

/// Fails if the publish parameter `_forceNack` requests a failure.
///
/// # Errors
/// Code 40099.
pub(crate) fn unless_forced(force_nack: Option<&str>) -> Result<(), ErrorInfo> {
    if force_nack == Some("true") { Err(forced()) } else { Ok(()) }
}

/// The failure that `_forceNack` requests.
pub(crate) fn forced() -> ErrorInfo {
    error(40099, 400, "refused because the publish requests a failure with `_forceNack`")
}

/// Invalid credentials.
pub(crate) fn unauthorized(message: impl Into<Str>) -> ErrorInfo {
    error(40101, 401, message)
}

/// A client id that is not that of the token.
pub(crate) fn incompatible_client() -> ErrorInfo {
    error(40102, 401, "the clientId is not the one that the token is for")
}

/// A token request from too long ago, or from the future.
pub(crate) fn bad_timestamp() -> ErrorInfo {
    error(40104, 401, "the timestamp of the token request is not within two minutes of now")
}

/// A token request that was used before.
pub(crate) fn nonce_replayed() -> ErrorInfo {
    error(40105, 401, "the token request, its nonce with its timestamp, has been used")
}

/// A request to revoke the tokens of another key.
pub(crate) fn wrong_revocation_key() -> ErrorInfo {
    error(40133, 401, "tokens are revoked with the key that they were issued with")
}

/// A token that was revoked.
pub(crate) fn token_revoked() -> ErrorInfo {
    error(40141, 401, "token revoked")
}

/// An expired token.
pub(crate) fn token_expired() -> ErrorInfo {
    error(40142, 401, "token expired")
}

/// An invalid JWT.
pub(crate) fn bad_jwt(reason: impl std::fmt::Display) -> ErrorInfo {
    error(40144, 401, format!("invalid JWT format: {reason}"))
}

/// Credentials of an unknown app.
pub(crate) fn unknown_app() -> ErrorInfo {
    error(40400, 404, "no app with the id that the credentials name")
}

/// A key that its app does not have.
pub(crate) fn unknown_key() -> ErrorInfo {
    error(40400, 401, "the app has no key with this id")
}

/// More token requests than the server remembers.
pub(crate) fn too_many_token_requests(limit: usize) -> ErrorInfo {
    error(
        42910,
        429,
        format!("the server remembers {limit} recent token requests, and accepts no more"),
    )
}

/// More messages than a connection may publish in the time.
pub(crate) fn too_fast(rate: u32) -> ErrorInfo {
    error(42911, 429, format!("the connection publishes more than {rate} messages a second"))
}

/// More channels than an app may have.
pub(crate) fn too_many_channels(limit: usize) -> ErrorInfo {
    let message =
        format!("the app has as many channels as its limit `channels.max` of {limit} allows");
    error(40114, 401, message)
}

/// More connections than an app may have.
pub(crate) fn too_many_connections(limit: usize) -> ErrorInfo {
    error(
        40111,
        401,
        format!("the app has as many connections as its limit `connections.max` of {limit} allows"),
    )
}

/// More connections than the server may have, in all apps.
pub(crate) fn server_full(limit: usize) -> ErrorInfo {
    error(
        50004,
        503,
        format!(
            "the server has as many connections as its limit `max_connections` of {limit} allows"
        ),
    )
}

/// More apps than the server may have.
pub(crate) fn too_many_apps(limit: usize) -> ErrorInfo {
    error(
        40300,
        403,
        format!("the server has as many apps as its limit `max_apps` of {limit} allows"),
    )
}

/// More requests a second than an app may receive.
pub(crate) fn too_many_requests(rate: u32) -> ErrorInfo {
    error(
        42918,
        429,
        format!(
            "the app receives more requests than its limit `requests.maxRate` of {rate} a second"
        ),
    )
}

/// A request to create an app on a server that allows none.
pub(crate) fn provisioning_off() -> ErrorInfo {
    error(
        40300,
        403,
        "apps cannot be created on this server: it listens beyond loopback and was started without a \
         --provision-secret",
    )
}

/// A request to create an app without the secret of the server.
pub(crate) fn provisioning_secret() -> ErrorInfo {
    error(
        40101,
        401,
        "creating an app needs the server's --provision-secret, as `Authorization: Bearer <secret>`",
    )
}

/// More messages a second than the token allows on the channel.
pub(crate) fn attachment_too_fast(rate: impl std::fmt::Display) -> ErrorInfo {
    let most = format!("the token allows {rate} messages a second on this channel");
    error(42911, 429, format!("the connection publishes too fast: {most}"))
}

/// A capability that does not allow the operation.
pub(crate) fn denied(operation: &str) -> ErrorInfo {
    error(40160, 401, format!("the credentials do not allow `{operation}` here"))
}

/// A channel without push.
pub(crate) fn push_disabled() -> ErrorInfo {
    error(40160, 401, "push is not enabled for the namespace of this channel")
}

/// A token that would allow nothing.
pub(crate) fn nothing_granted() -> ErrorInfo {
    error(40160, 401, "the key allows nothing of the requested capability")
}

/// A token where a key is needed.
pub(crate) fn key_required() -> ErrorInfo {
    error(40162, 401, "this needs a key, not a token")
}

/// A key whose tokens cannot be revoked.
pub(crate) fn not_revocable() -> ErrorInfo {
    error(40163, 401, "the tokens of this key are not revocable")
}

/// A mode that the attachment did not request.
pub(crate) fn mode_missing(mode: &str) -> ErrorInfo {
    error(40165, 401, format!("the channel was attached without the mode `{mode}`"))
}

/// The serial of an unknown or dropped message.
pub(crate) fn unknown_message() -> ErrorInfo {
    error(40400, 404, "the channel has no message with this serial")
}

/// A device that is not registered.
pub(crate) fn unknown_device() -> ErrorInfo {
    error(40400, 404, "there is no device with this id")
}

/// An unknown broadcast channel.
pub(crate) fn unknown_broadcast() -> ErrorInfo {
    error(40400, 404, "there is no broadcast channel with this id")
}

/// An unknown path.
pub(crate) fn not_found() -> ErrorInfo {
    error(40400, 404, "there is nothing at this path")
}

/// A request that took too long to arrive.
pub(crate) fn request_timeout() -> ErrorInfo {
    error(50003, 408, "the request did not arrive in time")
}

/// A random app id that is taken.
pub(crate) fn app_id_taken() -> ErrorInfo {
    error(50000, 500, "the new app's id is taken; try again")
}

/// A publish that cannot be persisted.
pub(crate) fn not_stored() -> ErrorInfo {
    error(50000, 500, "the server cannot write to its storage; its log has the reason")
}

/// The engine does not answer in time.
pub(crate) fn unavailable() -> ErrorInfo {
    error(50003, 503, "the server cannot reach its storage; try again")
}

/// The engine cannot commit, or cannot be read.
pub(crate) fn engine(problem: &EngineError) -> ErrorInfo {
    match problem {
        EngineError::Unavailable(_) | EngineError::Closed => unavailable(),
        EngineError::Full(_) => error(50000, 500, "the storage of the server is full"),
        _ => not_stored(),
    }
}

/// The server shuts down. The client may connect to another, or again later.
pub(crate) fn shutting_down() -> ErrorInfo {
    error(80003, 503, "the server is shutting down")
}

/// A frame that violates the protocol.
pub(crate) fn protocol(reason: impl std::fmt::Display) -> ErrorInfo {
    error(80013, 400, format!("not a protocol message: {reason}"))
}

/// A client that does not answer, though its socket is open.
pub(crate) fn unanswered() -> ErrorInfo {
    error(80014, 408, "the client did not answer the last PING")
}

/// An unknown connection key in a resume.
pub(crate) fn bad_connection() -> ErrorInfo {
    error(80018, 400, "the connection cannot be resumed: its key is unknown or has expired")
}

/// A request of comet for a session that this server does not have.
pub(crate) fn no_comet() -> ErrorInfo {
    error(
        80018,
        400,
        "this server has no comet session with the connection key: resume the connection",
    )
}

/// A connection key of another app.
pub(crate) fn other_app() -> ErrorInfo {
    error(40102, 401, "the credentials are of another app than the connection")
}

/// A client that reads more slowly than messages arrive.
pub(crate) fn too_slow() -> ErrorInfo {
    error(80020, 400, "the client does not read as fast as messages arrive for it")
}

/// A channel serial before the start of the log.
pub(crate) fn continuity_lost() -> ErrorInfo {
    error(90003, 400, "the server no longer has all messages since the channelSerial")
}

/// A channel whose messages cannot be changed.
pub(crate) fn not_mutable() -> ErrorInfo {
    error(
        93002,
        400,
        "messages of this channel cannot be updated, deleted, appended to or annotated",
    )
}

/// An invalid operation on an object.
pub(crate) fn bad_operation(message: impl Into<Str>) -> ErrorInfo {
    error(92000, 400, message)
}

/// More objects than a channel may have.
pub(crate) fn too_many_objects(limit: usize) -> ErrorInfo {
    let message =
        format!("the channel has as many objects as its limit `objects.max` of {limit} allows");
    error(92001, 400, message)
}

/// Larger objects than a channel may have.
pub(crate) fn objects_too_large(limit: usize) -> ErrorInfo {
    let message = format!(
        "the objects of the channel are as large as its limit `objects.maxBytes` of {limit} allows; \
         remove some, and try again a few seconds later"
    );
    error(92001, 400, message)
}

/// An operation on a deleted object.
pub(crate) fn deleted_object(id: &str) -> ErrorInfo {
    error(92002, 400, format!("the object `{id}` is deleted"))
}

/// An object that does not exist.
pub(crate) fn unknown_object(id: &str) -> ErrorInfo {
    error(92004, 404, format!("the channel has no object `{id}`"))
}

/// A path that leads to no value.
pub(crate) fn nothing_at_path(path: &str) -> ErrorInfo {
    error(92005, 404, format!("there is no object at the path `{path}`"))
}

/// An operation that names no object.
pub(crate) fn no_object_reference() -> ErrorInfo {
    error(92006, 400, "an operation needs an `objectId`, or by REST a `path`")
}

/// A path that leads to a value of another type than the operation needs.
pub(crate) fn misfit_at_path(path: &str) -> ErrorInfo {
    error(92007, 400, format!("the operation does not fit the value at the path `{path}`"))
}

/// A presence message without a client id.
pub(crate) fn no_client_id() -> ErrorInfo {
    error(91000, 400, "presence needs a client id, and the client has none")
}

/// Presence on a channel that is not attached.
pub(crate) fn not_attached() -> ErrorInfo {
    error(91001, 400, "presence needs the channel to be attached")
}

/// More members than a channel may have.
pub(crate) fn too_many_members(limit: usize) -> ErrorInfo {
    error(91003, 400, format!("the channel would have more than {limit} members"))
}
