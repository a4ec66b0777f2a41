//! Payloads in the canonical form in which the log stores them.

use std::sync::Arc;

use capably_protocol::{Data, ErrorInfo, Str, encoding};

use crate::hub::error;

/// Converts a payload to canonical form: text, or bytes without base64.
///
/// # Errors
/// Code 40013 for data that does not match its encoding, and for a delta: the server makes deltas, and no subscriber
/// could apply one of a client.
pub(crate) fn canonicalize(data: &mut Data, encoding: &mut Option<Str>) -> Result<(), ErrorInfo> {
    if matches!(data, Data::Json(_)) {
        encoding::encode(data, encoding, None)?;
    }
    if encoding.as_deref().is_some_and(|steps| steps.split('/').any(|step| step == "vcdiff")) {
        return Err(error::published_delta());
    }
    encoding::strip_base64(data, encoding)
}

/// Takes the items of a frame. They are copied only if the frame is shared.
pub(crate) fn take_items<T: Clone + Default>(mut items: Arc<[T]>) -> Vec<T> {
    match Arc::get_mut(&mut items) {
        Some(items) => items.iter_mut().map(std::mem::take).collect(),
        None => items.to_vec(),
    }
}
