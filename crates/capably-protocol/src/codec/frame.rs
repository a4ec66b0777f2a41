//! A frame as it lies on the wire, with every field there may be, and its typed counterparts.

use serde::Deserialize;

use super::DecodeError;
use crate::{
    Annotation, ClientFrame, ConnectionDetails, ErrorInfo, Flags, Message, Millis, ObjectMessage,
    PresenceMessage, PublishResult, ServerFrame, Str,
    frame::{
        Ack, Action, Attach, Attached, AuthDetails, Connected, Delivery, ErrorFrame, Nack, Params,
        Publish,
    },
    lenient,
};

/// What is written: the fields of one frame, borrowed from it.
#[derive(Default)]
pub(crate) struct FrameOut<'a> {
    pub(crate) action: u32,
    pub(crate) id: Option<&'a str>,
    pub(crate) channel: Option<&'a str>,
    pub(crate) channel_serial: Option<&'a str>,
    pub(crate) connection_id: Option<&'a str>,
    pub(crate) msg_serial: Option<u64>,
    pub(crate) count: Option<u64>,
    pub(crate) flags: Option<u64>,
    pub(crate) timestamp: Option<Millis>,
    pub(crate) connection_details: Option<&'a ConnectionDetails>,
    pub(crate) error: Option<&'a ErrorInfo>,
    pub(crate) params: Option<&'a Params>,
    pub(crate) access_token: Option<&'a str>,
    pub(crate) res: &'a [PublishResult],
    pub(crate) items: Items<'a>,
}

