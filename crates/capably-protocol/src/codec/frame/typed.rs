//! Typed frames from the flat frame, and back: the tables of the fields that each typed frame has.
//!
//! A field has the same name in the typed frame and in the flat one. [`Part`] converts between its two types.

use std::mem;

use super::{Auth, FrameIn, FrameOut, name};
use crate::{
    ClientFrame, ConnectionDetails, ErrorInfo, Flags, Millis, PublishResult, ServerFrame, Str,
    codec::DecodeError,
    frame::{
        Ack, Action, Attach, Attached, AuthDetails, Connected, Delivery, ErrorFrame, Nack, Params,
        Publish,
    },
};

/// Declares the variants of a frame: those with fields of their own, those with a [`Typed`] struct, and those that
/// carry items, with the field of the items.
macro_rules! frames {
    (
        $frame:ident, $read:ident:
        fields { $($plain:ident { $($field:ident),* })* }
        structs { $($typed:ident)* }
        items { $($carrier:ident of $items:ident)* }
    ) => {
        impl $frame {
            /// Puts the fields into the flat frame, in place: a struct that is moved right after it was written in pieces
            /// makes the processor wait for those writes.
            #[inline(always)]
            pub(in crate::codec) fn put<'a>(&'a self, out: &mut FrameOut<'a>) {
                match self {
                    $(Self::$plain { $($field),* } => {
                        out.action = Some(Action::$plain.number());
                        $(out.$field = $field.put();)*
                    })*
                    $(Self::$typed(frame) => {
                        out.action = Some(Action::$typed.number());
                        frame.put(out);
                    })*
                    $(Self::$carrier(frame) => {
                        out.action = Some(Action::$carrier.number());
                        frame.put(out);
                        out.$items = Some(&frame.items);
                    })*
                    Self::Unknown { action } => out.action = Some(*action),
                }
            }
        }

        impl FrameIn {
            /// The typed frame; takes its fields out of `self`.
            pub(crate) fn $read(&mut self) -> Result<$frame, DecodeError> {
                let number = self.action.ok_or(DecodeError::Missing { field: name::action })?;
                Ok(match Action::from_number(number) {
                    $(Some(Action::$plain) => $frame::$plain {
                        $($field: Part::take(&mut self.$field, name::$field)?),*
                    },)*
                    $(Some(Action::$typed) => $frame::$typed(Typed::take(self)?),)*
                    $(Some(Action::$carrier) => {
                        let items = mem::take(&mut self.$items);
                        $frame::$carrier(Carrier::take(self, items)?)
                    })*
                    _ => $frame::Unknown { action: number },
                })
            }
        }
    };
}

frames! {
    ClientFrame, client:
    fields {
        Heartbeat { id }
        Close {}
        Disconnect {}
        Detach { channel }
        Sync { channel }
        ObjectSync { channel }
        Pong { id }
    }
    structs { Attach Auth }
    items {
        Message of messages
        Presence of presence
        Annotation of annotations
        Object of state
    }
}

frames! {
    ServerFrame, server:
    fields {
        Heartbeat { id }
        Disconnected { error }
        Closed {}
        Detached { channel, error }
        Auth {}
        Ping { id }
    }
    structs { Ack Nack Connected Error Attached }
    items {
        Message of messages
        Presence of presence
        Sync of presence
        Annotation of annotations
        Object of state
        ObjectSync of state
    }
}

/// A struct of some of the fields of a frame.
trait Typed: Sized {
    /// Puts the fields into the flat frame.
    fn put<'a>(&'a self, out: &mut FrameOut<'a>);
    /// Takes the fields out of the flat frame.
    fn take(from: &mut FrameIn) -> Result<Self, DecodeError>;
}

/// Declares the fields of a [`Typed`] struct; `or` gives the value of an absent field.
macro_rules! typed {
    ($($type:ident { $($field:ident $(or $default:literal)?),* })*) => {$(
        impl Typed for $type {
            #[inline(always)]
            fn put<'a>(&'a self, out: &mut FrameOut<'a>) {
                $(out.$field = self.$field.put();)*
            }

            fn take(from: &mut FrameIn) -> Result<Self, DecodeError> {
                $($(from.$field.get_or_insert($default);)?)*
                Ok(Self { $($field: Part::take(&mut from.$field, name::$field)?),* })
            }
        }
    )*};
}

typed! {
    Attach { channel, channel_serial, flags, params }
    Ack { msg_serial, count or 1, res }
    Nack { msg_serial, count or 1, error }
    Connected { connection_id, details, error }
    ErrorFrame { channel, error }
    Attached { channel, channel_serial, flags, params, error }
}

