//! How long entries are stored.
//!
//! One stream has all entries, because the positions of a channel must grow even if its retention changes. The stream
//! stores entries for the longest time that any entry asks for. From version 2.11 on, brokers remove an entry earlier that
//! asks for less; older brokers store all entries for the same time.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    api::{Api, StreamInfo},
    failure::Failure,
};

/// The shortest time for which a stream stores entries. It exceeds the time for which ids are remembered.
pub(super) const SHORTEST: Duration = Duration::from_secs(4 * 60);

/// The retention of a stream, as far as this node knows it.
#[derive(Debug)]
pub(super) struct Retention {
    api: Api,
    stream: String,
    longest: Duration,
    has_ttl: bool,
}

impl Retention {
    pub(super) fn new(api: Api, stream: String, info: &StreamInfo) -> Self {
        let longest = max_age(&info.config);
        Self { api, stream, longest, has_ttl: has_ttl(&info.config) }
    }

    /// Makes sure that the stream stores entries for this long.
    pub(super) async fn allow(&mut self, keep: Duration) -> Result<(), Failure> {
        if keep <= self.longest {
            return Ok(());
        }
        // Another node may extend the time as well, so the result is checked.
        loop {
            let mut config = self.api.stream(&self.stream).await?.config;
            self.longest = max_age(&config);
            if keep <= self.longest {
                return Ok(());
            }
            config["max_age"] = json!(u64::try_from(keep.as_nanos()).unwrap_or(0));
            tracing::info!(?keep, "the stream stores entries for longer");
            self.api.update_stream(&self.stream, &config).await?;
        }
    }

    /// The seconds after which brokers remove an entry, if that is much sooner than the stream does. To remove single
    /// entries is more work for them than to cut off the oldest.
    pub(super) fn ttl(&self, keep: Duration) -> Option<u64> {
        (self.has_ttl && keep < self.longest / 2).then(|| keep.as_secs() + 1)
    }
}

/// How long a stream stores messages.
fn max_age(config: &Value) -> Duration {
    match config["max_age"].as_u64() {
        // No limit.
        None | Some(0) => Duration::MAX,
        Some(nanos) => Duration::from_nanos(nanos),
    }
}

/// Whether messages of a stream can have a time of their own.
pub(super) fn has_ttl(config: &Value) -> bool {
    config["allow_msg_ttl"] == true
}
