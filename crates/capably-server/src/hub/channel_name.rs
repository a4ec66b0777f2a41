//! Channel names.

use capably_protocol::ErrorInfo;

use super::error;

/// Checks a channel's name.
///
/// # Errors
/// Code 40010 for a name that no channel can have; 40021 for one that derives from another channel,
/// which this server does not do yet.
pub(super) fn validate(name: &str) -> Result<(), ErrorInfo> {
    let Some(first) = name.chars().next() else {
        return Err(error::bad_channel_name("it is empty"));
    };
    if name.contains(['\n', '\r']) {
        return Err(error::bad_channel_name("it contains a line break"));
    }
    match first {
        ':' | ',' => Err(error::bad_channel_name("it begins with `:` or `,`")),
        _ if first.is_whitespace() => Err(error::bad_channel_name("it begins with white space")),
        '[' => Err(qualified(name)),
        _ => Ok(()),
    }
}

/// Why a name with a qualifier is refused.
fn qualified(name: &str) -> ErrorInfo {
    let qualifier =
        name[1..].split_once(']').map(|(qualifier, rest)| (qualifier, !rest.is_empty()));
    match qualifier {
        Some((qualifier, true))
            if qualifier == "meta"
                || qualifier.starts_with("filter=")
                || qualifier.starts_with('?') =>
        {
            error::not_supported("channels with a qualifier are")
        }
        Some((_, true)) => error::bad_channel_name("its qualifier is unknown"),
        Some((_, false)) | None => error::bad_channel_name("its qualifier is malformed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_refused() {
        for name in ["", ":hell", "::", ",a", " a", "\ta", "a\nb", "[foo]bar", "[meta", "[meta]"] {
            assert_eq!(validate(name).unwrap_err().code.0, 40010, "{name:?}");
        }
        for name in ["[meta]a", "[filter=eA==]a", "[?rewind=1]a"] {
            assert_eq!(validate(name).unwrap_err().code.0, 40021, "{name:?}");
        }
    }

    #[test]
    fn names_that_are_taken() {
        for name in ["a", "a:b", "a/b?c#d%e", "ünï çødé 🚀", "a]b", "a,b", "a["] {
            assert_eq!(validate(name), Ok(()), "{name:?}");
        }
    }
}
