//! Channel names, and what a qualifier in front of one says: `[qualifier?params]name`.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use capably_protocol::{ErrorInfo, Str, frame::Params};
use percent_encoding::percent_decode_str;

use super::{filter::Filter, view::View};
use crate::hub::error;

/// The channel that a name stands for: the name itself, or what follows its parameters.
///
/// # Errors
/// Code 40010 for a name that no channel can have, 40021 for a metachannel, 40000 for one with a filter: that
/// can only be attached and its history read.
pub(crate) fn plain(name: &str) -> Result<&str, ErrorInfo> {
    let Some(Qualified { qualifier, name, .. }) = split(name)? else { return Ok(name) };
    if qualifier.is_empty() { Ok(name) } else { Err(error::filtered()) }
}

/// As [`plain`], for a name that is to be kept.
pub(crate) fn plain_str(name: &Str) -> Result<Str, ErrorInfo> {
    let plain = plain(name)?;
    Ok(if plain.len() == name.len() { name.clone() } else { plain.into() })
}

/// The view that a name with a qualifier stands for; none for the name of a channel.
///
/// # Errors
/// Code 40010 for a name that no channel can have, 40021 for a metachannel.
pub(crate) fn view(name: &str) -> Result<Option<View>, ErrorInfo> {
    let Some(Qualified { qualifier, params, name: base }) = split(name)? else { return Ok(None) };
    let filter = qualifier.strip_prefix(FILTER).map(filter).transpose()?;
    let resource = match filter {
        Some(_) => format!("[{qualifier}]{base}").into(),
        None => base.into(),
    };
    let params = read_params(params)?;
    Ok(Some(View { name: name.into(), base: base.into(), resource, filter, params }))
}

const FILTER: &str = "filter=";

/// A name with a qualifier, taken apart.
struct Qualified<'a> {
    /// `filter=…`, or nothing.
    qualifier: &'a str,
    /// What follows the question mark, if there is one.
    params: &'a str,
    name: &'a str,
}

/// Takes a name apart if it has a qualifier, and checks it.
fn split(name: &str) -> Result<Option<Qualified<'_>>, ErrorInfo> {
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

fn filter(encoded: &str) -> Result<Filter, ErrorInfo> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let expression = GeneralPurpose::new(&STANDARD, config).decode(encoded);
    let expression = expression.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let expression = expression
        .ok_or_else(|| error::bad_channel_name("its filter is not base64 of an expression"))?;
    Filter::new(&expression).map_err(|problem| {
        error::bad_channel_name(&format!(
            "its filter is no JMESPath expression to filter by: {problem}"
        ))
    })
}

fn read_params(query: &str) -> Result<Params, ErrorInfo> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8().map(String::from)
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name)?, decode(value)?))
    });
    pairs
        .collect::<Result<_, std::str::Utf8Error>>()
        .map_err(|_| error::bad_channel_name("its parameters are not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_refused() {
        for name in ["", ":hell", "::", ",a", " a", "\ta", "a\nb"] {
            assert_eq!(plain(name).unwrap_err().code.0, 40010, "{name:?}");
            assert_eq!(view(name).unwrap_err().code.0, 40010, "{name:?}");
        }
        for (name, code) in [
            ("[foo]bar", 40010),
            ("[meta", 40010),
            ("[meta]", 40010),
            ("[]a", 40010),
            ("[?rewind=1]:a", 40010),
            ("[?rewind=1][?rewind=1]a", 40010),
            ("[meta]a", 40021),
            ("[meta?rewind=1]a", 40021),
        ] {
            assert_eq!(plain(name).unwrap_err().code.0, code, "{name:?}");
            assert_eq!(view(name).unwrap_err().code.0, code, "{name:?}");
        }
        for name in ["[filter=]a", "[filter=%]a", "[filter=/w==]a", "[filter=KA==]a", "[?a=%FF]a"] {
            assert_eq!(view(name).unwrap_err().code.0, 40010, "{name:?}");
        }
        assert_eq!(plain("[filter=bmFtZQ==]a").unwrap_err().code.0, 40000);
    }

    #[test]
    fn names_that_are_taken() {
        for name in ["a", "a:b", "a/b?c#d%e", "ünï çødé 🚀", "a]b", "a,b", "a["] {
            assert_eq!(plain(name), Ok(name));
            assert!(view(name).unwrap().is_none(), "{name:?}");
        }
        assert_eq!(plain("[?rewind=1]a]b"), Ok("a]b"));
    }

    #[test]
    fn a_qualifier_is_taken_apart() {
        let plain = view("[?rewind=15s&a%20b=c+d&flag]ns:a").unwrap().unwrap();
        assert_eq!((&*plain.base, &*plain.resource), ("ns:a", "ns:a"));
        assert!(plain.filter.is_none());
        let params = [("a b", "c d"), ("flag", ""), ("rewind", "15s")];
        let params = params.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(plain.params, Params::from(params));
        // The padding can be left out.
        for name in ["[filter=bmFtZQ==?rewind=1]a", "[filter=bmFtZQ?rewind=1]a"] {
            let filtered = view(name).unwrap().unwrap();
            assert_eq!((&*filtered.name, &*filtered.base), (name, "a"));
            assert_eq!(*filtered.resource, *name.replace("?rewind=1", ""));
            assert!(filtered.filter.is_some());
            assert_eq!(filtered.params["rewind"], "1");
        }
    }
}
