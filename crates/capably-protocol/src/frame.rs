//! Protocol messages, typed by their sender (TR).
//!
//! A [`ClientFrame`] goes from client to service, a [`ServerFrame`] the other way. Each variant has
//! only the fields its action uses, so a state machine never meets a frame with a missing part.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Annotation, ConnectionDetails, ErrorInfo, Flags, Message, Millis, ObjectMessage,
    PresenceMessage, PublishResult, Str, secret::with_secrets,
};

/// Channel or publish parameters, in a fixed order (RTL4k, TR4q).
pub type Params = BTreeMap<String, String>;

/// Declares the actions: for each its number on the wire and its name in the specification.
macro_rules! actions {
    ($($(#[$attribute:meta])* $action:ident = $number:literal, $name:literal;)*) => {
        /// The `action` of a frame (TR2).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Action {
            $($(#[$attribute])* $action = $number,)*
        }

        impl Action {
            /// The number on the wire.
            pub fn number(self) -> u32 {
                self as u32
            }

            /// The action with this number; `None` for an unknown number.
            pub fn from_number(number: u32) -> Option<Self> {
                Some(match number {
                    $($number => Self::$action,)*
                    _ => return None,
                })
            }

            /// The specification's name, such as `OBJECT_SYNC`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$action => $name,)*
                }
            }

            /// The action with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$action),)*
                    _ => None,
                }
            }
        }
    };
}

actions! {
    /// Keep-alive or ping.
    Heartbeat = 0, "HEARTBEAT";
    /// Frames were accepted.
    Ack = 1, "ACK";
    /// Frames were refused.
    Nack = 2, "NACK";
    /// Reserved.
    Connect = 3, "CONNECT";
    /// The connection is established.
    Connected = 4, "CONNECTED";
    /// The client is about to drop the transport.
    Disconnect = 5, "DISCONNECT";
    /// The service is about to drop the transport.
    Disconnected = 6, "DISCONNECTED";
    /// The client asks to end the connection.
    Close = 7, "CLOSE";
    /// The connection has ended.
    Closed = 8, "CLOSED";
    /// The connection or a channel failed.
    Error = 9, "ERROR";
    /// The client asks to attach.
    Attach = 10, "ATTACH";
    /// The channel is attached.
    Attached = 11, "ATTACHED";
    /// The client asks to detach.
    Detach = 12, "DETACH";
    /// The channel is detached.
    Detached = 13, "DETACHED";
    /// Presence messages.
    Presence = 14, "PRESENCE";
    /// Messages.
    Message = 15, "MESSAGE";
    /// A page of the presence set.
    Sync = 16, "SYNC";
    /// New credentials, or a request for them.
    Auth = 17, "AUTH";
    /// Push activation.
    Activate = 18, "ACTIVATE";
    /// Object operations.
    Object = 19, "OBJECT";
    /// A page of the objects' state.
    ObjectSync = 20, "OBJECT_SYNC";
    /// Annotations.
    Annotation = 21, "ANNOTATION";
    /// The service checks that the client's code still runs.
    Ping = 22, "PING";
    /// The client's code still runs.
    Pong = 23, "PONG";
}

/// A frame from client to service.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientFrame {
    /// A ping (with an id) or a keep-alive (RTN13).
    Heartbeat {
        /// Echoed by the service (RTN13e).
        id: Option<Str>,
    },
    /// Ends the connection (RTN12).
    Close,
    /// Drops the transport, keeping the connection's state.
    Disconnect,
    /// Attaches to a channel (RTL4c).
    Attach(Attach),
    /// Detaches from a channel (RTL5d).
    Detach {
        /// The channel's name.
        channel: Str,
    },
    /// Publishes messages (RTL6).
    Message(Publish<Message>),
    /// Sends presence messages (RTP).
    Presence(Publish<PresenceMessage>),
    /// Asks for the members of a channel again.
    Sync {
        /// The channel's name.
        channel: Str,
    },
    /// Publishes annotations (RTAN).
    Annotation(Publish<Annotation>),
    /// Publishes object operations (RTO15).
    Object(Publish<ObjectMessage>),
    /// Asks for the objects of a channel again.
    ObjectSync {
        /// The channel's name.
        channel: Str,
    },
    /// Presents a new token (RTC8a).
    Auth(AuthDetails),
    /// The answer to a PING (RTN23c1).
    Pong {
        /// The PING's id, or none if it had none (RTN23c2).
        id: Option<Str>,
    },
    /// A frame of an action that clients do not send, or that this version does not know; tolerated
    /// (RTF1).
    Unknown {
        /// The action's number.
        action: u32,
    },
}

