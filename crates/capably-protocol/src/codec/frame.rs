//! The flat frame of the wire: one map with the fields of every action. Typed frames are made from it, and it from them.

use std::mem;

use super::{DecodeError, salvage::Damage};
use crate::{
    Annotation, ClientFrame, ConnectionDetails, ErrorInfo, Flags, Message, Millis, ObjectMessage,
    PresenceMessage, PublishResult, ServerFrame, Str,
    codec::msgpack::reader::{Fault, Reader},
    frame::{
        Ack, Action, Attach, Attached, AuthDetails, Connected, Delivery, ErrorFrame, Nack, Params,
        Publish,
    },
    wire::{Read, ReadField, Write, Writer, wire, write_field},
};

/// Declares the fields of frames. A line has the name in Rust and on the wire, the type of the field as it is read,
/// which owns its value, the type as it is written, which borrows it, and the part that is salvaged when the field
/// cannot be read. A line's place is the field's place on the wire.
macro_rules! fields {
    ($($field:ident = $name:literal: $read:ty => $written:ty, $damage:ident;)*) => {
        /// Every field of a frame that was read.
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        pub(crate) struct FrameIn {
            $(
                #[serde(rename = $name, deserialize_with = "ReadField::deserialize")]
                pub(super) $field: $read,
            )*
        }

        impl Read for FrameIn {
            fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
                r.fields(|r, key| {
                    $(
                        if key == $name.as_bytes() {
                            return self.$field.read(r);
                        }
                    )*
                    r.skip()
                })
            }
        }

        /// The fields of a frame to write, borrowed from it.
        #[derive(Default)]
        pub(super) struct FrameOut<'a> {
            $($field: $written,)*
        }

        impl Write for FrameOut<'_> {
            fn write<W: Writer>(&self, w: &mut W) {
                let mut map = w.begin_map();
                $(write_field(w, &mut map, $name, &self.$field);)*
                w.end_map(map);
            }
        }

        /// The names of the fields on the wire.
        #[allow(non_upper_case_globals, dead_code, reason = "named as the fields are")]
        pub(super) mod name {
            $(pub(in super::super) const $field: &str = $name;)*
        }

        /// Every field, and the part of it that is salvaged.
        pub(super) const FIELDS: &[(&str, Damage)] = &[$(($name, Damage::$damage),)*];
    };
}

fields! {
    action = "action": Option<u32> => Option<u32>, Vital;
    id = "id": Option<Str> => Option<&'a str>, Lost;
    channel = "channel": Option<Str> => Option<&'a str>, Vital;
    channel_serial = "channelSerial": Option<Str> => Option<&'a str>, Lost;
    connection_id = "connectionId": Option<Str> => Option<&'a str>, Lost;
    msg_serial = "msgSerial": Option<u64> => Option<u64>, Lost;
    count = "count": Option<u64> => Option<u64>, Lost;
    flags = "flags": u64 => Option<u64>, Lost;
    timestamp = "timestamp": Option<Millis> => Option<Millis>, Lost;
    connection_details = "connectionDetails":
        Option<Box<ConnectionDetails>> => Option<&'a ConnectionDetails>, Members;
    error = "error": Option<Box<ErrorInfo>> => Option<&'a ErrorInfo>, Members;
    params = "params": Params => Option<&'a Params>, Members;
    auth = "auth": Option<Box<Auth>> => Option<Box<Auth>>, Members;
    res = "res": Vec<PublishResult> => Option<&'a [PublishResult]>, Results;
    messages = "messages": Vec<Message> => Option<&'a [Message]>, Items;
    presence = "presence": Vec<PresenceMessage> => Option<&'a [PresenceMessage]>, Items;
    annotations = "annotations": Vec<Annotation> => Option<&'a [Annotation]>, Items;
    state = "state": Vec<ObjectMessage> => Option<&'a [ObjectMessage]>, Items;
}

wire! {
    /// The `auth` of a frame.
    #[derive(Default)]
    pub(crate) struct Auth: Direct {
        access_token: Option<Str> = "accessToken", secret;
    }
}

impl<'a> FrameOut<'a> {
    fn new(action: Action) -> Self {
        Self { action: Some(action.number()), ..Self::default() }
    }

    fn on_channel(action: Action, channel: &'a Str) -> Self {
        Self { channel: Some(channel), ..Self::new(action) }
    }

    fn publish<T>(action: Action, publish: &'a Publish<T>) -> Self {
        Self {
            msg_serial: Some(publish.msg_serial),
            params: unless_empty(&publish.params),
            ..Self::on_channel(action, &publish.channel)
        }
    }

