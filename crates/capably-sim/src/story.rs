//! A script as a text that reads like a story, and back.
//!
//! The first line has the seed, the next the server, then one line for each user, and one for each step with its time in ms.

use std::{fmt, str::FromStr, time::Duration};

use capably_protocol::Format;

use crate::script::{
    CHANNELS, Call, Fault, KEYS, MEMBERS, Script, ServerFault, ServerSetup, Step, USERS, UserSetup,
};

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, server, users, steps } = self;
        writeln!(f, "seed {seed}")?;
        writeln!(f, "server {server}")?;
        for (name, user) in USERS.iter().zip(users) {
            writeln!(f, "{name} {user}")?;
        }
        for (at, step) in steps {
            writeln!(f, "{:>6} {step}", at.as_millis())?;
        }
        Ok(())
    }
}

impl fmt::Display for ServerSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { engine, entries, queue, padding, delay } = self;
        let log = if *engine { "engine" } else { "memory" };
        write!(f, "{log} entries {entries} queue {queue} padding {padding} delay {delay}")
    }
}

impl fmt::Display for UserSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.map_or(0, |token| token.as_millis());
        let echo = if self.echo { "echo" } else { "quiet" };
        let ids = if self.ids { "ids" } else { "plain" };
        write!(f, "{} token {token} {echo} {ids}", self.format.name())?;
        if self.objects { f.write_str(" objects") } else { Ok(()) }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(user, call) => write!(f, "{} {call}", USERS[*user]),
            Self::Fault(user, fault) => write!(f, "{} {fault}", USERS[*user]),
            Self::Server(fault) => write!(f, "server {fault}"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Connect => f.write_str("connects"),
            Self::Close => f.write_str("closes"),
            Self::Attach(channel) => write!(f, "attaches {}", CHANNELS[channel]),
            Self::Detach(channel) => write!(f, "detaches {}", CHANNELS[channel]),
            Self::Release(channel) => write!(f, "releases {}", CHANNELS[channel]),
            Self::Publish(channel, count) => {
                write!(f, "publishes {count} on {}", CHANNELS[channel])
            }
            Self::Enter(channel, member) => {
                write!(f, "enters {} as {}", CHANNELS[channel], MEMBERS[member])
            }
            Self::Leave(channel, member) => {
                write!(f, "leaves {} as {}", CHANNELS[channel], MEMBERS[member])
            }
            Self::Members(channel) => write!(f, "lists {}", CHANNELS[channel]),
            Self::Rewind(channel, count) => write!(f, "rewinds {} by {count}", CHANNELS[channel]),
            Self::Replay(channel) => write!(f, "replays {}", CHANNELS[channel]),
            Self::Add(channel, amount) => write!(f, "adds {amount} on {}", CHANNELS[channel]),
            Self::Set(channel, key) => write!(f, "sets {} on {}", KEYS[key], CHANNELS[channel]),
            Self::Reply(channel, count) => {
                write!(f, "replies {count} times on {}", CHANNELS[channel])
            }
            Self::Ping => f.write_str("pings"),
            Self::Authorize => f.write_str("authorizes"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Cut(up, down) => write!(f, "is cut with {up} up and {down} down"),
            Self::Dead => f.write_str("goes dead"),
            Self::Offline(time) => write!(f, "is offline for {time}"),
            Self::SlowDials(time) => write!(f, "dials slowly for {time}"),
            Self::SlowReads(time) => write!(f, "reads slowly by {time}"),
            Self::Sleep(time) => write!(f, "sleeps for {time}"),
            Self::ClockJump(by) => write!(f, "jumps by {by}"),
            Self::NoTokens(time) => write!(f, "gets no tokens for {time}"),
            Self::NoAnswers(time) => write!(f, "gets no answers for {time}"),
            Self::Damage => f.write_str("receives damage"),
            Self::Garbage => f.write_str("receives garbage"),
            Self::Kill => f.write_str("is killed"),
            Self::Restart(false) => f.write_str("restarts"),
            Self::Restart(true) => f.write_str("recovers"),
        }
    }
}

impl fmt::Display for ServerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Crash(time, stored) => write!(f, "crashes for {time} with {stored} stored"),
            Self::Stall(time) => write!(f, "stalls for {time}"),
            Self::Refuse(count, false) => write!(f, "refuses {count}"),
            Self::Refuse(count, true) => write!(f, "stores {count} and refuses"),
            Self::ClockJump(by) => write!(f, "jumps by {by}"),
        }
    }
}

impl FromStr for Script {
    /// The line that cannot be read.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut seed = None;
        let mut server = None;
        let (mut users, mut steps) = (Vec::new(), Vec::new());
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let unreadable = || line.trim().to_owned();
            match words[..] {
                ["seed", number] => seed = number.parse().ok(),
                [
                    "server",
                    log,
                    "entries",
                    entries,
                    "queue",
                    queue,
                    "padding",
                    padding,
                    "delay",
                    delay,
                ] => {
                    server = Some(ServerSetup {
                        engine: log == "engine",
                        entries: entries.parse().map_err(|_| unreadable())?,
                        queue: queue.parse().map_err(|_| unreadable())?,
                        padding: padding.parse().map_err(|_| unreadable())?,
                        delay: delay.parse().map_err(|_| unreadable())?,
                    });
                }
                [_, format @ ("json" | "msgpack"), "token", token, echo, ids, ref rest @ ..]
                    if matches!(rest, [] | ["objects"]) =>
                {
                    let token: u64 = token.parse().map_err(|_| unreadable())?;
                    users.push(UserSetup {
                        format: if format == "json" { Format::Json } else { Format::MsgPack },
                        token: (token > 0).then(|| Duration::from_millis(token)),
                        echo: echo == "echo",
                        ids: ids == "ids",
                        objects: !rest.is_empty(),
                    });
                }
                [at, ref step @ ..] => {
                    let at = at.parse().map_err(|_| unreadable())?;
                    let step = read_step(step, users.len()).ok_or_else(unreadable)?;
                    steps.push((Duration::from_millis(at), step));
                }
                [] => {}
            }
        }
        let (Some(seed), Some(server)) = (seed, server) else {
            return Err("the seed or the server is missing".to_owned());
        };
        Ok(Self { seed, server, users, steps })
    }
}

