//! What a user sees, compared with the reference.

use capably_core::{ChannelState, ConnectionState, Event, OpId, Outcome, ReplayOutcome};
use capably_protocol::{ErrorInfo, PresenceAction};

use super::{Acknowledged, Op, User, without_padding};
use crate::{
    model::Own,
    script::{CHANNELS, USERS, UserId},
    world::{Failure, World},
};

impl World {
    /// Compares an event with the reference.
    pub(super) fn observe(&mut self, user: UserId, event: Event) {
        if self.is_traced {
            self.trace(&format!("{} sees {event:?}", USERS[user]));
        }
        self.update_truth();
        let Some(event) = self.users[user].hold(event) else { return };
        let own = &mut self.users[user];
        let skips = if own.setup.echo { Vec::new() } else { own.connections.clone() };
        match event {
            Event::Connection(change) => {
                if change.current == ConnectionState::Connected
                    && let Some(id) = own.core.as_ref().and_then(|core| core.connection_id())
                    && own.connections.last() != Some(id)
                {
                    own.connections.push(id.clone());
                }
            }
            Event::Channel(id, change) => {
                let calls = own.presence_calls(id);
                let Some((index, channel)) = own.channel_of(id) else { return };
                let previous = std::mem::replace(&mut channel.state, change.current);
                match (previous, change.current) {
                    // A suspended channel is not detached by a close (RTL3b). Its members leave all the same.
                    (_, ChannelState::Detached | ChannelState::Failed)
                    | (ChannelState::Suspended, ChannelState::Initialized) => {
                        channel.own = Default::default();
                        channel.era += 1;
                        channel.view.clear();
                    }
                    // The detach has failed, and the service may have carried it out all the same. Members of which a call
                    // is under way have left with it, or have not; the others enter again.
                    (ChannelState::Detaching, ChannelState::Attached) => {
                        channel.era += 1;
                        calls
                            .into_iter()
                            .for_each(|member| channel.own[member].is_uncertain = true);
                    }
                    // A sync follows.
                    (ChannelState::Attaching, ChannelState::Attached) => {
                        channel.is_view_uncertain = false;
                    }
                    _ => {}
                }
                if change.reason.as_ref().is_some_and(|reason| reason.code.0 == 91004) {
                    channel.own.iter_mut().for_each(|own| own.is_uncertain = true);
                }
                if (previous, change.current) == (ChannelState::Detaching, ChannelState::Detached) {
                    own.abandoned[index] = false;
                }
            }
            Event::Gap(id, gap) => {
                let Some((index, channel)) = own.channel_of(id) else { return };
                let rewinds = channel.rewind > 0;
                channel.listener.starts(&self.truth[index], gap.until.as_ref(), rewinds);
            }
            Event::Messages(id, batch) => {
                let Some((index, channel)) = own.channel_of(id) else { return };
                let truth = &self.truth[index];
                for (at, message) in batch.items.iter().enumerate() {
                    let missing = batch.missing.iter().filter(|(before, _)| *before == at);
                    missing.for_each(|_| channel.listener.misses());
                    let serial = message.serial.as_deref().unwrap_or_default();
                    let text = without_padding(message.data.as_str().unwrap_or_default());
                    let checked = match batch.place.repeated {
                        true => channel.listener.replays(truth, serial, text, &skips),
                        false => channel.listener.receives(truth, serial, text, &skips),
                    };
                    if let Err(what) = checked {
                        self.fail(Failure::of(&what, USERS[user], CHANNELS[index]));
                        return;
                    }
                }
                let missing =
                    batch.missing.iter().filter(|(before, _)| *before >= batch.items.len());
                missing.for_each(|_| channel.listener.misses());
                let is_of_another = batch.items.iter().any(|message| {
                    !message.data.as_str().unwrap_or_default().starts_with(USERS[user])
                });
                if channel.replies > 0 && is_of_another {
                    channel.replies -= 1;
                    let op = self.publish(user, index, 1);
                    if let Some(channel) = &mut self.users[user].channels[index] {
                        channel.awaited = Some(op);
                    }
                }
            }
            Event::ReplayEnded(id, end) => {
                let Some((index, channel)) = own.channel_of(id) else { return };
                let complete = matches!(end.outcome, ReplayOutcome::Complete);
                let ended = channel.listener.replay_ends(&self.truth[index], complete, &skips);
                if let Err(what) = ended {
                    self.fail(Failure::of(&what, USERS[user], CHANNELS[index]));
                }
            }
            Event::Presence(id, batch) => {
                let Some((_, channel)) = own.channel_of(id) else { return };
                // A replay is for listeners that have missed its events.
                if batch.place.repeated {
                    return;
                }
                channel.is_view_uncertain |= !batch.missing.is_empty();
                for item in batch.items {
                    let data = item.data.as_str().map(str::to_owned);
                    let connection = item.connection_id.unwrap_or_default();
                    let key = (connection, item.client_id.unwrap_or_default());
                    match item.action {
                        Some(PresenceAction::Leave | PresenceAction::Absent) => {
                            channel.view.remove(&key);
                        }
                        _ => drop(channel.view.insert(key, data)),
                    }
                }
            }
            Event::Done(op, result) => {
                self.done(user, op, result);
                self.release_held(user, op);
            }
            Event::ErrorReason
            | Event::Granted(_)
            | Event::Annotations(..)
            | Event::PresenceSynced(..)
            | Event::Objects(..) => {}
        }
    }

