//! Faults of users, the network and the server, and their end.

use capably_server::sim::Service;

use super::{Duration, Happening, SLOW_STEPS, World};
use crate::{
    model::Truth,
    script::{Fault, ServerFault, UserId},
};

impl World {
    pub(super) fn crash(&mut self, down: u64, stored: usize) {
        let now = self.now;
        let Some(service) = &mut self.service else { return };
        service.crash(stored, now);
        self.update_truth();
        self.engine = self.service.take().and_then(Service::into_engine);
        self.truth.iter_mut().for_each(Truth::restarted);
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            let per_mille = self.rng.u64(..=1000);
            let Some(own) = self.links.get_mut(&link) else { continue };
            if std::mem::take(&mut own.is_served) {
                let at = own.down.cut(per_mille, now.steady);
                if !own.is_dead {
                    self.at(at, Happening::DownClosed(link));
                }
            }
            self.forget(link);
        }
        self.after(Duration::from_millis(down), Happening::Start);
    }

    pub(super) fn server_fault(&mut self, fault: ServerFault) {
        match fault {
            ServerFault::Crash(down, stored) => self.crash(down, stored),
            ServerFault::Stall(time) => {
                self.stalled_until = self.now.steady + Duration::from_millis(time);
            }
            ServerFault::Refuse(count, stored) => self.refusals = (count, stored),
            ServerFault::ClockJump(by) => self.turn_clock(by),
        }
    }

    pub(super) fn fault(&mut self, user: UserId, fault: Fault) {
        let now = self.now.steady;
        let own = &mut self.users[user];
        match fault {
            Fault::Cut(up, down) => {
                if let Some((link, _)) = own.link {
                    self.cut(link, up, down);
                }
            }
            Fault::Dead => {
                let Some((link, _)) = own.link else { return };
                let wait = self.millis(30_000);
                if let Some(link) = self.links.get_mut(&link) {
                    link.is_dead = true;
                    link.up.die();
                    link.down.die();
                }
                self.after(wait, Happening::UpClosed(link));
            }
            Fault::Offline(time) => {
                let time = Duration::from_millis(time);
                own.offline_until = now + time;
                if let Some((link, _)) = own.link {
                    self.cut(link, 0, 0);
                }
                self.network(user, false);
                self.after(time, Happening::Online(user));
            }
            Fault::SlowDials(time) => own.slow_dials_until = now + Duration::from_millis(time),
            Fault::SlowReads(time) => own.slow_reads = (SLOW_STEPS, time),
            Fault::Sleep(time) => {
                let time = Duration::from_millis(time);
                own.asleep_until = now + time;
                self.after(time, Happening::Wake(user, time));
            }
            Fault::ClockJump(by) => own.clock += by,
            Fault::NoTokens(time) => own.no_tokens_until = now + Duration::from_millis(time),
            Fault::NoAnswers(time) => own.no_answers_until = now + Duration::from_millis(time),
            Fault::Damage => own.damages = true,
            Fault::Garbage => own.garbles = true,
            Fault::Kill => self.kill(user),
            Fault::Restart(recovers) => self.restart(user, recovers),
        }
    }

    /// Cuts a transport. Both sides learn it, after the bytes that still arrive.
    pub(super) fn cut(&mut self, link: u64, up: u64, down: u64) {
        let now = self.now.steady;
        let (later, sooner) = (self.millis(2000), self.millis(200));
        let Some(own) = self.links.get_mut(&link) else { return };
        let up = own.up.cut(up, now) + later;
        let down = own.down.cut(down, now) + sooner;
        self.at(up, Happening::UpClosed(link));
        self.at(down, Happening::DownClosed(link));
    }

    /// Nothing fails any more, and everybody comes back who wants to.
    pub(super) fn heal(&mut self) {
        self.is_ending = true;
        let now = self.now.steady;
        self.refusals = (0, false);
        self.stalled_until = now;
        if self.service.is_none() {
            self.start_server();
        }
        for user in 0..self.users.len() {
            let own = &mut self.users[user];
            own.slow_reads = (0, 0);
            own.no_tokens_until = now;
            own.no_answers_until = now;
            own.slow_dials_until = now;
            own.damages = false;
            own.garbles = false;
            if own.offline_until > now {
                own.offline_until = now;
                self.network(user, true);
            }
        }
    }
}
