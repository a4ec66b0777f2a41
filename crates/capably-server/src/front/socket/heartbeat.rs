//! How a client is told that its connection lives, and how it tells that it does itself (RTN23).

use std::time::Duration;

use capably_protocol::Str;

/// The heartbeats that a client gets when there is nothing else to send: its parameter `heartbeats` chooses them.
#[derive(Debug)]
pub(crate) enum Heartbeat {
    /// HEARTBEAT frames: it sees no pings of the WebSocket.
    Frames,
    /// Pings of the WebSocket.
    Pings,
    /// PING frames, which its code must answer: its socket may live on while its code is suspended (RTN23c).
    Bounce(Bounce),
}

/// The frame to send when a heartbeat is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// A HEARTBEAT, unless something else was sent.
    Frame,
    /// A ping of the WebSocket, unless something else was sent.
    Ping,
    /// A PING with this id, whatever else was sent.
    Bounce(Str),
    /// The client has not answered the last PING: its transport is to be closed.
    Unanswered,
}

impl Heartbeat {
    /// Reads the parameter `heartbeats`.
    pub(crate) fn of(heartbeats: Option<&str>) -> Self {
        match heartbeats {
            Some("false") => Self::Pings,
            Some("bounce") => Self::Bounce(Bounce::default()),
            Some(_) | None => Self::Frames,
        }
    }

    /// From one heartbeat to the next, for a client that bears silence for `max_idle_interval`. One that is to
    /// answer has more time to do so.
    pub(crate) fn interval(&self, max_idle_interval: Duration) -> Duration {
        match self {
            Self::Frames | Self::Pings => max_idle_interval / 3,
            Self::Bounce(_) => max_idle_interval * 2 / 3,
        }
    }

    /// A heartbeat is due. While the client is not listened to, no answer can be missed.
    pub(crate) fn beat(&mut self, listening: bool) -> Beat {
        match self {
            Self::Frames => Beat::Frame,
            Self::Pings => Beat::Ping,
            Self::Bounce(_) if !listening => Beat::Frame,
            Self::Bounce(bounce) => bounce.beat(),
        }
    }

    /// A PONG has arrived. One that answers no PING, or not the last one, is ignored.
    pub(crate) fn pong(&mut self, id: Option<&str>) {
        match self {
            Self::Bounce(bounce) => bounce.pong(id),
            Self::Frames | Self::Pings => {}
        }
    }
}

/// PINGs and the answer that is waited for.
#[derive(Debug, Default)]
pub(crate) struct Bounce {
    sent: u64,
    awaited: Option<Str>,
}

impl Bounce {
    fn beat(&mut self) -> Beat {
        if self.awaited.is_some() {
            return Beat::Unanswered;
        }
        self.sent += 1;
        let id = Str::from(self.sent.to_string());
        self.awaited = Some(id.clone());
        Beat::Bounce(id)
    }

    fn pong(&mut self, id: Option<&str>) {
        if self.awaited.as_deref() == id {
            self.awaited = None;
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
    fn the_parameter_says_what_the_client_hears() {
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
    fn every_ping_must_be_answered_with_its_id_before_the_next() {
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
