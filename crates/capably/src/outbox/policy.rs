//! Limits and choices of an outbox.

/// Limits and choices of a client's outbox; see [`ClientOptions::outbox_policy`](crate::ClientOptions::outbox_policy).
///
/// ```
/// use capably::outbox::{OutboxPolicy, WhenFull, WhenUnsure};
///
/// let policy = OutboxPolicy::new()
///     .max_bytes(16 * 1024 * 1024)
///     .when_full(WhenFull::Wait)
///     .when_unsure(WhenUnsure::Refuse);
/// # let _ = policy;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct OutboxPolicy {
    pub(super) max_bytes: u64,
    pub(super) max_refused_bytes: u64,
    pub(super) max_in_flight: usize,
    pub(super) when_full: WhenFull,
    pub(super) when_unsure: WhenUnsure,
}

/// What a publish does while the outbox is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It fails with 50004, and nothing is stored.
    #[default]
    Refuse,
    /// It waits for room. Publishes that wait get room in their order.
    Wait,
}

/// What to do with a publish that the service may have accepted before, when it can no longer be found out; see
/// [the guarantee](crate::guide::outbox).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenUnsure {
    /// Send it again: nothing is lost, and the message may be twice in the channel.
    #[default]
    Send,
    /// Move it to the refused publishes, with code 50003: nothing is twice, and the application decides.
    Refuse,
}

impl Default for OutboxPolicy {
    /// 64 MiB, 16 MiB of refused publishes, 1,024 in flight; refuses when it is full, and sends when it is unsure.
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1024 * 1024,
            max_refused_bytes: 16 * 1024 * 1024,
            max_in_flight: 1024,
            when_full: WhenFull::default(),
            when_unsure: WhenUnsure::default(),
        }
    }
}

impl OutboxPolicy {
    /// The default policy.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most bytes of publishes without an acknowledgement; 64 MiB by default. Their names, payloads and other
    /// fields count as they are stored. The index of the entries takes about 60 bytes of memory for each.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The most bytes of refused publishes to keep; 16 MiB by default. The oldest are dropped first, and counted in
    /// [`OutboxMetrics::dropped`](super::OutboxMetrics::dropped). With 0, none is kept.
    pub fn max_refused_bytes(mut self, bytes: u64) -> Self {
        self.max_refused_bytes = bytes;
        self
    }

    /// The most publishes that are sent and not acknowledged; 1,024 by default, and at least 1. With 1, messages keep
    /// their order even when the service refuses one of them for a while, such as at a rate limit.
    pub fn max_in_flight(mut self, publishes: usize) -> Self {
        self.max_in_flight = publishes.max(1);
        self
    }

    /// What a publish does while the outbox is full; by default it fails.
    pub fn when_full(mut self, choice: WhenFull) -> Self {
        self.when_full = choice;
        self
    }

    /// What to do with a publish that may have been accepted before; by default it is sent again.
    pub fn when_unsure(mut self, choice: WhenUnsure) -> Self {
        self.when_unsure = choice;
        self
    }
}