/// What a frame carries, by the name of its field.
#[derive(Default)]
pub(crate) enum Items<'a> {
    #[default]
    None,
    Messages(&'a [Message]),
    Presence(&'a [PresenceMessage]),
    Annotations(&'a [Annotation]),
    State(&'a [ObjectMessage]),
}

impl<'a> FrameOut<'a> {
    fn new(action: Action) -> Self {
        Self { action: action.number(), ..Self::default() }
    }

    fn on_channel(action: Action, channel: &'a Str) -> Self {
        Self { channel: Some(channel), ..Self::new(action) }
    }

    fn publish<T>(action: Action, publish: &'a Publish<T>, items: Items<'a>) -> Self {
        Self {
            msg_serial: Some(publish.msg_serial),
            params: unless_empty(&publish.params),
            items,
            ..Self::on_channel(action, &publish.channel)
        }
    }

    fn delivery<T>(action: Action, delivery: &'a Delivery<T>, items: Items<'a>) -> Self {
        Self {
            id: delivery.id.as_deref(),
            channel_serial: delivery.channel_serial.as_deref(),
            connection_id: delivery.connection_id.as_deref(),
            timestamp: delivery.timestamp,
            flags: unless_none(delivery.flags),
            items,
            ..Self::on_channel(action, &delivery.channel)
        }
    }
}

fn unless_empty(params: &Params) -> Option<&Params> {
    (!params.is_empty()).then_some(params)
}

fn unless_none(flags: Flags) -> Option<u64> {
    (flags != Flags::NONE).then_some(flags.0)
}

impl<'a> From<&'a ClientFrame> for FrameOut<'a> {
    fn from(frame: &'a ClientFrame) -> Self {
        match frame {
            ClientFrame::Heartbeat { id } => {
                Self { id: id.as_deref(), ..Self::new(Action::Heartbeat) }
            }
            ClientFrame::Close => Self::new(Action::Close),
            ClientFrame::Disconnect => Self::new(Action::Disconnect),
            ClientFrame::Attach(attach) => Self {
                channel_serial: attach.channel_serial.as_deref(),
                flags: unless_none(attach.flags),
                params: unless_empty(&attach.params),
                ..Self::on_channel(Action::Attach, &attach.channel)
            },
            ClientFrame::Detach { channel } => Self::on_channel(Action::Detach, channel),
            ClientFrame::Message(publish) => {
                Self::publish(Action::Message, publish, Items::Messages(&publish.items))
            }
            ClientFrame::Presence(publish) => {
                Self::publish(Action::Presence, publish, Items::Presence(&publish.items))
            }
            ClientFrame::Sync { channel } => Self::on_channel(Action::Sync, channel),
            ClientFrame::Annotation(publish) => {
                Self::publish(Action::Annotation, publish, Items::Annotations(&publish.items))
            }
            ClientFrame::Object(publish) => {
                Self::publish(Action::Object, publish, Items::State(&publish.items))
            }
            ClientFrame::Auth(auth) => {
                Self { access_token: Some(&auth.access_token), ..Self::new(Action::Auth) }
            }
            ClientFrame::Pong { id } => Self { id: id.as_deref(), ..Self::new(Action::Pong) },
            ClientFrame::Unknown { action } => Self { action: *action, ..Self::default() },
        }
    }
}

impl<'a> From<&'a ServerFrame> for FrameOut<'a> {
    fn from(frame: &'a ServerFrame) -> Self {
        match frame {
            ServerFrame::Heartbeat { id } => {
                Self { id: id.as_deref(), ..Self::new(Action::Heartbeat) }
            }
            ServerFrame::Ack(ack) => Self {
                msg_serial: Some(ack.msg_serial),
                count: Some(ack.count),
                res: &ack.res,
                ..Self::new(Action::Ack)
            },
            ServerFrame::Nack(nack) => Self {
                msg_serial: Some(nack.msg_serial),
                count: Some(nack.count),
                error: nack.error.as_ref(),
                ..Self::new(Action::Nack)
            },
            ServerFrame::Connected(connected) => Self {
                connection_id: connected.connection_id.as_deref(),
                connection_details: connected.details.as_ref(),
                error: connected.error.as_ref(),
                ..Self::new(Action::Connected)
            },
            ServerFrame::Disconnected { error } => {
                Self { error: error.as_ref(), ..Self::new(Action::Disconnected) }
            }
            ServerFrame::Closed => Self::new(Action::Closed),
            ServerFrame::Error(frame) => Self {
                channel: frame.channel.as_deref(),
                error: frame.error.as_ref(),
                ..Self::new(Action::Error)
            },
            ServerFrame::Attached(attached) => Self {
                channel_serial: attached.channel_serial.as_deref(),
                flags: unless_none(attached.flags),
                params: unless_empty(&attached.params),
                error: attached.error.as_ref(),
                ..Self::on_channel(Action::Attached, &attached.channel)
            },
            ServerFrame::Detached { channel, error } => {
                Self { error: error.as_ref(), ..Self::on_channel(Action::Detached, channel) }
            }
            ServerFrame::Message(delivery) => {
                Self::delivery(Action::Message, delivery, Items::Messages(&delivery.items))
            }
            ServerFrame::Presence(delivery) => {
                Self::delivery(Action::Presence, delivery, Items::Presence(&delivery.items))
            }
            ServerFrame::Sync(delivery) => {
                Self::delivery(Action::Sync, delivery, Items::Presence(&delivery.items))
            }
            ServerFrame::Annotation(delivery) => {
                Self::delivery(Action::Annotation, delivery, Items::Annotations(&delivery.items))
            }
            ServerFrame::Object(delivery) => {
                Self::delivery(Action::Object, delivery, Items::State(&delivery.items))
            }
            ServerFrame::ObjectSync(delivery) => {
                Self::delivery(Action::ObjectSync, delivery, Items::State(&delivery.items))
            }
            ServerFrame::Auth => Self::new(Action::Auth),
            ServerFrame::Ping { id } => Self { id: id.as_deref(), ..Self::new(Action::Ping) },
            ServerFrame::Unknown { action } => Self { action: *action, ..Self::default() },
        }
    }
}

/// What is read: every field that was there.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FrameIn {
    #[serde(deserialize_with = "lenient::integer")]
    pub(crate) action: Option<u32>,
    pub(crate) id: Option<Str>,
    pub(crate) channel: Option<Str>,
    pub(crate) channel_serial: Option<Str>,
    pub(crate) connection_id: Option<Str>,
    #[serde(deserialize_with = "lenient::integer")]
    pub(crate) msg_serial: Option<u64>,
    #[serde(deserialize_with = "lenient::integer")]
    pub(crate) count: Option<u64>,
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub(crate) flags: u64,
    #[serde(deserialize_with = "lenient::integer")]
    pub(crate) timestamp: Option<Millis>,
    pub(crate) connection_details: Option<Box<ConnectionDetails>>,
    pub(crate) error: Option<Box<ErrorInfo>>,
    #[serde(deserialize_with = "lenient::string_map")]
    pub(crate) params: Params,
    pub(crate) auth: Option<Box<AuthIn>>,
    #[serde(deserialize_with = "lenient::maps")]
    pub(crate) res: Vec<PublishResult>,
    #[serde(deserialize_with = "lenient::maps")]
    pub(crate) messages: Vec<Message>,
    #[serde(deserialize_with = "lenient::maps")]
    pub(crate) presence: Vec<PresenceMessage>,
    #[serde(deserialize_with = "lenient::maps")]
    pub(crate) annotations: Vec<Annotation>,
    #[serde(deserialize_with = "lenient::maps")]
    pub(crate) state: Vec<ObjectMessage>,
}

/// The `auth` of a frame.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AuthIn {
    pub(crate) access_token: Option<Str>,
}

fn required<T>(value: Option<T>, field: &'static str) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::Missing { field })
}

