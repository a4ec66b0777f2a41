//! The frames of messages and annotations that the application publishes (RTL6, RTAN1).

use std::sync::Arc;

use capably_protocol::{
    Annotation, ClientFrame, ErrorInfo, Message, MessageAction, Str,
    frame::{Params, Publish},
};

use super::{Channel, State};
use crate::{ConnectionState, context::Cx, errors};

impl Channel {
    /// The frame of messages, if they may be published or queued in this state (RTL6).
    pub(crate) fn message_frame(
        &self,
        messages: Arc<[Message]>,
        params: Params,
        cx: &Cx<'_>,
    ) -> Result<ClientFrame, ErrorInfo> {
        self.check_publish(cx)?;
        check_client_ids(&messages, cx)?;
        check_size(messages.iter().map(Message::size).sum(), cx)?;
        let channel = self.name.clone();
        Ok(ClientFrame::Message(Publish { channel, msg_serial: 0, items: messages, params }))
    }

    /// The frame of an annotation, if it may be published or queued in this state (RTAN1).
    pub(crate) fn annotation_frame(
        &self,
        annotation: Annotation,
        cx: &Cx<'_>,
    ) -> Result<ClientFrame, ErrorInfo> {
        self.check_publish(cx)?;
        check_size(annotation.size(), cx)?;
        let (channel, items) = (self.name.clone(), Arc::from([annotation]));
        let params = Params::new();
        Ok(ClientFrame::Annotation(Publish { channel, msg_serial: 0, items, params }))
    }

    /// Whether the states of channel and connection allow to publish, or to queue (RTL6c).
    pub(super) fn check_publish(&self, cx: &Cx<'_>) -> Result<(), ErrorInfo> {
        if matches!(self.state, State::Suspended | State::Failed) {
            return Err(errors::channel_state(self.state(), self.error_reason.as_ref()));
        }
        let state = cx.connection.state();
        let allowed = match state {
            ConnectionState::Connected => true,
            ConnectionState::Initialized
            | ConnectionState::Connecting
            | ConnectionState::Disconnected => cx.config.queue_messages,
            ConnectionState::Suspended
            | ConnectionState::Closing
            | ConnectionState::Closed
            | ConnectionState::Failed => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(errors::connection_state(state, cx.connection.error_reason.as_ref()))
        }
    }
}

/// The frame of messages that need no channel: their channel's state does not matter, as publishing needs no attachment
/// (RTL6c5). Without a connection there is none, so that the caller decides when to try again.
pub(crate) fn stored_frame(
    channel: Str,
    messages: Arc<[Message]>,
    params: Params,
    cx: &Cx<'_>,
) -> Result<ClientFrame, ErrorInfo> {
    if !cx.is_connected() {
        let connection = cx.connection;
        return Err(errors::connection_state(connection.state(), connection.error_reason.as_ref()));
    }
    check_client_ids(&messages, cx)?;
    check_size(messages.iter().map(Message::size).sum(), cx)?;
    Ok(ClientFrame::Message(Publish { channel, msg_serial: 0, items: messages, params }))
}

/// An identified client cannot publish as another (RTL6g3). The client id of an update or a delete is not
/// checked: it names the client that published the message.
fn check_client_ids(messages: &[Message], cx: &Cx<'_>) -> Result<(), ErrorInfo> {
    let Some(own) = cx.connection.identity(cx.config) else { return Ok(()) };
    let is_another = |message: &Message| {
        matches!(message.action, None | Some(MessageAction::Create))
            && message.client_id.as_ref().is_some_and(|id| id != own)
    };
    if messages.iter().any(is_another) { Err(errors::wrong_client_id()) } else { Ok(()) }
}

/// A publish has a limit of size (RSL1i, RSAN1a4).
pub(super) fn check_size(size: usize, cx: &Cx<'_>) -> Result<(), ErrorInfo> {
    let (size, limit) = (size as u64, cx.connection.max_message_size);
    if size > limit { Err(errors::too_large(size, limit)) } else { Ok(()) }
}
