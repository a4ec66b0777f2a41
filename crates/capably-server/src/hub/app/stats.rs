//! Statistics.

use bytes::Bytes;
use capably_protocol::ErrorInfo;

use super::App;
use crate::hub::{
    Now, Page, StatsQuery,
    access::identity::Identity,
    stats::{Interval, Posted, stored::Elsewhere},
};

impl App {
    /// Checks statistics of past intervals that a client posts. They are to be stored, and then [added](Self::add_posted).
    ///
    /// # Errors
    /// As [`Stats::check_posted`](crate::hub::stats::Stats::check_posted).
    pub(crate) fn check_posted(
        &self,
        identity: &Identity,
        intervals: Vec<Interval>,
    ) -> Result<Posted, ErrorInfo> {
        self.stats.check_posted(identity, intervals)
    }

    /// Replaces the posted statistics of past intervals.
    pub(crate) fn add_posted(&mut self, posted: Posted) {
        self.stats.add_posted(posted);
    }

    /// A page of the statistics, with those from elsewhere (RSC6).
    ///
    /// # Errors
    /// Code 40160 for the capability.
    pub(crate) fn stats(
        &self,
        identity: &Identity,
        query: &StatsQuery,
        elsewhere: &Elsewhere,
        now: Now,
    ) -> Result<Page<Interval>, ErrorInfo> {
        self.stats.page(identity, &self.id, query, elsewhere, now)
    }

    /// The statistics that are to be stored, by the ids of their intervals. Those without a value are to be removed.
    pub(crate) fn take_stats(&mut self) -> Vec<(String, Option<Bytes>)> {
        self.stats.take_unstored()
    }

    /// The statistics of these intervals were not stored.
    pub(crate) fn put_back_stats<'a>(&mut self, intervals: impl Iterator<Item = &'a str>) {
        self.stats.put_back(intervals);
    }

    /// Adds statistics that this node has stored before it was started.
    ///
    /// # Errors
    /// The reason why they are not readable.
    pub(crate) fn restore_stats(&mut self, interval: &str, value: &[u8]) -> Result<(), String> {
        self.stats.restore(interval, value)
    }

    /// Adds statistics that clients have posted before the node was started.
    ///
    /// # Errors
    /// The reason why they are not readable.
    pub(crate) fn restore_posted(&mut self, interval: &str, value: &[u8]) -> Result<(), String> {
        self.stats.restore_posted(interval, value)
    }
}
