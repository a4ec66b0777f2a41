//! The task of a rule: sends what waits, and repeats what fails.

use std::{collections::BTreeSet, future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use capably_protocol::Str;
use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::StatusCode;
use tokio::time::{Instant, sleep_until};

use super::{http::Failure, payload::Payload, queue::Taken, rule::RuleState};
use crate::webhooks::RequestMode;

/// The most requests of a rule at a time that have a single event each.
const CONCURRENCY: usize = 25;

/// When requests are repeated. All times are multiples of a unit, one second by default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    pub(crate) unit: Duration,
}

impl Retry {
    /// The times before a single event is sent again.
    const SINGLE: [u32; 2] = [4, 20];

    /// The longest time before a batch is sent again, and how long its events may wait.
    const BATCH: (u32, u32) = (60, 300);

    /// The time before the request after this many attempts. `None` if there is none.
    fn delay(self, mode: RequestMode, attempts: u32) -> Option<Duration> {
        match mode {
            RequestMode::Single => {
                let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
                Self::SINGLE.get(index).map(|units| self.unit * *units)
            }
            RequestMode::Batch => {
                let (most, _) = Self::BATCH;
                let exponent = i32::try_from(attempts.min(60)).unwrap_or(60);
                let units = std::f64::consts::SQRT_2.powi(exponent).min(f64::from(most));
                Some(self.unit.mul_f64(units))
            }
        }
    }

    /// How long events may wait once a request has failed.
    fn patience(self, mode: RequestMode) -> Option<Duration> {
        match mode {
            RequestMode::Single => None,
            RequestMode::Batch => Some(self.unit * Self::BATCH.1),
        }
    }
}

/// Whether a single event is sent again.
fn is_repeatable(failure: &Failure) -> bool {
    failure.status.is_none_or(|status| {
        status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
    })
}

/// Sends the events of a rule for as long as the task runs.
pub(super) async fn run(rule: Arc<RuleState>) {
    let mut under_way = FuturesUnordered::new();
    let mut repeats: BTreeSet<(Instant, Str)> = BTreeSet::new();
    loop {
        let now = Instant::now();
        while repeats.first().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, lane)) = repeats.pop_first() {
                rule.queue().resume(lane);
            }
        }
        if under_way.is_empty() && rule.queue().use_new_mode() {
            // What was to be repeated waits in other lanes now.
            repeats.clear();
        }
        let most = match rule.queue().mode() {
            RequestMode::Single => CONCURRENCY,
            RequestMode::Batch => 1,
        };
        while under_way.len() < most {
            let Some(taken) = rule.queue().take() else { break };
            under_way.push(send(&rule, taken));
        }
        let next_repeat = repeats.first().map(|(due, _)| *due);
        let repeat = async {
            match next_repeat {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some((taken, result)) = under_way.next(), if !under_way.is_empty() => {
                if let Some(repeat) = settle(&rule, taken, result) {
                    repeats.insert(repeat);
                }
            }
            () = rule.woken() => {}
            () = repeat => {}
        }
    }
}

async fn send(rule: &RuleState, taken: Taken) -> (Taken, Result<(), Failure>) {
    let (Payload { body, headers }, setup) = rule.request(&taken.events);
    let result = setup.endpoint.post(&headers, &Bytes::from(body)).await;
    (taken, result)
}

/// Notes the result of a request. Returns the lane that is sent again, and when.
fn settle(rule: &RuleState, taken: Taken, result: Result<(), Failure>) -> Option<(Instant, Str)> {
    let failure = match result {
        Ok(()) => {
            rule.is_answering(true);
            rule.queue().delivered(taken);
            return None;
        }
        Err(failure) => failure,
    };
    rule.failed(&failure.error);
    let mode = rule.mode();
    let can_repeat = mode == RequestMode::Batch || is_repeatable(&failure);
    let delay = rule.retry.delay(mode, taken.attempts + 1).filter(|_| can_repeat);
    let time = rule.time();
    let mut queue = rule.queue();
    let before = queue.counts().dead;
    let repeat = match delay {
        None => {
            queue.failed(taken, time, &failure.error);
            None
        }
        Some(delay) => {
            let lane = taken.lane.clone();
            let patience = rule.retry.patience(mode);
            let is_repeated = queue.put_back(taken, patience, time, &failure.error);
            is_repeated.then(|| (Instant::now() + delay, lane))
        }
    };
    let given_up = queue.counts().dead - before;
    drop(queue);
    rule.gave_up(usize::try_from(given_up).unwrap_or(usize::MAX), &failure.error);
    repeat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_event_is_sent_three_times() {
        let retry = Retry { unit: Duration::from_secs(1) };
        let delays = (1..5).map(|attempts| retry.delay(RequestMode::Single, attempts));
        let expected = [Some(4), Some(20), None, None].map(|it| it.map(Duration::from_secs));
        assert_eq!(delays.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_batch_is_sent_again_after_longer_and_longer_times() {
        let retry = Retry { unit: Duration::from_secs(1) };
        let delays = (1..20).map(|attempts| {
            retry.delay(RequestMode::Batch, attempts).map(|it| it.as_millis() / 100)
        });
        let delays: Vec<_> = delays.flatten().collect();
        assert_eq!(delays[..6], [14, 20, 28, 40, 56, 80]);
        assert_eq!(delays[12..], [600; 7]);
    }
}
