//! A user: a client's core with a double of its driver, and the reference of what the user must find.

mod driver;
mod objects;
mod observe;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use capably_core::{
    ChannelId, ChannelOptions, ChannelState, Client, Config, Credentials, Event, Instant,
    MembersQuery, Now, OpId, TransportId,
};
use capably_protocol::{
    ChannelMode, ClientFrame, Data, Message, Millis, PresenceAction, PresenceMessage, RecoveryKey,
    Str,
};
use capably_server::sim::Service;

pub(crate) use self::objects::{Added, COUNTER};
use crate::{
    model::{Listener, Own, Published},
    script::{CHANNELS, Call, MEMBERS, USERS, UserId, UserSetup},
    world::{TTL, World},
};

/// Deadlines of all clients, in s: short, so that a schedule reaches them.
const REQUEST_TIMEOUT: u64 = 4;
const DISCONNECTED_RETRY: u64 = 2;
const SUSPENDED_RETRY: u64 = 5;
const CHANNEL_RETRY: u64 = 2;

/// A user and its client.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) index: UserId,
    pub(crate) setup: UserSetup,
    /// None once the process was killed.
    pub(crate) core: Option<Client>,
    /// How often the process was started.
    life: u64,
    /// The transport in use, in the world and in the core.
    pub(crate) link: Option<(u64, TransportId)>,
    unsent: Vec<ClientFrame>,
    pub(crate) ops: BTreeMap<OpId, Op>,
    next_op: u64,
    next_channel: u64,
    pub(crate) channels: [Option<Channel>; 2],
    /// The token in use, and its number.
    token: (Option<Str>, u64),
    /// The ids of the connections so far.
    pub(crate) connections: Vec<Str>,
    texts: u64,
    /// The deadline for which a timer is set.
    armed: Option<Duration>,
    /// How long the machine has slept.
    slept: Duration,
    pub(crate) asleep_until: Duration,
    pub(crate) clock: i64,
    pub(crate) offline_until: Duration,
    pub(crate) no_tokens_until: Duration,
    pub(crate) no_answers_until: Duration,
    pub(crate) slow_dials_until: Duration,
    /// The steps in which frames arrive slowly, and their time in ms.
    pub(crate) slow_reads: (u32, u64),
    pub(crate) damages: bool,
    pub(crate) garbles: bool,
    /// Whether the user wants to be connected.
    pub(crate) wants: bool,
    /// The channels that were not opened since the process recovered its connection. The members of the earlier process stay
    /// until the first attachment ends.
    recovers: [bool; 2],
    /// The channels that the earlier process was attaching again or detaching, as far as it knew. The recovery key names
    /// attached channels only (RTN16g), so members stay until this process has detached the channel.
    pub(crate) abandoned: [bool; 2],
    /// The last acknowledged message of each channel: acknowledgements are in the order of the calls.
    last_acknowledged: [Option<Acknowledged>; 2],
}

/// An acknowledged message: the number of its call, how far the clock of the server had gone forward at that time, and its
/// serial.
#[derive(Debug)]
struct Acknowledged {
    number: u64,
    forward: Millis,
    serial: Str,
}

/// A channel of a user.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) id: ChannelId,
    pub(crate) state: ChannelState,
    rewind: usize,
    /// How often the user's members have left with the channel, or may have. The result of an earlier call says nothing.
    era: u32,
    pub(crate) listener: Listener,
    /// To how many further messages of others the listener replies.
    replies: usize,
    /// The reply of which the listener awaits the result, and the events that it has not taken meanwhile.
    awaited: Option<OpId>,
    held: VecDeque<Event>,
    /// The user's own members.
    pub(crate) own: [Own; 2],
    /// The members as the events show them, by connection and client id.
    pub(crate) view: BTreeMap<(Str, Str), Option<String>>,
    /// An event of a member could not be read since the last sync.
    pub(crate) is_view_uncertain: bool,
}

/// A call that has not ended.
#[derive(Debug)]
pub(crate) enum Op {
    Publish {
        channel: usize,
        texts: Vec<String>,
        /// The number of the call, and of the user's connections at its time.
        number: u64,
        connections: usize,
        /// How far the clock of the server had gone forward, in ms.
        forward: Millis,
    },
    Presence {
        channel: usize,
        id: ChannelId,
        member: usize,
        data: Option<String>,
        number: u64,
        era: u32,
    },
    Objects {
        channel: usize,
        /// What is added to the counter.
        amount: Option<u32>,
        connections: usize,
    },
    /// The members as the user finds them at the end.
    Final(usize),
    Other(#[expect(dead_code, reason = "it is shown when the call does not end")] &'static str),
}

impl User {
    pub(crate) fn new(index: UserId, setup: UserSetup) -> Self {
        Self {
            index,
            setup,
            core: None,
            life: 0,
            link: None,
            unsent: Vec::new(),
            ops: BTreeMap::new(),
            next_op: 0,
            next_channel: 0,
            channels: [None, None],
            token: (None, 0),
            connections: Vec::new(),
            texts: 0,
            armed: None,
            slept: Duration::ZERO,
            asleep_until: Duration::ZERO,
            clock: 0,
            offline_until: Duration::ZERO,
            no_tokens_until: Duration::ZERO,
            no_answers_until: Duration::ZERO,
            slow_dials_until: Duration::ZERO,
            slow_reads: (0, 0),
            damages: false,
            garbles: false,
            wants: false,
            recovers: [false; 2],
            abandoned: [false; 2],
            last_acknowledged: [None, None],
        }
    }