impl FrameIn {
    pub(crate) fn client(&mut self) -> Result<ClientFrame, DecodeError> {
        let number = required(self.action, "action")?;
        let Some(action) = Action::from_number(number) else {
            return Ok(ClientFrame::Unknown { action: number });
        };
        Ok(match action {
            Action::Heartbeat => ClientFrame::Heartbeat { id: self.id.take() },
            Action::Close => ClientFrame::Close,
            Action::Disconnect => ClientFrame::Disconnect,
            Action::Attach => ClientFrame::Attach(Attach {
                channel: required(self.channel.take(), "channel")?,
                channel_serial: self.channel_serial.take(),
                flags: Flags(self.flags),
                params: std::mem::take(&mut self.params),
            }),
            Action::Detach => {
                ClientFrame::Detach { channel: required(self.channel.take(), "channel")? }
            }
            Action::Message => {
                let items = std::mem::take(&mut self.messages);
                ClientFrame::Message(self.publish(items)?)
            }
            Action::Presence => {
                let items = std::mem::take(&mut self.presence);
                ClientFrame::Presence(self.publish(items)?)
            }
            Action::Sync => {
                ClientFrame::Sync { channel: required(self.channel.take(), "channel")? }
            }
            Action::Annotation => {
                let items = std::mem::take(&mut self.annotations);
                ClientFrame::Annotation(self.publish(items)?)
            }
            Action::Object => {
                let items = std::mem::take(&mut self.state);
                ClientFrame::Object(self.publish(items)?)
            }
            Action::Auth => {
                let auth = required(self.auth.take(), "auth")?;
                let access_token = required(auth.access_token, "accessToken")?;
                ClientFrame::Auth(AuthDetails { access_token })
            }
            Action::Pong => ClientFrame::Pong { id: self.id.take() },
            Action::Ack
            | Action::Nack
            | Action::Connect
            | Action::Connected
            | Action::Disconnected
            | Action::Closed
            | Action::Error
            | Action::Attached
            | Action::Detached
            | Action::Activate
            | Action::ObjectSync
            | Action::Ping => ClientFrame::Unknown { action: number },
        })
    }

    pub(crate) fn server(&mut self) -> Result<ServerFrame, DecodeError> {
        let number = required(self.action, "action")?;
        let Some(action) = Action::from_number(number) else {
            return Ok(ServerFrame::Unknown { action: number });
        };
        let error = self.error.take().map(|error| *error);
        Ok(match action {
            Action::Heartbeat => ServerFrame::Heartbeat { id: self.id.take() },
            Action::Ack => ServerFrame::Ack(Ack {
                msg_serial: required(self.msg_serial, "msgSerial")?,
                count: self.count.unwrap_or(1),
                res: std::mem::take(&mut self.res),
            }),
            Action::Nack => ServerFrame::Nack(Nack {
                msg_serial: required(self.msg_serial, "msgSerial")?,
                count: self.count.unwrap_or(1),
                error,
            }),
            Action::Connected => ServerFrame::Connected(Box::new(Connected {
                connection_id: self.connection_id.take(),
                details: self.connection_details.take().map(|details| *details),
                error,
            })),
            Action::Disconnected => ServerFrame::Disconnected { error },
            Action::Closed => ServerFrame::Closed,
            Action::Error => ServerFrame::Error(ErrorFrame { channel: self.channel.take(), error }),
            Action::Attached => ServerFrame::Attached(Box::new(Attached {
                channel: required(self.channel.take(), "channel")?,
                channel_serial: self.channel_serial.take(),
                flags: Flags(self.flags),
                params: std::mem::take(&mut self.params),
                error,
            })),
            Action::Detached => {
                ServerFrame::Detached { channel: required(self.channel.take(), "channel")?, error }
            }
            Action::Message => {
                let items = std::mem::take(&mut self.messages);
                ServerFrame::Message(self.delivery(items)?)
            }
            Action::Presence => {
                let items = std::mem::take(&mut self.presence);
                ServerFrame::Presence(self.delivery(items)?)
            }
            Action::Sync => {
                let items = std::mem::take(&mut self.presence);
                ServerFrame::Sync(self.delivery(items)?)
            }
            Action::Annotation => {
                let items = std::mem::take(&mut self.annotations);
                ServerFrame::Annotation(self.delivery(items)?)
            }
            Action::Object => {
                let items = std::mem::take(&mut self.state);
                ServerFrame::Object(self.delivery(items)?)
            }
            Action::ObjectSync => {
                let items = std::mem::take(&mut self.state);
                ServerFrame::ObjectSync(self.delivery(items)?)
            }
            Action::Auth => ServerFrame::Auth,
            Action::Ping => ServerFrame::Ping { id: self.id.take() },
            Action::Connect
            | Action::Disconnect
            | Action::Close
            | Action::Attach
            | Action::Detach
            | Action::Activate
            | Action::Pong => ServerFrame::Unknown { action: number },
        })
    }

    fn publish<T>(&mut self, items: Vec<T>) -> Result<Publish<T>, DecodeError> {
        Ok(Publish {
            channel: required(self.channel.take(), "channel")?,
            msg_serial: required(self.msg_serial, "msgSerial")?,
            items: items.into(),
            params: std::mem::take(&mut self.params),
        })
    }

    fn delivery<T>(&mut self, items: Vec<T>) -> Result<Delivery<T>, DecodeError> {
        Ok(Delivery {
            channel: required(self.channel.take(), "channel")?,
            channel_serial: self.channel_serial.take(),
            id: self.id.take(),
            connection_id: self.connection_id.take(),
            timestamp: self.timestamp,
            flags: Flags(self.flags),
            items,
        })
    }
}
