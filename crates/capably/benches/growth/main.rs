//! How figures grow with a load, as curves: each point is a row of `docs/performance/<curve>.csv`, which
//! `cargo xtask plots` draws.
//!
//! `cargo bench -p capably --bench growth [-- [curve…] [largest]]`, on Linux. The curves are `channels`, `connections`,
//! `members`, `listeners`, `history` and `payload`. `largest` is the largest load of the curves, as a number. The server
//! runs in a separate process, so that its memory is measured without that of the clients.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, and fails by panicking"
)]

mod connections;
mod history;
mod messages;
mod process;
mod state;

use std::{env, fmt::Write, fs, path::Path, time::Duration};

/// The rows of a curve. The headings say what a value is, and its unit.
struct Curve {
    name: &'static str,
    headings: &'static str,
    largest: usize,
    measure: fn(Loads) -> Vec<Vec<f64>>,
}

/// The loads at which a curve is measured.
#[derive(Clone, Copy)]
struct Loads {
    largest: usize,
}

impl Loads {
    /// This load, and each that is so many times as large.
    fn from(self, smallest: usize, factor: usize) -> Vec<usize> {
        let loads = std::iter::successors(Some(smallest), |load| load.checked_mul(factor));
        loads.take_while(|load| *load <= self.largest).collect()
    }
}

const CURVES: [Curve; 6] = [
    Curve {
        name: "channels",
        headings: "attached channels,memory of the server (MiB),memory of the client (MiB),\
                   attach of a further channel (ms),publish until acknowledged (ms)",
        largest: 100_000,
        measure: state::channels,
    },
    Curve {
        name: "connections",
        headings: "connections,memory of the server (MiB),connect of a further client (ms),\
                   publish until acknowledged (ms)",
        largest: 10_000,
        measure: connections::connections,
    },
    Curve {
        name: "members",
        headings: "members of a channel,memory of the server (MiB),attach and get all members (ms),\
                   update until acknowledged (ms)",
        largest: 10_000,
        measure: state::members,
    },
    Curve {
        name: "listeners",
        headings: "listeners of a channel,messages (a second),deliveries to listeners (a second)",
        largest: 1_000,
        measure: messages::listeners,
    },
    Curve {
        name: "payload",
        headings: "payload (bytes),messages (a second),payload (MiB a second)",
        largest: 65_536,
        measure: messages::payload,
    },
    Curve {
        name: "history",
        headings: "messages of a channel on disk,newest page of 100 (ms),oldest page of 100 (ms),\
                   disk (bytes a message),messages stored (a second)",
        largest: 10_000_000,
        measure: history::history,
    },
];

fn main() {
    if process::has_served() {
        return;
    }
    // cargo adds `--bench`.
    let arguments: Vec<String> = env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    let largest = arguments.iter().find_map(|argument| argument.parse().ok());
    let names: Vec<&String> = arguments.iter().filter(|it| it.parse::<usize>().is_err()).collect();
    for name in &names {
        assert!(CURVES.iter().any(|curve| curve.name == *name), "there is no curve `{name}`");
    }
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../docs/performance");
    fs::create_dir_all(&folder).unwrap();
    for curve in
        CURVES.iter().filter(|it| names.is_empty() || names.iter().any(|name| *name == it.name))
    {
        let loads = Loads { largest: largest.unwrap_or(curve.largest) };
        let rows = (curve.measure)(loads);
        let mut text = format!("{}\n", curve.headings);
        for row in rows {
            let row: Vec<String> = row.into_iter().map(short).collect();
            writeln!(text, "{}", row.join(",")).unwrap();
        }
        println!("{}: {text}", curve.name);
        fs::write(folder.join(curve.name).with_extension("csv"), text).unwrap();
    }
}

/// A value with four digits or all digits before the point: more are noise.
fn short(value: f64) -> String {
    let decimals = if value < 1.0 { 4 } else { (3 - value.log10().floor() as i32).max(0) as usize };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