    /// Starts the process, or starts it again.
    pub(crate) fn start(&mut self, seed: u64, recover: Option<RecoveryKey>, at: Duration) {
        self.life += 1;
        let credentials = match self.setup.token {
            Some(_) => Credentials::Tokens,
            None => Credentials::Key(Service::key().parse().expect("a key")),
        };
        let mut config = Config::new(credentials);
        config.format = self.setup.format;
        config.echo_messages = self.setup.echo;
        self.recovers = [recover.is_some(); 2];
        config.recover = recover;
        config.disconnected_retry_timeout = Duration::from_secs(DISCONNECTED_RETRY);
        config.suspended_retry_timeout = Duration::from_secs(SUSPENDED_RETRY);
        config.channel_retry_timeout = Duration::from_secs(CHANNEL_RETRY);
        config.connection_state_ttl = TTL;
        config.realtime_request_timeout = Duration::from_secs(REQUEST_TIMEOUT);
        let seed = seed ^ (self.index as u64 + 1) << 32 ^ self.life;
        let now = self.now(at, 0);
        self.core = Some(Client::new(Arc::new(config), seed, now));
        self.link = None;
        self.unsent.clear();
        // The calls of the earlier process have no results.
        self.ops.clear();
        self.channels = [None, None];
        self.token = (None, 0);
        self.armed = None;
        self.last_acknowledged = [None, None];
    }

    /// The time of the user's machine.
    fn now(&self, at: Duration, wall: i64) -> Now {
        Now::at(Instant::from_start(at.saturating_sub(self.slept)), wall + self.clock)
    }

    fn op(&mut self, op: Op) -> OpId {
        let id = OpId(self.next_op);
        self.next_op += 1;
        self.ops.insert(id, op);
        id
    }

    /// The channel, opened if it is not.
    fn channel(&mut self, index: usize) -> ChannelId {
        if let Some(channel) = &self.channels[index] {
            return channel.id;
        }
        let id = ChannelId(self.next_channel);
        self.next_channel += 1;
        let options = self.channel_options(0);
        if let Some(core) = &mut self.core {
            core.open_channel(id, Str::from_static(CHANNELS[index]), options);
        }
        let is_uncertain = std::mem::take(&mut self.recovers[index]) || self.abandoned[index];
        self.channels[index] = Some(Channel {
            id,
            state: ChannelState::Initialized,
            rewind: 0,
            era: 0,
            listener: Listener::default(),
            replies: 0,
            awaited: None,
            held: VecDeque::new(),
            own: [(); 2].map(|()| Own { data: None, is_uncertain }),
            view: BTreeMap::new(),
            is_view_uncertain: false,
        });
        id
    }

    fn channel_options(&self, rewind: usize) -> ChannelOptions {
        let mut options = ChannelOptions::default();
        if rewind > 0 {
            options.params.insert("rewind".to_owned(), rewind.to_string());
        }
        if self.setup.objects {
            options.modes = vec![
                ChannelMode::Publish,
                ChannelMode::Subscribe,
                ChannelMode::Presence,
                ChannelMode::PresenceSubscribe,
                ChannelMode::ObjectPublish,
                ChannelMode::ObjectSubscribe,
            ];
        }
        options
    }

    fn channel_of(&mut self, id: ChannelId) -> Option<(usize, &mut Channel)> {
        let mut channels = self.channels.iter_mut().enumerate();
        channels.find_map(|(index, it)| it.as_mut().filter(|it| it.id == id).map(|it| (index, it)))
    }

    /// The members of a channel of which a call has not ended.
    fn presence_calls(&self, id: ChannelId) -> Vec<usize> {
        let calls = self.ops.values().filter_map(|op| match op {
            Op::Presence { id: of, member, .. } if *of == id => Some(*member),
            _ => None,
        });
        calls.collect()
    }

