//! Finding out what was committed when something went wrong.
//!
//! 1. A fence is published until one is committed. What was published before it, on the same way, is committed before it
//!    or never. Where the connection was lost, so are messages on the old one; a broker that still has them sends them to
//!    a leader that either committed them before it committed the fence, or is none any more.
//! 2. The ids in the stream up to the fence say which entries were committed.
//! 3. The others are published again, in their order. An entry after which a later one of its channel was committed is
//!    refused instead: there is no place for it any more.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::time::Instant;

use super::{
    super::{
        super::{Appended, EngineError},
        failure::Failure,
        scan::Scan,
    },
    State, Step, Waiting,
    window::Unresolved,
};

/// How long the commit of a fence may take before another is published. Each further fence of a recovery may take twice as
/// long, so that a slow broker answers one before the next.
const FENCE: Duration = Duration::from_secs(1);
/// The longest time for a fence.
const LAST_FENCE: Duration = Duration::from_secs(8);
/// How long to wait before another fence is published after one was refused.
const RETRY: Duration = Duration::from_millis(100);

/// The engine is gone.
pub(super) struct Ended;

impl State {
    /// Waits until the brokers commit again, and resolves the entries of the window or queues them again.
    pub(super) async fn recover(&mut self) -> Result<(), Ended> {
        let began = Instant::now();
        tracing::debug!(entries = self.window.len(), "finding out which entries were committed");
        loop {
            let fence = self.committed_fence().await?;
            match self.committed(fence).await {
                Ok(committed) => {
                    let took = began.elapsed();
                    tracing::debug!(committed = committed.len(), ?took, "found out");
                    self.newest = self.newest.max(fence);
                    self.settle(&committed);
                    return Ok(());
                }
                Err(reason) => tracing::debug!(%reason, "cannot read what was committed"),
            }
        }
    }

    /// Publishes fences until one is committed. Returns its sequence.
    async fn committed_fence(&mut self) -> Result<u64, Ended> {
        let mut patience = FENCE;
        loop {
            self.fence += 1;
            let reply = format!("{}.f{}", self.inbox, self.fence);
            let (client, subject) = (&self.log.api.client, self.log.names.fence());
            // While there is no connection, a fence would only fill the queue of the client.
            let is_connected =
                client.connection_state() == async_nats::connection::State::Connected;
            let mut pause = Instant::now() + if is_connected { patience } else { RETRY };
            if is_connected {
                patience = (2 * patience).min(LAST_FENCE);
                let headers = HeaderMap::new();
                let sent =
                    client.publish_with_reply_and_headers(subject, reply, headers, Bytes::new());
                if sent.await.is_err() {
                    pause = Instant::now() + RETRY;
                }
            }
            while Instant::now() < pause {
                match self.step(pause).await {
                    Step::Fenced(Ok(sequence)) => return Ok(sequence),
                    // The leader answers, and there is nothing to find out.
                    Step::Fenced(Err(failure))
                        if !failure.is_temporary() && self.window.is_empty() =>
                    {
                        return Ok(self.newest);
                    }
                    // A refusal is quick, so that the brokers are not slow.
                    Step::Fenced(Err(_)) => {
                        patience = FENCE;
                        pause = pause.min(Instant::now() + RETRY);
                    }
                    Step::Continue | Step::Trouble => {}
                    Step::End => return Err(Ended),
                }
            }
        }
    }

    /// The sequences of the entries in the window that were committed before the fence, by their ids.
    async fn committed(&mut self, fence: u64) -> Result<HashMap<String, u64>, Failure> {
        let ids: HashSet<&str> = self.window.ids().collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let (log, floor) = (&self.log, self.window.floor());
        let mut scan = Scan::new(&log.api, &log.stream, log.names.log(), floor + 1, fence)
            .up_to_committed()
            .headers_only();
        let mut committed = HashMap::new();
        while let Some(stored) = scan.next().await? {
            if let Some(id) = stored.id.filter(|id| ids.contains(&**id)) {
                committed.insert(id, stored.sequence);
            }
        }
        Ok(committed)
    }

    /// Resolves the entries of the window, or queues them again. `committed` has the sequences of the committed ones.
    fn settle(&mut self, committed: &HashMap<String, u64>) {
        let judged = judge(self.window.take(), committed);
        let mut again = Vec::new();
        for (waiting, verdict) in judged {
            let result = match verdict {
                Verdict::Committed { sequence, repeated } => {
                    Ok(Appended { position: self.log.position(sequence), repeated })
                }
                Verdict::Overtaken => Err(EngineError::Unavailable(
                    "JetStream lost this entry when a broker failed, and has committed a later one"
                        .into(),
                )),
                Verdict::Again => {
                    again.push(waiting);
                    continue;
                }
            };
            self.resolve(&waiting, result);
        }
        again.into_iter().rev().for_each(|waiting| self.queue.push_front(waiting));
    }
}

/// What becomes of an unresolved entry.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Committed {
        sequence: u64,
        repeated: bool,
    },
    /// A later entry of its channel was committed.
    Overtaken,
    /// It is published again.
    Again,
}

