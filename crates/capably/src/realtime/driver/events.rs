//! Dispatches the events of the core to listeners and shared state.

use capably_core::{
    Batch, ChannelId, ChannelState, ConnectionEvent, ConnectionState, ConnectionStateChange, Event,
};
use capably_protocol::{ErrorCode, ErrorInfo};

use super::{Driver, channel_entry::ChannelEntry, dispatch::failed, shared::ConnectionSnapshot};
use crate::{Error, auth::Clock, realtime::subscribing::Delivered};

impl Driver {
    pub(super) fn handle_event(&mut self, event: Event) {
        match event {
            Event::Messages(id, batch) => {
                self.deliver(id, batch, |entry, batch, clock| entry.messages.deliver(batch, clock));
            }
            Event::Gap(id, gap) => {
                if let Some(entry) = self.channels.get_mut(&id) {
                    entry.continuity_lost(*gap);
                }
            }
            Event::Presence(id, batch) => {
                self.deliver(id, batch, |entry, batch, clock| entry.presence.deliver(batch, clock));
            }
            Event::Annotations(id, batch) => {
                self.deliver(id, batch, |entry, batch, clock| {
                    entry.annotations.deliver(batch, clock)
                });
            }
            Event::ReplayEnded(id, end) => {
                let clock = &self.tasks.pipeline.config().options.clock;
                if let Some(entry) = self.channels.get_mut(&id) {
                    tracing::debug!(channel = %entry.shared.name, ?end, "a replay ended");
                    entry.replay_ended(&end, clock);
                }
            }
            Event::PresenceSynced(id, synced) => {
                if let Some(entry) = self.channels.get(&id) {
                    entry.shared.presence_synced(synced);
                }
            }
            Event::Objects(id, event) => {
                let entry = self.channels.get(&id);
                if let Some(objects) = entry.and_then(|entry| entry.shared.objects_if_used()) {
                    objects.dispatch(event);
                }
            }
            Event::Done(op, outcome) => self.finish(op, outcome),
            Event::Connection(change) => self.connection_changed(&change),
            Event::ErrorReason => {
                let reason = self.core.error_reason().cloned().map(Error::from);
                self.shared.error_reason_changed(reason);
            }
            Event::Granted(id) => {
                if let (Some(channel), Some(entry)) =
                    (self.core.channel(id), self.channels.get(&id))
                {
                    entry.shared.granted(channel);
                }
            }
            Event::Channel(id, change) => {
                let (Some(channel), Some(entry)) =
                    (self.core.channel(id), self.channels.get_mut(&id))
                else {
                    return;
                };
                tracing::debug!(
                    channel = %channel.name(), previous = %change.previous,
                    current = %change.current, reason = ?change.reason, "channel",
                );
                // Listeners first: a program that sees the new state may rely on them.
                if change.current == ChannelState::Attached {
                    entry.attached();
                }
                if change.current == ChannelState::Failed {
                    let clock = &self.tasks.pipeline.config().options.clock;
                    entry.failed(&Error::from(failed(change.reason.clone())), clock);
                }
                entry.shared.changed(channel, &change);
            }
        }
    }

    fn connection_changed(&mut self, change: &ConnectionStateChange) {
        tracing::debug!(
            previous = %change.previous, current = %change.current, reason = ?change.reason,
            retry_in = ?change.retry_in, "connection",
        );
        self.count(change);
        let current = change.current;
        let snapshot = ConnectionSnapshot {
            state: current,
            id: self.core.connection_id().cloned(),
            key: self.core.connection_key().cloned(),
            host: Some(self.core.host().clone()),
            error_reason: self.core.error_reason().cloned().map(Error::from),
        };
        let pipeline = &self.tasks.pipeline;
        let host = &**self.core.host();
        let away =
            current == ConnectionState::Connected && host != pipeline.config().domains.primary;
        // REST requests use the connection's host first (RTN17e).
        pipeline.follow(away.then_some(host));
        if current == ConnectionState::Connected {
            pipeline.session().confirm(self.core.confirmed_client_id().cloned());
            pipeline.identified();
            pipeline
                .limit_bodies(usize::try_from(self.core.max_frame_size()).unwrap_or(usize::MAX));
            let details = self.core.connection_details();
            tracing::debug!(
                server = details.server_id.as_deref(),
                site = details.site_code.as_deref(),
                frames_a_second = details.max_inbound_rate,
                "connected",
            );
        }
        if matches!(current, ConnectionState::Closed | ConnectionState::Failed) {
            let reason = Error::from(change.reason.clone().unwrap_or_else(closed));
            let clock = &self.tasks.pipeline.config().options.clock;
            for entry in self.channels.values_mut() {
                entry.end(&reason, clock);
            }
        }
        self.shared.connection_changed(snapshot, change);
    }

    fn count(&self, change: &ConnectionStateChange) {
        let ConnectionEvent::State(state) = change.event else { return };
        let resumed = self.core.connection_id() == self.shared.connection().id.as_ref();
        self.shared.count(|metrics| match state {
            ConnectionState::Connected => {
                metrics.connected += 1;
                metrics.resumed += u64::from(resumed);
            }
            ConnectionState::Disconnected => metrics.disconnected += 1,
            ConnectionState::Suspended => metrics.suspended += 1,
            ConnectionState::Initialized
            | ConnectionState::Connecting
            | ConnectionState::Closing
            | ConnectionState::Closed
            | ConnectionState::Failed => {}
        });
    }

    /// Delivers a batch to the listeners of a channel. Stops a replay that is of no more use to any of them.
    fn deliver<T>(
        &mut self,
        id: ChannelId,
        batch: Batch<T>,
        deliver: impl FnOnce(&mut ChannelEntry, Batch<T>, &Clock) -> Delivered,
    ) {
        let clock = &self.tasks.pipeline.config().options.clock;
        let Some(entry) = self.channels.get_mut(&id) else { return };
        self.delivered = true;
        let repeated = batch.place.repeated;
        let Delivered { filled, fell_behind } = deliver(entry, batch, clock);
        if fell_behind {
            self.lagging.insert(id);
        }
        if filled {
            self.full_queues.add(id);
        }
        if repeated && !entry.needs_replay() {
            self.core.stop_replay(id, self.now());
        }
    }
}

fn closed() -> ErrorInfo {
    ErrorInfo::new(ErrorCode::CONNECTION_CLOSED, 400, "the connection is closed")
}
