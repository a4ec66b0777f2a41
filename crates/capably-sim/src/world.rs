//! The world of a schedule: the server, the users and the network between them, in virtual time.

mod check;
mod faults;
mod transports;

use std::{collections::BTreeMap, fmt, time::Duration};

use capably_core::{AuthId, CheckId, TokenNeed};
use capably_protocol::{ErrorInfo, Format, Millis, Str};
use capably_server::sim::{Limits, Moment, Service, Store};
use fastrand::Rng;

use crate::{
    model::{Published, Truth},
    net::Stream,
    script::{CHANNELS, Call, Script, ServerSetup, Step, UserId},
    user::{Added, User},
};

/// How long a connection can be resumed.
pub(crate) const TTL: Duration = Duration::from_secs(20);

/// How long members stay while their client is disconnected.
const REMAIN: Duration = Duration::from_secs(5);

/// The longest silence of the server. It pings three times as often.
const IDLE: Duration = Duration::from_secs(6);

/// How long the server lets an ATTACH wait for its engine: less than its client waits for the answer.
const ATTACH_WAIT: Duration = Duration::from_secs(3);

/// A step of a slow reader comes to an end after so many reads.
const SLOW_STEPS: u32 = 20;

/// A log of so many entries has all those of a schedule.
const LONG_LOG: usize = 1000;

/// The time in which everything settles after the last fault.
const SETTLES: Duration = Duration::from_secs(75);

/// What a schedule has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule that was broken, in a word. A shrunk script breaks the same rule.
    pub rule: String,
    /// What happened.
    pub what: String,
}

impl Failure {
    pub(crate) fn new(rule: &str, what: impl Into<String>) -> Self {
        Self { rule: rule.to_owned(), what: what.into() }
    }

