//! The errors that the client itself makes, in one place.

use std::fmt;

use capably_protocol::{DecodeError, ErrorCode, ErrorInfo};

use crate::{ChannelState, ConnectionState};

/// The error that the service sent; `otherwise` fills in for what is missing, so that an application always gets a code
/// to act on.
pub(crate) fn from_service(error: Option<ErrorInfo>, otherwise: fn() -> ErrorInfo) -> ErrorInfo {
    match error {
        Some(error) if error.code != ErrorCode(0) => error,
        Some(unknown) => {
            let ErrorInfo { code, status_code, message, .. } = otherwise();
            let status_code =
                if unknown.status_code == 0 { status_code } else { unknown.status_code };
            let message =
                if unknown.message.is_empty() { message } else { unknown.message.clone() };
            ErrorInfo { code, status_code, message, ..unknown }
        }
        None => otherwise(),
    }
}

/// The state of the connection does not allow the operation (RTL4b, RTL6c4, RTN13b).
pub(crate) fn connection_state(state: ConnectionState, reason: Option<&ErrorInfo>) -> ErrorInfo {
    let code = match state {
        ConnectionState::Initialized | ConnectionState::Connecting | ConnectionState::Connected => {
            80009
        }
        ConnectionState::Disconnected => 80003,
        ConnectionState::Suspended => 80002,
        ConnectionState::Closing | ConnectionState::Closed => 80017,
        ConnectionState::Failed => 80000,
    };
    let error = ErrorInfo::new(
        ErrorCode(code),
        400,
        format!("the operation cannot be done while the connection is {state}"),
    );
    match reason {
        Some(reason) => error.with_cause(reason.clone()),
        None => error,
    }
}

/// The state of the channel does not allow to enter, update or leave presence (RTP8g, RTP16c, RTL11).
pub(crate) fn presence_state(state: ChannelState, reason: Option<&ErrorInfo>) -> ErrorInfo {
    let error = ErrorInfo::new(
        ErrorCode(91001),
        400,
        format!("presence cannot be entered, updated or left while the channel is {state}"),
    );
    match reason {
        Some(reason) => error.with_cause(reason.clone()),
        None => error,
    }
}

/// The members are not known (RTP11d).
pub(crate) fn out_of_sync(reason: Option<&ErrorInfo>) -> ErrorInfo {
    let error = ErrorInfo::new(
        ErrorCode(91005),
        400,
        "the presence state is out of sync because the channel is suspended",
    );
    match reason {
        Some(reason) => error.with_cause(reason.clone()),
        None => error,
    }
}

/// The state of the channel does not allow the operation (RTL5b, RTL6c4).
pub(crate) fn channel_state(state: ChannelState, reason: Option<&ErrorInfo>) -> ErrorInfo {
    let error = ErrorInfo::new(
        ErrorCode(90001),
        400,
        format!("the operation cannot be done while the channel is {state}"),
    );
    match reason {
        Some(reason) => error.with_cause(reason.clone()),
        None => error,
    }
}

pub(crate) fn connect_timed_out() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(80014),
        408,
        "the service did not accept the connection within the realtime request timeout",
    )
}

pub(crate) fn idle() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(80014),
        408,
        "the service has sent nothing for longer than its idle interval allows",
    )
}

/// Whether the error is one of the host, which another host may not have (RTN17f1, RSC15l3).
pub(crate) fn is_failure_of_host(error: &ErrorInfo) -> bool {
    (500..=504).contains(&error.status_code)
}

/// Whether a transport failed before CONNECTED for a reason that another host may not have (RTN17f, RSC15l). The status
/// is 0 if the host did not answer at all.
pub(crate) fn is_failure_to_reach(error: &ErrorInfo) -> bool {
    is_failure_of_host(error) || matches!(error.status_code, 0 | 408)
}

pub(crate) fn network_lost() -> ErrorInfo {
    ErrorInfo::new(ErrorCode(80003), 0, "the operating system reports that there is no network")
}

