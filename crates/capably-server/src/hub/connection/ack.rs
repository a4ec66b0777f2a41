//! Acknowledgements: combined into few frames, and remembered for frames that a client repeats.

use std::collections::VecDeque;

use capably_protocol::{
    ErrorInfo, PublishResult, ServerFrame,
    frame::{Ack, Nack},
};

use crate::hub::{Output, TransportId, log::position::Position, message::publish::Accepted};

/// The outcome of a publish.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Accepted, as a frame of so many messages.
    Accepted {
        position: Position,
        messages: usize,
    },
    Refused(ErrorInfo),
    /// Handled, but so long ago that the outcome was dropped.
    Forgotten,
}

impl From<Result<Accepted, ErrorInfo>> for Outcome {
    fn from(result: Result<Accepted, ErrorInfo>) -> Self {
        match result {
            Ok(Accepted { position, messages, .. }) => Self::Accepted { position, messages },
            Err(error) => Self::Refused(error),
        }
    }
}

/// Combines the acknowledgements of consecutive frames into one ACK.
#[derive(Debug)]
pub(crate) struct Acks {
    transport: TransportId,
    pending: Ack,
    serials: usize,
}

/// The most message serials in one ACK. Its frame stays far below any limit of a frame's size.
const MAX_SERIALS: usize = 2000;

impl Acks {
    pub(crate) fn new(transport: TransportId) -> Self {
        Self { transport, pending: Ack::default(), serials: 0 }
    }

    pub(crate) fn add(&mut self, msg_serial: u64, outcome: Outcome, outputs: &mut Vec<Output>) {
        let result = match outcome {
            Outcome::Accepted { position, messages } => PublishResult::new(
                (0..messages).map(|index| Some(position.message_serial(index))).collect(),
            ),
            Outcome::Forgotten => PublishResult::default(),
            Outcome::Refused(error) => {
                self.flush(outputs);
                let nack = Nack { msg_serial, count: 1, error: Some(error) };
                outputs.push(Output::Frame(self.transport, ServerFrame::Nack(nack)));
                return;
            }
        };
        let expected = self.pending.msg_serial.wrapping_add(self.pending.count);
        if expected != msg_serial || self.serials >= MAX_SERIALS {
            self.flush(outputs);
        }
        if self.pending.count == 0 {
            self.pending.msg_serial = msg_serial;
        }
        self.serials += result.serials.len();
        self.pending.count += 1;
        self.pending.res.push(result);
    }

    /// Sends the pending ACK.
    pub(crate) fn flush(&mut self, outputs: &mut Vec<Output>) {
        if self.pending.count > 0 {
            let ack = std::mem::take(&mut self.pending);
            self.serials = 0;
            outputs.push(Output::Frame(self.transport, ServerFrame::Ack(ack)));
        }
    }
}

/// The outcomes of a connection's latest frames, by `msgSerial`.
///
/// Frames of a busy publisher have consecutive positions. A run of them takes one row.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    runs: VecDeque<Run>,
}

#[derive(Debug)]
struct Run {
    first: u64,
    count: u64,
    /// The outcome of the first frame.
    outcome: Outcome,
}

const MAX_RUNS: usize = 8192;

impl Outcomes {
    /// Remembers the outcome of a frame. Each `msg_serial` is higher than those before.
    pub(crate) fn add(&mut self, msg_serial: u64, outcome: &Outcome) {
        if let Some(run) = self.runs.back_mut()
            && run.first.wrapping_add(run.count) == msg_serial
            && run.outcome_at(run.count) == *outcome
        {
            run.count += 1;
            return;
        }
        if self.runs.len() == MAX_RUNS {
            self.runs.pop_front();
        }
        self.runs.push_back(Run { first: msg_serial, count: 1, outcome: outcome.clone() });
    }

    /// The outcome of a frame that was handled before.
    pub(crate) fn get(&self, msg_serial: u64) -> Outcome {
        let after = self.runs.partition_point(|run| run.first <= msg_serial);
        after
            .checked_sub(1)
            .map(|index| &self.runs[index])
            .filter(|run| msg_serial - run.first < run.count)
            .map_or(Outcome::Forgotten, |run| run.outcome_at(msg_serial - run.first))
    }
}

impl Run {
    fn outcome_at(&self, offset: u64) -> Outcome {
        match &self.outcome {
            Outcome::Accepted { position, messages } => {
                Outcome::Accepted { position: position.plus(offset), messages: *messages }
            }
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{error, log::position::SerialClock};

    #[test]
    fn equal_outcomes_are_stored_as_runs() {
        let mut clock = SerialClock::new(1000);
        let mut outcomes = Outcomes::default();
        let mut expected = Vec::new();
        for msg_serial in 0..10_000u64 {
            let outcome = match msg_serial {
                4000 => Outcome::Refused(error::forced()),
                _ => Outcome::Accepted {
                    position: clock.next(1000 + msg_serial as i64 / 300),
                    messages: 1 + usize::from(msg_serial % 1000 == 7),
                },
            };
            outcomes.add(msg_serial, &outcome);
            expected.push(outcome);
        }
        assert!(outcomes.runs.len() < 100, "{} runs", outcomes.runs.len());
        for (msg_serial, outcome) in expected.iter().enumerate() {
            assert_eq!(outcomes.get(msg_serial as u64), *outcome, "{msg_serial}");
        }
        assert_eq!(outcomes.get(10_000), Outcome::Forgotten);
    }
}