    fn delivery<T>(action: Action, delivery: &'a Delivery<T>) -> Self {
        Self {
            id: delivery.id.as_deref(),
            channel_serial: delivery.channel_serial.as_deref(),
            connection_id: delivery.connection_id.as_deref(),
            timestamp: delivery.timestamp,
            flags: unless_none(delivery.flags),
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
                Self { messages: Some(&publish.items), ..Self::publish(Action::Message, publish) }
            }
            ClientFrame::Presence(publish) => {
                Self { presence: Some(&publish.items), ..Self::publish(Action::Presence, publish) }
            }
            ClientFrame::Sync { channel } => Self::on_channel(Action::Sync, channel),
            ClientFrame::Annotation(publish) => Self {
                annotations: Some(&publish.items),
                ..Self::publish(Action::Annotation, publish)
            },
            ClientFrame::Object(publish) => {
                Self { state: Some(&publish.items), ..Self::publish(Action::Object, publish) }
            }
            ClientFrame::Auth(auth) => {
                let auth = Auth { access_token: Some(auth.access_token.clone()) };
                Self { auth: Some(Box::new(auth)), ..Self::new(Action::Auth) }
            }
            ClientFrame::Pong { id } => Self { id: id.as_deref(), ..Self::new(Action::Pong) },
            ClientFrame::Unknown { action } => Self { action: Some(*action), ..Self::default() },
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
                res: (!ack.res.is_empty()).then_some(&ack.res),
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
            ServerFrame::Message(delivery) => Self {
                messages: Some(&delivery.items),
                ..Self::delivery(Action::Message, delivery)
            },
            ServerFrame::Presence(delivery) => Self {
                presence: Some(&delivery.items),
                ..Self::delivery(Action::Presence, delivery)
            },
            ServerFrame::Sync(delivery) => {
                Self { presence: Some(&delivery.items), ..Self::delivery(Action::Sync, delivery) }
            }
            ServerFrame::Annotation(delivery) => Self {
                annotations: Some(&delivery.items),
                ..Self::delivery(Action::Annotation, delivery)
            },
            ServerFrame::Object(delivery) => {
                Self { state: Some(&delivery.items), ..Self::delivery(Action::Object, delivery) }
            }
            ServerFrame::ObjectSync(delivery) => Self {
                state: Some(&delivery.items),
                ..Self::delivery(Action::ObjectSync, delivery)
            },
            ServerFrame::Auth => Self::new(Action::Auth),
            ServerFrame::Ping { id } => Self { id: id.as_deref(), ..Self::new(Action::Ping) },
            ServerFrame::Unknown { action } => Self { action: Some(*action), ..Self::default() },
        }
    }
}

fn required<T>(value: Option<T>, field: &'static str) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::Missing { field })
}

impl FrameIn {
    pub(crate) fn client(&mut self) -> Result<ClientFrame, DecodeError> {
        let number = required(self.action, name::action)?;
        let Some(action) = Action::from_number(number) else {
            return Ok(ClientFrame::Unknown { action: number });
        };
        Ok(match action {
            Action::Heartbeat => ClientFrame::Heartbeat { id: self.id.take() },
            Action::Close => ClientFrame::Close,
            Action::Disconnect => ClientFrame::Disconnect,
            Action::Attach => ClientFrame::Attach(Attach {
                channel: required(self.channel.take(), name::channel)?,
                channel_serial: self.channel_serial.take(),
                flags: Flags(self.flags),
                params: mem::take(&mut self.params),
            }),
            Action::Detach => {
                ClientFrame::Detach { channel: required(self.channel.take(), name::channel)? }
            }
            Action::Message => {
                let items = mem::take(&mut self.messages);
                ClientFrame::Message(self.publish(items)?)
            }
            Action::Presence => {
                let items = mem::take(&mut self.presence);
                ClientFrame::Presence(self.publish(items)?)
            }
            Action::Sync => {
                ClientFrame::Sync { channel: required(self.channel.take(), name::channel)? }
            }
            Action::Annotation => {
                let items = mem::take(&mut self.annotations);
                ClientFrame::Annotation(self.publish(items)?)
            }
            Action::Object => {
                let items = mem::take(&mut self.state);
                ClientFrame::Object(self.publish(items)?)
            }
            Action::Auth => {
                let auth = required(self.auth.take(), name::auth)?;
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
        let number = required(self.action, name::action)?;
        let Some(action) = Action::from_number(number) else {
            return Ok(ServerFrame::Unknown { action: number });
        };
        let error = self.error.take().map(|error| *error);
        Ok(match action {
            Action::Heartbeat => ServerFrame::Heartbeat { id: self.id.take() },
            Action::Ack => ServerFrame::Ack(Ack {
                msg_serial: required(self.msg_serial, name::msg_serial)?,
                count: self.count.unwrap_or(1),
                res: mem::take(&mut self.res),
            }),
            Action::Nack => ServerFrame::Nack(Nack {
                msg_serial: required(self.msg_serial, name::msg_serial)?,
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
                channel: required(self.channel.take(), name::channel)?,
                channel_serial: self.channel_serial.take(),
                flags: Flags(self.flags),
                params: mem::take(&mut self.params),
                error,
            })),
            Action::Detached => ServerFrame::Detached {
                channel: required(self.channel.take(), name::channel)?,
                error,
            },
            Action::Message => {
                let items = mem::take(&mut self.messages);
                ServerFrame::Message(self.delivery(items)?)
            }
            Action::Presence => {
                let items = mem::take(&mut self.presence);
                ServerFrame::Presence(self.delivery(items)?)
            }
            Action::Sync => {
                let items = mem::take(&mut self.presence);
                ServerFrame::Sync(self.delivery(items)?)
            }
            Action::Annotation => {
                let items = mem::take(&mut self.annotations);
                ServerFrame::Annotation(self.delivery(items)?)
            }
            Action::Object => {
                let items = mem::take(&mut self.state);
                ServerFrame::Object(self.delivery(items)?)
            }
            Action::ObjectSync => {
                let items = mem::take(&mut self.state);
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
            channel: required(self.channel.take(), name::channel)?,
            msg_serial: required(self.msg_serial, name::msg_serial)?,
            items: items.into(),
            params: mem::take(&mut self.params),
        })
    }

    fn delivery<T>(&mut self, items: Vec<T>) -> Result<Delivery<T>, DecodeError> {
        Ok(Delivery {
            channel: required(self.channel.take(), name::channel)?,
            channel_serial: self.channel_serial.take(),
            id: self.id.take(),
            connection_id: self.connection_id.take(),
            timestamp: self.timestamp,
            flags: Flags(self.flags),
            items,
        })
    }
}