/// No token can be obtained (RSA4c1, RSA4d).
pub(crate) fn no_token(cause: ErrorInfo) -> ErrorInfo {
    let status = if cause.status_code == 403 { 403 } else { 401 };
    let message = format!("no token could be obtained: {}", cause.message);
    ErrorInfo::new(ErrorCode(80019), status, message).with_cause(cause)
}

pub(crate) fn token_timed_out() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(50003),
        408,
        "no token was obtained within the realtime request timeout",
    )
}

/// The service rejects the token, and no other can be obtained (RSA4a2).
pub(crate) fn not_renewable(cause: ErrorInfo) -> ErrorInfo {
    let message = format!("the token is no longer valid: {}", cause.message);
    ErrorInfo::new(ErrorCode(40171), 401, message).with_cause(cause)
}

pub(crate) fn auth_timed_out() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(50003),
        408,
        "the service did not answer the new token within the realtime request timeout",
    )
}

/// The code of credentials for another client.
pub(crate) const WRONG_CLIENT: ErrorCode = ErrorCode(40102);

pub(crate) fn connected_as_another(own: &str, confirmed: &str) -> ErrorInfo {
    let message = format!(
        "clientId mismatch: the client is `{own}`, but the service confirmed `{confirmed}`"
    );
    ErrorInfo::new(WRONG_CLIENT, 401, message)
}

pub(crate) fn transport_lost() -> ErrorInfo {
    ErrorInfo::new(ErrorCode(80003), 408, "the transport was lost")
}

pub(crate) fn suspended() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(80002),
        408,
        "the connection has been down for longer than the service stores its state",
    )
}

pub(crate) fn closed() -> ErrorInfo {
    ErrorInfo::new(ErrorCode(80017), 400, "the connection is closed")
}

pub(crate) fn failed() -> ErrorInfo {
    ErrorInfo::new(ErrorCode(80000), 400, "the service ended the connection without a reason")
}

/// The code of frames that break the protocol.
pub(crate) const PROTOCOL: ErrorCode = ErrorCode(80013);

/// The service broke the protocol.
pub(crate) fn protocol(message: &'static str) -> ErrorInfo {
    ErrorInfo::new(PROTOCOL, 400, message)
}

/// The bytes that arrived are no frame.
pub(crate) fn broken_frame(why: &DecodeError) -> ErrorInfo {
    ErrorInfo::new(PROTOCOL, 400, format!("the service sent a frame that cannot be read: {why}"))
}

/// A part of a frame cannot be read.
pub(crate) fn unreadable(why: &DecodeError) -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode::INVALID_DATA_OR_ENCODING,
        400,
        format!("a part of a frame of the service cannot be read: {why}"),
    )
}

pub(crate) fn attach_timed_out() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(90007),
        408,
        "the service did not confirm the attach within the realtime request timeout",
    )
}

pub(crate) fn detach_timed_out() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(90007),
        408,
        "the service did not confirm the detach within the realtime request timeout",
    )
}

pub(crate) fn channel_failed() -> ErrorInfo {
    ErrorInfo::new(ErrorCode(90000), 400, "the service failed the channel without a reason")
}

/// A delta cannot be applied to its base (RTL18).
pub(crate) fn delta_failed(why: impl fmt::Display) -> ErrorInfo {
    let message = format!("a delta could not be applied: {why}");
    ErrorInfo::new(ErrorCode::DELTA_DECODING_FAILED, 400, message)
}

pub(crate) fn detached() -> ErrorInfo {
    ErrorInfo::new(ErrorCode(90001), 400, "the channel was detached")
}

/// The service cannot replay a part of a channel.
pub(crate) fn not_replayed() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode::CHANNEL_CONTINUITY_NOT_GUARANTEED,
        400,
        "the service no longer stores the messages that the listener's buffer had no room for",
    )
}

pub(crate) fn released() -> ErrorInfo {
    ErrorInfo::new(ErrorCode(90001), 400, "the channel was released")
}

pub(crate) fn ping_timed_out() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(50003),
        408,
        "the service did not answer the ping within the realtime request timeout",
    )
}

