//! The service side of each connection, and its faults.

use std::{sync::Arc, time::Duration};

use capably::{Error, ErrorCode};
use capably_protocol::{
    ClientFrame, Flags, Millis, PublishResult, ServerFrame,
    frame::{Ack, Attach, Attached, Delivery},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::world::{World, position_of, serial_of};
use crate::support::{Attempt, Peer, Service, connected_frame, error, info};

/// Less than the limit of silence of the client.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long before a token expires the service asks for the next.
const NOTICE: Duration = Duration::from_secs(30);

/// How a good connection ends.
#[derive(Clone, Copy)]
enum End {
    /// After the next frame of the client, or of a delivery.
    Cut { before_it_counts: bool },
    /// The service sends no more frames; those of the client may still arrive.
    Silence { hears: bool },
    /// With a DISCONNECTED.
    Disconnected,
}

/// The outcome of attempts for some time.
#[derive(Clone, Copy)]
enum Outage {
    Refused,
    BlackHole,
}

/// Answers the attempts of one client, with or without faults.
pub(super) async fn serve(world: Arc<World>, mut service: Service) {
    let mut sessions = JoinSet::new();
    let mut outage = None;
    loop {
        let attempt = tokio::select! {
            biased;
            attempt = service.attempt() => attempt,
            Some(ended) = sessions.join_next() => {
                let () = ended.unwrap();
                continue;
            }
        };
        if world.chance(4) {
            let kind = if world.chance(50) { Outage::Refused } else { Outage::BlackHole };
            outage = Some((kind, Instant::now() + world.millis(5_000..400_000)));
        }
        let now = outage.filter(|(_, until)| *until > Instant::now() && !world.is_healed());
        sessions.spawn(answer(Arc::clone(&world), attempt, now.map(|(kind, _)| kind)));
    }
}

async fn answer(world: Arc<World>, mut attempt: Attempt, outage: Option<Outage>) {
    if matches!(outage, Some(Outage::Refused)) || world.chance(5) {
        world.count(|tally| tally.refusals += 1);
        // With 503 a client tries its fallback domains.
        let status = if world.chance(50) { 503 } else { 0 };
        attempt.refuse_with(Error::new(ErrorCode::CONNECTION_FAILED, status, "refused"));
    } else if outage.is_some() || world.chance(3) {
        world.count(|tally| tally.black_holes += 1);
        attempt.abandoned().await;
    } else {
        if world.chance(10) {
            world.count(|tally| tally.slow_dials += 1);
            sleep(world.millis(100..15_000)).await;
        }
        Session::open(world, attempt).await;
    }
}

/// A socket that is open.
struct Session {
    world: Arc<World>,
    peer: Peer,
    id: String,
    key: String,
    /// When its token expires, if it has one.
    expires: Option<Instant>,
    notified: bool,
    /// The next message to deliver, if the channel is attached.
    position: Option<usize>,
    /// What is accepted and not yet acknowledged: the first serial, and the results.
    unacknowledged: (u64, Vec<PublishResult>),
    acknowledge_at: Option<Instant>,
    end: Option<End>,
}

impl Session {
    async fn open(world: Arc<World>, attempt: Attempt) {
        let (token, resume) = (attempt.param("accessToken"), attempt.param("resume"));
        let mut peer = attempt.accept();
        if world.chance(2) {
            // Never a CONNECTED.
            world.count(|tally| tally.silences += 1);
            return peer.closed().await;
        }
        let expires = token.as_deref().map(expiry);
        if expires.is_some_and(|at| at <= world.wall()) || token.is_some() && world.chance(3) {
            world.count(|tally| tally.rejected_tokens += 1);
            return peer.send(error(None, 40142, 401));
        }
        let forget = world.chance(3);
        let welcome = world.state().connect(resume.as_deref(), forget);
        let mut frame = connected_frame(&welcome.id, &welcome.key);
        if let ServerFrame::Connected(connected) = &mut frame
            && welcome.lost
        {
            connected.error = Some(info(80008, 400));
        }
        peer.send(frame);
        let session = Self {
            expires: expires.map(|at| world.at(at)),
            world,
            peer,
            id: welcome.id,
            key: welcome.key,
            notified: false,
            position: None,
            unacknowledged: (0, Vec::new()),
            acknowledge_at: None,
            end: None,
        };
        session.run().await;
    }

    async fn run(mut self) {
        let mut grown = self.world.grown.subscribe();
        let life = match self.world.chance(10) {
            true => self.world.millis(0..1_000),
            false => self.world.millis(1_000..240_000),
        };
        let ends = Instant::now() + life;
        let mut heartbeat = Instant::now() + HEARTBEAT;
        loop {
            let never = Instant::now() + Duration::from_secs(3_600);
            let notice = self.expires.filter(|_| !self.notified).map(|at| at - NOTICE);
            let is_good = self.world.is_healed() || self.end.is_some();
            tokio::select! {
                biased;
                () = sleep_until(ends), if !is_good => match self.how() {
                    // The connection ends with the next frame.
                    end @ End::Cut { .. } => self.end = Some(end),
                    End::Silence { hears } => {
                        self.world.count(|tally| tally.silences += 1);
                        return self.fall_silent(hears).await;
                    }
                    End::Disconnected => {
                        self.world.count(|tally| tally.disconnected += 1);
                        self.peer.send(ServerFrame::Disconnected { error: Some(info(80003, 500)) });
                        return self.lose();
                    }
                },
                () = sleep_until(notice.unwrap_or(never)), if notice.is_some() => {
                    self.notified = true;
                    self.peer.send(ServerFrame::Auth);
                }
                () = sleep_until(self.expires.unwrap_or(never)), if self.expires.is_some() => {
                    self.world.count(|tally| tally.expiries += 1);
                    self.peer.send(ServerFrame::Disconnected { error: Some(info(40142, 401)) });
                    return self.lose();
                }
                () = sleep_until(self.acknowledge_at.unwrap_or(never)),
                    if self.acknowledge_at.is_some() => self.acknowledge(),
                () = sleep_until(heartbeat) => {
                    heartbeat = Instant::now() + HEARTBEAT;
                    self.peer.send(ServerFrame::Heartbeat { id: None });
                }
                _ = grown.changed(), if self.position.is_some() => {
                    if !self.deliver() {
                        return self.cut();
                    }
                }
                frame = self.peer.receive() => {
                    let Some(frame) = frame else { return self.lose() };
                    if !self.hear(frame) {
                        return;
                    }
                }
            }
        }
    }

    fn how(&self) -> End {
        match self.world.state().rng.u8(..10) {
            kind @ 0..6 => End::Cut { before_it_counts: kind < 3 },
            kind @ 6..8 => End::Silence { hears: kind == 6 },
            _ => End::Disconnected,
        }
    }

    fn cut(&self) {
        self.world.count(|tally| tally.drops += 1);
        self.lose();
    }

    fn lose(&self) {
        self.world.state().lose(&self.key);
    }

    async fn fall_silent(mut self, hears: bool) {
        while let Some(frame) = self.peer.receive().await {
            if let ClientFrame::Message(publish) = frame
                && hears
                && self.world.state().is_current(&self.key)
            {
                self.world.accept(&self.key, &publish);
            }
        }
        self.lose();
    }

    /// Returns whether the connection continues.
    fn hear(&mut self, frame: ClientFrame) -> bool {
        if !self.world.state().is_current(&self.key) {
            return false;
        }
        if let Some(End::Cut { before_it_counts: true }) = self.end {
            self.cut();
            return false;
        }
        match frame {
            ClientFrame::Message(publish) => {
                let result = self.world.accept(&self.key, &publish);
                let (first, results) = &mut self.unacknowledged;
                if results.is_empty() {
                    *first = publish.msg_serial;
                    let delay = self.world.millis(0..3_000);
                    self.acknowledge_at = Some(Instant::now() + delay);
                }
                assert_eq!(*first + results.len() as u64, publish.msg_serial, "order is kept");
                results.push(result);
            }
            ClientFrame::Attach(attach) => self.attach(&attach),
            ClientFrame::Heartbeat { id } => self.peer.send(ServerFrame::Heartbeat { id }),
            ClientFrame::Auth(details) => {
                self.expires = Some(self.world.at(expiry(&details.access_token)));
                self.notified = false;
                self.peer.send(connected_frame(&self.id, &self.key));
            }
            ClientFrame::Close => {
                self.world.state().close(&self.key);
                self.peer.send(ServerFrame::Closed);
                return false;
            }
            other => panic!("not expected: {other:?}"),
        }
        if self.end.is_some() {
            self.cut();
        }
        self.end.is_none()
    }

    fn acknowledge(&mut self) {
        self.acknowledge_at = None;
        let (msg_serial, res) = std::mem::take(&mut self.unacknowledged);
        let count = res.len() as u64;
        self.peer.send(ServerFrame::Ack(Ack { msg_serial, count, res }));
    }

    fn attach(&mut self, attach: &Attach) {
        let continues = attach.channel_serial.as_deref().filter(|_| !self.world.chance(3));
        let position = match continues {
            Some(serial) => position_of(serial),
            None => self.world.state().begin(),
        };
        self.peer.send(ServerFrame::Attached(Box::new(Attached {
            channel: attach.channel.clone(),
            channel_serial: Some(serial_of(position).into()),
            flags: if continues.is_some() { Flags::RESUMED } else { Flags::NONE },
            ..Attached::default()
        })));
        self.position = Some(position);
        self.deliver();
    }

    /// Sends the new messages. Returns whether the connection continues.
    fn deliver(&mut self) -> bool {
        let Some(mut position) = self.position else { return true };
        loop {
            let state = self.world.state();
            if position == state.end() {
                break;
            }
            let message = state.message(position);
            drop(state);
            position += 1;
            let mut frame = Delivery::new(super::CHANNEL, vec![message]);
            frame.channel_serial = Some(serial_of(position).into());
            self.peer.send(ServerFrame::Message(frame));
            if self.end.is_some() {
                return false;
            }
        }
        self.position = Some(position);
        true
    }
}

/// When a token expires, in ms since the epoch.
fn expiry(token: &str) -> Millis {
    let (_, expires) = token.split_once(':').unwrap();
    expires.parse().unwrap()
}
