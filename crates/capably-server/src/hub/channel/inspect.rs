//! What the console reads of channels.

use std::{collections::BTreeSet, ops::Bound};

use capably_protocol::{Flags, Str};

use super::{Channel, Channels, attachment::Attachments};
use crate::hub::app::inspect::ChannelBrief;

impl Channels {
    /// See [`App::channel_briefs`](crate::hub::App::channel_briefs).
    pub(crate) fn briefs(&self, from: usize, count: usize) -> Vec<ChannelBrief> {
        // Skipping does not touch the channels, only the bytes that tell which slots of the map are in use.
        let channels = self.map.values().skip(from).take(count);
        channels.map(|channel| brief(channel)).collect()
    }

    /// See [`App::channel_brief`](crate::hub::App::channel_brief).
    pub(crate) fn brief(&self, name: &str) -> Option<ChannelBrief> {
        self.map.get(name).map(|channel| brief(channel))
    }

    /// See [`App::channel_names_elsewhere`](crate::hub::App::channel_names_elsewhere).
    pub(crate) fn names_elsewhere(
        &self,
        after: Option<&Str>,
        count: usize,
    ) -> (Vec<Str>, Option<Str>) {
        let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut names = BTreeSet::new();
        let mut last: Option<Str> = None;
        let recent: Vec<&Str> =
            self.recent.range::<Str, _>(range).map(|(name, _)| name).take(count).collect();
        let remote: Vec<&Str> =
            self.remote.range::<Str, _>(range).map(|(name, _)| name).take(count).collect();
        let members: Vec<&Str> = self.presence.channels_after(after).take(count).collect();
        for source in [recent, remote, members] {
            if source.len() == count
                && let Some(end) = source.last()
                && last.as_ref().is_none_or(|last| *end < last)
            {
                last = Some((*end).clone());
            }
            names.extend(source);
        }
        let complete = |name: &&&Str| last.as_ref().is_none_or(|last| **name <= last);
        let elsewhere = |name: &&&Str| !self.map.contains_key(&***name);
        let names = names.iter().filter(complete).filter(elsewhere).map(|name| (*name).clone());
        (names.collect(), last)
    }
}

impl Attachments {
    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    /// The names under which the connection is attached, with the modes that are granted.
    pub(crate) fn granted(&self) -> impl Iterator<Item = (&Str, Flags)> {
        self.iter().map(|(name, attachment)| (name, attachment.granted))
    }
}

fn brief(channel: &Channel) -> ChannelBrief {
    ChannelBrief {
        name: channel.name.clone(),
        published: channel.flow.published,
        delivered: channel.flow.delivered,
        attachments: channel.used.connections,
    }
}