    fn text(&mut self) -> String {
        self.texts += 1;
        format!("{}-{}", USERS[self.index], self.texts)
    }
}

impl World {
    /// A call of a user. A user whose process is dead does nothing.
    pub(crate) fn call(&mut self, user: UserId, call: Call) {
        let (at, wall) = (self.now.steady, self.now.wall);
        let own = &mut self.users[user];
        let now = own.now(at, wall);
        if own.core.is_none() {
            return;
        }
        let text = own.text();
        match call {
            Call::Connect => own.wants = true,
            Call::Close => own.wants = false,
            _ => {}
        }
        // The channel is opened before the core is borrowed.
        let id = match call {
            Call::Connect | Call::Close | Call::Ping | Call::Authorize => ChannelId(0),
            Call::Attach(channel)
            | Call::Detach(channel)
            | Call::Release(channel)
            | Call::Publish(channel, _)
            | Call::Enter(channel, _)
            | Call::Leave(channel, _)
            | Call::Members(channel)
            | Call::Rewind(channel, _)
            | Call::Add(channel, _)
            | Call::Set(channel, _)
            | Call::Reply(channel, _)
            | Call::Replay(channel) => own.channel(channel),
        };
        match call {
            Call::Connect => own.with(|core| core.connect(now)),
            Call::Close => own.with(|core| core.close(now)),
            Call::Ping => {
                let op = own.op(Op::Other("ping"));
                own.with(|core| core.ping(op, now));
            }
            Call::Authorize => {
                let op = own.op(Op::Other("authorize"));
                own.with(|core| core.authorize(op, now));
            }
            Call::Attach(_) => {
                let op = own.op(Op::Other("attach"));
                own.with(|core| core.attach(id, op, now));
            }
            Call::Detach(_) => {
                let op = own.op(Op::Other("detach"));
                own.with(|core| core.detach(id, op, now));
            }
            Call::Release(channel) => {
                own.with(|core| core.release_channel(id, now));
                self.drain(user);
                self.users[user].channels[channel] = None;
            }
            Call::Publish(channel, count) => {
                self.publish(user, channel, count);
            }
            Call::Add(channel, amount) => self.add(user, channel, amount),
            Call::Set(channel, key) => self.set(user, channel, key),
            Call::Reply(channel, count) => {
                if let Some(channel) = &mut own.channels[channel] {
                    channel.replies = count;
                }
            }
            Call::Enter(channel, member) => {
                self.enter(user, channel, member, Some(text));
            }
            Call::Leave(channel, member) => self.enter(user, channel, member, None),
            Call::Members(_) => {
                let op = own.op(Op::Other("members"));
                own.with(|core| core.members(id, MembersQuery::default(), op, now));
            }
            Call::Rewind(channel, count) => {
                if let Some(channel) = &mut own.channels[channel] {
                    channel.rewind = count;
                }
                let options = own.channel_options(count);
                let op = own.op(Op::Other("options"));
                own.with(|core| core.set_channel_options(id, options, op, now));
            }
            Call::Replay(index) => {
                let User { core: Some(core), channels, .. } = own else { return };
                let Some(channel) = &mut channels[index] else { return };
                if channel.awaited.is_some() {
                    return;
                }
                let Some(after) = channel.listener.oldest.clone() else { return };
                if core.replay(id, after.clone(), now) {
                    channel.listener.replay_starts(&self.truth[index], &after);
                }
            }
        }
        self.drain(user);
    }

    /// A user publishes so many messages in one frame.
    fn publish(&mut self, user: UserId, channel: usize, count: usize) -> OpId {
        let (at, wall) = (self.now.steady, self.now.wall);
        let (padding, forward) = (self.setup.padding, self.forward);
        let own = &mut self.users[user];
        let now = own.now(at, wall);
        let id = own.channel(channel);
        let base = own.text();
        let texts: Vec<String> = (0..count).map(|_| own.text()).collect();
        let messages = texts.iter().enumerate().map(|(index, payload)| Message {
            id: own.setup.ids.then(|| format!("{base}:{index}").into()),
            ..Message::new("m", format!("{payload} {}", "-".repeat(padding)))
        });
        let messages: Vec<Message> = messages.collect();
        let (number, connections) = (own.next_op, own.connections.len());
        let op = own.op(Op::Publish { channel, texts, number, connections, forward });
        own.with(|core| core.publish(id, messages.into(), Default::default(), op, now));
        op
    }

    fn enter(&mut self, user: UserId, channel: usize, member: usize, data: Option<String>) {
        let (at, wall) = (self.now.steady, self.now.wall);
        let own = &mut self.users[user];
        let now = own.now(at, wall);
        let id = own.channel(channel);
        let number = own.next_op;
        let era = own.channels[channel].as_ref().map_or(0, |channel| channel.era);
        let op = own.op(Op::Presence { channel, id, member, data: data.clone(), number, era });
        if let Some(channel) = &mut own.channels[channel] {
            channel.own[member].is_uncertain = true;
        }
        let message = PresenceMessage {
            action: Some(match data {
                Some(_) => PresenceAction::Enter,
                None => PresenceAction::Leave,
            }),
            client_id: Some(MEMBERS[member].into()),
            data: data.as_deref().map_or(Data::None, Data::from),
            ..PresenceMessage::default()
        };
        own.with(|core| core.presence(id, message, op, now));
    }