pub(crate) fn sync_timed_out() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(50003),
        408,
        "the service did not complete the presence sync within the realtime request timeout",
    )
}

pub(crate) fn objects_sync_timed_out() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode::TIMEOUT_ERROR,
        408,
        "the service did not complete the sync of objects within the realtime request timeout",
    )
}

/// Operations on objects were accepted, and the sync that they wait for was not completed.
pub(crate) fn objects_not_applied() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode::OBJECTS_SYNC_DID_NOT_COMPLETE,
        400,
        "the operations were published, but could not be applied here: the service did not complete the sync of objects \
         within the realtime request timeout",
    )
}

/// The channel lacks a mode that the call needs (RTO2a2, RTO2b2).
pub(crate) fn objects_mode_missing(mode: &str) -> ErrorInfo {
    let message = format!(
        "the channel lacks the mode `{mode}`, without which the call on objects has no effect; request it in the \
         channel's options, and check the capability of the credentials"
    );
    ErrorInfo::new(ErrorCode(40024), 400, message)
}

/// RTO26c
pub(crate) fn objects_need_echo() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode::BAD_REQUEST,
        400,
        "objects cannot be changed by a client whose option `echo_messages` is false; turn it on",
    )
}

pub(crate) fn ack_timed_out() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(50003),
        408,
        "the service has acknowledged nothing for the connectionStateTtl",
    )
}

/// An operation has waited for a connection that the application did not request.
pub(crate) fn never_connected() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(50003),
        408,
        "the application did not connect the client within the connectionStateTtl",
    )
}

pub(crate) fn refused() -> ErrorInfo {
    ErrorInfo::new(ErrorCode(50000), 500, "the service refused the message without a reason")
}

pub(crate) fn never_acknowledged() -> ErrorInfo {
    ErrorInfo::new(
        PROTOCOL,
        500,
        "the service acknowledged later messages, but neither accepted nor refused this one",
    )
}

pub(crate) fn too_large(size: u64, limit: u64) -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(40009),
        400,
        format!("a publish of {size} bytes is more than the limit of {limit} (`maxMessageSize`)"),
    )
}

/// A frame so large that the service would end the connection (CD2d).
pub(crate) fn frame_too_large(size: u64, limit: u64) -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(40009),
        400,
        format!("a frame of {size} bytes is more than the limit of {limit} (`maxFrameSize`)"),
    )
}

pub(crate) fn wrong_client_id() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(40012),
        400,
        "the client id is not the one that this client is identified as",
    )
}

/// A client without an identity cannot enter as itself (RTP8j).
pub(crate) fn no_identity() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(91000),
        400,
        "the client has no client id of its own, so the call has to name one (`enter_client`)",
    )
}

pub(crate) fn no_client_id() -> ErrorInfo {
    ErrorInfo::new(ErrorCode(40012), 400, "a member's client id cannot be empty or `*`")
}

/// A member could not be entered again (RTP17e).
pub(crate) fn reentry_failed(client_id: &str, cause: ErrorInfo) -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode(91004),
        400,
        format!("the member `{client_id}` could not be entered into presence again"),
    )
    .with_cause(cause)
}

/// Without the mode the service delivers no messages (RTL7i1).
pub(crate) fn not_subscribed() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode::SUBSCRIBE_MODE_NOT_ENABLED,
        400,
        "the channel is attached without the mode subscribe, so the service delivers no messages",
    )
}

/// Without the mode, which no channel has by default, the service delivers no annotations (RTAN4e).
pub(crate) fn annotations_not_subscribed() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode::ANNOTATION_SUBSCRIBE_MODE_NOT_ENABLED,
        400,
        "the channel is attached without the mode ANNOTATION_SUBSCRIBE, so the service delivers no annotations; \
            request the mode in the channel options",
    )
}

/// Without the mode the service sends no members (RTP11f1).
pub(crate) fn presence_not_subscribed() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode::PRESENCE_SUBSCRIBE_MODE_NOT_ENABLED,
        400,
        "the channel is attached without the mode presence_subscribe, so its members are not known",
    )
}
