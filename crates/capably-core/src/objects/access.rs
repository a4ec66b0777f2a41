//! Whether a call on objects is allowed: modes, the channel's state and the echo (RTO2, RTO25, RTO26).

use capably_protocol::{ChannelMode, ErrorInfo};

use crate::{ChannelState, errors};

/// Whether objects may be read and subscribed to (RTO25). `granted` are the modes of the last ATTACHED, `requested` those
/// of the channel's options; `reason` is the channel's errorReason.
///
/// # Errors
/// Code 40024 without the mode `object_subscribe` (RTO25a); 90001 on a channel that is detached or failed (RTO25b).
pub fn check_objects_access(
    state: ChannelState,
    granted: &[ChannelMode],
    requested: &[ChannelMode],
    reason: Option<&ErrorInfo>,
) -> Result<(), ErrorInfo> {
    check_mode(ChannelMode::ObjectSubscribe, state, granted, requested)?;
    if matches!(state, ChannelState::Detached | ChannelState::Failed) {
        return Err(errors::channel_state(state, reason));
    }
    Ok(())
}

/// Whether objects may be changed (RTO26). `echo` is the client option `echoMessages`.
///
/// # Errors
/// Code 40024 without the mode `object_publish` (RTO26a); 90001 on a channel that is detached, failed or suspended
/// (RTO26b); 40000 without the echo (RTO26c).
pub fn check_objects_write(
    state: ChannelState,
    granted: &[ChannelMode],
    requested: &[ChannelMode],
    reason: Option<&ErrorInfo>,
    echo: bool,
) -> Result<(), ErrorInfo> {
    check_mode(ChannelMode::ObjectPublish, state, granted, requested)?;
    if matches!(state, ChannelState::Detached | ChannelState::Failed | ChannelState::Suspended) {
        return Err(errors::channel_state(state, reason));
    }
    if echo { Ok(()) } else { Err(errors::objects_need_echo()) }
}

/// RTO2
pub(crate) fn check_mode(
    mode: ChannelMode,
    state: ChannelState,
    granted: &[ChannelMode],
    requested: &[ChannelMode],
) -> Result<(), ErrorInfo> {
    // An ATTACHED without any mode states none: nothing could be done with such a channel.
    let is_known = state == ChannelState::Attached && !granted.is_empty();
    let modes = if is_known { granted } else { requested };
    if modes.contains(&mode) { Ok(()) } else { Err(errors::objects_mode_missing(mode.name())) }
}