impl Typed for AuthDetails {
    fn put<'a>(&'a self, out: &mut FrameOut<'a>) {
        out.auth = Some(Box::new(Auth { access_token: Some(self.access_token.clone()) }));
    }

    fn take(from: &mut FrameIn) -> Result<Self, DecodeError> {
        let mut auth = from.auth.take().ok_or(DecodeError::Missing { field: name::auth })?;
        Ok(Self { access_token: Part::take(&mut auth.access_token, "accessToken")? })
    }
}

impl<T: Typed> Typed for Box<T> {
    fn put<'a>(&'a self, out: &mut FrameOut<'a>) {
        T::put(self, out);
    }

    fn take(from: &mut FrameIn) -> Result<Self, DecodeError> {
        T::take(from).map(Self::new)
    }
}

/// A frame that carries items.
trait Carrier<T>: Sized {
    /// Puts the fields into the flat frame, except for the items.
    fn put<'a>(&'a self, out: &mut FrameOut<'a>);
    /// Takes the fields out of the flat frame, except for the items.
    fn take(from: &mut FrameIn, items: Vec<T>) -> Result<Self, DecodeError>;
}

/// Declares the fields of a [`Carrier`].
macro_rules! carriers {
    ($($type:ident { $($field:ident),* })*) => {$(
        impl<T> Carrier<T> for $type<T> {
            #[inline(always)]
            fn put<'a>(&'a self, out: &mut FrameOut<'a>) {
                $(out.$field = self.$field.put();)*
            }

            fn take(from: &mut FrameIn, items: Vec<T>) -> Result<Self, DecodeError> {
                Ok(Self {
                    $($field: Part::take(&mut from.$field, name::$field)?,)*
                    items: items.into(),
                })
            }
        }
    )*};
}

carriers! {
    Publish { channel, msg_serial, params }
    Delivery { channel, channel_serial, id, connection_id, timestamp, flags }
}

/// A field of a typed frame, and its types in the flat frame.
trait Part: Sized {
    type Read;
    type Written<'a>
    where
        Self: 'a;

    /// The value to write.
    fn put(&self) -> Self::Written<'_>;
    /// Takes the value that was read out of its field.
    fn take(from: &mut Self::Read, name: &'static str) -> Result<Self, DecodeError>;
}

/// Declares a [`Part`]: its types, its value to write, and its value that was read.
macro_rules! parts {
    ($($type:ty: $read:ty => $written:ty;
        put($value:ident) $put:expr;
        take($from:ident) $take:expr;)*) => {$(
        impl Part for $type {
            type Read = $read;
            type Written<'a> = $written;

            #[inline(always)]
            fn put<'a>(&'a self) -> Self::Written<'a> {
                let $value = self;
                $put
            }

            #[inline(always)]
            fn take(from: &mut $read, _: &'static str) -> Result<Self, DecodeError> {
                let $from = from;
                Ok($take)
            }
        }
    )*};
}

parts! {
    Option<Str>: Self => Option<&'a Str>;
        put(text) text.as_ref();
        take(from) from.take();
    Option<Millis>: Self => Self;
        put(time) *time;
        take(from) *from;
    // Neither empty flags nor empty parameters are sent (TR4i, TR4q).
    Flags: u64 => Option<u64>;
        put(flags) (*flags != Self::NONE).then_some(flags.0);
        take(from) Self(*from);
    Params: Self => Option<&'a Self>;
        put(params) (!params.is_empty()).then_some(params);
        take(from) mem::take(from);
    Option<ErrorInfo>: Option<Box<ErrorInfo>> => Option<&'a ErrorInfo>;
        put(error) error.as_ref();
        take(from) from.take().map(|error| *error);
    Option<ConnectionDetails>: Option<Box<ConnectionDetails>> => Option<&'a ConnectionDetails>;
        put(details) details.as_ref();
        take(from) from.take().map(|details| *details);
    Vec<PublishResult>: Self => Option<&'a [PublishResult]>;
        put(results) (!results.is_empty()).then_some(results);
        take(from) mem::take(from);
}

impl Part for Str {
    type Read = Option<Self>;
    type Written<'a> = Option<&'a Self>;

    #[inline(always)]
    fn put(&self) -> Option<&Self> {
        Some(self)
    }

    #[inline(always)]
    fn take(from: &mut Option<Self>, field: &'static str) -> Result<Self, DecodeError> {
        from.take().ok_or(DecodeError::Missing { field })
    }
}

impl Part for u64 {
    type Read = Option<Self>;
    type Written<'a> = Option<Self>;

    #[inline(always)]
    fn put(&self) -> Option<Self> {
        Some(*self)
    }

    #[inline(always)]
    fn take(from: &mut Option<Self>, field: &'static str) -> Result<Self, DecodeError> {
        from.ok_or(DecodeError::Missing { field })
    }
}
