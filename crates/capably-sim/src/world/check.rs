//! The checks at the end of a schedule.

use std::collections::BTreeSet;

use capably_core::{ChannelState, ConnectionState};
use capably_protocol::Str;
use capably_server::sim::Store;

use super::{Failure, World};
use crate::{
    model::Published,
    script::{CHANNELS, MEMBERS, USERS},
    user::{COUNTER, Channel, User},
};

impl World {
    /// Checks that everybody agrees, and that everything has ended.
    pub(super) fn check(&mut self) {
        if self.failure.is_some() {
            return;
        }
        self.update_truth();
        let failure = self.check_users().and_then(|()| self.check_members());
        let failure = failure.and_then(|()| self.check_published());
        let failure = failure.and_then(|()| self.check_objects());
        if let Err(failure) = failure {
            self.fail(failure);
        }
    }

    fn check_users(&self) -> Result<(), Failure> {
        for own in &self.users {
            let name = USERS[own.index];
            let Some(core) = &own.core else { continue };
            if let Some(op) = own.ops.values().next() {
                return Err(Failure::new("ended", format!("{name} waits for {op:?}")));
            }
            let state = core.connection_state();
            if own.wants && state != ConnectionState::Connected {
                return Err(Failure::new("connected", format!("{name} is {state}")));
            }
            let skips = if own.setup.echo { Vec::new() } else { own.connections.clone() };
            for (index, channel) in own.channels.iter().enumerate() {
                let Some(channel) = channel else { continue };
                let what = format!("{name} on {} is {}", CHANNELS[index], channel.state);
                match channel.state {
                    ChannelState::Attached if state == ConnectionState::Connected => {
                        let ends = channel.listener.ends(&self.truth[index], &skips);
                        ends.map_err(|what| Failure::of(&what, name, CHANNELS[index]))?;
                    }
                    ChannelState::Attaching | ChannelState::Detaching | ChannelState::Suspended
                        if state == ConnectionState::Connected =>
                    {
                        return Err(Failure::new("attached", what));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn check_members(&self) -> Result<(), Failure> {
        let Some(service) = &self.service else { return Ok(()) };
        for (index, name) in CHANNELS.iter().enumerate() {
            let actual = service.members(name);
            let mut expected: BTreeSet<Str> = BTreeSet::new();
            for own in &self.users {
                let user = USERS[own.index];
                let connection = own.core.as_ref().and_then(|core| core.connection_id());
                let (Some(connection), Some(channel)) = (connection, &own.channels[index]) else {
                    continue;
                };
                if channel.state != ChannelState::Attached {
                    continue;
                }
                expected.insert(connection.clone());
                for (member, wanted) in MEMBERS.iter().zip(&channel.own) {
                    let found = actual.iter().find(|it| it.0 == *connection && *it.1 == **member);
                    let found = found.and_then(|it| it.2.clone());
                    if !wanted.is_uncertain && found != wanted.data {
                        let wanted = &wanted.data;
                        let rule = match (&found, wanted) {
                            (None, _) => "gone",
                            (Some(_), None) => "stayed",
                            (Some(_), Some(_)) => "outdated",
                        };
                        let what =
                            format!("{user} as {member} on {name} is {found:?}, not {wanted:?}");
                        return Err(Failure::new(rule, what));
                    }
                }
                // The events of a member that leaves during a sync are left out (RTP2h2b), so there may be others in the view.
                let is_seen = |(of, member, data): &&(Str, Str, Option<String>)| {
                    channel.view.get(&(of.clone(), member.clone())) == Some(data)
                };
                if channel.is_view_uncertain {
                    continue;
                }
                if let Some(unseen) = actual.iter().find(|member| !is_seen(member)) {
                    let what = format!("{user} on {name} does not see {unseen:?}");
                    return Err(Failure::new("view", what));
                }
            }
            if let Some(ghost) = actual.iter().find(|it| !expected.contains(&it.0)) {
                return Err(Failure::new("ghost", format!("{ghost:?} on {name}")));
            }
            for (user, of, found) in &self.found {
                let is_uncertain = |channel: &Channel| channel.is_view_uncertain;
                let is_uncertain =
                    self.users[*user].channels[index].as_ref().is_some_and(is_uncertain);
                if *of == index && *found != actual && !is_uncertain {
                    let user = USERS[*user];
                    let what = format!("{user} on {name} finds {found:?}, not {actual:?}");
                    return Err(Failure::new("members", what));
                }
            }
        }
        Ok(())
    }

    fn check_published(&self) -> Result<(), Failure> {
        for Published { channel, texts, most, has_ids, is_acknowledged } in &self.published {
            for text in texts {
                let copies = self.truth[*channel].copies.get(text);
                let count = copies.map_or(0, |copies| copies.count);
                // An engine stores a message with a known id only once it has forgotten the id.
                let apart = copies.and_then(|copies| copies.apart).filter(|_| *has_ids);
                if count > *most || apart.is_some_and(|apart| apart <= Store::REMEMBERED) {
                    let what =
                        format!("{text} on {} was committed {count} times", CHANNELS[*channel]);
                    return Err(Failure::new("twice", what));
                }
                if *is_acknowledged && count == 0 {
                    let what = format!("{text} on {} is acknowledged", CHANNELS[*channel]);
                    return Err(Failure::new("acknowledged", what));
                }
            }
        }
        Ok(())
    }

    /// Checks that everybody has the same objects, and that the counters have what was added.
    fn check_objects(&self) -> Result<(), Failure> {
        let Some(service) = &self.service else { return Ok(()) };
        for (index, name) in CHANNELS.iter().enumerate() {
            let Some(actual) = service.objects(name) else { continue };
            let is_there = |own: &&User| {
                let state = own.core.as_ref().map(|core| core.connection_state());
                own.setup.objects && state == Some(ConnectionState::Connected)
            };
            for own in self.users.iter().filter(is_there) {
                let is_attached = |channel: &Channel| channel.state == ChannelState::Attached;
                if !own.channels[index].as_ref().is_some_and(is_attached) {
                    continue;
                }
                let user = USERS[own.index];
                let found = own.objects(index);
                if found.as_ref() != Ok(&actual) {
                    let what = format!("{user} on {name} has {found:?}, not {actual:?}");
                    return Err(Failure::new("objects", what));
                }
            }
            let count = actual.get(COUNTER).map_or(Ok(0), |count| count.parse::<usize>());
            let added = &self.added[index];
            // Without an engine, a server that starts again has no objects.
            let is_durable = self.setup.engine || self.lives == 1;
            let least = added.iter().filter(|it| it.is_acknowledged && is_durable);
            let least: usize = least.map(|it| it.amount as usize).sum();
            let most: usize = added.iter().map(|it| it.amount as usize * it.copies).sum();
            if !count.as_ref().is_ok_and(|count| (least..=most).contains(count)) {
                let what = format!("{count:?} on {name}, not {least} to {most}");
                return Err(Failure::new("counted", what));
            }
        }
        Ok(())
    }

    /// Checks that nothing is left of users who have closed.
    pub(super) fn check_size(&mut self) {
        let Some(service) = &self.service else { return };
        let size = service.size();
        let (connections, transports) = (size.connections, size.transports);
        if self.failure.is_none()
            && (connections, transports, size.members, size.waiting) != (0, 0, 0, 0)
        {
            self.fail(Failure::new("left", format!("{size:?}")));
        }
        for own in &self.users {
            let state = own.core.as_ref().map(|core| core.connection_state());
            if self.failure.is_none()
                && state.is_some_and(|state| {
                    !matches!(
                        state,
                        ConnectionState::Closed
                            | ConnectionState::Failed
                            | ConnectionState::Initialized
                    )
                })
            {
                let what = format!("{} is {state:?}", USERS[own.index]);
                self.failure = Some(Failure::new("closed", what));
            }
        }
    }
}
