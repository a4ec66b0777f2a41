//! One declaration for each type that is a map on the wire.
//!
//! [`wire!`] declares a struct together with its form on the wire, in both formats. A field has one line: its
//! name and type in Rust, its name on the wire, and at most one rule.
//!
//! ```text
//! wire! {
//!     /// A version of a message (TM2s).
//!     #[derive(Clone, Default, PartialEq)]
//!     pub struct MessageVersion: Direct {
//!         /// Identifies this version (TM2s1).
//!         pub serial: Option<Str> = "serial";
//!         /// Time of the change, in ms since the epoch (TM2s2).
//!         pub timestamp: Option<Millis> = "timestamp";
//!     }
//! }
//! ```
//!
//! **To add a field, add its line.** Its place among the lines is its place on the wire. The type decides how the
//! field is read and written: [`field`] has a table of the types, and a new type of field is one more
//! implementation of its traits. Everything else follows from the line: serde in both directions, the readers of
//! both formats, which read in place, the writer of both formats, and `Debug`.
//!
//! | rule after the name | effect |
//! |---|---|
//! | `secret` | `Debug` prints `[redacted]` |
//! | `steps_of(data)` | the field is the encoding of the payload `data`; the format's own step is appended to it |
//!
//! | word after the type | MessagePack |
//! |---|---|
//! | `Direct` | by our own reader and writer: for the types of which there are many |
//! | `Serde` | by rmp-serde: for types that are rare, or deep |
//!
//! A line `fn inherit(id, connection_id, timestamp);` after the struct names the fields that an item inherits from
//! the frame it came in, and makes the method.
//!
//! The fields of frames are in a table of their own, in [`codec::frame`](crate::codec::frame). Bodies of REST requests
//! that are one list of fields already, such as those of [`push`](crate::push), are declared with serde's derive.

pub(crate) mod field;
mod numbered;
mod objects;
mod payload;
mod writer;

use crate::codec::{Fault, json::reader::JsonReader, msgpack::reader::Reader};
pub(crate) use field::{ReadField, WriteField, write_field};
pub(crate) use numbered::{number_field, numbered};
pub(crate) use objects::EntryValue;
pub(crate) use payload::Steps;
pub(crate) use writer::{Key, Writer, key};

