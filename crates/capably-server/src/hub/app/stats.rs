//! Statistics.

use capably_protocol::ErrorInfo;

use super::App;
use crate::hub::{Now, Page, StatsQuery, access::identity::Identity, stats::Interval};

impl App {
    /// Replaces the statistics of past intervals.
    ///
    /// # Errors
    /// As [`Stats::post`](crate::hub::stats::Stats::post).
    pub(crate) fn post_stats(
        &mut self,
        identity: &Identity,
        intervals: Vec<Interval>,
    ) -> Result<(), ErrorInfo> {
        self.stats.post(identity, intervals)
    }

    /// A page of the statistics (RSC6).
    ///
    /// # Errors
    /// Code 40160 for the capability.
    pub(crate) fn stats(
        &self,
        identity: &Identity,
        query: &StatsQuery,
        now: Now,
    ) -> Result<Page<Interval>, ErrorInfo> {
        self.stats.page(identity, &self.id, query, now)
    }
}
