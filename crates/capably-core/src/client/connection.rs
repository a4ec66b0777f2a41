//! Inputs of the application and the driver that are about the connection, and the effects of the connection on the rest
//! of the client.

use std::time::Duration;

use capably_protocol::ErrorInfo;

use super::Client;
use crate::{
    AuthFailure, AuthId, CheckId, Grant, Now, OpId,
    channel::Channel,
    connection::{Connection, ConnectionCx, Effect},
    context::{Cx, Shared},
};

impl Client {
    /// Connects (RTN11).
    pub fn connect(&mut self, now: Now) {
        // Its effects come first, as they depend on the state CLOSING.
        self.drive(now, Connection::cut_closing_short);
        self.drive(now, Connection::connect);
    }

    /// Closes the connection (RTN12).
    pub fn close(&mut self, now: Now) {
        self.drive(now, Connection::close);
    }

    /// Obtains a new token and uses it on the connection; without a connection, connects with it (RTC8). The driver is
    /// asked for the token with [`TokenNeed::Authorized`](crate::TokenNeed::Authorized). Ends with
    /// [`Outcome::Done`](crate::Outcome::Done) once the service has accepted the token.
    pub fn authorize(&mut self, op: OpId, now: Now) {
        self.drive(now, |connection, cx| connection.authorize(op, cx));
    }

    /// The outcome of an [`Output::RequestToken`](crate::Output::RequestToken). After
    /// [`Output::AbandonToken`](crate::Output::AbandonToken) it is ignored.
    pub fn handle_token(&mut self, id: AuthId, result: Result<Grant, AuthFailure>, now: Now) {
        self.drive(now, |connection, cx| connection.handle_token(id, result, cx));
    }

    /// The outcome of an [`Output::CheckConnectivity`](crate::Output::CheckConnectivity): whether there is a network
    /// (RTN17j).
    pub fn handle_connectivity(&mut self, check: CheckId, online: bool, now: Now) {
        self.drive(now, |connection, cx| connection.handle_connectivity(check, online, cx));
    }

    /// The operating system reports that there is no network any more (RTN20a).
    pub fn network_lost(&mut self, now: Now) {
        self.drive(now, Connection::network_lost);
    }

    /// The operating system reports that there is a network again, or another one (RTN20b, RTN20c).
    pub fn network_available(&mut self, now: Now) {
        self.drive(now, Connection::network_available);
    }

    /// The machine slept for this long by the wall clock, while the monotonic clock stood still.
    ///
    /// Sleep counts as silence, and as time without a connection. A client that waits to retry does so at once, since a
    /// machine that wakes is most likely being used.
    pub fn woke(&mut self, slept: Duration, now: Now) {
        self.drive(now, |connection, cx| connection.woke(slept, cx));
    }

    /// Hands an input to the connection, then carries out its effects in order.
    pub(super) fn drive(
        &mut self,
        now: Now,
        input: impl FnOnce(&mut Connection, &mut ConnectionCx<'_>),
    ) {
        let mut effects = Vec::new();
        let Shared { config, connection, timers, rng, detaches: _, outputs: _ } = &mut self.shared;
        input(connection, &mut ConnectionCx { now, config, timers, rng, effects: &mut effects });
        for effect in effects {
            self.carry_out(effect, now);
        }
    }

    fn carry_out(&mut self, effect: Effect, now: Now) {
        match effect {
            Effect::Output(output) => self.shared.outputs.push_back(output),
            Effect::Connected => {
                self.shared.detaches.connected();
                self.owe_detaches();
                self.each_channel(now, Channel::connected);
            }
            Effect::Resend { resumed } => {
                let cx = &mut self.shared.cx(now);
                self.outbox.resend(resumed, cx);
                self.channels.send_detaches(cx);
                self.pings.flush(cx);
            }
            Effect::Disconnected => {
                self.outbox.await_ack(&mut self.shared.cx(now));
                self.each_channel(now, Channel::disconnected);
            }
            Effect::Lost => {
                let settled = self.outbox.connection_lost(&mut self.shared.cx(now));
                self.handle_settled(settled, now);
                self.each_channel(now, Channel::connection_lost);
            }
            Effect::Suspended(error) => {
                self.each_channel(now, |channel, cx| channel.connection_suspended(&error, cx));
            }
            Effect::Closed => {
                self.shared.detaches.clear();
                self.each_channel(now, Channel::connection_closed);
            }
            Effect::Failed(error) => {
                self.shared.detaches.clear();
                self.each_channel(now, |channel, cx| channel.connection_failed(&error, cx));
            }
            Effect::Reinitialized => self.each_channel(now, Channel::reinitialize),
            Effect::FailPublishes(error) => self.fail_publishes(&error, now),
            Effect::FailPings(error) => self.pings.fail_all(&error, &mut self.shared.cx(now)),
        }
    }

    /// Frames that are sent again can enter members of an attachment that has ended since. A DETACH is to follow them: without
    /// it they would enter the members of the next attachment.
    fn owe_detaches(&mut self) {
        for (name, attachment) in self.outbox.attachments() {
            if !self.channels.is_present(attachment) {
                self.shared.detaches.owe(name.clone());
            }
        }
    }

    /// Ends every publish that is not acknowledged, sent or queued (RTN7e).
    pub(super) fn fail_publishes(&mut self, error: &ErrorInfo, now: Now) {
        let settled = self.outbox.fail_all(error, &mut self.shared.cx(now));
        self.handle_settled(settled, now);
    }

    /// Hands an input to every channel, in the order of their ids.
    pub(super) fn each_channel(&mut self, now: Now, input: impl Fn(&mut Channel, &mut Cx<'_>)) {
        let cx = &mut self.shared.cx(now);
        for channel in self.channels.iter_mut() {
            input(channel, cx);
        }
    }
}
