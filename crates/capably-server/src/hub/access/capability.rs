//! Capabilities in requests.

use capably_protocol::ErrorInfo;
pub(crate) use capably_protocol::{Capability, Operation};
use serde_json::Value;

use crate::hub::error;

/// Reads a capability from JSON text or an object. Returns the text, too.
///
/// # Errors
/// Code 40000 for another type, an unknown operation, or an empty list of operations.
pub(crate) fn read(value: &Value) -> Result<(Capability, String), ErrorInfo> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let asked: Capability = text.parse()?;
    let mut capability = Capability::new();
    for (resource, operations) in asked.resources() {
        let operations: Vec<_> = operations.map(known).collect::<Result<_, _>>()?;
        if operations.is_empty() || (operations.len() > 1 && operations.contains(&Operation::All)) {
            return Err(invalid());
        }
        capability = capability.allow(resource, operations);
    }
    Ok((capability, text))
}

fn known(operation: &Operation) -> Result<Operation, ErrorInfo> {
    match operation {
        Operation::Other(name) if *name == "stats" => Ok(Operation::Statistics),
        Operation::Other(_) => Err(invalid()),
        known => Ok(known.clone()),
    }
}

fn invalid() -> ErrorInfo {
    error::bad_request(
        "the operations of a capability are known names, at least one of them, or `*` alone",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn capabilities_are_read_from_text_and_from_objects() {
        let text = r#"{ "ns:*":["publish", "stats"], "one":"*" }"#;
        let (capability, read_text) = read(&json!(text)).unwrap();
        assert_eq!(read_text, text);
        assert_eq!(capability.to_string(), r#"{"ns:*":["publish","statistics"],"one":["*"]}"#);
        let (capability, text) = read(&json!({"*": ["*"]})).unwrap();
        assert_eq!((capability, &*text), (Capability::all(), r#"{"*":["*"]}"#));
    }

    #[test]
    fn invalid_capabilities_are_refused() {
        for value in [
            json!("nonsense"),
            json!([]),
            json!(1),
            json!({"a": []}),
            json!({"a": ["publish_"]}),
            json!({"a": ["*", "publish"]}),
            json!({"a": [1]}),
            json!({"a": {}}),
        ] {
            let error = read(&value).unwrap_err();
            assert_eq!((error.code.0, error.status_code), (40000, 400), "{value}");
        }
    }
}
