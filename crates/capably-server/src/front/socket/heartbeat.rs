//! Heartbeats: they show the client that its connection is alive, and the server that the client is (RTN23).

use std::time::Duration;

use capably_protocol::Str;

/// The heartbeats that a client gets in a silence. Its parameter `heartbeats` chooses them.
#[derive(Debug)]
pub(super) enum Heartbeat {
    /// HEARTBEAT frames, for a client that cannot see pings of the WebSocket.
    Frames,
    /// Pings of the WebSocket.
    Pings,
    /// PING frames, which the client's code must answer. Pings of the WebSocket would not do: its socket answers them even
    /// while its code is suspended (RTN23c).
    Bounce(Box<Bounce>),
}

/// The frame to send when a heartbeat is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// A HEARTBEAT, unless another frame was sent.
    Frame,
    /// A ping of the WebSocket, unless another frame was sent.
    Ping,
    /// A PING with this id, in any case.
    Bounce(Str),
    /// None: the client has not answered the last PING, and its transport is to be closed.
    Unanswered,
}

impl Heartbeat {
    /// Reads the parameter `heartbeats`.
    pub(super) fn of(heartbeats: Option<&str>) -> Self {
        match heartbeats {
            Some("false") => Self::Pings,
            Some("bounce") => Self::Bounce(Box::default()),
            Some(_) | None => Self::Frames,
        }
    }

    /// The heartbeats for a client that cannot get pings of a WebSocket.
    pub(super) fn without_pings(self) -> Self {
        match self {
            Self::Pings => Self::Frames,
            own @ (Self::Frames | Self::Bounce(_)) => own,
        }
    }

    /// The interval of heartbeats for a client that accepts a silence of `max_idle_interval`. A client that must answer
    /// has more time for it.
    pub(super) fn interval(&self, max_idle_interval: Duration) -> Duration {
        match self {
            Self::Frames | Self::Pings => max_idle_interval / 3,
            Self::Bounce(_) => max_idle_interval * 2 / 3,
        }
    }

    /// A heartbeat is due. While the session does not read from the client, an answer cannot arrive and is not expected.
    pub(super) fn beat(&mut self, reading: bool) -> Beat {
        match self {
            Self::Frames => Beat::Frame,
            Self::Pings => Beat::Ping,
            Self::Bounce(_) if !reading => Beat::Frame,
            Self::Bounce(bounce) => bounce.beat(),
        }
    }

    /// A PONG has arrived. It is ignored unless it answers the last PING.
    pub(super) fn pong(&mut self, id: Option<&str>) {
        match self {
            Self::Bounce(bounce) => bounce.pong(id),
            Self::Frames | Self::Pings => {}
        }
    }
}

/// The PINGs of a client.
#[derive(Debug, Default)]
pub(super) struct Bounce {
    sent: u64,
    /// The id of the PING that has no answer yet.
    unanswered: Option<Str>,
}

impl Bounce {
    fn beat(&mut self) -> Beat {
        if self.unanswered.is_some() {
            return Beat::Unanswered;
        }
        self.sent += 1;
        let id = Str::from(self.sent.to_string());
        self.unanswered = Some(id.clone());
        Beat::Bounce(id)
    }

    fn pong(&mut self, id: Option<&str>) {
        if self.unanswered.as_deref() == id {
            self.unanswered = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(heartbeat: &mut Heartbeat) -> Str {
        match heartbeat.beat(true) {
            Beat::Bounce(id) => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_heartbeats_parameter_selects_frames_or_pings() {
        for (heartbeats, beat) in [
            (None, Beat::Frame),
            (Some("true"), Beat::Frame),
            (Some("whatever"), Beat::Frame),
            (Some("false"), Beat::Ping),
        ] {
            let mut heartbeat = Heartbeat::of(heartbeats);
            heartbeat.pong(Some("1"));
            assert_eq!(heartbeat.beat(true), beat, "{heartbeats:?}");
            let idle = Duration::from_secs(15);
            assert_eq!(heartbeat.interval(idle), Duration::from_secs(5));
        }
        let idle = Duration::from_secs(15);
        assert_eq!(Heartbeat::of(Some("bounce")).interval(idle), Duration::from_secs(10));
    }

    // RTN23c, RTN23c2
    #[test]
    fn a_client_must_answer_each_ping_before_the_next() {
        let mut heartbeat = Heartbeat::of(Some("bounce"));
        heartbeat.pong(Some("1"));
        let first = ping(&mut heartbeat);
        heartbeat.pong(Some(&first));
        heartbeat.pong(Some(&first));
        let second = ping(&mut heartbeat);
        assert_ne!(first, second);
        for wrong in [None, Some(&*first), Some("")] {
            heartbeat.pong(wrong);
        }
        assert_eq!(heartbeat.beat(false), Beat::Frame);
        assert_eq!(heartbeat.beat(true), Beat::Unanswered);
        heartbeat.pong(Some(&second));
        ping(&mut heartbeat);
    }
}
