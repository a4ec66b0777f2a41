//! Outputs of an app that wait until storage has committed its records.
//!
//! Every output waits for all records before it. An acknowledgement must not be sent earlier, because a crash would
//! lose what it acknowledges; a delivery, because clients would have seen a message that does not exist after a
//! crash; and all other outputs, because outputs must stay in order.

use std::{collections::VecDeque, task::Waker};

use capably_protocol::{ErrorInfo, ServerFrame, frame::Nack};
use tokio::sync::oneshot;

use crate::hub::{Output, Record, error, keep::Mark};

/// With more bytes than this to be committed, publishers pause until half of them are committed.
const HIGH_WATER: usize = 8 * 1024 * 1024;

/// The writes of an app that are not committed yet, with the outputs that wait for each.
#[derive(Debug)]
pub(super) struct Pending {
    writes: VecDeque<PendingWrite>,
    /// About how many bytes the records of `writes` have.
    size: usize,
    last_ticket: u64,
    /// The state of the app after the last committed write.
    mark: Mark,
    /// Publishers that pause.
    pub(super) paused: Vec<Waker>,
    /// The thread that writes has ended: no record can be committed any more.
    pub(super) broken: bool,
}

#[derive(Debug)]
struct PendingWrite {
    ticket: u64,
    size: usize,
    /// The state of the app after these records.
    mark: Mark,
    outputs: Vec<Output>,
    requests: Vec<Committed>,
}

/// Sends a request the result of all writes before it.
type Committed = oneshot::Sender<Result<(), ErrorInfo>>;

impl Pending {
    pub(super) fn new(mark: Mark) -> Self {
        Self {
            writes: VecDeque::new(),
            size: 0,
            last_ticket: 0,
            mark,
            paused: Vec::new(),
            broken: false,
        }
    }

    /// Takes records out of the outputs, and delays the outputs that must wait; the others stay in `outputs`.
    /// Returns the records to be written, with the ticket of the write.
    pub(super) fn delay(
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
            if let Some(last) = self.writes.back_mut() {
                last.outputs.append(outputs);
            }
            return None;
        }
        let size = records.iter().map(Record::size).sum();
        let outputs = std::mem::take(outputs);
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.size += size;
        self.writes.push_back(PendingWrite { ticket, size, mark, outputs, requests: Vec::new() });
        Some((ticket, records))
    }

    /// All writes up to this ticket are committed: moves the outputs that waited for them to `outputs`. Returns the
    /// publishers to wake.
    pub(super) fn commit(&mut self, ticket: u64, outputs: &mut Vec<Output>) -> Vec<Waker> {
        while self.writes.front().is_some_and(|write| write.ticket <= ticket)
            && let Some(mut write) = self.writes.pop_front()
        {
            self.size -= write.size;
            self.mark = write.mark;
            outputs.append(&mut write.outputs);
            send(write.requests, &Ok(()));
        }
        if self.size <= HIGH_WATER / 2 { std::mem::take(&mut self.paused) } else { Vec::new() }
    }

    /// None of the writes will be committed: discards the outputs that wait, and puts a NACK in place of each ACK.
    /// Returns the state of the app after the last committed write, and the publishers to wake.
    pub(super) fn fail(&mut self, outputs: &mut Vec<Output>) -> (Mark, Vec<Waker>) {
        for write in self.writes.drain(..) {
            for output in write.outputs {
                match output {
                    Output::Frame(transport, ServerFrame::Ack(ack)) => {
                        let (msg_serial, count) = (ack.msg_serial, ack.count);
                        let nack = Nack { msg_serial, count, error: Some(error::not_stored()) };
                        outputs.push(Output::Frame(transport, ServerFrame::Nack(nack)));
                    }
                    // The hub has removed these transports: no other output will close them.
                    Output::Close(_) => outputs.push(output),
                    _ => {}
                }
            }
            send(write.requests, &Err(error::not_stored()));
        }
        self.size = 0;
        (self.mark, std::mem::take(&mut self.paused))
    }

    /// Whether publishers should pause.
    pub(super) fn is_full(&self) -> bool {
        self.size > HIGH_WATER
    }

    /// Whether publishers that pause should go on pausing.
    pub(super) fn is_half_full(&self) -> bool {
        self.size > HIGH_WATER / 2
    }

    /// Sends `request` the result of the writes that are pending. With no pending write, returns it.
    pub(super) fn wait(&mut self, request: Committed) -> Option<Committed> {
        match self.writes.back_mut() {
            Some(last) => {
                last.requests.push(request);
                None
            }
            None => Some(request),
        }
    }
}

fn send(requests: Vec<Committed>, result: &Result<(), ErrorInfo>) {
    for request in requests {
        // The client may have closed its connection in the meantime.
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

    /// An app that persists its entries, the time, and a publisher.
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
    fn publishers_pause_until_half_of_the_limit_is_committed() {
        let (mut app, now, identity) = app();
        let mut pending = Pending::new(app.mark());
        let mut outputs = Vec::new();
        let mut tickets = Vec::new();
        for count in 1..=9 {
            assert!(!pending.is_full(), "after {count}");
            let messages = vec![Message::new("m", "x".repeat(1_000_000))];
            app.publish(&identity, &"c".into(), messages, now, &mut outputs).unwrap();
            let (ticket, records) = pending.delay(&mut outputs, app.mark()).unwrap();
            assert!(!records.is_empty() && outputs.is_empty());
            tickets.push(ticket);
        }
        assert!(pending.is_full());
        pending.paused.push(Waker::noop().clone());
        // Nine writes wait. Four of them are about half of the limit.
        assert!(pending.commit(tickets[3], &mut outputs).is_empty());
        assert!(!pending.is_full() && pending.is_half_full());
        assert_eq!(pending.commit(tickets[4], &mut outputs).len(), 1);
        assert!(!pending.is_half_full());
        pending.commit(tickets[8], &mut outputs);
        assert_eq!((pending.size, pending.writes.len(), pending.mark), (0, 0, app.mark()));
    }

    #[test]
    fn a_request_waits_only_for_the_writes_before_it() {
        let (mut app, now, identity) = app();
        let mut pending = Pending::new(app.mark());
        let (request, _) = oneshot::channel();
        assert!(pending.wait(request).is_some(), "nothing to wait for");
        let mut outputs = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let messages = vec![Message::new("m", "x")];
            app.publish(&identity, &"c".into(), messages, now, &mut outputs).unwrap();
            let (ticket, _) = pending.delay(&mut outputs, app.mark()).unwrap();
            let (request, answer) = oneshot::channel();
            assert!(pending.wait(request).is_none());
            answers.push((ticket, answer));
        }
        let [(first, mut one), (_, mut two)] = <[_; 2]>::try_from(answers).unwrap();
        pending.commit(first, &mut outputs);
        assert_eq!(one.try_recv().unwrap(), Ok(()));
        assert!(two.try_recv().is_err());
        pending.fail(&mut outputs);
        assert_eq!(two.try_recv().unwrap().unwrap_err().code.0, 50000);
    }
}