/// Judges the unresolved entries, in the order of their publishing. `committed` has sequences by id.
fn judge(entries: Vec<Unresolved>, committed: &HashMap<String, u64>) -> Vec<(Waiting, Verdict)> {
    // From the newest entry to the oldest: which channels have a later entry that was committed.
    let mut passed: HashSet<Box<str>> = HashSet::new();
    let mut judged = Vec::new();
    for entry in entries.into_iter().rev() {
        match entry {
            Unresolved::Committed(channel) => drop(passed.insert(channel)),
            Unresolved::Waiting(waiting) => {
                let verdict = if let Some(sequence) = committed.get(&waiting.item.id) {
                    passed.insert(waiting.item.channel().into());
                    Verdict::Committed { sequence: *sequence, repeated: false }
                } else if passed.contains(waiting.item.channel()) {
                    Verdict::Overtaken
                } else {
                    Verdict::Again
                };
                judged.push((waiting, verdict));
            }
        }
    }
    judged.reverse();
    // Of several with one id, the first is the one in the stream.
    let mut ids = HashSet::new();
    for (waiting, verdict) in &mut judged {
        if let Verdict::Committed { repeated, .. } = verdict {
            *repeated = !ids.insert(waiting.item.id.clone());
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Item,
            window::{Resolution, Window},
        },
        *,
    };

    fn waiting(channel: &str, id: &str) -> Waiting {
        let subject = format!("p.log.a.n{channel}.n.0");
        let item = Item {
            channel_end: subject.len() - 4,
            subject: subject.into(),
            id: id.into(),
            is_shared_id: false,
            keep: Duration::ZERO,
            payload: Bytes::new(),
        };
        Waiting { item, call: 0, index: 0, deadline: Instant::now(), attempts: 1 }
    }

    /// The window has these entries; some are acknowledged, some are found in the stream.
    fn verdicts(
        entries: &[(&str, &str)],
        acknowledged: &[u64],
        refused: &[u64],
        found: &[(&str, u64)],
    ) -> Vec<(String, Verdict)> {
        let mut window = Window::default();
        for (channel, id) in entries {
            window.push(waiting(channel, id), 0);
        }
        for number in acknowledged {
            assert!(window.resolve(*number, Resolution::Committed).is_some());
            assert!(window.resolve(*number, Resolution::Committed).is_none());
        }
        for number in refused {
            assert!(window.resolve(*number, Resolution::Refused).is_some());
        }
        let found = found.iter().map(|(id, sequence)| ((*id).to_owned(), *sequence)).collect();
        let judged = judge(window.take(), &found);
        judged.into_iter().map(|(waiting, verdict)| (waiting.item.id, verdict)).collect()
    }

    fn committed(sequence: u64, repeated: bool) -> Verdict {
        Verdict::Committed { sequence, repeated }
    }

    #[test]
    fn what_is_lost_is_published_again_in_order() {
        let entries = [("x", "1"), ("y", "2"), ("x", "3")];
        let expected = ["1", "2", "3"].map(|id| (id.to_owned(), Verdict::Again));
        assert_eq!(verdicts(&entries, &[], &[], &[]), expected);
    }

    #[test]
    fn what_was_overtaken_is_refused() {
        // `3` is found in the stream; so `1` of the same channel has no place any more, and `2` of another has.
        let entries = [("x", "1"), ("y", "2"), ("x", "3"), ("x", "4")];
        let judged = verdicts(&entries, &[], &[], &[("3", 7)]);
        let expected = [
            ("1".to_owned(), Verdict::Overtaken),
            ("2".to_owned(), Verdict::Again),
            ("3".to_owned(), committed(7, false)),
            ("4".to_owned(), Verdict::Again),
        ];
        assert_eq!(judged, expected);
        // The same if it was acknowledged, and not if it was refused.
        let judged = verdicts(&entries[..3], &[2], &[], &[]);
        let expected = [("1".to_owned(), Verdict::Overtaken), ("2".to_owned(), Verdict::Again)];
        assert_eq!(judged, expected);
        let judged = verdicts(&entries[..3], &[], &[2], &[]);
        assert_eq!(judged[0].1, Verdict::Again);
    }

    #[test]
    fn of_one_id_the_first_is_committed() {
        let judged = verdicts(&[("x", "1"), ("x", "1")], &[], &[], &[("1", 7)]);
        let verdicts: Vec<_> = judged.into_iter().map(|(_, verdict)| verdict).collect();
        assert_eq!(verdicts, [committed(7, false), committed(7, true)]);
    }

    #[test]
    fn the_window_begins_with_an_unresolved_entry() {
        let mut window = Window::default();
        for id in ["1", "2", "3"] {
            window.push(waiting("x", id), 5);
        }
        assert!(window.resolve(1, Resolution::Committed).is_some());
        assert_eq!((window.len(), window.floor()), (3, 5));
        assert!(window.resolve(0, Resolution::Committed).is_some());
        assert_eq!(window.ids().collect::<Vec<_>>(), ["3"]);
        assert!(!window.has(1) && window.has(2));
        assert_eq!(window.len(), 1);
        window.push(waiting("x", "4"), 6);
        assert!(window.has(3));
    }
}
