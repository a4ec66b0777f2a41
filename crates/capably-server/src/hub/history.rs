//! History: pages of what a channel's log holds.

use capably_protocol::{ErrorInfo, Message, Millis, Str};

use super::{error, log::Log, serial::Position};

/// Which way a page goes through time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Newest first.
    #[default]
    Backwards,
    /// Oldest first.
    Forwards,
}

/// What history is asked for (RSL2b).
#[derive(Clone, Debug)]
pub(crate) struct HistoryQuery {
    pub(crate) direction: Direction,
    /// Most messages on a page.
    pub(crate) limit: usize,
    /// Not before this time, in ms since the epoch.
    pub(crate) start: Option<Millis>,
    /// Not after this time, in ms since the epoch.
    pub(crate) end: Option<Millis>,
    /// Not after this channel serial (RTL10b).
    pub(crate) from_serial: Option<Str>,
    /// The serial of the last message of the page before.
    pub(crate) cursor: Option<Str>,
}

/// A page of history.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HistoryPage {
    pub(crate) messages: Vec<Message>,
    /// The cursor of the page that follows, if there is one.
    pub(crate) next: Option<Str>,
}

/// A page of what the log holds.
///
/// # Errors
/// Code 40003 when a serial in the query is not one.
pub(super) fn page(log: &Log, query: &HistoryQuery) -> Result<HistoryPage, ErrorInfo> {
    let until = read_serial(query.from_serial.as_ref(), "from_serial")?;
    let cursor = read_serial(query.cursor.as_ref(), "cursor")?;
    let entries = log.iter().filter(|entry| {
        query.start.is_none_or(|start| entry.timestamp() >= start)
            && query.end.is_none_or(|end| entry.timestamp() <= end)
            && until.is_none_or(|(until, _)| entry.position() <= until)
    });
    let mut wanted: Box<dyn Iterator<Item = _>> = match query.direction {
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
    let messages: Vec<Message> = wanted
        .by_ref()
        .take(query.limit)
        .filter_map(|(entry, index)| entry.message(index))
        .collect();
    let next =
        wanted.next().and_then(|_| messages.last()).and_then(|message| message.serial.clone());
    Ok(HistoryPage { messages, next })
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