/// A frame from service to client.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ServerFrame {
    /// A keep-alive, or the answer to a ping (RTN13, RTN23).
    Heartbeat {
        /// The ping's id (RTN13e).
        id: Option<Str>,
    },
    /// Frames were accepted (RTN7).
    Ack(Ack),
    /// Frames were refused (RTN7).
    Nack(Nack),
    /// The connection is established, resumed or updated (RTN6, RTN15c, RTN24).
    Connected(Box<Connected>),
    /// The service drops the transport (RTN15h).
    Disconnected {
        /// Why.
        error: Option<ErrorInfo>,
    },
    /// The connection has ended (RTN12a).
    Closed,
    /// The connection failed, or a channel did (RTN15j, RTL14).
    Error(ErrorFrame),
    /// A channel is attached (RTL4c, RTL12).
    Attached(Box<Attached>),
    /// A channel is detached (RTL5d, RTL13).
    Detached {
        /// The channel's name.
        channel: Str,
        /// Why, when the service decided it.
        error: Option<ErrorInfo>,
    },
    /// Messages on a channel.
    Message(Delivery<Message>),
    /// Presence messages on a channel.
    Presence(Delivery<PresenceMessage>),
    /// A page of a channel's presence set (RTP18).
    Sync(Delivery<PresenceMessage>),
    /// Annotations on a channel.
    Annotation(Delivery<Annotation>),
    /// Object operations on a channel.
    Object(Delivery<ObjectMessage>),
    /// A page of a channel's objects (RTO5).
    ObjectSync(Delivery<ObjectMessage>),
    /// The service asks for new credentials (RTN22).
    Auth,
    /// The service asks for a PONG, to learn whether the client's code still runs (RTN23c).
    Ping {
        /// To be sent back (RTN23c2).
        id: Option<Str>,
    },
    /// A frame of an action that services do not send, or that this version does not know; tolerated
    /// (RTF1).
    Unknown {
        /// The action's number.
        action: u32,
    },
}

impl ClientFrame {
    /// The action's number.
    pub fn action(&self) -> u32 {
        let action = match self {
            Self::Heartbeat { .. } => Action::Heartbeat,
            Self::Close => Action::Close,
            Self::Disconnect => Action::Disconnect,
            Self::Attach(_) => Action::Attach,
            Self::Detach { .. } => Action::Detach,
            Self::Message(_) => Action::Message,
            Self::Presence(_) => Action::Presence,
            Self::Sync { .. } => Action::Sync,
            Self::ObjectSync { .. } => Action::ObjectSync,
            Self::Annotation(_) => Action::Annotation,
            Self::Object(_) => Action::Object,
            Self::Auth(_) => Action::Auth,
            Self::Pong { .. } => Action::Pong,
            Self::Unknown { action } => return *action,
        };
        action.number()
    }

    /// The channel that the frame is about.
    pub fn channel(&self) -> Option<&Str> {
        match self {
            Self::Attach(attach) => Some(&attach.channel),
            Self::Detach { channel } | Self::Sync { channel } | Self::ObjectSync { channel } => {
                Some(channel)
            }
            Self::Message(publish) => Some(&publish.channel),
            Self::Presence(publish) => Some(&publish.channel),
            Self::Annotation(publish) => Some(&publish.channel),
            Self::Object(publish) => Some(&publish.channel),
            Self::Heartbeat { .. }
            | Self::Close
            | Self::Disconnect
            | Self::Auth(_)
            | Self::Pong { .. }
            | Self::Unknown { .. } => None,
        }
    }
}

impl ServerFrame {
    /// The action's number.
    pub fn action(&self) -> u32 {
        let action = match self {
            Self::Heartbeat { .. } => Action::Heartbeat,
            Self::Ack(_) => Action::Ack,
            Self::Nack(_) => Action::Nack,
            Self::Connected(_) => Action::Connected,
            Self::Disconnected { .. } => Action::Disconnected,
            Self::Closed => Action::Closed,
            Self::Error(_) => Action::Error,
            Self::Attached(_) => Action::Attached,
            Self::Detached { .. } => Action::Detached,
            Self::Message(_) => Action::Message,
            Self::Presence(_) => Action::Presence,
            Self::Sync(_) => Action::Sync,
            Self::Annotation(_) => Action::Annotation,
            Self::Object(_) => Action::Object,
            Self::ObjectSync(_) => Action::ObjectSync,
            Self::Auth => Action::Auth,
            Self::Ping { .. } => Action::Ping,
            Self::Unknown { action } => return *action,
        };
        action.number()
    }

