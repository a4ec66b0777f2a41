//! History: pages of what a channel's log holds.

use capably_protocol::{ErrorInfo, Message, Str};

use super::{Channel, view::View};
use crate::hub::{Direction, Page, PageQuery, error, log::position::Position};

/// What history is asked for (RSL2b).
#[derive(Clone, Debug)]
pub(crate) struct HistoryQuery {
    pub(crate) page: PageQuery,
    /// Not after this channel serial (RTL10b).
    pub(crate) from_serial: Option<Str>,
}

/// A page of what a channel's log holds, or of what the view shows of it: every message once, in its latest
/// version.
///
/// # Errors
/// Code 40003 when a serial in the query is not one.
pub(crate) fn page(
    channel: &Channel,
    view: Option<&View>,
    query: &HistoryQuery,
) -> Result<Page<Message>, ErrorInfo> {
    let until = read_serial(query.from_serial.as_ref(), "from_serial")?;
    let cursor = read_serial(query.page.cursor.as_ref(), "cursor")?;
    let entries = channel.log.iter().filter(|entry| {
        entry.is_creation()
            && query.page.covers(entry.timestamp())
            && until.is_none_or(|(until, _)| entry.position() <= until)
    });
    let wanted: Box<dyn Iterator<Item = _>> = match query.page.direction {
        Direction::Forwards => Box::new(
            entries
                .flat_map(|entry| (0..entry.items().len()).map(move |index| (entry, index)))
                .skip_while(|(entry, index)| {
                    cursor.is_some_and(|cursor| (entry.position(), *index) <= cursor)
                }),
        ),
        Direction::Backwards => Box::new(
            entries
                .rev()
                .flat_map(|entry| (0..entry.items().len()).rev().map(move |index| (entry, index)))
                .skip_while(|(entry, index)| {
                    cursor.is_some_and(|cursor| (entry.position(), *index) >= cursor)
                }),
        ),
    };
    let filter = view.and_then(|view| view.filter.as_ref());
    let mut wanted = wanted
        .filter_map(|(entry, index)| channel.latest_of(entry, index))
        .filter(|message| filter.is_none_or(|filter| filter.matches(message)));
    let items: Vec<Message> = wanted.by_ref().take(query.page.limit).collect();
    let next = wanted.next().and_then(|_| items.last()).and_then(|message| message.serial.clone());
    Ok(Page { items, next })
}

fn read_serial(
    serial: Option<&Str>,
    parameter: &str,
) -> Result<Option<(Position, usize)>, ErrorInfo> {
    serial
        .map(|serial| {
            Position::parse_message(serial)
                .ok_or_else(|| error::bad_parameter(format!("`{parameter}` is not a serial")))
        })
        .transpose()
}
