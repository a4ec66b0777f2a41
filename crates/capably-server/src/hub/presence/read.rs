//! Members and what they did, as REST reads them (RSP3, RSP4).

use capably_protocol::{ErrorInfo, PresenceAction, PresenceMessage, Str};

use super::{FIXTURES, Set};
use crate::hub::{
    App, Page, PageQuery,
    access::{capability::Operation, identity::Identity},
    channel::name as channel_name,
    log::Entry,
};

/// Which members are asked for (RSP3a).
#[derive(Clone, Debug)]
pub(crate) struct MembersQuery {
    pub(crate) page: PageQuery,
    pub(crate) client_id: Option<Str>,
    pub(crate) connection_id: Option<Str>,
}

impl App {
    /// A page of a channel's members (RSP3).
    ///
    /// # Errors
    /// Code 40010 for the channel's name, 40160 for the capability.
    pub(crate) fn members(
        &self,
        identity: &Identity,
        channel: &str,
        query: &MembersQuery,
    ) -> Result<Page<PresenceMessage>, ErrorInfo> {
        let channel = channel_name::plain(channel)?;
        identity
            .require(channel, Operation::Presence)
            .or_else(|_| identity.require(channel, Operation::Subscribe))?;
        let is = |wanted: &Option<Str>, actual: &Option<Str>| {
            wanted.is_none() || wanted.as_ref() == actual.as_ref()
        };
        let members = self.presence.channels.get(channel).into_iter().flat_map(Set::numbered);
        let members = members.filter(|(_, member)| {
            is(&query.client_id, &member.client_id)
                && is(&query.connection_id, &member.connection_id)
        });
        let numbered = |(number, member): (u64, &PresenceMessage)| {
            (format!("{number:010}").into(), member.clone())
        };
        Ok(query.page.page(members.map(numbered)))
    }

    /// A page of a channel's presence history (RSP4).
    ///
    /// # Errors
    /// Code 40010 for the channel's name, 40160 for the capability.
    pub(crate) fn presence_history(
        &self,
        identity: &Identity,
        channel: &str,
        query: &PageQuery,
    ) -> Result<Page<PresenceMessage>, ErrorInfo> {
        let channel = channel_name::plain(channel)?;
        identity.require(channel, Operation::History)?;
        let fixtures = self.presence.channels.get(channel).into_iter().flat_map(Set::numbered);
        let entered = fixtures
            .filter(|(_, member)| member.connection_id.as_deref() == Some(FIXTURES))
            .map(|(number, member)| {
                let entered =
                    PresenceMessage { action: Some(PresenceAction::Enter), ..member.clone() };
                (Str::from(format!("{number:010}")), entered)
            });
        let log = self.channels.get(channel).into_iter().flat_map(|channel| channel.log.iter());
        let told = log.flat_map(|entry| {
            (0..entry.members().len()).filter_map(|index| numbered_event(entry, index))
        });
        Ok(query.page(
            entered
                .chain(told)
                .filter(|(_, event)| query.covers(event.timestamp.unwrap_or_default())),
        ))
    }
}

/// What a member did, with a key by which such things are in their order.
fn numbered_event(entry: &Entry, index: usize) -> Option<(Str, PresenceMessage)> {
    Some((entry.position().message_serial(index), entry.member(index)?))
}
