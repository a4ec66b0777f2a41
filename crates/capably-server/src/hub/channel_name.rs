//! Channel names, with or without a qualifier: `[qualifier?params]name`.

use capably_protocol::{ErrorInfo, Str};

use super::{
    error,
    metachannel::{META, Metachannel},
};

/// The channel that a name denotes: the name itself, or the part after a qualifier with parameters.
///
/// # Errors
/// Code 40010 for an invalid name, 40021 for an unknown metachannel, 40160 for a known one, 40000 for a name with a filter:
/// a client can only attach such channels and read their history.
pub(crate) fn plain(name: &str) -> Result<&str, ErrorInfo> {
    let Some(Qualified { qualifier, name, .. }) = split(name)? else { return Ok(name) };
    match qualifier {
        "" => Ok(name),
        METACHANNEL => Err(error::metachannel()),
        _ => Err(error::filtered()),
    }
}

/// As [`plain`], for a name that outlives the call.
pub(crate) fn plain_str(name: &Str) -> Result<Str, ErrorInfo> {
    let plain = plain(name)?;
    Ok(if plain.len() == name.len() { name.clone() } else { plain.into() })
}

/// The qualifier of a filter, before the encoded expression.
pub(crate) const FILTER: &str = "filter=";

/// The qualifier of a metachannel.
pub(crate) const METACHANNEL: &str = "meta";

/// The parts of a name with a qualifier.
pub(crate) struct Qualified<'a> {
    /// `filter=…`, [`METACHANNEL`], or empty.
    pub(crate) qualifier: &'a str,
    /// The part after the question mark.
    pub(crate) params: &'a str,
    pub(crate) name: &'a str,
}

/// Checks a name, and splits it if it has a qualifier.
///
/// # Errors
/// Code 40010 for an invalid name, 40021 for a metachannel that the server does not have.
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
        METACHANNEL if Metachannel::of(&format!("{META}{name}")).is_none() => {
            Err(error::unknown_metachannel())
        }
        METACHANNEL => Ok(Some(Qualified { qualifier, params, name })),
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