    /// At the end, a user asks for the members of its attached channels.
    pub(crate) fn ask_for_members(&mut self, user: UserId) {
        let (at, wall) = (self.now.steady, self.now.wall);
        let own = &mut self.users[user];
        let now = own.now(at, wall);
        for index in 0..CHANNELS.len() {
            let Some(channel) = &own.channels[index] else { continue };
            let (id, state) = (channel.id, channel.state);
            if state == ChannelState::Attached {
                let op = own.op(Op::Final(index));
                own.with(|core| core.members(id, MembersQuery::default(), op, now));
            }
        }
        self.drain(user);
    }

    /// The process ends at once. With `recover` it starts again with its recovery key, with `None` without one; then
    /// it attaches the channels that it had attached.
    pub(crate) fn restart(&mut self, user: UserId, recovers: bool) {
        let own = &mut self.users[user];
        let Some(core) = &own.core else { return };
        let key = if recovers { core.recovery_key() } else { None };
        let is_left_out = |channel: &Option<Channel>| {
            let state = channel.as_ref().map(|channel| channel.state);
            matches!(
                state,
                Some(ChannelState::Attaching | ChannelState::Suspended | ChannelState::Detaching)
            )
        };
        let recovers = key.is_some();
        let earlier = (own.channels.iter().map(is_left_out)).zip(own.abandoned);
        let abandoned: Vec<bool> =
            earlier.map(|(now, before)| recovers && (now || before)).collect();
        let attached: Vec<usize> = (0..CHANNELS.len())
            .filter(|index| {
                let channel = own.channels[*index].as_ref();
                channel.is_some_and(|channel| channel.state == ChannelState::Attached)
            })
            .collect();
        let serials = key.as_ref().map(|key| key.channel_serials.clone()).unwrap_or_default();
        self.kill(user);
        let (seed, at) = (self.script_seed, self.now.steady);
        let own = &mut self.users[user];
        own.start(seed, key, at);
        own.abandoned.copy_from_slice(&abandoned);
        let is_wanted = own.wants;
        for index in attached {
            let own = &mut self.users[user];
            own.channel(index);
            if let (Some(channel), Some(serial)) =
                (&mut own.channels[index], serials.get(CHANNELS[index]))
            {
                channel.listener.starts(&self.truth[index], Some(serial), false);
            }
            self.call(user, Call::Attach(index));
        }
        if is_wanted {
            self.call(user, Call::Connect);
        }
    }

    /// A publish has ended, which was called when the user had so many connections.
    fn publish_ends(
        &mut self,
        user: UserId,
        channel: usize,
        texts: Vec<String>,
        connections: usize,
        is_acknowledged: bool,
    ) {
        let own = &self.users[user];
        let (has_ids, most) = (own.setup.ids, own.copies(connections, self.forgetful_lives()));
        self.published.push(Published { channel, texts, most, has_ids, is_acknowledged });
    }

    /// The process ends at once.
    pub(crate) fn kill(&mut self, user: UserId) {
        let own = &mut self.users[user];
        own.core = None;
        for op in std::mem::take(&mut own.ops).into_values() {
            match op {
                Op::Publish { channel, texts, connections, .. } => {
                    self.publish_ends(user, channel, texts, connections, false);
                }
                Op::Objects { channel, amount, connections } => {
                    self.objects_end(user, channel, amount, connections, false);
                }
                _ => {}
            }
        }
        let own = &mut self.users[user];
        if let Some((link, _)) = own.link.take() {
            self.hang_up(link);
        }
    }
}

impl User {
    /// The most copies that the service may have of a publish, which was called when the user had so many connections: one
    /// for each connection, or for each life of a server that has forgotten the ids of the messages.
    fn copies(&self, connections: usize, lives: usize) -> usize {
        let connections = self.connections_since(connections);
        if self.setup.ids { connections.min(lives) } else { connections }
    }

    /// The connections on which a frame may have been sent, that was first sent when the user had so many.
    fn connections_since(&self, connections: usize) -> usize {
        1 + self.connections.len().saturating_sub(connections)
    }

    fn with(&mut self, act: impl FnOnce(&mut Client)) {
        if let Some(core) = &mut self.core {
            act(core);
        }
    }
}

/// The text of a message.
pub(crate) fn without_padding(payload: &str) -> &str {
    payload.split(' ').next().unwrap_or_default()
}
