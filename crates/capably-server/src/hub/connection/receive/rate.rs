//! The limits on the rate at which a client publishes.

use capably_protocol::{ClientFrame, ErrorInfo};

use super::Receiver;
use crate::hub::{Turn, channel_name, error};

impl Receiver<'_> {
    /// Counts the messages of a frame. Returns an error and the frame's `msgSerial` if the client publishes too fast.
    /// Repeated frames are not counted.
    pub(super) fn check_rate(
        &mut self,
        frame: &ClientFrame,
        turn: &Turn<'_>,
    ) -> Option<(ErrorInfo, u64)> {
        let (msg_serial, count) = match frame {
            ClientFrame::Message(publish) => (publish.msg_serial, publish.items.len()),
            ClientFrame::Presence(publish) => (publish.msg_serial, publish.items.len()),
            ClientFrame::Annotation(publish) => (publish.msg_serial, publish.items.len()),
            ClientFrame::Object(publish) => (publish.msg_serial, publish.items.len()),
            _ => return None,
        };
        let (connection, now) = (&mut *self.connection, turn.now.steady);
        if msg_serial < connection.next_msg_serial {
            return None;
        }
        if let ClientFrame::Message(publish) = frame
            && connection.identity.has_rates()
            && let Ok(channel) = channel_name::plain(&publish.channel)
            && let Some(rate) = connection.identity.rate_of_attachment(channel)
            && !connection.channel_paces.admit(channel, count, rate, now)
        {
            return Some((error::attachment_too_fast(rate), msg_serial));
        }
        let rate = turn.settings.max_inbound_rate?;
        let fits = connection.pace.admit(count, rate, now);
        (!fits).then(|| (error::too_fast(rate), msg_serial))
    }
}
