//! What an app may not do before what it wants to keep is kept.
//!
//! Whatever the hub puts out waits for all that was to be kept before it: an acknowledgement, so that
//! what is acknowledged is not lost; a delivery, so that nobody has seen what is not there any more after
//! a crash; and all the rest, so that everything stays in its order.

use std::{collections::VecDeque, task::Waker};

use capably_protocol::{ErrorInfo, ServerFrame, frame::Nack};
use tokio::sync::oneshot;

use crate::hub::{Output, Record, error, keep::Mark};

/// Above this many bytes that wait to be kept, whoever publishes is held back until half of it is.
const HIGH_WATER: usize = 8 * 1024 * 1024;

/// What waits to be kept, and what waits for it.
#[derive(Debug)]
pub(crate) struct Held {
    lots: VecDeque<Lot>,
    /// Of what is to be kept, about how many bytes.
    size: usize,
    last_ticket: u64,
    /// How far the app had come with all that is kept.
    mark: Mark,
    /// Publishers that wait for room.
    pub(crate) held_back: Vec<Waker>,
    /// Nothing is kept any more.
    pub(crate) broken: bool,
}

#[derive(Debug)]
struct Lot {
    ticket: u64,
    size: usize,
    /// How far the app had come.
    mark: Mark,
    outputs: Vec<Output>,
    requests: Vec<Settled>,
}

/// Tells a request what became of all before it.
type Settled = oneshot::Sender<Result<(), ErrorInfo>>;

impl Held {
    pub(crate) fn new(mark: Mark) -> Self {
        Self {
            lots: VecDeque::new(),
            size: 0,
            last_ticket: 0,
            mark,
            held_back: Vec::new(),
            broken: false,
        }
    }

    /// Holds what the hub has put out, as far as it must wait; what need not stays in `outputs`. Gives
    /// what is to be kept now, under which ticket.
    pub(crate) fn hold(
        &mut self,
        outputs: &mut Vec<Output>,
        mark: Mark,
    ) -> Option<(u64, Vec<Record>)> {
        let mut records = Vec::new();
        if outputs.iter().any(|output| matches!(output, Output::Keep(_))) {
            let mut rest = Vec::with_capacity(outputs.len());
            for output in outputs.drain(..) {
                match output {
                    Output::Keep(record) => records.push(record),
                    other => rest.push(other),
                }
            }
            *outputs = rest;
        }
        if records.is_empty() {
            if let Some(last) = self.lots.back_mut() {
                last.outputs.append(outputs);
            }
            return None;
        }
        let size = records.iter().map(Record::size).sum();
        let outputs = std::mem::take(outputs);
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.size += size;
        self.lots.push_back(Lot { ticket, size, mark, outputs, requests: Vec::new() });
        Some((ticket, records))
    }

    /// Everything up to this ticket is kept: gives what waited for it.
    pub(crate) fn release(&mut self, ticket: u64, outputs: &mut Vec<Output>) -> Vec<Waker> {
        while self.lots.front().is_some_and(|lot| lot.ticket <= ticket)
            && let Some(mut lot) = self.lots.pop_front()
        {
            self.size -= lot.size;
            self.mark = lot.mark;
            outputs.append(&mut lot.outputs);
            tell(lot.requests, &Ok(()));
        }
        if self.size <= HIGH_WATER / 2 { std::mem::take(&mut self.held_back) } else { Vec::new() }
    }

    /// What waits to be kept never will be: gives refusals instead of acknowledgements. Tells up to where
    /// all is kept.
    pub(crate) fn refuse(&mut self, outputs: &mut Vec<Output>) -> (Mark, Vec<Waker>) {
        for lot in self.lots.drain(..) {
            for output in lot.outputs {
                match output {
                    Output::Frame(transport, ServerFrame::Ack(ack)) => {
                        let (msg_serial, count) = (ack.msg_serial, ack.count);
                        let nack = Nack { msg_serial, count, error: Some(error::not_stored()) };
                        outputs.push(Output::Frame(transport, ServerFrame::Nack(nack)));
                    }
                    // The hub has forgotten these transports already.
                    Output::Close(_) => outputs.push(output),
                    _ => {}
                }
            }
            tell(lot.requests, &Err(error::not_stored()));
        }
        self.size = 0;
        (self.mark, std::mem::take(&mut self.held_back))
    }