/// A type that our own codecs read and write field by field; [`wire!`] implements it.
pub trait Fields: Default {
    /// Reads the value of the field with this name on the wire; skips the value of an unknown field (RTF1).
    fn read_field(&mut self, r: &mut Reader<'_>, key: &[u8]) -> Result<(), Fault>;
    /// Writes every field that is present.
    fn write_fields<W: Writer>(&self, w: &mut W, map: &mut W::Map);
}

/// A type that is read from JSON field by field, in its place; [`json_fields!`] implements it.
///
/// Nearly always the fields come in the order of their declaration. Comparing the text with one name after the other is
/// then several times faster than finding the end of a name and its field.
pub trait JsonFields {
    /// Reads the fields that come next, as long as they come in the order of their declaration. Returns whether more
    /// members follow; otherwise the map is read to its end.
    fn read_json_in_order(&mut self, r: &mut JsonReader<'_>, seen: &mut u32)
    -> Result<bool, Fault>;

    /// Reads the value of the field with this name on the wire; skips the value of an unknown field (RTF1). `seen` has
    /// a bit for each field that was read before.
    fn read_json_field(
        &mut self,
        r: &mut JsonReader<'_>,
        name: &[u8],
        seen: &mut u32,
    ) -> Result<(), Fault>;
}

/// A type that reads itself from MessagePack.
pub trait Read: Default {
    /// Reads the next value into `self`, an empty one.
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault>;
}

/// A type that writes itself with any [`Writer`].
pub trait Write {
    /// Writes the value.
    fn write<W: Writer>(&self, w: &mut W);
}

impl<T: Fields> Read for T {
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        r.fields(|r, key| self.read_field(r, key))
    }
}

impl<T: Fields> Write for T {
    fn write<W: Writer>(&self, w: &mut W) {
        let mut map = w.begin_map();
        self.write_fields(w, &mut map);
        w.end_map(map);
    }
}

/// Declares a struct and its form on the wire: see the [module](self).
macro_rules! wire {
    (
        $(#[$attribute:meta])*
        $vis:vis struct $type:ident: $codec:ident {
            $(
                $(#[$field_attribute:meta])*
                $field_vis:vis $field:ident: $field_type:ty = $name:literal
                    $(, $rule:ident $(($of:ident))?)?;
            )*
        }
        $(
            $(#[$inherit_attribute:meta])*
            fn inherit($id:ident, $connection_id:ident, $timestamp:ident);
        )?
    ) => {
        $crate::secret::with_secrets! {
            $(#[$attribute])*
            #[derive(serde::Deserialize)]
            #[serde(default)]
            $vis struct $type {
                $(
                    $(#[$field_attribute])*
                    #[serde(rename = $name, deserialize_with = "crate::wire::ReadField::deserialize")]
                    $field_vis $field: $field_type $(, $rule)?;
                )*
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                #[allow(unused_imports, reason = "some structs have no fields")]
                use $crate::wire::WriteField;

                $(
                    let $field = $crate::wire::wire!(
                        @written self, s.is_human_readable(), $field $(, $rule $(($of))?)?
                    );
                )*
                let present = 0 $(+ usize::from(!$field.is_absent()))*;
                #[allow(unused_mut, reason = "some structs have no fields")]
                let mut map = s.serialize_struct(stringify!($type), present)?;
                $(
                    if $field.is_absent() {
                        map.skip_field($name)?;
                    } else {
                        map.serialize_field($name, &$field.as_serde())?;
                    }
                )*
                map.end()
            }
        }

        $crate::wire::wire! {
            @codec $codec $type { $($field = $name $(, $rule $(($of))?)?;)* }
        }

        $crate::wire::json_fields! { $type { $($field = $name;)* } }

        $(
            impl $type {
                $(#[$inherit_attribute])*
                pub fn inherit(
                    &mut self,
                    frame_id: Option<&$crate::Str>,
                    index: usize,
                    connection_id: Option<&$crate::Str>,
                    timestamp: Option<$crate::Millis>,
                ) {
                    if self.$id.is_none()
                        && let Some(frame_id) = frame_id
                    {
                        $crate::Str::put_numbered(&mut self.$id, frame_id, index);
                    }
                    if self.$connection_id.is_none() {
                        self.$connection_id = connection_id.cloned();
                    }
                    self.$timestamp = self.$timestamp.or(timestamp);
                }
            }
        )?
    };

    (@codec Serde $type:ident { $($fields:tt)* }) => {
        impl $crate::wire::Read for $type {
            fn read(
                &mut self,
                r: &mut $crate::codec::msgpack::reader::Reader<'_>,
            ) -> Result<(), $crate::codec::Fault> {
                *self = r.by_serde()?;
                Ok(())
            }
        }

        impl $crate::wire::Write for $type {
            fn write<W: $crate::wire::Writer>(&self, w: &mut W) {
                w.value(self);
            }
        }
    };
    (@codec Direct $type:ident {
        $($field:ident = $name:literal $(, $rule:ident $(($of:ident))?)?;)*
    }) => {
        #[allow(unused_variables, reason = "some structs have no fields")]
        impl $crate::wire::Fields for $type {
            // Keys are compared whole: the compiler makes a word or two of each. In a `match` on patterns of bytes it
            // would compare byte by byte.
            #[inline(always)]
            fn read_field(
                &mut self,
                r: &mut $crate::codec::msgpack::reader::Reader<'_>,
                key: &[u8],
            ) -> Result<(), $crate::codec::Fault> {
                $(
                    if key == $name.as_bytes() {
                        return $crate::wire::ReadField::read(&mut self.$field, r);
                    }
                )*
                r.skip()
            }

            #[inline(always)]
            fn write_fields<W: $crate::wire::Writer>(&self, w: &mut W, map: &mut W::Map) {
                $(
                    $crate::wire::write_field(
                        w,
                        map,
                        $crate::wire::key!($name),
                        &$crate::wire::wire!(
                            @written self, W::FOR_PEOPLE, $field $(, $rule $(($of))?)?
                        ),
                    );
                )*
            }
        }
    };

    // The value of a field as it is written.
    (@written $self:ident, $for_people:expr, $field:ident, steps_of($data:ident)) => {
        $crate::wire::Steps::of(&$self.$data, $self.$field.as_deref(), $for_people)
    };
    (@written $self:ident, $for_people:expr, $field:ident $(, secret)?) => { &$self.$field };
}
pub(crate) use wire;

/// Implements [`JsonFields`].
macro_rules! json_fields {
    ($type:ty { $($field:ident = $name:literal;)* }) => {
        #[allow(
            unused_mut,
            unused_variables,
            unused_assignments,
            reason = "no field follows the last one, and some structs have none"
        )]
        impl $crate::wire::JsonFields for $type {
            // Names are compared whole: the compiler makes a word or two of each.
            #[inline(always)]
            fn read_json_in_order(
                &mut self,
                r: &mut $crate::codec::json::reader::JsonReader<'_>,
                seen: &mut u32,
            ) -> Result<bool, $crate::codec::Fault> {
                let mut number = 0;
                $(
                    if r.eat_key($crate::wire::key!($name)) {
                        r.once(seen, number, $name)?;
                        $crate::wire::ReadField::read_json(&mut self.$field, r)?;
                        if !r.more_members()? {
                            return Ok(false);
                        }
                    }
                    number += 1;
                )*
                Ok(true)
            }

            fn read_json_field(
                &mut self,
                r: &mut $crate::codec::json::reader::JsonReader<'_>,
                name: &[u8],
                seen: &mut u32,
            ) -> Result<(), $crate::codec::Fault> {
                let mut number = 0;
                $(
                    if name == $name.as_bytes() {
                        r.once(seen, number, $name)?;
                        return $crate::wire::ReadField::read_json(&mut self.$field, r);
                    }
                    number += 1;
                )*
                r.skip()
            }
        }
    };
}
pub(crate) use json_fields;
