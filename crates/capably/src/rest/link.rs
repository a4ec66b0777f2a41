//! `Link` headers: links to the other pages (RFC 8288, the part that pagination needs).

use capably_protocol::ErrorCode;

use crate::{Error, Result};

/// The targets of a page's links, as in the header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    pub(crate) first: Option<String>,
    pub(crate) current: Option<String>,
    pub(crate) next: Option<String>,
}

impl Links {
    /// Reads the values of `Link` headers. Skips text that is not a link.
    pub(crate) fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut links = Self::default();
        for value in values {
            let mut rest = value;
            while let Some((target, params, after)) = next_link(rest) {
                for relation in relations(params) {
                    let slot = match relation {
                        "first" => &mut links.first,
                        "current" => &mut links.current,
                        "next" => &mut links.next,
                        _ => continue,
                    };
                    slot.get_or_insert_with(|| target.to_owned());
                }
                rest = after;
            }
        }
        links
    }
}

/// The next `<target>; params` of a header, and the rest of the header.
fn next_link(text: &str) -> Option<(&str, &str, &str)> {
    let (_, text) = text.split_once('<')?;
    let (target, text) = text.split_once('>')?;
    let mut quoted = false;
    let end = text.find(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    let end = end.unwrap_or(text.len());
    Some((target.trim(), &text[..end], &text[end..]))
}

/// The values of `rel`: one or several, with or without quotes.
fn relations(params: &str) -> impl Iterator<Item = &str> {
    params
        .split(';')
        .filter_map(|param| param.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("rel"))
        .flat_map(|(_, value)| value.trim().trim_matches('"').split_ascii_whitespace())
}

/// Resolves a link against the target of the request, and returns path and query.
///
/// # Errors
/// Code 40000 for a link to another host: the next request would send the credentials there.
pub(crate) fn resolve(link: &str, base: &str, origin: &str) -> Result<String> {
    let path = base.split('?').next().unwrap_or_default();
    if let Some(rest) = link.strip_prefix(origin)
        && (rest.is_empty() || rest.starts_with(['/', '?']))
    {
        return Ok(if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") });
    }
    let scheme = link.split(['/', '?', '#']).next().is_some_and(|start| start.contains(':'));
    if scheme || link.starts_with("//") {
        let message = format!("the link to another page, `{link}`, leads to another host");
        return Err(Error::new(ErrorCode::BAD_REQUEST, 400, message).with_remedy(
            "check which server answers at the configured endpoint; it may be a proxy",
        ));
    }
    if link.starts_with('/') {
        return Ok(link.to_owned());
    }
    if link.is_empty() || link.starts_with('?') {
        return Ok(format!("{path}{link}"));
    }
    let mut folder: Vec<&str> = path.split('/').collect();
    folder.pop();
    let (relative, query) = match link.find('?') {
        Some(at) => link.split_at(at),
        None => (link, ""),
    };
    let mut segments = relative.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => {
                // The first segment is the empty text before the leading slash.
                if folder.len() > 1 {
                    folder.pop();
                }
            }
            name => {
                folder.push(name);
                continue;
            }
        }
        // A folder: its path ends with a slash.
        if segments.peek().is_none() {
            folder.push("");
        }
    }
    Ok(format!("{}{query}", folder.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> (Option<String>, Option<String>) {
        let links = Links::parse([value]);
        (links.next, links.first)
    }

    #[test]
    fn reads_the_forms_that_services_send() {
        let both = (Some("./m?c=1".to_owned()), Some("./m?a".to_owned()));
        assert_eq!(parse(r#"<./m?c=1>; rel="next", <./m?a>; rel="first""#), both);
        assert_eq!(parse("<./m?c=1>;rel=next,<./m?a>;rel=first"), both);
        assert_eq!(parse(r#"<./m?c=1>; title="a, <b>"; REL="next", <./m?a>; rel="first""#), both);
        assert_eq!(parse(r#"<./m?c=1,2>; rel="last next""#), (Some("./m?c=1,2".to_owned()), None));
        assert_eq!(parse("<a>; rel=next, <b>; rel=next"), (Some("a".to_owned()), None));
        let several =
            Links::parse([r#"<a>; rel="first""#, r#"<b>; rel="next""#, r#"<c>; rel="current""#]);
        assert_eq!(several.first.as_deref(), Some("a"));
        assert_eq!(several.next.as_deref(), Some("b"));
        assert_eq!(several.current.as_deref(), Some("c"));
    }

    #[test]
    fn passes_over_what_is_no_link() {
        for value in ["", "<", "<>", "nonsense", "<a>", "<a; rel=next", "<a>; rel", r#"<a>; rel=""#]
        {
            let links = Links::parse([value]);
            assert_eq!(links, Links::default(), "{value}");
        }
    }

    #[test]
    fn resolves_against_the_request() {
        let base = "/channels/a%2Fb/messages?limit=2";
        let origin = "https://a.example";
        for (link, expected) in [
            ("./messages?c=1", "/channels/a%2Fb/messages?c=1"),
            ("messages?c=1", "/channels/a%2Fb/messages?c=1"),
            ("?c=1", "/channels/a%2Fb/messages?c=1"),
            ("", "/channels/a%2Fb/messages"),
            ("/x?c=1", "/x?c=1"),
            ("../other?c=a:b", "/channels/other?c=a:b"),
            ("../../../../x", "/x"),
            ("../.", "/channels/"),
            ("./..?c=1", "/channels/?c=1"),
            ("../../..?c=1", "/?c=1"),
            ("https://a.example/x?c=1", "/x?c=1"),
            ("https://a.example?c=1", "/?c=1"),
        ] {
            assert_eq!(resolve(link, base, origin).expect(link), expected, "{link}");
        }
    }

    #[test]
    fn refuses_a_link_to_another_host() {
        for link in [
            "https://b.example/x",
            "http://a.example/x",
            "https://a.example.evil/x",
            "https://a.example@evil/x",
            "https://a.example:8443/x",
            "//b.example/x",
            "mailto:x",
        ] {
            let error = resolve(link, "/x", "https://a.example").expect_err(link);
            assert_eq!(error.code(), ErrorCode::BAD_REQUEST, "{link}");
            assert!(error.message().contains("another host"), "{error}");
        }
    }
}
