//! Channels that are loaded from an engine, in virtual time.

use std::collections::BTreeSet;

use super::*;
use crate::{
    engine::Appended,
    hub::{Position, Proposed, Records, StoredMembers},
};

impl Bench {
    fn with_engine() -> Self {
        let bench = Self::new();
        let settings = Arc::clone(&bench.app.settings);
        Self { app: App::with_engine(settings, spec(&bench.key), None, bench.now), ..bench }
    }

    /// Publishes, and has the engine commit it at a position.
    fn commit(&mut self, channel: &str, position: u64) {
        self.commit_data(channel, position, "x");
    }

    fn commit_data(&mut self, channel: &str, position: u64, data: &str) {
        let (identity, now) = (self.identity(), self.now);
        let messages = vec![Message::new("m", data)];
        let proposed =
            self.app.publish(&identity, &channel.into(), messages, now, &mut self.outputs);
        let Proposed::Waiting(ticket) = proposed.unwrap() else { panic!("there is an engine") };
        let appended = Appended { position: Position(position), repeated: false };
        self.app.committed(vec![(ticket, Ok(appended))], now, &mut self.outputs);
    }

    /// Ends the loading of a channel that had nothing when it was read.
    fn finish_load(&mut self, channel: &str) {
        let name = Str::from(channel);
        let floor = Position(0);
        let records = Records::read(&name, Vec::new());
        let excerpt = records.fold(&BTreeSet::new(), floor, &self.app.settings, self.now);
        let bounds = (floor, Position(u64::MAX));
        let members = StoredMembers::default();
        self.app.finish_load(&name, excerpt, bounds, members.into(), self.now, &mut self.outputs);
    }

    /// How many entries are kept for the channel, and how many it has in memory.
    fn kept_and_loaded(&self, channel: &str) -> (Option<usize>, Option<usize>) {
        (self.app.channels.kept(channel), self.app.channels.loaded(channel))
    }
}

#[test]
fn what_is_committed_while_a_channel_is_loaded_is_kept_up_to_a_limit() {
    let mut bench = Bench::with_engine();
    let name = Str::from("c");
    bench.app.begin_load(&name);
    for position in 1..=1000 {
        bench.commit("c", position);
    }
    assert_eq!(bench.kept_and_loaded("c"), (Some(1000), None));
    bench.commit("c", 1001);
    assert_eq!(bench.kept_and_loaded("c"), (None, None), "no more is kept");
    bench.commit("c", 1002);
    bench.finish_load("c");
    assert_eq!(bench.kept_and_loaded("c"), (None, None), "there would be a gap");

    bench.app.begin_load(&name);
    for position in 1003..=1005 {
        bench.commit("c", position);
    }
    bench.finish_load("c");
    assert_eq!(bench.kept_and_loaded("c"), (None, Some(3)));
}

#[test]
fn large_entries_are_kept_up_to_a_limit_of_their_bytes() {
    let mut bench = Bench::with_engine();
    Arc::make_mut(&mut bench.app.settings).max_message_size = 65_536;
    bench.app.begin_load(&Str::from("c"));
    let data = "x".repeat(60_000);
    let fit = 4 * 1024 * 1024 / 60_001;
    for position in 1..=fit {
        bench.commit_data("c", position, &data);
    }
    assert_eq!(bench.kept_and_loaded("c"), (Some(fit as usize), None));
    bench.commit_data("c", fit + 1, &data);
    assert_eq!(bench.kept_and_loaded("c"), (None, None));
}
