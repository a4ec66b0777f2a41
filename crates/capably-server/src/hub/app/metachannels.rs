//! The events of metachannels that concern the whole app: statistics, and failures that the front reports.

use capably_protocol::{ErrorInfo, Str};
use serde_json::{Value, json};

use super::App;
use crate::hub::{Now, Output, Turn, metachannel::Metachannel, stats};

impl App {
    /// Publishes the statistics of the minute that ended last, if a client wants them and does not have them yet.
    pub(super) fn report_stats(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if !self.channels.is_watched(Metachannel::StatsMinute) {
            self.reports.due = None;
            return;
        }
        if self.reports.due.is_some_and(|due| now.steady < due) {
            return;
        }
        let Some((last, ends_in)) = stats::last_minute(now) else { return };
        self.reports.due = Some(now.steady + ends_in);
        // Begins the minute in progress, so that it has the open connections and channels whether anything happens or not.
        self.stats.current(now);
        if self.reports.reported.replace(last) == Some(last) {
            return;
        }
        let Some(interval) = self.stats.of_minute(last, &self.id) else { return };
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        let data = || serde_json::to_value(&interval).unwrap_or_default();
        let sent = turn.outputs.len();
        self.channels.report(Metachannel::StatsMinute, Some("update"), data, turn);
        self.count(&outputs[sent..], now);
    }

    /// A webhook was given up: no request delivers its events.
    pub(crate) fn webhook_failed(
        &mut self,
        rule: &str,
        events: usize,
        problem: &ErrorInfo,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let data = || {
            json!({
                "tag": "reactor.generic.http",
                "ruleId": rule,
                "events": events,
                "error": described(problem),
            })
        };
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        self.channels.report(Metachannel::Log, None, data, turn);
    }

    /// A push delivery has failed.
    pub(super) fn push_failed(
        &mut self,
        device: Option<&Str>,
        problem: &ErrorInfo,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let data = || match device {
            Some(device) => json!({ "deviceId": device, "error": described(problem) }),
            None => json!({ "error": described(problem) }),
        };
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        self.channels.report(Metachannel::LogPush, None, data, turn);
    }
}

fn described(problem: &ErrorInfo) -> Value {
    json!({
        "code": problem.code.0,
        "statusCode": problem.status_code,
        "message": &*problem.message,
    })
}
