//! Options for the durable outbox.

use super::ClientOptions;
use crate::outbox::{Outbox, OutboxPolicy, OutboxSlot};

/// The durable outbox.
impl ClientOptions {
    /// Stores the publishes of a realtime client before they count as accepted, and sends them until each is
    /// acknowledged, also after a crash; see [the guide](crate::guide::outbox). By default there is no outbox.
    ///
    /// One client uses the store: a second client with a clone of these options fails with 40000. A
    /// [`Rest`](crate::Rest) client fails with 40000, because REST publishes do not go through an outbox.
    #[must_use]
    pub fn outbox(mut self, store: impl Outbox) -> Self {
        let policy = self.outbox.take().map(|outbox| outbox.policy).unwrap_or_default();
        self.outbox = Some(OutboxSlot::new(Some(Box::new(store)), policy));
        self
    }

    /// Sets the limits of the outbox, and what it does when it is full or unsure. Without an
    /// [`outbox`](Self::outbox), a realtime client fails with 40000.
    #[must_use]
    pub fn outbox_policy(mut self, policy: OutboxPolicy) -> Self {
        match &mut self.outbox {
            Some(outbox) => outbox.policy = policy,
            None => self.outbox = Some(OutboxSlot::new(None, policy)),
        }
        self
    }
}
