//! The events that are read from the log: those that an earlier server has not delivered, and all those of a cluster.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use capably_protocol::{ErrorCode, ErrorInfo, Millis, Str};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::StoredWebhooks;
use crate::{
    engine::{self, Direction, Range},
    front::{
        app::{
            AppHandle,
            fetch::{LAST, PAGE, PAGE_BYTES, failed},
            log::Log,
        },
        webhooks::{Due, Reading, STORE, SharedChannels},
    },
    hub::{ChannelEvent, Position},
};

/// The most channels that are read at the same time.
const READS: usize = 16;

/// How much older than the time in its fact the first entry of a channel may be: of several nodes that publish on it at the same time, the
/// fact has the time of one, and their clocks may differ.
const SLACK: Millis = 10_000;

/// The time after which a channel is read again whose newest entry the engine does not show yet.
const SOON: Duration = Duration::from_millis(20);

/// After so many stores of positions, a node looks whether channels have entries of which nobody has told it.
const LOOK: u32 = 60;

impl AppHandle {
    /// Queues the events that an earlier server has not delivered.
    ///
    /// # Errors
    /// Codes 50003 and 50000 for the engine.
    pub(in crate::front) async fn resume_webhooks(
        &self,
        stored: StoredWebhooks,
    ) -> Result<(), ErrorInfo> {
        if let Some(shared) = self.webhooks.shared() {
            stored.channels.iter().for_each(|(name, since)| shared.restore(name, *since));
            return Ok(());
        }
        let Some(log) = &self.log else { return Ok(()) };
        let Some(after) = self.webhooks.undelivered_after() else { return Ok(()) };
        for (name, _) in stored.channels {
            self.resume_channel(log, &name, after).await?;
            self.webhooks.restore_channel(name);
        }
        Ok(())
    }

    async fn resume_channel(
        &self,
        log: &Log,
        name: &Str,
        mut after: Position,
    ) -> Result<(), ErrorInfo> {
        while let Some((events, last)) = self.read_events(log, name, after).await? {
            for (position, event) in &events {
                self.webhooks.push_again(event, *position);
            }
            after = last;
        }
        Ok(())
    }

    /// The events of a page of entries, and the position of its end. `None` after the last entry.
    async fn read_events(
        &self,
        log: &Log,
        name: &Str,
        after: Position,
    ) -> Result<Option<(Vec<(Position, ChannelEvent)>, Position)>, ErrorInfo> {
        let range = Range {
            after,
            until: LAST,
            kind: None,
            direction: Direction::Forwards,
            limit: PAGE,
            max_bytes: PAGE_BYTES,
        };
        let entries = log.engine.read(&self.channel(name), range).await.map_err(failed)?;
        let Some(last) = entries.last().map(|entry: &engine::Entry| entry.position) else {
            return Ok(None);
        };
        let excerpt = self.excerpt(log, name, entries, after, Some(LAST)).await?;
        Ok(Some((excerpt.events(name), last)))
    }

    /// Starts to read the events of the channels that this node of a cluster delivers.
    pub(super) fn start_reading(&self) {
        if let Some(shared) = self.webhooks.shared() {
            shared.start(read(Weak::clone(&self.me), Arc::clone(shared)));
        }
    }

    /// Reads the channels that are due. Returns whether some are to be read again soon.
    ///
    /// # Errors
    /// Code 50003 when the engine cannot be reached.
    async fn read_due(&self, log: &Log, shared: &SharedChannels) -> Result<bool, ErrorInfo> {
        let due = shared.take_due();
        let names: Vec<Str> = due.iter().map(|due| due.name.clone()).collect();
        let reads = stream::iter(due).map(async |due| {
            let name = due.name.clone();
            (name, self.read_channel(log, shared, due).await)
        });
        let mut reads = pin!(reads.buffer_unordered(READS));
        let mut is_behind = false;
        while let Some((name, read)) = reads.next().await {
            match read {
                Ok(behind) => is_behind |= behind,
                Err(problem) if problem.code == ErrorCode::TIMEOUT_ERROR => {
                    shared.read_again(names);
                    return Err(problem);
                }
                // The other channels do not wait for this one.
                Err(_) => shared.read_again([name]),
            }
        }
        Ok(is_behind)
    }

