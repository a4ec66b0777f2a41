//! Structs that contain secrets.

use std::fmt::Debug;

use crate::Str;

/// Declares a struct whose `Debug` prints `[redacted]` in place of each field that is marked `secret`.
///
/// ```text
/// with_secrets! {
///     /// A token and its properties (TD1).
///     #[derive(Clone, Default)]
///     pub struct TokenDetails {
///         /// The token string (TD2).
///         pub token: Str, secret;
///         /// When it was issued, in ms since the epoch (TD4).
///         pub issued: Option<Millis>;
///     }
/// }
/// ```
macro_rules! with_secrets {
    (
        $(#[$attribute:meta])*
        $vis:vis struct $type:ident {
            $(
                $(#[$field_attribute:meta])*
                $field_vis:vis $field:ident: $field_type:ty $(, $mark:ident)?;
            )*
        }
    ) => {
        $(#[$attribute])*
        $vis struct $type {
            $($(#[$field_attribute])* $field_vis $field: $field_type,)*
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type))
                    $(.field(
                        stringify!($field),
                        &$crate::secret::with_secrets!(@debug self, $field $(, $mark)?),
                    ))*
                    .finish()
            }
        }
    };

    (@debug $self:ident, $field:ident, secret) => { $crate::secret::Secret::redacted(&$self.$field) };
    (@debug $self:ident, $field:ident $(, $mark:ident)?) => { $self.$field };
}
pub(crate) use with_secrets;

/// A type of field that may be secret.
pub(crate) trait Secret {
    /// The text that `Debug` prints. It shows whether an optional secret is present.
    fn redacted(&self) -> impl Debug;
}

impl Secret for Str {
    fn redacted(&self) -> impl Debug {
        "[redacted]"
    }
}

impl Secret for Option<Str> {
    fn redacted(&self) -> impl Debug {
        self.as_ref().map(Secret::redacted)
    }
}
