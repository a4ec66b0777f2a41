//! Enums that are numbers on the wire.

/// Declares an enum whose values are numbers on the wire. Its last variant has the numbers that this version does not
/// know: they are no error, and survive a round trip (RTF1).
///
/// ```text
/// numbered! {
///     /// Whether an annotation was made or removed (TAN2b).
///     pub enum AnnotationAction {
///         /// Made (0).
///         Create = 0,
///         /// Removed (1).
///         Delete = 1;
///         /// One this version does not know (RTF1), by its number.
///         Unknown(u32),
///     }
///     /// The action with this number; an unknown number is kept.
///     pub fn from_number;
/// }
/// ```
macro_rules! numbered {
    (
        $(#[$attribute:meta])*
        pub enum $type:ident {
            $($(#[$variant_attribute:meta])* $variant:ident = $number:literal),+;
            $(#[$unknown_attribute:meta])* Unknown(u32),
        }
        $(#[$from_attribute:meta])*
        pub fn from_number;
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[$variant_attribute])* $variant,)*
            $(#[$unknown_attribute])* Unknown(u32),
        }

        impl $type {
            /// The number on the wire.
            pub fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Unknown(number) => number,
                }
            }

            $(#[$from_attribute])*
            pub fn from_number(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    other => Self::Unknown(other),
                }
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_u32(self.number())
            }
        }
    };
}
pub(crate) use numbered;

/// Reads a [`numbered`] enum as a number, and makes it a type of field.
macro_rules! number_field {
    ($type:ty) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                $crate::lenient::integer_or_default(d).map(Self::from_number)
            }
        }

        impl $crate::wire::WriteField for Option<$type> {
            #[inline(always)]
            fn is_absent(&self) -> bool {
                self.is_none()
            }

            fn as_serde(&self) -> impl serde::Serialize {
                self
            }

            #[inline(always)]
            fn write<W: $crate::wire::Writer>(&self, w: &mut W) {
                self.map(<$type>::number).write(w);
            }
        }

        impl $crate::wire::ReadField for Option<$type> {
            fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                serde::Deserialize::deserialize(d)
            }

            fn read_json(
                &mut self,
                r: &mut $crate::codec::json::reader::JsonReader<'_>,
            ) -> Result<(), $crate::codec::Fault> {
                *self = r.integer().map(<$type>::from_number);
                if self.is_none() {
                    return r.field_by_serde(self);
                }
                Ok(())
            }

            #[inline(always)]
            fn read(
                &mut self,
                r: &mut $crate::codec::msgpack::reader::Reader<'_>,
            ) -> Result<(), $crate::codec::Fault> {
                *self = r.integer()?.map(<$type>::from_number);
                Ok(())
            }
        }
    };
}
pub(crate) use number_field;
