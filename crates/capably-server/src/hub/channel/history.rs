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
        let view = View::parse(channel)?;
        let (resource, base) =
            view.as_ref().map_or((channel, channel), |view| (&*view.resource, &*view.base));
        identity.require(resource, Operation::History)?;
        match self.get_mut(base) {
            Some(channel) => {
                channel.expire(now.steady);
                channel.history(view.as_ref(), query)
            }
            None => Ok(Page::default()),
        }
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