fn read_step(words: &[&str], users: usize) -> Option<Step> {
    let (who, words) = words.split_first()?;
    if *who == "server" {
        return read_server_fault(words).map(Step::Server);
    }
    let user = USERS.iter().take(users).position(|name| name == who)?;
    let call = read_call(words).map(|call| Step::Call(user, call));
    call.or_else(|| read_fault(words).map(|fault| Step::Fault(user, fault)))
}

fn read_call(words: &[&str]) -> Option<Call> {
    let channel = |name| CHANNELS.iter().position(|it| *it == name);
    let member = |name| MEMBERS.iter().position(|it| *it == name);
    Some(match *words {
        ["connects"] => Call::Connect,
        ["closes"] => Call::Close,
        ["attaches", name] => Call::Attach(channel(name)?),
        ["detaches", name] => Call::Detach(channel(name)?),
        ["releases", name] => Call::Release(channel(name)?),
        ["publishes", count, "on", name] => Call::Publish(channel(name)?, count.parse().ok()?),
        ["enters", name, "as", who] => Call::Enter(channel(name)?, member(who)?),
        ["leaves", name, "as", who] => Call::Leave(channel(name)?, member(who)?),
        ["lists", name] => Call::Members(channel(name)?),
        ["rewinds", name, "by", count] => Call::Rewind(channel(name)?, count.parse().ok()?),
        ["replays", name] => Call::Replay(channel(name)?),
        ["adds", amount, "on", name] => Call::Add(channel(name)?, amount.parse().ok()?),
        ["sets", key, "on", name] => {
            Call::Set(channel(name)?, KEYS.iter().position(|it| *it == key)?)
        }
        ["replies", count, "times", "on", name] => Call::Reply(channel(name)?, count.parse().ok()?),
        ["pings"] => Call::Ping,
        ["authorizes"] => Call::Authorize,
        _ => return None,
    })
}

fn read_fault(words: &[&str]) -> Option<Fault> {
    let time = |text: &str| text.parse().ok();
    Some(match *words {
        ["is", "cut", "with", up, "up", "and", down, "down"] => Fault::Cut(time(up)?, time(down)?),
        ["goes", "dead"] => Fault::Dead,
        ["is", "offline", "for", span] => Fault::Offline(time(span)?),
        ["dials", "slowly", "for", span] => Fault::SlowDials(time(span)?),
        ["reads", "slowly", "by", span] => Fault::SlowReads(time(span)?),
        ["sleeps", "for", span] => Fault::Sleep(time(span)?),
        ["jumps", "by", by] => Fault::ClockJump(by.parse().ok()?),
        ["gets", "no", "tokens", "for", span] => Fault::NoTokens(time(span)?),
        ["gets", "no", "answers", "for", span] => Fault::NoAnswers(time(span)?),
        ["receives", "damage"] => Fault::Damage,
        ["receives", "garbage"] => Fault::Garbage,
        ["is", "killed"] => Fault::Kill,
        ["restarts"] => Fault::Restart(false),
        ["recovers"] => Fault::Restart(true),
        _ => return None,
    })
}

fn read_server_fault(words: &[&str]) -> Option<ServerFault> {
    Some(match *words {
        ["crashes", "for", time, "with", stored, "stored"] => {
            ServerFault::Crash(time.parse().ok()?, stored.parse().ok()?)
        }
        ["stalls", "for", time] => ServerFault::Stall(time.parse().ok()?),
        ["refuses", count] => ServerFault::Refuse(count.parse().ok()?, false),
        ["stores", count, "and", "refuses"] => ServerFault::Refuse(count.parse().ok()?, true),
        ["jumps", "by", by] => ServerFault::ClockJump(by.parse().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::draw;

    #[test]
    fn a_story_is_read_as_it_was_written() {
        let mut verbs = BTreeSet::new();
        for seed in 0..2000 {
            let script = draw(seed);
            assert_eq!(script.to_string().parse(), Ok(script.clone()), "{script}");
            for (_, step) in &script.steps {
                let text = step.to_string();
                let verb: Vec<&str> = text.split_whitespace().skip(1).take(2).collect();
                verbs.insert(verb.join(" "));
            }
        }
        assert!(verbs.len() > 30, "the seeds have every kind of step: {verbs:?}");
    }

    #[test]
    fn the_line_that_cannot_be_read_is_named() {
        let text = draw(1).to_string() + "   100 ada dances\n";
        assert_eq!(text.parse::<Script>(), Err("100 ada dances".to_owned()));
    }
}