    pub(super) fn done(&mut self, user: UserId, op: OpId, result: Result<Outcome, ErrorInfo>) {
        let own = &mut self.users[user];
        let Some(known) = own.ops.remove(&op) else {
            return self.fail(Failure::new("ended", format!("{}: {op:?} ends twice", USERS[user])));
        };
        match known {
            Op::Publish { channel, texts, number, connections, forward } => {
                let is_ok = result.is_ok();
                if let Ok(Outcome::Published(published)) = &result {
                    for (text, serial) in texts.iter().zip(&published.serials) {
                        let Some(serial) = serial else { continue };
                        let found = self.truth[channel].find(serial);
                        if found.is_none_or(|(_, message)| message.text != *text) {
                            let what = format!("{text} is acknowledged, and not committed");
                            return self.fail(Failure::new("acknowledged", what));
                        }
                        let last = self.users[user].last_acknowledged[channel].as_ref();
                        if let Some(last) = last
                            && last.number < number
                            && *serial < last.serial
                            && !self.may_swap(last.forward)
                        {
                            let what = format!("{text} is before a message of an earlier call");
                            return self.fail(Failure::new("order", what));
                        }
                        let last = Acknowledged { number, forward, serial: serial.clone() };
                        self.users[user].last_acknowledged[channel] = Some(last);
                    }
                }
                self.publish_ends(user, channel, texts, connections, is_ok);
            }
            Op::Presence { channel, id, member, data, number, era } => {
                let later = own.ops.values().any(|op| {
                    matches!(op, Op::Presence { channel: other, member: of, number: later, .. }
                        if *other == channel && *of == member && *later > number)
                });
                let Some(channel) = &mut own.channels[channel] else { return };
                // A channel that was opened anew has other members.
                if !later && channel.id == id && channel.era == era {
                    channel.own[member] = match result {
                        Ok(_) => Own { data, is_uncertain: false },
                        Err(_) => Own { is_uncertain: true, ..channel.own[member].clone() },
                    };
                }
            }
            Op::Final(channel) => {
                if let Ok(Outcome::Members(members)) = result {
                    let members = members.into_iter().map(|member| {
                        let data = member.data.as_str().map(str::to_owned);
                        let connection = member.connection_id.unwrap_or_default();
                        (connection, member.client_id.unwrap_or_default(), data)
                    });
                    let mut members: Vec<_> = members.collect();
                    members.sort();
                    self.found.push((user, channel, members));
                }
            }
            Op::Objects { channel, amount, connections } => {
                self.objects_end(user, channel, amount, connections, result.is_ok());
            }
            Op::Other(_) => {}
        }
    }

    /// A listener that has awaited this call takes the events that came meanwhile, until it awaits another.
    fn release_held(&mut self, user: UserId, op: OpId) {
        for index in 0..CHANNELS.len() {
            let Some(channel) = &mut self.users[user].channels[index] else { continue };
            if channel.awaited == Some(op) {
                channel.awaited = None;
                let held = std::mem::take(&mut channel.held);
                held.into_iter().for_each(|event| self.observe(user, event));
            }
        }
    }
}

impl User {
    /// An event is held while its listener awaits the result of a call. Returns it otherwise.
    fn hold(&mut self, event: Event) -> Option<Event> {
        let (Event::Messages(id, _) | Event::Gap(id, _) | Event::ReplayEnded(id, _)) = &event
        else {
            return Some(event);
        };
        match self.channel_of(*id) {
            Some((_, channel)) if channel.awaited.is_some() => {
                channel.held.push_back(event);
                None
            }
            _ => Some(event),
        }
    }
}
