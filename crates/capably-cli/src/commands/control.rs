//! Requests of the commands `apps` and `rules`. Only a server of `capably serve` answers them: Ably's own service has a control API
//! for these.

use std::path::Path;

use serde_json::Value;

use crate::{data_options::read_file, failure::Failure, service::Service, visible::visible};

/// Checks that the command is about a server of `capably serve`.
pub(super) fn require_endpoint(service: &Service) -> Result<(), Failure> {
    if service.endpoint().is_some() {
        return Ok(());
    }
    Err(Failure::usage("the server is missing")
        .remedy("name a server of `capably serve` with --endpoint or CAPABLY_ENDPOINT"))
}

/// Reads the JSON of a file; `-` is standard input.
pub(super) fn json_file(path: &Path) -> Result<Value, Failure> {
    serde_json::from_slice(&read_file(path)?)
        .map_err(|error| Failure::usage(format!("the file is not JSON: {error}")))
}

/// A text of an answer, as it is printed.
pub(super) fn text(value: &Value) -> String {
    visible(value.as_str().unwrap_or("-")).into_owned()
}

/// Whether an id of an app or a rule can be in a path.
pub(super) fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !text.is_empty() && text.bytes().all(plain)
}
