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
pub(super) struct Held {
    lots: VecDeque<Lot>,
    /// Of what is to be kept, about how many bytes.
    size: usize,
    last_ticket: u64,
    /// How far the app had come with all that is kept.
    mark: Mark,
    /// Publishers that wait for room.
    pub(super) held_back: Vec<Waker>,
    /// Nothing is kept any more.
    pub(super) broken: bool,
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
    pub(super) fn new(mark: Mark) -> Self {
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
    pub(super) fn hold(
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
    pub(super) fn release(&mut self, ticket: u64, outputs: &mut Vec<Output>) -> Vec<Waker> {
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
    pub(super) fn refuse(&mut self, outputs: &mut Vec<Output>) -> (Mark, Vec<Waker>) {
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
    pub(super) fn is_full(&self) -> bool {
        self.size > HIGH_WATER
    }

    /// Whether those who pause should go on pausing.
    pub(super) fn is_crowded(&self) -> bool {
        self.size > HIGH_WATER / 2
    }

    /// Tells `request` once all that waits now is kept or refused; gives it back when nothing waits.
    pub(super) fn settle(&mut self, request: Settled) -> Option<Settled> {
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
