//! Operations that cannot have their effect, because the service has not granted a mode (TO3r).

use capably_protocol::{ChannelMode, ErrorInfo};

use super::{Channel, State};
use crate::{Config, errors};

const IN_STRICT_MODE: &str = "with strict_mode the operation would fail with this error";

impl Channel {
    /// Whether an attached channel delivers messages to its subscribers (RTL7i). The modes of a channel that
    /// is not attached are not known yet, so it passes (RTL7i3).
    ///
    /// # Errors
    /// In strict mode 90009 without the mode `subscribe` (RTL7i1).
    pub(crate) fn check_subscribed(&mut self, config: &Config) -> Result<(), ErrorInfo> {
        self.require_mode(ChannelMode::Subscribe, errors::not_subscribed, config)
    }

    /// Whether an attached channel delivers annotations (RTAN4e).
    ///
    /// # Errors
    /// In strict mode 93001 without the mode `annotation_subscribe`.
    pub(crate) fn check_annotations_subscribed(
        &mut self,
        config: &Config,
    ) -> Result<(), ErrorInfo> {
        let mode = ChannelMode::AnnotationSubscribe;
        self.require_mode(mode, errors::annotations_not_subscribed, config)
    }

    /// A mode that an attached channel lacks is an error in strict mode (TO3r1), and else a line in the log
    /// (TO3r2).
    pub(super) fn require_mode(
        &mut self,
        mode: ChannelMode,
        error: fn() -> ErrorInfo,
        config: &Config,
    ) -> Result<(), ErrorInfo> {
        if self.state != State::Attached || self.modes.contains(&mode) {
            return Ok(());
        }
        let error = error();
        if config.strict_mode {
            return Err(error);
        }
        // Once an attachment: an application that asks for members in a loop must not flood the log.
        if !self.missed_modes.contains(&mode) {
            self.missed_modes.push(mode);
            let (channel, code) = (&*self.name, error.code.0);
            let message = error.message;
            // No channel has this mode by default, so its absence is more often meant (RTAN4e1).
            if mode == ChannelMode::AnnotationSubscribe {
                tracing::warn!(channel, code, "{message}; {IN_STRICT_MODE}");
            } else {
                tracing::error!(channel, code, "{message}; {IN_STRICT_MODE}");
            }
        }
        Ok(())
    }
}
