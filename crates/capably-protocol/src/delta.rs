//! The extras of a message whose payload came as a delta (DE).

use crate::{Message, Str};

/// The base message and the format of a delta (DE1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaExtras {
    /// The id of the message that the delta was made from (DE2a).
    pub from: Str,
    /// The format of the delta; so far it is always `vcdiff` (DE2b).
    pub format: Str,
}

impl Message {
    /// The base and format of the delta in its payload (TM2i); `None` when the payload came in full.
    pub fn delta(&self) -> Option<DeltaExtras> {
        let delta = self.extras.as_ref()?.get("delta")?;
        let text = |name| delta.get(name)?.as_str().map(Str::from);
        Some(DeltaExtras { from: text("from")?, format: text("format")? })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn extras(extras: Value) -> Message {
        Message { extras: extras.as_object().cloned(), ..Message::default() }
    }

    // Spec: DE1, DE2, DE2a, DE2b
    #[test]
    fn extras_say_what_a_delta_was_made_from() {
        let message = extras(json!({ "delta": { "from": "c:1:0", "format": "vcdiff" }, "x": 1 }));
        let delta = DeltaExtras { from: "c:1:0".into(), format: "vcdiff".into() };
        assert_eq!(message.delta(), Some(delta));
    }

    #[test]
    fn other_extras_say_nothing_of_a_delta() {
        assert_eq!(Message::default().delta(), None);
        for other in [
            json!({}),
            json!({ "delta": null }),
            json!({ "delta": "c:1:0" }),
            json!({ "delta": { "from": 1, "format": "vcdiff" } }),
            json!({ "delta": { "from": "c:1:0" } }),
            json!({ "delta": { "format": "vcdiff" } }),
        ] {
            assert_eq!(extras(other).delta(), None);
        }
    }
}
