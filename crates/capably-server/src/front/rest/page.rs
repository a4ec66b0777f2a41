//! Pagination: the page that a query asks for, and links to other pages.

use capably_protocol::{ErrorInfo, Millis, Str};
use hyper::header;

use crate::{
    front::http::{query::Query, reply::Reply},
    hub::{Direction, PageQuery, error},
};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// The page that a query asks for, newest first by default.
///
/// # Errors
/// Code 40003 for a parameter whose value is not allowed.
pub(super) fn newest_first(query: &Query) -> Result<PageQuery, ErrorInfo> {
    parse(query, Direction::Backwards, limit(query)?)
}

/// The page that a query asks for, oldest first by default.
///
/// # Errors
/// As [`newest_first`].
pub(super) fn oldest_first(query: &Query) -> Result<PageQuery, ErrorInfo> {
    parse(query, Direction::Forwards, limit(query)?)
}

/// As [`newest_first`], for items with a time. The page ends at `now` by default, and so do the pages it links to:
/// items that come later would otherwise move the borders between pages.
///
/// # Errors
/// As [`newest_first`].
pub(super) fn of_the_past(query: &Query, now: Millis) -> Result<PageQuery, ErrorInfo> {
    let mut page = newest_first(query)?;
    // With a start in the future, the end must not be before it: the link would be refused.
    page.end.get_or_insert(page.start.map_or(now, |start| start.max(now)));
    Ok(page)
}

/// As [`oldest_first`], but a limit that is too large is lowered and not refused.
///
/// # Errors
/// As [`newest_first`].
pub(super) fn oldest_first_clamped(query: &Query) -> Result<PageQuery, ErrorInfo> {
    let limit = query.number("limit")?.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    parse(query, Direction::Forwards, limit)
}

fn limit(query: &Query) -> Result<usize, ErrorInfo> {
    let limit = query.number("limit")?.unwrap_or(DEFAULT_LIMIT);
    if limit > MAX_LIMIT { Err(limit_out_of_range()) } else { Ok(limit) }
}

fn limit_out_of_range() -> ErrorInfo {
    error::bad_parameter(format!("`limit` must be between 1 and {MAX_LIMIT}"))
}

fn parse(query: &Query, direction: Direction, limit: usize) -> Result<PageQuery, ErrorInfo> {
    if limit == 0 {
        return Err(limit_out_of_range());
    }
    let direction = match query.get("direction") {
        None => direction,
        Some("backwards") => Direction::Backwards,
        Some("forwards") => Direction::Forwards,
        Some(_) => {
            return Err(error::bad_parameter("`direction` must be `backwards` or `forwards`"));
        }
    };
    let (start, end) = (query.number("start")?, query.number("end")?);
    if let (Some(start), Some(end)) = (start, end)
        && start > end
    {
        return Err(error::bad_parameter("`start` must not be after `end`"));
    }
    let cursor = query.get("cursor").map(Str::from);
    Ok(PageQuery { direction, limit, start, end, cursor })
}

/// Adds links to the first page, to this page, and to the one at the cursor `next`.
pub(super) fn link(
    mut reply: Reply,
    resource: &str,
    query: &Query,
    page: &PageQuery,
    next: Option<&str>,
) -> Reply {
    let mut add = |relation, cursor| {
        let url = page_url(resource, query, page, cursor);
        reply.add_header(header::LINK, format!("<{url}>; rel=\"{relation}\""));
    };
    add("first", None);
    add("current", page.cursor.as_deref());
    if next.is_some() {
        add("next", next);
    }
    reply
}

/// The URL of a page, relative to the request's: `./messages?limit=10`.
fn page_url(resource: &str, query: &Query, page: &PageQuery, cursor: Option<&str>) -> String {
    // Leave credentials out of pagination links: they would end up in logs.
    let mut query = query
        .without(&["cursor", "limit", "key", "access_token", "accessToken"])
        .with("limit", &page.limit.to_string());
    if let Some(end) = page.end.filter(|_| query.get("end").is_none()) {
        query = query.with("end", &end.to_string());
    }
    if let Some(cursor) = cursor {
        query = query.with("cursor", cursor);
    }
    format!("./{resource}?{}", query.encode())
}
