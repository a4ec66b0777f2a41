//! Errors of calls on objects, with their codes.

use capably_protocol::{ErrorCode, ErrorInfo};

use crate::Path;

/// RTPO3c2
pub(crate) fn no_value_at(path: &Path) -> ErrorInfo {
    let message = format!("there is no value at the path `{path}`; set its parent's key first");
    ErrorInfo::new(ErrorCode::NO_OBJECTS_AT_PATH, 400, message)
}

/// RTPO15e, RTPO17e, RTINS12d, RTINS14d
pub(crate) fn not_a(wanted: &str, found: &str, place: Place<'_>) -> ErrorInfo {
    let place = match place {
        Place::Path(path) => format!("at the path `{path}` is"),
        Place::Object(id) => format!("the object `{id}` is"),
        Place::Value => "this is".to_owned(),
    };
    let message = format!("the operation needs a {wanted}, and {place} a {found}");
    ErrorInfo::new(ErrorCode::OBJECT_OPERATION_PATH_NOT_PROCESSABLE, 400, message)
}

/// Where an operation has found a value of the wrong type.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Path(&'a Path),
    Object(&'a str),
    /// A value that stands nowhere.
    Value,
}

/// RTINS
pub(crate) fn no_object(id: &str) -> ErrorInfo {
    let message = format!("the object `{id}` does not exist, or not any more; get it by its path");
    ErrorInfo::new(ErrorCode::OBJECT_NOT_FOUND, 404, message)
}

/// RTLC12e1, RTLCV4a
pub(crate) fn not_finite(what: &str, number: f64) -> ErrorInfo {
    let message = format!("{what} must be a finite number, and this is {number}");
    ErrorInfo::new(ErrorCode::INVALID_PARAMETER_VALUE, 400, message)
}

/// RTLMV4c
pub(crate) fn unsupported(key: &str, why: &str) -> ErrorInfo {
    let message = format!("the value of `{key}` cannot be stored: {why}");
    ErrorInfo::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message)
}

/// RTPO19c1a
pub(crate) fn depth_is_zero() -> ErrorInfo {
    let message = "the depth of a subscription must be 1 or more; omit it for any depth";
    ErrorInfo::new(ErrorCode::INVALID_PARAMETER_VALUE, 400, message)
}
