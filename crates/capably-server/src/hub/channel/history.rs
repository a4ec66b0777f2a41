//! History: pages of the messages in a channel's log.

use capably_protocol::{ErrorInfo, Message, Str};

use super::{Channel, Channels, view::View};
use crate::hub::{
    Direction, Now, Page, PageQuery,
    access::{capability::Operation, identity::Identity},
    error,
    log::position::Position,
};

/// Selects messages of a history (RSL2b).
#[derive(Clone, Debug)]
pub(crate) struct HistoryQuery {
    pub(crate) page: PageQuery,
    /// The newest channel serial to include (RTL10b).
    pub(crate) from_serial: Option<Str>,
}

impl Channels {
    /// A page of a channel's history.
    ///
    /// # Errors
    /// 40010 for the channel's name, 40160 for the capability, 40003 for an invalid serial.
    pub(crate) fn history(
        &mut self,
        identity: &Identity,
        channel: &str,
        query: &HistoryQuery,
        now: Now,
    ) -> Result<Page<Message>, ErrorInfo> {
        let view = history_view(identity, channel)?;
        let base = view.as_ref().map_or(channel, |view| &*view.base);
        match self.get_mut(base) {
            Some(channel) => {
                channel.expire(now.steady);
                channel.history(view.as_ref(), query)
            }
            None => Ok(Page::default()),
        }
    }
}

/// The view that shows a channel's history, if the identity may read it. `None` for the whole channel.
///
/// # Errors
/// Code 40010 for the channel's name, 40160 for the capability.
pub(crate) fn history_view(identity: &Identity, channel: &str) -> Result<Option<View>, ErrorInfo> {
    let view = View::parse(channel)?;
    let resource = view.as_ref().map_or(channel, |view| &*view.resource);
    identity.require(resource, Operation::History)?;
    Ok(view)
}

impl HistoryQuery {
    /// The position of the newest entry to include.
    ///
    /// # Errors
    /// Code 40003 for an invalid serial.
    pub(crate) fn until(&self) -> Result<Position, ErrorInfo> {
        read_serial(self.page.cursor.as_ref(), "cursor")?;
        let until = read_serial(self.from_serial.as_ref(), "from_serial")?;
        Ok(until.map_or(Position(u64::MAX), |(position, _)| position))
    }
}

impl Channel {
    /// A page of the messages in the log, or of those that the view shows. Each message is there once, in its latest
    /// version.
    ///
    /// # Errors
    /// Code 40003 for an invalid serial in the query.
    pub(super) fn history(
        &self,
        view: Option<&View>,
        query: &HistoryQuery,
    ) -> Result<Page<Message>, ErrorInfo> {
        let until = read_serial(query.from_serial.as_ref(), "from_serial")?;
        let cursor = read_serial(query.page.cursor.as_ref(), "cursor")?;
        let entries = self.log.iter().filter(|entry| {
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
                    .flat_map(|entry| {
                        (0..entry.items().len()).rev().map(move |index| (entry, index))
                    })
                    .skip_while(|(entry, index)| {
                        cursor.is_some_and(|cursor| (entry.position(), *index) >= cursor)
                    }),
            ),
        };
        let filter = view.and_then(|view| view.filter.as_ref());
        let mut wanted = wanted
            .filter_map(|(entry, index)| self.latest_of(entry, index))
            .filter(|message| filter.is_none_or(|filter| filter.matches(message)));
        let items: Vec<Message> = wanted.by_ref().take(query.page.limit).collect();
        let next =
            wanted.next().and_then(|_| items.last()).and_then(|message| message.serial.clone());
        Ok(Page { items, next })
    }
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