    /// Whether publishers should pause.
    pub(crate) fn is_full(&self) -> bool {
        self.size > HIGH_WATER
    }

    /// Whether those who pause should go on pausing.
    pub(crate) fn is_crowded(&self) -> bool {
        self.size > HIGH_WATER / 2
    }

    /// Tells `request` once all that waits now is kept or refused; gives it back when nothing waits.
    pub(crate) fn settle(&mut self, request: Settled) -> Option<Settled> {
        match self.lots.back_mut() {
            Some(last) => {
                last.requests.push(request);
                None
            }
            None => Some(request),
        }
    }
}

fn tell(requests: Vec<Settled>, result: &Result<(), ErrorInfo>) {
    for request in requests {
        // Whoever asked may be gone.
        let _ = request.send(result.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use capably_protocol::Message;

    use super::*;
    use crate::hub::{
        App, AppSpec, Now, Retention, Settings,
        auth::{Identity, Key},
        capability::Capability,
    };

    /// An app that keeps what it is given, its clock, and who publishes.
    fn app() -> (App, Now, Identity) {
        let settings = Settings {
            server_id: "test".into(),
            connection_state_ttl: Duration::from_secs(120),
            max_idle_interval: Duration::from_secs(15),
            max_message_size: 2_000_000,
            max_frame_size: 2_000_000,
            max_presence_members: 250,
            presence_remain: Duration::from_secs(15),
            max_inbound_rate: None,
            max_channels: None,
            max_connections: None,
            max_request_rate: None,
            max_log_bytes: usize::MAX,
            retention: Retention {
                frames: 1000,
                bytes: 1_000_000_000,
                age: Duration::from_secs(150),
            },
        };
        let now = Now { steady: Duration::from_secs(1), wall: 1_726_585_978_590 };
        let mut app = App::new(Arc::new(settings), AppSpec::default(), now);
        app.keep();
        let key = Key::new("key", "secret", Capability::all());
        (app, now, Identity::of_key(&key, None).unwrap())
    }

    #[test]
    fn publishers_pause_until_half_of_what_waits_is_kept() {
        let (mut app, now, identity) = app();
        let mut held = Held::new(app.mark());
        let mut outputs = Vec::new();
        let mut tickets = Vec::new();
        for count in 1..=9 {
            assert!(!held.is_full(), "after {count}");
            let messages = vec![Message::new("m", "x".repeat(1_000_000))];
            app.publish(&identity, &"c".into(), messages, now, &mut outputs).unwrap();
            let (ticket, records) = held.hold(&mut outputs, app.mark()).unwrap();
            assert!(!records.is_empty() && outputs.is_empty());
            tickets.push(ticket);
        }
        assert!(held.is_full());
        held.held_back.push(Waker::noop().clone());
        // Nine wait; four of them are about half of what may.
        assert!(held.release(tickets[3], &mut outputs).is_empty());
        assert!(!held.is_full() && held.is_crowded());
        assert_eq!(held.release(tickets[4], &mut outputs).len(), 1);
        assert!(!held.is_crowded());
        held.release(tickets[8], &mut outputs);
        assert_eq!((held.size, held.lots.len(), held.mark), (0, 0, app.mark()));
    }

    #[test]
    fn a_request_waits_for_what_came_before_it_only() {
        let (mut app, now, identity) = app();
        let mut held = Held::new(app.mark());
        let (request, _) = oneshot::channel();
        assert!(held.settle(request).is_some(), "nothing to wait for");
        let mut outputs = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let messages = vec![Message::new("m", "x")];
            app.publish(&identity, &"c".into(), messages, now, &mut outputs).unwrap();
            let (ticket, _) = held.hold(&mut outputs, app.mark()).unwrap();
            let (request, answer) = oneshot::channel();
            assert!(held.settle(request).is_none());
            answers.push((ticket, answer));
        }
        let [(first, mut one), (_, mut two)] = <[_; 2]>::try_from(answers).unwrap();
        held.release(first, &mut outputs);
        assert_eq!(one.try_recv().unwrap(), Ok(()));
        assert!(two.try_recv().is_err());
        held.refuse(&mut outputs);
        assert_eq!(two.try_recv().unwrap().unwrap_err().code.0, 50000);
    }
}
