//! Items that were deserialized elsewhere, such as by a webhook (TM3, TP4, TAN3).

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Annotation, CipherParams, ErrorInfo, Message, PresenceMessage, encoding, lenient::FromMap,
};

macro_rules! from_encoded {
    ($($type:ident, $point:literal, $name:literal;)*) => {$(
        impl $type {
            #[doc = concat!("Makes ", $name, " of its JSON form, and decodes its payload (", $point, ").")]
            ///
            /// Steps that cannot be undone stay in `encoding` (RSL6b).
            ///
            /// # Errors
            /// Code 40013 when the JSON has another form.
            pub fn from_encoded(
                value: Value,
                cipher: Option<&CipherParams>,
            ) -> Result<Self, ErrorInfo> {
                let FromMap(mut item) = FromMap::<Self>::deserialize(value).map_err(|error| {
                    encoding::invalid(format!(concat!("this is not ", $name, ": {}"), error))
                })?;
                // A step that cannot be undone stays in `encoding`, where the caller finds it.
                let _ = encoding::decode(&mut item.data, &mut item.encoding, cipher);
                Ok(item)
            }

            #[doc = concat!("As [`from_encoded`](Self::from_encoded), for an array (", $point, ").")]
            ///
            /// # Errors
            /// Code 40013 when the JSON has another form.
            pub fn from_encoded_array(
                value: Value,
                cipher: Option<&CipherParams>,
            ) -> Result<Vec<Self>, ErrorInfo> {
                let Value::Array(values) = value else {
                    return Err(encoding::invalid("this is not an array"));
                };
                values.into_iter().map(|value| Self::from_encoded(value, cipher)).collect()
            }
        }
    )*};
}

from_encoded! {
    Message, "TM3", "a message";
    PresenceMessage, "TP4", "a presence message";
    Annotation, "TAN3", "an annotation";
}
