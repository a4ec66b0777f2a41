//! Presence as REST reads it: the members that an app was made with.

use std::collections::BTreeMap;

use capably_protocol::{ErrorInfo, PresenceAction, PresenceMessage, Str};

use super::{
    App, Now, Page, PageQuery, auth::Identity, capability::Operation, channel_name, error,
    publish::canonicalize,
};

/// The connection that members made with their app have.
const FIXTURES: &str = "fixtures";

/// The members of every channel.
#[derive(Debug, Default)]
pub(super) struct Presence {
    channels: BTreeMap<Str, Vec<PresenceMessage>>,
}

/// Which members are asked for (RSP3a).
#[derive(Clone, Debug)]
pub(crate) struct MembersQuery {
    pub(crate) page: PageQuery,
    pub(crate) client_id: Option<Str>,
    pub(crate) connection_id: Option<Str>,
}

impl Presence {
    /// Members that stay for as long as the app does, as [`fixtures`] gives them.
    pub(super) fn of_fixtures(fixtures: Vec<(Str, Vec<PresenceMessage>)>, now: Now) -> Self {
        let mut channels = BTreeMap::new();
        for (name, mut members) in fixtures {
            for (index, member) in members.iter_mut().enumerate() {
                member.id = Some(format!("{FIXTURES}:0:{index}").into());
                member.connection_id = Some(Str::from_static(FIXTURES));
                member.timestamp = Some(now.wall);
            }
            channels.insert(name, members);
        }
        Self { channels }
    }

    /// The names of the channels that have members, in order.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Str> {
        self.channels.keys()
    }

    pub(super) fn members(&self, channel: &str) -> &[PresenceMessage] {
        self.channels.get(channel).map_or(&[], Vec::as_slice)
    }

    /// The members with a key for each, in the order in which they came.
    fn numbered(
        &self,
        channel: &str,
        action: PresenceAction,
    ) -> impl DoubleEndedIterator<Item = (Str, PresenceMessage)> {
        self.members(channel).iter().enumerate().map(move |(number, member)| {
            let member = PresenceMessage { action: Some(action), ..member.clone() };
            (format!("{number:010}").into(), member)
        })
    }
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
        channel_name::validate(channel)?;
        identity
            .require(channel, Operation::Presence)
            .or_else(|_| identity.require(channel, Operation::Subscribe))?;
        let is = |wanted: &Option<Str>, actual: &Option<Str>| {
            wanted.is_none() || wanted.as_ref() == actual.as_ref()
        };
        let members = self.presence.numbered(channel, PresenceAction::Present);
        Ok(query.page.page(members.filter(|(_, member)| {
            is(&query.client_id, &member.client_id)
                && is(&query.connection_id, &member.connection_id)
        })))
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
        channel_name::validate(channel)?;
        identity.require(channel, Operation::History)?;
        let entered = self.presence.numbered(channel, PresenceAction::Enter);
        Ok(query
            .page(entered.filter(|(_, member)| query.covers(member.timestamp.unwrap_or_default()))))
    }
}

/// Members that an app is to be made with, in the form in which they are stored.
///
/// # Errors
/// Code 40000 for one without a client id, 40013 for data that is not encoded as it says.
pub(crate) fn fixtures(
    mut members: Vec<PresenceMessage>,
) -> Result<Vec<PresenceMessage>, ErrorInfo> {
    for member in &mut members {
        if member.client_id.as_ref().is_none_or(|id| id.is_empty() || *id == "*") {
            return Err(error::bad_request("a member needs a `clientId`"));
        }
        canonicalize(&mut member.data, &mut member.encoding)?;
    }
    Ok(members)
}