    /// A failure from the text `rule: what`, of a user on a channel.
    pub(crate) fn of(text: &str, user: &str, channel: &str) -> Self {
        let (rule, what) = text.split_once(": ").unwrap_or(("model", text));
        Self::new(rule, format!("{user} on {channel}: {what}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// What happens, in the order of time.
#[derive(Debug)]
pub(crate) enum Happening {
    Step(Step),
    /// A dial reaches the server.
    Dialled(u64),
    /// A dial has failed.
    Refused(u64),
    /// A dial has succeeded.
    Opened(u64),
    /// Bytes arrive at the server, or at the user.
    Up(u64),
    Down(u64),
    /// The server, or the user, learns that the transport is closed.
    UpClosed(u64),
    DownClosed(u64),
    /// The server writes what waits for a transport.
    Write(u64),
    /// The server pings, unless it has written something.
    Beat(u64),
    UserTimer(UserId),
    ServerTimer,
    /// The engine commits, or reads.
    Commit,
    Work,
    Token(UserId, u64, AuthId, TokenNeed),
    Check(UserId, u64, CheckId),
    /// The network of a user is there again.
    Online(UserId),
    /// A user's machine wakes.
    Wake(UserId, Duration),
    /// The server starts again.
    Start,
}

/// A member: its connection, its client id and its data.
pub(crate) type Member = (Str, Str, Option<String>);

/// A transport.
#[derive(Debug)]
struct Link {
    user: UserId,
    params: Vec<(Str, Str)>,
    format: Format,
    up: Stream,
    down: Stream,
    /// The user has it, or dials.
    is_wanted: bool,
    /// The server has it.
    is_served: bool,
    is_dead: bool,
    writes: bool,
    has_written: bool,
}

/// The state of everything.
#[derive(Debug)]
pub(crate) struct World {
    rng: Rng,
    pub(crate) script_seed: u64,
    pub(crate) setup: ServerSetup,
    pub(crate) now: Moment,
    queue: BTreeMap<(Duration, u64), Happening>,
    next: u64,
    /// None while it is down.
    pub(crate) service: Option<Service>,
    engine: Option<Store>,
    lives: u64,
    server_armed: Option<Duration>,
    commits: bool,
    works: bool,
    stalled_until: Duration,
    refusals: (usize, bool),
    /// Whether the engine has refused an entry in an earlier life or in this one.
    has_refused: bool,
    /// How far the clock of the server has gone forward, in ms.
    pub(crate) forward: Millis,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    pub(crate) users: Vec<User>,
    pub(crate) truth: [Truth; 2],
    /// The publishes that have ended.
    pub(crate) published: Vec<Published>,
    /// What users have added to the counters of the channels.
    pub(crate) added: [Vec<Added>; 2],
    /// The members that users have found at the end.
    pub(crate) found: Vec<(UserId, usize, Vec<Member>)>,
    failure: Option<Failure>,
    pub(crate) is_traced: bool,
    pub(crate) is_ending: bool,
}

impl World {
    fn new(script: &Script, is_traced: bool) -> Self {
        let now = Moment { steady: Duration::from_secs(10), wall: 1_726_585_978_590 };
        let users = script.users.iter().cloned().enumerate();
        let mut world = Self {
            rng: Rng::with_seed(script.seed ^ 0x5eed),
            script_seed: script.seed,
            setup: script.server.clone(),
            now,
            queue: BTreeMap::new(),
            next: 0,
            service: None,
            engine: script.server.engine.then(Store::default),
            lives: 0,
            server_armed: None,
            commits: false,
            works: false,
            stalled_until: Duration::ZERO,
            refusals: (0, false),
            has_refused: false,
            forward: 0,
            links: BTreeMap::new(),
            next_link: 1,
            users: users.map(|(index, setup)| User::new(index, setup)).collect(),
            truth: Default::default(),
            published: Vec::new(),
            added: Default::default(),
            found: Vec::new(),
            failure: None,
            is_traced,
            is_ending: false,
        };
        world.start_server();
        for user in &mut world.users {
            user.start(script.seed, None, now.steady);
        }
        for (at, step) in &script.steps {
            world.at(now.steady + *at, Happening::Step(*step));
        }
        world
    }

    pub(crate) fn at(&mut self, at: Duration, happening: Happening) {
        self.next += 1;
        self.queue.insert((at.max(self.now.steady), self.next), happening);
    }

    pub(crate) fn after(&mut self, wait: Duration, happening: Happening) {
        self.at(self.now.steady + wait, happening);
    }

    /// A delay of the network.
    pub(crate) fn delay(&mut self) -> Duration {
        Duration::from_micros(self.rng.u64(..=self.setup.delay * 1000))
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.rng.u64(..=most))
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        if self.is_traced {
            self.trace(&format!("failure: {failure}"));
        }
        self.failure.get_or_insert(failure);
    }

    #[allow(clippy::print_stdout, reason = "a trace is asked for")]
    pub(crate) fn trace(&self, what: &str) {
        println!("{:>10.3} {what}", self.now.steady.as_secs_f64() - 10.0);
    }

    /// Lets everything happen up to a time.
    fn pass(&mut self, until: Duration) {
        while self.failure.is_none()
            && let Some(((at, _), _)) = self.queue.first_key_value()
            && *at <= until
            && let Some(((at, _), happening)) = self.queue.pop_first()
        {
            self.advance(at);
            if self.is_traced && !matches!(happening, Happening::UserTimer(_)) {
                self.trace(&format!("{happening:?}"));
            }
            self.handle(happening);
        }
        self.advance(until);
    }

    fn advance(&mut self, to: Duration) {
        let to = to.max(self.now.steady);
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.turn_clock(millis(to) - millis(self.now.steady));
        self.now.steady = to;
    }

    /// The clock of the server goes on by so many ms.
    fn turn_clock(&mut self, by: Millis) {
        self.now.wall += by;
        self.forward += by.max(0);
    }

    /// A happening of a user whose machine sleeps waits until it wakes.
    fn sleeps(&mut self, user: UserId) -> Option<Duration> {
        Some(self.users[user].asleep_until).filter(|until| *until > self.now.steady)
    }

    fn handle(&mut self, happening: Happening) {
        let sleeper = match &happening {
            Happening::Step(Step::Call(user, _) | Step::Fault(user, _))
            | Happening::UserTimer(user)
            | Happening::Token(user, ..)
            | Happening::Check(user, ..)
            | Happening::Online(user) => Some(*user),
            Happening::Opened(link)
            | Happening::Refused(link)
            | Happening::Down(link)
            | Happening::DownClosed(link) => self.user_of(*link),
            _ => None,
        };
        if let Some(until) = sleeper.and_then(|user| self.sleeps(user)) {
            return self.at(until, happening);
        }
        match happening {
            Happening::Step(Step::Call(user, call)) => self.call(user, call),
            Happening::Step(Step::Fault(user, fault)) => self.fault(user, fault),
            Happening::Step(Step::Server(fault)) => self.server_fault(fault),
            Happening::Dialled(link) => self.dialled(link),
            Happening::Opened(link) => self.opened(link),
            Happening::Refused(link) => {
                let error = ErrorInfo::new(80000.into(), 0, "refused");
                self.close_down(link, error);
            }
            Happening::Up(link) => self.bytes_arrive(link),
            Happening::Down(link) => {
                let now = self.now.steady;
                if let Some(own) = self.links.get_mut(&link).filter(|own| own.is_wanted) {
                    let (user, messages) = (own.user, own.down.arrive(now));
                    self.messages_arrive(user, link, messages);
                }
            }
            Happening::UpClosed(link) => self.close_up(link),
            Happening::DownClosed(link) => {
                self.close_down(link, ErrorInfo::new(80003.into(), 0, "closed"));
            }
            Happening::Write(link) => self.write_down(link),
            Happening::Beat(link) => self.beat(link),
            Happening::UserTimer(user) => self.user_timer(user),
            Happening::ServerTimer => {
                if self.server_armed.is_some_and(|armed| armed <= self.now.steady) {
                    self.server_armed = None;
                    self.serve(|service, now| service.handle_timeout(now));
                }
            }
            Happening::Commit => self.commit(),
            Happening::Work => {
                self.works = false;
                self.serve(|service, now| service.work(now));
            }
            Happening::Token(user, life, auth, need) => self.token_arrives(user, life, auth, need),
            Happening::Check(user, life, check) => self.connectivity(user, life, check),
            Happening::Online(user) => {
                if self.users[user].offline_until <= self.now.steady {
                    self.network(user, true);
                }
            }
            Happening::Wake(user, slept) => self.wake(user, slept),
            Happening::Start => self.start_server(),
        }
    }

    /// Gives the server an input, and does what follows.
    fn serve(&mut self, input: impl FnOnce(&mut Service, Moment)) {
        let now = self.now;
        if let Some(service) = &mut self.service {
            input(service, now);
            self.after_service();
        }
    }

    fn after_service(&mut self) {
        let Some(service) = &mut self.service else { return };
        let ready = service.take_ready();
        let next = service.next_timeout();
        let commits = service.uncommitted() > 0 && !self.commits;
        let works = service.unread() > 0 && !self.works;
        for link in ready {
            self.schedule_write(link);
        }
        if let Some(next) = next
            && self.server_armed.is_none_or(|armed| next < armed)
        {
            self.server_armed = Some(next);
            self.at(next, Happening::ServerTimer);
        }
        if commits {
            self.commits = true;
            let wait = self.delay();
            let at = self.stalled_until.max(self.now.steady) + wait;
            self.at(at, Happening::Commit);
        }
        if works {
            self.works = true;
            let wait = self.delay();
            self.after(wait, Happening::Work);
        }
    }

    fn commit(&mut self) {
        self.commits = false;
        if self.stalled_until > self.now.steady {
            self.commits = true;
            return self.at(self.stalled_until, Happening::Commit);
        }
        let count = self.rng.usize(1..4);
        let (refusals, stored) = self.refusals;
        if refusals > 0 {
            let count = count.min(refusals);
            self.refusals.0 -= count;
            self.has_refused = true;
            return self.serve(|service, now| service.refuse(count, stored, now));
        }
        self.serve(|service, now| service.commit(count, now));
    }

    /// Adds to the reference what the server has committed.
    pub(crate) fn update_truth(&mut self) {
        if let Some(service) = &self.service {
            for (truth, name) in self.truth.iter_mut().zip(CHANNELS) {
                truth.update(service.committed(name));
            }
        }
    }

    /// How often the service may have forgotten the ids of messages, plus one. Without an engine, it remembers them for as long
    /// as it lives, and as their entries are in its log. An engine remembers them for a time: see `check_published`.
    pub(crate) fn forgetful_lives(&self) -> usize {
        if self.setup.engine || self.setup.entries < LONG_LOG {
            usize::MAX
        } else {
            usize::try_from(self.lives).unwrap_or(usize::MAX)
        }
    }

    /// Whether a publish may be stored before one of an earlier call, at whose time the clock had gone so far forward. The server
    /// has crashed, and the client sends both again. The engine knows the id of the later one only: it has refused the
    /// earlier one, or has forgotten its id since, by its clock. An engine promises no more.
    pub(crate) fn may_swap(&self, forward: Millis) -> bool {
        let may_have_forgotten = self.setup.engine && self.forward - forward > Store::REMEMBERED;
        self.lives > 1 && (self.has_refused || may_have_forgotten)
    }

    fn start_server(&mut self) {
        if self.service.is_some() {
            return;
        }
        self.lives += 1;
        let limits = Limits {
            connection_state_ttl: TTL,
            presence_remain: REMAIN,
            max_idle_interval: IDLE,
            entries: self.setup.entries,
            queue: self.setup.queue,
            attach_wait: ATTACH_WAIT,
        };
        // Without an engine, the serials of a life follow the clock, and are after those of the life before.
        self.service = Some(Service::start(&limits, self.engine.take(), self.lives, self.now));
        self.server_armed = None;
        self.commits = false;
        self.works = false;
    }

    /// Runs a script.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub(crate) fn run(script: &Script, is_traced: bool) -> Result<(), Failure> {
        let mut world = Self::new(script, is_traced);
        let last = script.steps.last().map_or(Duration::ZERO, |(at, _)| *at);
        let last = world.now.steady + last + Duration::from_millis(1);
        world.pass(last);
        world.heal();
        let asleep = world.users.iter().map(|user| user.asleep_until).max();
        let awake = asleep.unwrap_or_default().max(world.now.steady);
        world.pass(awake + SETTLES);
        for user in 0..world.users.len() {
            world.ask_for_members(user);
        }
        let until = world.now.steady + Duration::from_secs(10);
        world.pass(until);
        world.check();
        for user in 0..world.users.len() {
            world.call(user, Call::Close);
        }
        let until = world.now.steady + TTL + REMAIN + Duration::from_secs(15);
        world.pass(until);
        world.check_size();
        world.failure.map_or(Ok(()), Err)
    }
}
