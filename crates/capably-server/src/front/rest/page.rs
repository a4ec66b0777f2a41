//! Pagination: what a query asks for, and links to other pages.

use capably_protocol::{ErrorInfo, Millis, Str};
use hyper::header;

use crate::front::{query::Query, reply::Reply};
use crate::hub::{Direction, PageQuery, error};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// The part of a list that a query asks for, newest first unless it says otherwise.
///
/// # Errors
/// Code 40003 for a parameter whose value is not allowed.
pub(crate) fn query(query: &Query) -> Result<PageQuery, ErrorInfo> {
    query_with(query, Direction::Backwards)
}

/// As [`query`], of a list in time: it ends at `now` unless the query says when. Links to its pages say so, too, so
/// that what comes later moves none of them.
///
/// # Errors
/// As [`query`].
pub(crate) fn timed_query(query: &Query, now: Millis) -> Result<PageQuery, ErrorInfo> {
    let mut page = self::query(query)?;
    // A page that starts in the future is empty, and so are those that it links to.
    page.end.get_or_insert(page.start.map_or(now, |start| start.max(now)));
    Ok(page)
}

/// As [`query`], with another direction when it does not say.
///
/// # Errors
/// As [`query`].
pub(crate) fn query_with(query: &Query, direction: Direction) -> Result<PageQuery, ErrorInfo> {
    let limit = query.number("limit")?.unwrap_or(DEFAULT_LIMIT);
    if limit > MAX_LIMIT {
        return Err(out_of_range());
    }
    limited(query, direction, limit)
}

/// As [`query_with`], oldest first; a limit that is too large stands for the largest.
///
/// # Errors
/// As [`query`].
pub(crate) fn query_clamped(query: &Query) -> Result<PageQuery, ErrorInfo> {
    let limit = query.number("limit")?.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    limited(query, Direction::Forwards, limit)
}

fn out_of_range() -> ErrorInfo {
    error::bad_parameter(format!("`limit` is not between 1 and {MAX_LIMIT}"))
}

fn limited(query: &Query, direction: Direction, limit: usize) -> Result<PageQuery, ErrorInfo> {
    if limit == 0 {
        return Err(out_of_range());
    }
    let direction = match query.get("direction") {
        None => direction,
        Some("backwards") => Direction::Backwards,
        Some("forwards") => Direction::Forwards,
        Some(_) => {
            return Err(error::bad_parameter("`direction` is neither `backwards` nor `forwards`"));
        }
    };
    let (start, end) = (query.number("start")?, query.number("end")?);
    if let (Some(start), Some(end)) = (start, end)
        && start > end
    {
        return Err(error::bad_parameter("`start` is after `end`"));
    }
    let cursor = query.get("cursor").map(Str::from);
    Ok(PageQuery { direction, limit, start, end, cursor })
}

/// The reply with its links: to the first page, to itself, and to the next if there is one.
pub(crate) fn linked(
    mut reply: Reply,
    word: &str,
    query: &Query,
    page: &PageQuery,
    next: Option<&str>,
) -> Reply {
    for (relation, cursor) in
        [("first", Some(None)), ("current", Some(page.cursor.as_deref())), ("next", next.map(Some))]
    {
        if let Some(cursor) = cursor {
            let link = link(word, relation, query, page, cursor);
            reply = reply.header(header::LINK, link);
        }
    }
    reply
}

/// A relative link to a page, as pagination gives them: `<./messages?limit=10>; rel="first"`.
fn link(
    word: &str,
    relation: &str,
    query: &Query,
    page: &PageQuery,
    cursor: Option<&str>,
) -> String {
    // Credentials do not belong into links.
    let mut query = query
        .without(&["cursor", "limit", "key", "access_token", "accessToken"])
        .with("limit", &page.limit.to_string());
    if let Some(end) = page.end.filter(|_| query.get("end").is_none()) {
        query = query.with("end", &end.to_string());
    }
    if let Some(cursor) = cursor {
        query = query.with("cursor", cursor);
    }
    format!("<./{word}?{}>; rel=\"{relation}\"", query.encode())
}
