//! The flat frame of the wire: one map with the fields of every action. Typed frames are made from it, and it from
//! them.

mod typed;

use std::mem;

use super::salvage::Damage;
use crate::{
    Annotation, ConnectionDetails, ErrorInfo, Message, Millis, ObjectMessage, PresenceMessage,
    PublishResult, Str,
    codec::{
        Fault,
        msgpack::reader::{Reader, two_actions},
    },
    frame::Params,
    wire::{Read, ReadField, Write, Writer, json_fields, key, wire, write_field},
};

/// Declares the fields of frames. A line has the name in Rust and on the wire, the type of the field as it is read,
/// which owns its value, the type as it is written, which borrows it, and the part that is salvaged when the field
/// cannot be read. A line's place is the field's place on the wire.
macro_rules! fields {
    ($($field:ident = $name:literal: $read:ty => $written:ty, $damage:ident;)*) => {
        /// Every field of a frame that was read.
        #[derive(Default)]
        pub(crate) struct FrameIn {
            $(pub(super) $field: $read,)*
        }

        json_fields! { FrameIn { $($field = $name;)* } }

        impl Read for FrameIn {
            fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
                let mut has_action = false;
                r.fields(|r, key| {
                    if key == name::action.as_bytes() && mem::replace(&mut has_action, true) {
                        return Err(two_actions());
                    }
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
                $(write_field(w, &mut map, key!($name), &self.$field);)*
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
    id = "id": Option<Str> => Option<&'a Str>, Lost;
    channel = "channel": Option<Str> => Option<&'a Str>, Vital;
    channel_serial = "channelSerial": Option<Str> => Option<&'a Str>, Lost;
    connection_id = "connectionId": Option<Str> => Option<&'a Str>, Lost;
    msg_serial = "msgSerial": Option<u64> => Option<u64>, Lost;
    count = "count": Option<u64> => Option<u64>, Lost;
    flags = "flags": u64 => Option<u64>, Lost;
    timestamp = "timestamp": Option<Millis> => Option<Millis>, Lost;
    details = "connectionDetails":
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
