//! The members and the presence history of a channel, as REST returns them (RSP3, RSP4).

use capably_protocol::{PresenceAction, PresenceMessage, Str};

use super::{FIXTURES, Presence, Set};
use crate::hub::{
    Page, PageQuery,
    log::{Entry, Log},
};

/// Selects members of a channel (RSP3a).
#[derive(Clone, Debug)]
pub(crate) struct MembersQuery {
    pub(crate) page: PageQuery,
    pub(crate) client_id: Option<Str>,
    pub(crate) connection_id: Option<Str>,
}

impl Presence {
    /// A page of a channel's members, in the order in which they entered.
    pub(crate) fn members(&self, channel: &str, query: &MembersQuery) -> Page<PresenceMessage> {
        let is = |wanted: &Option<Str>, actual: &Option<Str>| {
            wanted.is_none() || wanted.as_ref() == actual.as_ref()
        };
        let members = self.channels.get(channel).into_iter().flat_map(Set::numbered);
        let members = members.filter(|(_, member)| {
            is(&query.client_id, &member.client_id)
                && is(&query.connection_id, &member.connection_id)
        });
        let numbered = |(number, member): (u64, &PresenceMessage)| {
            (format!("{number:010}").into(), member.clone())
        };
        query.page.page(members.map(numbered))
    }

    /// A page of a channel's presence events: those in its log, after the enter events of the app's fixtures.
    pub(crate) fn history(
        &self,
        channel: &str,
        log: Option<&Log>,
        query: &PageQuery,
    ) -> Page<PresenceMessage> {
        let fixtures = self.channels.get(channel).into_iter().flat_map(Set::numbered);
        let entered = fixtures
            .filter(|(_, member)| member.connection_id.as_deref() == Some(FIXTURES))
            .map(|(number, member)| {
                let entered =
                    PresenceMessage { action: Some(PresenceAction::Enter), ..member.clone() };
                (Str::from(format!("{number:010}")), entered)
            });
        let entries = log.into_iter().flat_map(Log::iter);
        let logged = entries.flat_map(|entry| {
            (0..entry.members().len()).filter_map(|index| keyed_event(entry, index))
        });
        query.page(
            entered
                .chain(logged)
                .filter(|(_, event)| query.covers(event.timestamp.unwrap_or_default())),
        )
    }
}

/// An event of an entry, with a key that sorts events by their order.
fn keyed_event(entry: &Entry, index: usize) -> Option<(Str, PresenceMessage)> {
    Some((entry.position().message_serial(index), entry.member(index)?))
}
