//! Requests to an auth URL (RSA8c).

use bytes::Bytes;
use capably_protocol::{Format, TokenParams};

use super::{
    AuthMethod, TokenSource, credentials::AuthUrl, failed, failed_because, source::MAX_SIZE,
};
use crate::{
    Error, Result,
    http::{HttpMethod, HttpRequest, HttpResponse},
    rest::{Pipeline, Reply, append_pair},
};

/// Requests a token from the URL.
///
/// # Errors
/// Code 40170 without a response in time, for a response that is not a success, and for an invalid token (RSA4e,
/// RSA4f). The server's error is its cause.
pub(super) async fn fetch(
    pipeline: &Pipeline,
    url: &AuthUrl,
    params: &TokenParams,
) -> Result<TokenSource> {
    let response = pipeline.fetch(request(url, params)).await.map_err(|error| {
        failed(format!("the request to the auth server failed: {error}")).with_source(error)
    })?;
    read(response)
}

fn request(url: &AuthUrl, params: &TokenParams) -> HttpRequest {
    let mut pairs = url.params.clone();
    for (name, value) in params.to_query() {
        // A token parameter replaces an `auth_param` of the same name (RSA8c2).
        pairs.retain(|(known, _)| known != name);
        pairs.push((name.to_owned(), value));
    }
    let mut request = match url.method {
        AuthMethod::Get => HttpRequest::new(HttpMethod::Get, with_query(&url.url, &pairs)),
        AuthMethod::Post => HttpRequest::new(HttpMethod::Post, without_fragment(&url.url)),
    };
    request.headers.clone_from(&url.headers);
    let mut header = |name: &str, value: &str| {
        if request.header(name).is_none() {
            request.headers.push((name.to_owned(), value.to_owned()));
        }
    };
    header("Accept", "application/json, application/jwt, text/plain");
    if url.method == AuthMethod::Post {
        header("Content-Type", "application/x-www-form-urlencoded");
        request.body = Bytes::from(form(&pairs));
    }
    request
}

/// Adds the parameters to the URL. They replace parameters of the same name in the URL (RSA8c1c).
fn with_query(url: &str, pairs: &[(String, String)]) -> String {
    let url = without_fragment(url);
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let kept = query.split('&').filter(|part| {
        // The part is kept as it is: to decode and encode it could change its escapes.
        let decoded = form_urlencoded::parse(part.as_bytes()).next();
        decoded.is_some_and(|(name, _)| !pairs.iter().any(|(known, _)| *known == name))
    });
    let mut query = kept.collect::<Vec<_>>().join("&");
    for (name, value) in pairs {
        append_pair(&mut query, name, value);
    }
    if query.is_empty() { base.to_owned() } else { format!("{base}?{query}") }
}

fn without_fragment(url: &str) -> &str {
    url.split('#').next().unwrap_or_default()
}

fn form(pairs: &[(String, String)]) -> String {
    let mut form = String::new();
    for (name, value) in pairs {
        append_pair(&mut form, name, value);
    }
    form
}

fn read(response: HttpResponse) -> Result<TokenSource> {
    let status = response.status;
    let size = response.body.len();
    if size > MAX_SIZE {
        return Err(failed(format!(
            "the auth server answered with {size} bytes, which is more than the limit of {MAX_SIZE} for a token"
        )));
    }
    if (300..400).contains(&status) {
        return Err(redirected(&response));
    }
    if !(200..300).contains(&status) {
        let message = format!("the auth server answered with status {status}");
        return Err(match Reply::read(response, Format::Json, String::new()) {
            Err(cause) => failed_because(message, cause.into_info()),
            Ok(_) => failed(message),
        });
    }
    let kind = response.header("Content-Type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match &*kind {
        "application/json" => {
            serde_json::from_slice(&response.body).map(TokenSource::Json).map_err(|_| {
                failed("the auth server's answer has the content type JSON, but is not valid JSON")
            })
        }
        "text/plain" | "application/jwt" => match std::str::from_utf8(&response.body) {
            Ok(token) => Ok(TokenSource::Token(token.trim().into())),
            Err(_) => Err(failed("the auth server's answer is not UTF-8 text")),
        },
        "" => Err(failed("the auth server's answer has no content type")),
        _ => Err(failed(format!(
            "the auth server's answer has the content type `{}`; use `application/json`, \
             `application/jwt` or `text/plain`",
            kind.escape_debug()
        ))),
    }
}

/// The error for a redirect. The client does not follow it: the headers and parameters of the request are meant for the
/// server in the options.
fn redirected(response: &HttpResponse) -> Error {
    let target = response.header("Location").and_then(shown).unwrap_or_default();
    let to = if target.is_empty() { target } else { format!(" to `{target}`") };
    let status = response.status;
    failed(format!(
        "the auth server redirects{to} (status {status}), and redirects are not followed, because credentials \
         could reach another server"
    ))
    .with_remedy("set `auth_url` to the URL that returns the token")
}

/// The target of a redirect without user, password and query, which may be secret.
fn shown(location: &str) -> Option<String> {
    let path = location.split(['?', '#']).next()?;
    let (scheme, rest) = match path.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => match path.strip_prefix("//") {
            Some(rest) => ("//".to_owned(), rest),
            None => return Some(path.escape_debug().to_string()),
        },
    };
    let authority = rest.split('/').next()?;
    let host = authority.rsplit('@').next()?;
    Some(format!("{scheme}{host}{}", &rest[authority.len()..]).escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_refused_without_its_secrets() {
        for (location, told) in [
            (Some("https://u:hush@b.example/token?t=hush#hush"), " to `https://b.example/token`"),
            (Some("/login?session=hush"), " to `/login`"),
            (Some("//u:hush@b.example"), " to `//b.example`"),
            (Some(""), ""),
            (None, ""),
        ] {
            let headers = location.map(|to| ("Location".to_owned(), to.to_owned()));
            let headers = headers.into_iter().collect();
            let response = HttpResponse { status: 302, headers, body: Bytes::new() };
            let error = read(response).expect_err("it is no token");
            assert_eq!(error.code().0, 40170);
            let expected = format!("the auth server redirects{told} (status 302), and redirects");
            assert!(error.message().starts_with(&expected), "{error}");
            assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn parameters_join_the_query_and_go_before_their_namesakes() {
        for (url, given, expected) in [
            ("https://a/b", &[][..], "https://a/b"),
            ("https://a/b#c", &[("x", "1")], "https://a/b?x=1"),
            ("https://a/b?", &[("x", "1")], "https://a/b?x=1"),
            ("https://a?y=2&z", &[("x", "1 &")], "https://a?y=2&z&x=1%20%26"),
            ("https://a?x=0&y=2&x", &[("x", "1")], "https://a?y=2&x=1"),
            ("https://a?a%20b=0&a+b=1", &[("a b", "2")], "https://a?a%20b=2"),
            ("https://a?y=%2F", &[], "https://a?y=%2F"),
        ] {
            assert_eq!(with_query(url, &pairs(given)), expected);
        }
    }
}
