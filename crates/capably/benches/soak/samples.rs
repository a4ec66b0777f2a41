//! The figures as rows of a file, which `cargo xtask plots` draws.

use std::{fs::File, io::Write, time::Duration};

use tokio::runtime::Handle;

use crate::{
    load::Counts,
    service::{Service, descriptors, memory},
};

const HEADINGS: &str = "time (s),memory of the server (MiB),memory of the clients (MiB),\
    descriptors of the server,descriptors of the clients,tasks of the clients,channels of the server,\
    publishes (a second),publish p50 (ms),publish p99 (ms)";

pub(crate) struct Samples {
    file: File,
    before: Duration,
}

impl Samples {
    pub(crate) fn create(path: &str) -> Self {
        let mut file = File::create(path).unwrap();
        writeln!(file, "{HEADINGS}").unwrap();
        Self { file, before: Duration::ZERO }
    }

    pub(crate) async fn add(&mut self, elapsed: Duration, service: &Service, counts: &Counts) {
        let latencies = counts.take_latencies();
        let at = |share: f64| {
            let last = latencies.len().checked_sub(1)?;
            Some(format!("{:.3}", latencies[(last as f64 * share) as usize]))
        };
        let rate = latencies.len() as f64 / (elapsed - self.before).as_secs_f64();
        self.before = elapsed;
        let server = service.process();
        let row = [
            format!("{:.0}", elapsed.as_secs_f64()),
            format!("{:.1}", memory(&server)),
            format!("{:.1}", memory("self")),
            descriptors(&server).to_string(),
            descriptors("self").to_string(),
            Handle::current().metrics().num_alive_tasks().to_string(),
            service
                .metric("capably_channels")
                .await
                .map(|count| count.to_string())
                .unwrap_or_default(),
            format!("{rate:.0}"),
            at(0.5).unwrap_or_default(),
            at(0.99).unwrap_or_default(),
        ];
        // Each row is written at once: a soak that is stopped has its figures so far.
        writeln!(self.file, "{}", row.join(",")).unwrap();
    }
}
