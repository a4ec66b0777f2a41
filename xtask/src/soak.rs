//! `cargo xtask soak`: a long run of a mixed load with faults, and the verdict on its figures.

use std::{fs, path::Path};

use crate::{
    Outcome,
    chores::cargo,
    plots::{self, Figures},
};

/// Two hours.
const DEFAULT: &str = "7200";
const FIGURES: &str = "target/soak.csv";
/// The server keeps messages for two minutes. Until then its memory grows, and this time is left out of the verdict.
const WARM_UP: f64 = 180.0;
/// The growth that counts: this share of the value before, and at least so much more.
const SHARE: f64 = 0.1;

/// The columns that must not grow, by the start of their heading, and the growth that is noise.
const STEADY: [(&str, f64); 4] = [
    ("memory of the", 8.0),
    ("descriptors of the", 16.0),
    ("tasks of the", 16.0),
    ("channels of the", 16.0),
];

/// Runs the load for so many seconds, then judges and draws its figures.
pub(crate) fn run(root: &Path, seconds: Option<&str>) -> Outcome {
    let seconds = seconds.unwrap_or(DEFAULT);
    if seconds.parse::<u32>().is_err() {
        return Err(format!("`{seconds}` is not a number of seconds"));
    }
    cargo(root, &["build", "--release", "-p", "capably-cli"], &[])?;
    let command = root.join("target/release/capably");
    let figures = root.join(FIGURES);
    let (command, figures) = (command.to_string_lossy(), figures.to_string_lossy());
    let soak = ["bench", "-p", "capably", "--bench", "soak", "--"];
    let arguments: Vec<&str> =
        soak.into_iter().chain([command.as_ref(), seconds, figures.as_ref()]).collect();
    cargo(root, &arguments, &[])?;
    judge(root.join(FIGURES).as_path())
}

/// `cargo xtask soak <figures.csv>`: judges and draws the figures of a run.
pub(crate) fn judge(source: &Path) -> Outcome {
    let text =
        fs::read_to_string(source).map_err(|error| format!("{}: {error}", source.display()))?;
    let drawn = plots::draw(source)?;
    let verdict = verdict(&Figures::parse(&text)?);
    match verdict {
        Ok(verdict) => Ok(format!("{verdict}; {drawn}")),
        Err(error) => Err(format!("{error}; {drawn}")),
    }
}

/// Compares the first quarter after the warm-up with the last.
fn verdict(figures: &Figures) -> Outcome {
    let mut grown = Vec::new();
    let mut steady = 0;
    for panel in &figures.panels {
        let Some((_, noise)) = STEADY.iter().find(|(start, _)| panel.heading.starts_with(start))
        else {
            continue;
        };
        let values =
            panel.points.iter().filter(|(time, _)| *time >= WARM_UP).map(|(_, value)| *value);
        let values: Vec<f64> = values.collect();
        let quarter = values.len() / 4;
        if quarter == 0 {
            return Err(format!("the run is too short: {WARM_UP} seconds are its warm-up"));
        }
        let (before, after) =
            (median(&values[..quarter]), median(&values[values.len() - quarter..]));
        if after - before > noise.max(before * SHARE) {
            grown.push(format!("{} grew from {before} to {after}", panel.heading));
        }
        steady += 1;
    }
    if !grown.is_empty() {
        return Err(grown.join(", "));
    }
    if steady == 0 {
        return Err("these are not the figures of a soak".to_owned());
    }
    Ok("neither memory nor descriptors nor tasks grew".to_owned())
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// A row each ten seconds for an hour.
    fn figures(memory: impl Fn(f64) -> f64, descriptors: impl Fn(f64) -> f64) -> Figures {
        let mut text =
            "time (s),memory of the server (MiB),descriptors of the server,publish p50 (ms)\n"
                .to_owned();
        for row in 1..=360 {
            let time = f64::from(row) * 10.0;
            writeln!(text, "{time},{},{},{row}", memory(time), descriptors(time)).unwrap();
        }
        Figures::parse(&text).unwrap()
    }

    #[test]
    fn a_leak_of_memory_fails() {
        let error = verdict(&figures(|time| 40.0 + time / 200.0, |_| 30.0)).unwrap_err();
        assert!(error.starts_with("memory of the server (MiB) grew from 43"), "{error}");
    }

    #[test]
    fn a_leak_of_descriptors_fails() {
        let error = verdict(&figures(|_| 40.0, |time| 30.0 + (time / 100.0).floor())).unwrap_err();
        assert!(error.starts_with("descriptors of the server grew from"), "{error}");
    }

    #[test]
    fn growth_in_the_warm_up_and_peaks_are_no_leak() {
        let memory = |time: f64| if time == 3_600.0 { 500.0 } else { 40.0 + time.min(WARM_UP) };
        let verdict = verdict(&figures(memory, |_| 30.0));
        assert_eq!(verdict.unwrap(), "neither memory nor descriptors nor tasks grew");
    }

    #[test]
    fn a_run_that_is_too_short_has_no_verdict() {
        let text = "time (s),memory of the server (MiB)\n10,20\n190,20\n";
        let error = verdict(&Figures::parse(text).unwrap()).unwrap_err();
        assert_eq!(error, "the run is too short: 180 seconds are its warm-up");
    }

    #[test]
    fn other_figures_have_no_verdict() {
        let error = verdict(&Figures::parse("time (s),speed\n1,2\n").unwrap()).unwrap_err();
        assert_eq!(error, "these are not the figures of a soak");
    }
}