    /// The channel that the frame is about.
    pub fn channel(&self) -> Option<&Str> {
        match self {
            Self::Error(frame) => frame.channel.as_ref(),
            Self::Attached(attached) => Some(&attached.channel),
            Self::Detached { channel, .. } => Some(channel),
            Self::Message(delivery) => Some(&delivery.channel),
            Self::Presence(delivery) | Self::Sync(delivery) => Some(&delivery.channel),
            Self::Annotation(delivery) => Some(&delivery.channel),
            Self::Object(delivery) | Self::ObjectSync(delivery) => Some(&delivery.channel),
            Self::Heartbeat { .. }
            | Self::Ack(_)
            | Self::Nack(_)
            | Self::Connected(_)
            | Self::Disconnected { .. }
            | Self::Closed
            | Self::Auth
            | Self::Ping { .. }
            | Self::Unknown { .. } => None,
        }
    }
}

/// An ATTACH.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attach {
    /// The channel's name.
    pub channel: Str,
    /// Where to continue from (RTL4c1).
    pub channel_serial: Option<Str>,
    /// Requested modes (RTL4l).
    pub flags: Flags,
    /// Requested parameters (RTL4k); not sent when empty.
    pub params: Params,
}

/// Items sent on a channel, to be acknowledged (RTN7b).
#[derive(Clone, Debug, PartialEq)]
pub struct Publish<T> {
    /// The channel's name.
    pub channel: Str,
    /// The frame's serial on its connection.
    pub msg_serial: u64,
    /// The items; shared, so that keeping them for a resend copies nothing (RTN19a).
    pub items: Arc<[T]>,
    /// Publish parameters (TR4q); not sent when empty.
    pub params: Params,
}

/// Items received on a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery<T> {
    /// The channel's name.
    pub channel: Str,
    /// The channel's position after this frame (RTL15b).
    pub channel_serial: Option<Str>,
    /// The frame's id, from which its items derive theirs (TM2a).
    pub id: Option<Str>,
    /// The sender's connection (TM2c).
    pub connection_id: Option<Str>,
    /// When the frame was made, in ms since the epoch (TM2f).
    pub timestamp: Option<Millis>,
    /// Flags.
    pub flags: Flags,
    /// The items.
    pub items: Vec<T>,
}

impl<T> Delivery<T> {
    /// A delivery of `items` on `channel`, all else absent.
    pub fn new(channel: impl Into<Str>, items: Vec<T>) -> Self {
        Self {
            channel: channel.into(),
            channel_serial: None,
            id: None,
            connection_id: None,
            timestamp: None,
            flags: Flags::NONE,
            items,
        }
    }
}

/// An ACK.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ack {
    /// The first frame acknowledged.
    pub msg_serial: u64,
    /// The number of frames, from the first on.
    pub count: u64,
    /// One result a frame (TR4s); may be absent.
    pub res: Vec<PublishResult>,
}

/// A NACK.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nack {
    /// The first frame refused.
    pub msg_serial: u64,
    /// The number of frames, from the first on.
    pub count: u64,
    /// Why.
    pub error: Option<ErrorInfo>,
}

/// A CONNECTED.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connected {
    /// The connection's id (RTN8).
    pub connection_id: Option<Str>,
    /// Limits, identity and the key to resume with (RTN21).
    pub details: Option<ConnectionDetails>,
    /// Why a resume did not succeed (RTN15c7), or an update came (RTN24).
    pub error: Option<ErrorInfo>,
}

/// An ERROR.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorFrame {
    /// The channel that failed; `None` means the connection. An empty name that is present on the wire
    /// is `Some("")`.
    pub channel: Option<Str>,
    /// Why.
    pub error: Option<ErrorInfo>,
}

/// An ATTACHED.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attached {
    /// The channel's name.
    pub channel: Str,
    /// Where the attachment starts (RTL15c).
    pub channel_serial: Option<Str>,
    /// Granted modes, and whether members, objects or a backlog follow.
    pub flags: Flags,
    /// The parameters recognised (RTL4k1).
    pub params: Params,
    /// Why continuity was lost (RTL12).
    pub error: Option<ErrorInfo>,
}

with_secrets! {
    /// Credentials in an AUTH (AD).
    #[derive(Clone, Default, PartialEq, Eq)]
    pub struct AuthDetails {
        /// The token string (AD2).
        pub access_token: Str, secret;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_number_and_a_name() {
        for number in 0..=23 {
            let action = Action::from_number(number).expect("a known number");
            assert_eq!(action.number(), number);
            assert_eq!(Action::from_name(action.name()), Some(action));
        }
        assert_eq!(Action::from_number(24), None);
        assert_eq!(Action::from_name("OBJECT_SYNC"), Some(Action::ObjectSync));
        assert_eq!(Action::from_name("Attach"), None);
    }
}