    /// Reads a page of a channel. Returns whether the engine does not show an entry yet that another node has committed.
    async fn read_channel(
        &self,
        log: &Log,
        shared: &SharedChannels,
        due: Due,
    ) -> Result<bool, ErrorInfo> {
        let Due { name, since, reading, newest } = due;
        let reading = match reading {
            Some(reading) => reading,
            None => self.begin_reading(log, &name, since).await?,
        };
        match self.read_events(log, &name, reading.read).await? {
            Some((events, last)) => {
                let push = || self.webhooks.push_read(&events, &reading);
                shared.advance(&name, &reading, last, push);
                // A limit may have cut off the rest. Only an empty page is the end.
                shared.read_on(&name);
                Ok(false)
            }
            None if newest <= reading.read => {
                shared.advance(&name, &reading, reading.read, || {});
                Ok(false)
            }
            None => {
                let bounds = log.engine.bounds(&self.channel(&name)).await.map_err(failed)?;
                // If the engine knows a newer entry, the one that was committed is not stored any more.
                let is_behind = bounds.1 < newest;
                let read = if is_behind { reading.read } else { newest };
                shared.advance(&name, &reading, read, || {});
                if is_behind {
                    shared.read_again([name]);
                }
                Ok(is_behind)
            }
        }
    }

    /// Where this node begins to read a channel: where another node has stopped, or at its first entry with an event.
    async fn begin_reading(
        &self,
        log: &Log,
        name: &Str,
        since: Millis,
    ) -> Result<Reading, ErrorInfo> {
        if let Some(progress) = self.webhooks.stored_progress(name).await.map_err(failed)? {
            return Ok(Reading::after(progress, self.webhooks.ids()));
        }
        let since = since.saturating_sub(SLACK).max(0);
        let first = log.engine.seek(&self.channel(name), since).await.map_err(failed)?;
        Ok(Reading::new(first, BTreeMap::new()))
    }

    /// Reads the channels again that have entries of which nobody has told this node.
    ///
    /// # Errors
    /// Codes 50003 and 50000 for the engine.
    async fn look_for_entries(&self, log: &Log, shared: &SharedChannels) -> Result<(), ErrorInfo> {
        let has_more = async |(name, read): (Str, Position)| {
            let bounds = log.engine.bounds(&self.channel(&name)).await.map_err(failed)?;
            Ok::<_, ErrorInfo>((bounds.1 > read).then_some(name))
        };
        let mut found = pin!(stream::iter(shared.own()).map(has_more).buffer_unordered(READS));
        while let Some(name) = found.try_next().await? {
            name.iter().for_each(|name| shared.read_on(name));
        }
        Ok(())
    }
}

/// Reads the channels of a node, and stores how far their delivery has come, for as long as the task runs.
async fn read(app: Weak<AppHandle>, shared: Arc<SharedChannels>) {
    let mut store = interval(STORE);
    store.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stores = 0_u32;
    let mut soon: Option<Instant> = None;
    loop {
        let mut is_time_to_store = false;
        tokio::select! {
            () = shared.woken() => {}
            () = sleep_until(soon.unwrap_or_else(Instant::now)), if soon.is_some() => {}
            _ = store.tick() => is_time_to_store = true,
        }
        let Some(app) = app.upgrade() else { return };
        let Some(log) = &app.log else { return };
        if is_time_to_store || shared.has_left() {
            stores = stores.wrapping_add(1);
            if let Err(problem) = app.webhooks.store_positions().await {
                tracing::warn!(%problem, "where the webhooks stand was not stored");
            }
            if stores.is_multiple_of(LOOK) {
                // The reason is logged, and the next look is soon enough.
                let _ = app.look_for_entries(log, &shared).await;
            }
        }
        // After an error, which is logged, the next store is soon enough to try again.
        let is_behind = app.read_due(log, &shared).await.unwrap_or(false);
        soon = is_behind.then(|| Instant::now() + SOON);
    }
}
