//! Operations that cannot have their effect, because the service has not granted a mode (TO3r).

use capably_protocol::{ChannelMode, ErrorInfo};

use crate::{ChannelId, ChannelState, Client, errors};

const IN_STRICT_MODE: &str = "with strict_mode the operation would fail with this error";

impl Client {
    /// Whether an attached channel delivers messages to who subscribes (RTL7i). Of one that is not attached
    /// nothing is known yet (RTL7i3).
    ///
    /// # Errors
    /// In strict mode 90009 without the mode `subscribe` (RTL7i1).
    pub fn check_subscribed(&mut self, id: ChannelId) -> Result<(), ErrorInfo> {
        self.require_mode(id, ChannelMode::Subscribe, errors::not_subscribed)
    }

    /// The same of annotations, which is only logged as a warning (RTAN4e, RTAN4e1).
    ///
    /// # Errors
    /// In strict mode 93001 without the mode `annotation_subscribe`.
    pub fn check_annotations_subscribed(&mut self, id: ChannelId) -> Result<(), ErrorInfo> {
        let mode = ChannelMode::AnnotationSubscribe;
        self.require_mode(id, mode, errors::annotations_not_subscribed)
    }

    /// Without a mode on an attached channel it is an error in strict mode (TO3r1), and else a line in the
    /// log, once an attachment (TO3r2).
    pub(crate) fn require_mode(
        &mut self,
        id: ChannelId,
        mode: ChannelMode,
        error: fn() -> ErrorInfo,
    ) -> Result<(), ErrorInfo> {
        let strict = self.shared.config.strict_mode;
        let Some(channel) = self.channels.get_mut(id) else { return Ok(()) };
        if channel.state() != ChannelState::Attached || channel.modes().contains(&mode) {
            return Ok(());
        }
        let error = error();
        if strict {
            return Err(error);
        }
        if !channel.missed_modes.contains(&mode) {
            channel.missed_modes.push(mode);
            let (channel, code) = (&*channel.name, error.code.0);
            let message = error.message;
            if mode == ChannelMode::AnnotationSubscribe {
                tracing::warn!(channel, code, "{message}; {IN_STRICT_MODE}");
            } else {
                tracing::error!(channel, code, "{message}; {IN_STRICT_MODE}");
            }
        }
        Ok(())
    }
}
