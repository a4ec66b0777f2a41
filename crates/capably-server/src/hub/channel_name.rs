//! Channel names, with or without a qualifier: `[qualifier?params]name`.

use capably_protocol::{ErrorInfo, Str};

use super::error;

/// The channel that a name denotes: the name itself, or the part after a qualifier with parameters.
///
/// # Errors
/// Code 40010 for an invalid name, 40021 for a metachannel, 40000 for a name with a filter: a client can only attach
/// such a channel and read its history.
pub(crate) fn plain(name: &str) -> Result<&str, ErrorInfo> {
    let Some(Qualified { qualifier, name, .. }) = split(name)? else { return Ok(name) };
    if qualifier.is_empty() { Ok(name) } else { Err(error::filtered()) }
}

/// As [`plain`], for a name that outlives the call.
pub(crate) fn plain_str(name: &Str) -> Result<Str, ErrorInfo> {
    let plain = plain(name)?;
    Ok(if plain.len() == name.len() { name.clone() } else { plain.into() })
}

/// The qualifier of a filter, before the encoded expression.
pub(crate) const FILTER: &str = "filter=";

/// The parts of a name with a qualifier.
pub(crate) struct Qualified<'a> {
    /// `filter=…`, or empty.
    pub(crate) qualifier: &'a str,
    /// The part after the question mark.
    pub(crate) params: &'a str,
    pub(crate) name: &'a str,
}

/// Checks a name, and splits it if it has a qualifier.
///
/// # Errors
/// Code 40010 for an invalid name, 40021 for a metachannel.
pub(crate) fn split(name: &str) -> Result<Option<Qualified<'_>>, ErrorInfo> {
    let Some(rest) = name.strip_prefix('[') else {
        check(name)?;
        return Ok(None);
    };
    let Some((qualifier, name)) = rest.split_once(']') else {
        return Err(error::bad_channel_name("its qualifier is not closed"));
    };
    check(name)?;
    let (qualifier, params) = qualifier.split_once('?').unwrap_or((qualifier, ""));
    match qualifier {
        "meta" => Err(error::not_supported("metachannels are")),
        "" if params.is_empty() => Err(error::bad_channel_name("its qualifier is empty")),
        _ if qualifier.is_empty() || qualifier.starts_with(FILTER) => {
            Ok(Some(Qualified { qualifier, params, name }))
        }
        _ => Err(error::bad_channel_name("its qualifier is unknown")),
    }
}

/// Checks a name without a qualifier.
fn check(name: &str) -> Result<(), ErrorInfo> {
    let Some(first) = name.chars().next() else {
        return Err(error::bad_channel_name("it is empty"));
    };
    if name.contains(['\n', '\r']) {
        return Err(error::bad_channel_name("it contains a line break"));
    }
    match first {
        ':' | ',' => Err(error::bad_channel_name("it begins with `:` or `,`")),
        _ if first.is_whitespace() => Err(error::bad_channel_name("it begins with white space")),
        '[' => Err(error::bad_channel_name("it has two qualifiers")),
        _ => Ok(()),
    }
}
